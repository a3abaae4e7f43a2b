//! What a registry wants before it answers: a password, or a token that somebody else gives.

use super::{Http, MAX_ANSWER, lock, shown};
use crate::NetError;
use crate::auth::{Challenge, Login, parse_challenge};
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
        let login = self.login()?;
        let value = match (challenge, login) {
            (Some(Challenge::Basic), Some(Login::Password { user, password })) => {
                basic(user, password)
            }
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                login,
            ) => {
                let asked = [("service", service), ("scope", scope)];
                format!("Bearer {}", self.token(&realm, &asked, login, progress)?)
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

    /// The name and password of this registry, if there are any; a helper is asked once.
    fn login(&self) -> Result<Option<&Login>, NetError> {
        if self.login_known.get().is_none() {
            let login = match &self.credentials {
                Some(credentials) => credentials.login()?,
                None => None,
            };
            // Whoever is here holds the lock.
            let _ = self.login_known.set(login);
        }
        Ok(self.login_known.get().and_then(Option::as_ref))
    }

    /// A token for what was asked: by name and password, or for an identity token (which
    /// `docker login` got where passwords are not kept) by the second way of the
    /// distribution project's token specification (`oauth.md`).
    fn token(
        &self,
        realm: &str,
        asked: &[(&str, Option<String>)],
        login: Option<&Login>,
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
        let mut query = url.clone();
        for (name, value) in asked {
            if let Some(value) = value {
                query.query_pairs_mut().append_pair(name, value);
            }
        }
        let builder = match login {
            Some(Login::Identity(token)) => {
                query
                    .query_pairs_mut()
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "elea")
                    .append_pair("refresh_token", token);
                let form = query.query().unwrap_or_default().to_owned();
                let kind = "application/x-www-form-urlencoded";
                let post = self.client.post(url.clone()).body(form);
                post.header(header::CONTENT_TYPE, kind)
            }
            Some(Login::Password { user, password }) => {
                url = query;
                let get = self.client.get(url.clone());
                get.header(header::AUTHORIZATION, basic(user, password))
            }
            None => {
                url = query;
                self.client.get(url.clone())
            }
        };
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

fn basic(user: &str, password: &str) -> String {
    let pair = format!("{user}:{password}");
    let text = base64::engine::general_purpose::STANDARD.encode(pair);
    format!("Basic {text}")
}
