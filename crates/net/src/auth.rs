//! Credentials and challenges.
//!
//! Sources: RFC 9110 section 11.6.1 (`WWW-Authenticate`), the distribution project's "Token
//! Authentication Specification", containers-auth.json(5).

use crate::{NetError, Options};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use elea_sys::At as _;
use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::PathBuf;

/// The largest credentials file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// What a server wants before it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Credentials {
    /// The credentials for a repository (`host/name`), if any file has some. The first file
    /// that exists is the one that counts.
    pub(crate) fn find(options: &Options, repository: &str) -> Result<Option<Self>, NetError> {
        let (files, must_exist) = match &options.auth_file {
            Some(file) => (vec![file.clone()], true),
            None => (usual_files(), false),
        };
        for path in files {
            let file = match std::fs::File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => continue,
                file => file.at("open", &path)?,
            };
            let mut text = String::new();
            file.take(MAX_FILE)
                .read_to_string(&mut text)
                .at("read", &path)?;
            return parse_file(&text, repository)
                .map_err(|reason| NetError::CredentialsFile { path, reason });
        }
        Ok(None)
    }
}

fn usual_files() -> Vec<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
    [
        folder("REGISTRY_AUTH_FILE"),
        folder("XDG_RUNTIME_DIR").map(|d| d.join("containers/auth.json")),
        folder("DOCKER_CONFIG").map(|d| d.join("config.json")),
        folder("HOME").map(|d| d.join(".docker/config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Finds the entry of the longest prefix of `repository` at a slash, as containers-auth.json(5) says.
fn parse_file(text: &str, repository: &str) -> Result<Option<Credentials>, String> {
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(default)]
        auths: BTreeMap<String, Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        auth: String,
    }
    let file: File = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let mut prefix = repository;
    loop {
        let entry = file.auths.iter().find(|(key, entry)| {
            let key = key.split_once("://").map_or(key.as_str(), |(_, rest)| {
                rest.split('/').next().unwrap_or(rest)
            });
            key == prefix && !entry.auth.is_empty()
        });
        if let Some((key, entry)) = entry {
            let malformed = || format!("the entry of `{key}` is not base64 of `user:password`");
            let bytes = STANDARD.decode(&entry.auth).map_err(|_| malformed())?;
            let text = String::from_utf8(bytes).map_err(|_| malformed())?;
            let (user, password) = text.split_once(':').ok_or_else(malformed)?;
            return Ok(Some(Credentials {
                user: user.into(),
                password: password.trim_end_matches('\0').into(),
            }));
        }
        match prefix.rsplit_once('/') {
            Some((shorter, _)) => prefix = shorter,
            None => return Ok(None),
        }
    }
}

/// Reads one `WWW-Authenticate` header; none if it asks for something that is not known.
pub(crate) fn parse_challenge(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut parameters = parse_parameters(rest);
    Some(Challenge::Bearer {
        realm: parameters.remove("realm")?,
        service: parameters.remove("service"),
        scope: parameters.remove("scope"),
    })
}

/// `key="value",key=value`; values in quotes may hold commas and escaped characters.
fn parse_parameters(text: &str) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let mut value = String::new();
                let mut characters = quoted.char_indices();
                let mut end = quoted.len();
                while let Some((at, character)) = characters.next() {
                    match character {
                        '"' => {
                            end = at + 1;
                            break;
                        }
                        '\\' => value.extend(characters.next().map(|(_, c)| c)),
                        other => value.push(other),
                    }
                }
                (value, &quoted[end..])
            }
            None => match after.split_once(',') {
                Some((value, _)) => (value.trim().to_owned(), &after[value.len()..]),
                None => (after.trim().to_owned(), ""),
            },
        };
        parameters.insert(key.trim().to_ascii_lowercase(), value);
        rest = next.trim_start().strip_prefix(',').unwrap_or(next);
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_with_quotes_and_commas() {
        let challenge = parse_challenge(
            r#"Bearer realm="https://auth.example/token",service=reg,scope="repository:a/b:pull,push""#,
        );
        let Some(Challenge::Bearer {
            realm,
            service,
            scope,
        }) = challenge
        else {
            panic!("a bearer challenge")
        };
        assert_eq!(realm, "https://auth.example/token");
        assert_eq!(service.as_deref(), Some("reg"));
        assert_eq!(scope.as_deref(), Some("repository:a/b:pull,push"));
        assert_eq!(parse_challenge("basic realm=x"), Some(Challenge::Basic));
        for unknown in ["", "Negotiate", "Bearer", "Bearer realm", "Bearer x=\"\\"] {
            assert_eq!(parse_challenge(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn credentials_are_those_of_the_longest_prefix() {
        let text = format!(
            r#"{{"auths":{{"h:5000":{{"auth":"{}"}},"h:5000/a/b":{{"auth":"{}"}},
            "https://index.example/v1/":{{"auth":"{}"}},"bad":{{"auth":"%"}}}},"credsStore":"x"}}"#,
            STANDARD.encode("one:1"),
            STANDARD.encode("two:2:2"),
            STANDARD.encode("three:3"),
        );
        let find = |repository: &str| {
            parse_file(&text, repository).map(|c| c.map(|c| (c.user, c.password)))
        };
        let pair = |a: &str, b: &str| Ok(Some((a.to_owned(), b.to_owned())));
        assert_eq!(find("h:5000/a/b"), pair("two", "2:2"));
        assert_eq!(find("h:5000/a/c"), pair("one", "1"));
        assert_eq!(find("index.example/x"), pair("three", "3"));
        assert_eq!(find("other/a"), Ok(None));
        assert!(find("bad/a").unwrap_err().contains("`bad`"));
    }
}
