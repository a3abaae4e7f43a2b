//! What a registry wants before it answers: a password, or a token that somebody else gives.

use super::{Http, MAX_ANSWER, lock, shown};
use crate::NetError;
use crate::auth::{Challenge, Credentials, parse_challenge};
use crate::stream::perform;
use base64::Engine as _;
use elea_sys::progress::Progress;
use reqwest::Url;
use reqwest::blocking::Response;
use reqwest::header::{self, HeaderValue};

impl Http {
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        lock(&self.authorization).clone()
    }

    /// Gets what a challenge asks for; false if there is nothing to answer with. `sent` is what was
    /// refused; if another request got something else meanwhile, that is used.
    pub(super) fn answer_challenge(
        &self,
        response: &Response,
        sent: Option<&HeaderValue>,
        progress: &dyn Progress,
    ) -> Result<bool, NetError> {
        let _one = lock(&self.login);
        if self.authorization().as_ref() != sent {
            return Ok(true);
        }
        let challenge = response
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .find_map(|value| parse_challenge(value.to_str().ok()?));
        let value = match (challenge, &self.credentials) {
            (Some(Challenge::Basic), Some(credentials)) => basic(credentials),
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                _,
            ) => {
                format!("Bearer {}", self.token(&realm, service, scope, progress)?)
            }
            _ => return Ok(false),
        };
        let mut value = HeaderValue::from_str(&value).map_err(|_| NetError::Connection {
            action: "log in to",
            url: shown(response.url()),
            reason: "the token has characters that no token has".into(),
        })?;
        value.set_sensitive(true);
        *lock(&self.authorization) = Some(value);
        Ok(true)
    }

    fn token(
        &self,
        realm: &str,
        service: Option<String>,
        scope: Option<String>,
        progress: &dyn Progress,
    ) -> Result<String, NetError> {
        #[derive(serde::Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let mut url = Url::parse(realm)
            .ok()
            .filter(|url| self.may_go(url))
            .ok_or_else(|| NetError::Redirect {
                url: self.base.to_string(),
                to: realm.chars().take(200).collect(),
                reason: "that is no address to ask for a token (https is needed)",
            })?;
        for (name, value) in [("service", service), ("scope", scope)] {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, &value);
            }
        }
        let mut builder = self.client.get(url.clone());
        if let Some(credentials) = &self.credentials {
            builder = builder.header(header::AUTHORIZATION, basic(credentials));
        }
        let response = perform(builder, &url, None, progress)?;
        if !response.status().is_success() {
            return Err(self.refusal(response, &url, progress));
        }
        let bytes = self
            .stream(response, &format!("the token of {}", shown(&url)))?
            .read(MAX_ANSWER, progress)?;
        serde_json::from_slice::<Answer>(&bytes)
            .ok()
            .and_then(|answer| answer.token.or(answer.access_token))
            .ok_or_else(|| NetError::Connection {
                action: "log in to",
                url: shown(&url),
                reason: "the answer holds no token".into(),
            })
    }
}

fn basic(credentials: &Credentials) -> String {
    let pair = format!("{}:{}", credentials.user, credentials.password);
    let text = base64::engine::general_purpose::STANDARD.encode(pair);
    format!("Basic {text}")
}
