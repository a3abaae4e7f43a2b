//! Credentials and challenges.
//!
//! Sources: RFC 9110 section 11.6.1 (`WWW-Authenticate`), the distribution project's "Token
//! Authentication Specification", containers-auth.json(5), docker's `docker login` ("Credential
//! stores") and docker-credential-helpers (the programs' protocol).

use crate::{NetError, Options};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use elea_sys::At as _;
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The largest credentials file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The most that a helper may say, in bytes.
const MAX_SAID: u64 = 64 << 10;
/// The user of an identity token.
const TOKEN_USER: &str = "<token>";

/// Where the credentials for a registry are.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// In the file itself.
    Known(Login),
    /// With a program, `docker-credential-NAME`.
    Helper {
        name: String,
        /// What the registry is called there.
        server: String,
    },
}

/// What a registry is told.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// A name and a password.
    Password { user: String, password: String },
    /// A token that other tokens are got for.
    Identity(String),
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
    /// The credentials for a repository (`host/name`): of the first file that has some.
    pub(crate) fn find(options: &Options, repository: &str) -> Result<Option<Self>, NetError> {
        let named = std::env::var_os("REGISTRY_AUTH_FILE").map(PathBuf::from);
        let (files, must_exist) = match (&options.auth_file, named) {
            (Some(file), _) => (vec![file.clone()], true),
            (None, Some(file)) => (vec![file], false),
            (None, None) => (usual_files(), false),
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
            let found = parse_file(&text, repository);
            let found = found.map_err(|reason| NetError::CredentialsFile { path, reason })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The name and password; none if the helper knows none.
    pub(crate) fn login(&self) -> Result<Option<Login>, NetError> {
        match self {
            Self::Known(login) => Ok(Some(login.clone())),
            Self::Helper { name, server } => {
                let program = format!("docker-credential-{name}");
                ask(&program, server).map_err(|reason| NetError::Helper { program, reason })
            }
        }
    }
}

/// Asks a helper: the registry's name on its standard input, JSON on its standard output.
fn ask(program: &str, server: &str) -> Result<Option<Login>, String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read may still answer.
        let _ = stdin.write_all(server.as_bytes());
    }
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let read = stdout.take(MAX_SAID).read_to_end(&mut said);
        read.map_err(|e| e.to_string())?;
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    if !status.success() {
        let text = String::from_utf8_lossy(&said);
        if text.contains("credentials not found") {
            return Ok(None);
        }
        let shown = text.trim().chars().filter(|c| !c.is_control()).take(200);
        return Err(format!("{status}: {}", shown.collect::<String>()));
    }
    // What it said holds a password, and stays out of messages.
    let answer: Answer =
        serde_json::from_slice(&said).map_err(|_| "it gave no credentials".to_owned())?;
    Ok(Some(login(answer.username, answer.secret)))
}

fn login(user: String, secret: String) -> Login {
    if user == TOKEN_USER {
        Login::Identity(secret)
    } else {
        Login::Password {
            user,
            password: secret,
        }
    }
}

/// Where podman and docker write what `login` got, in the order in which podman looks.
fn usual_files() -> Vec<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let home = folder("HOME");
    let below_home = |name: &str| home.as_ref().map(|home| home.join(name));
    [
        folder("XDG_RUNTIME_DIR").map(|d| d.join("containers/auth.json")),
        folder("XDG_CONFIG_HOME")
            .or_else(|| below_home(".config"))
            .map(|d| d.join("containers/auth.json")),
        folder("DOCKER_CONFIG")
            .or_else(|| below_home(".docker"))
            .map(|d| d.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

#[derive(serde::Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    identitytoken: String,
}

/// Finds what a file has for `repository`: the helper of its registry; the entry of its longest prefix at
/// a slash, as containers-auth.json(5) says; the helper of all registries.
fn parse_file(text: &str, repository: &str) -> Result<Option<Credentials>, String> {
    let file: File = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let host = repository.split('/').next().unwrap_or(repository);
    let called =
        |key: &str| home_of(key.split_once("://").map_or(key, |(_, rest)| rest)) == home_of(host);
    if let Some((key, name)) = file.cred_helpers.iter().find(|(key, _)| called(key)) {
        return helper(name, key).map(Some);
    }
    let mut prefix = repository;
    loop {
        let entry = file.auths.iter().find(|(key, entry)| {
            let fits = match key.split_once("://") {
                // An address has no namespaces.
                Some((_, rest)) => prefix == host && home_of(rest) == home_of(host),
                None => *key == prefix || prefix == host && called(key) && !key.contains('/'),
            };
            fits && !(entry.auth.is_empty() && entry.identitytoken.is_empty())
        });
        if let Some((key, entry)) = entry {
            return entry
                .login(key)
                .map(|login| Some(Credentials::Known(login)));
        }
        match prefix.rsplit_once('/') {
            Some((shorter, _)) => prefix = shorter,
            None => break,
        }
    }
    match file.creds_store.as_str() {
        "" => Ok(None),
        name => {
            // docker keeps what it has of its own registry under this address.
            let server = match home_of(host) {
                "docker.io" => "https://index.docker.io/v1/",
                _ => host,
            };
            helper(name, server).map(Some)
        }
    }
}

/// A host of an address or name; Docker's own registry has several.
fn home_of(place: &str) -> &str {
    match place.split('/').next().unwrap_or(place) {
        "index.docker.io" | "registry-1.docker.io" | "docker.io" => "docker.io",
        host => host,
    }
}

fn helper(name: &str, server: &str) -> Result<Credentials, String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(good) {
        let name: String = name.chars().take(80).collect();
        return Err(format!("`{name}` is not the name of a credential helper"));
    }
    Ok(Credentials::Helper {
        name: name.into(),
        server: server.into(),
    })
}

impl Entry {
    fn login(&self, key: &str) -> Result<Login, String> {
        if !self.identitytoken.is_empty() {
            return Ok(Login::Identity(self.identitytoken.clone()));
        }
        let malformed = || format!("the entry of `{key}` is not base64 of `user:password`");
        let bytes = STANDARD.decode(&self.auth).map_err(|_| malformed())?;
        let text = String::from_utf8(bytes).map_err(|_| malformed())?;
        let (user, password) = text.split_once(':').ok_or_else(malformed)?;
        Ok(login(user.into(), password.trim_end_matches('\0').into()))
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

    /// What a file gives, as `user password`, `token TOKEN` or `NAME of SERVER`.
    fn find(text: &str, repository: &str) -> Result<Option<String>, String> {
        parse_file(text, repository).map(|found| {
            found.map(|found| match found {
                Credentials::Known(Login::Password { user, password }) => {
                    format!("{user} {password}")
                }
                Credentials::Known(Login::Identity(token)) => format!("token {token}"),
                Credentials::Helper { name, server } => format!("{name} of {server}"),
            })
        })
    }

    #[test]
    fn credentials_are_those_of_the_longest_prefix() {
        let text = format!(
            r#"{{"auths":{{"h:5000":{{"auth":"{}"}},"h:5000/a/b":{{"auth":"{}"}},
            "https://index.docker.io/v1/":{{"auth":"{}"}},"i":{{"auth":"eA==","identitytoken":"t"}},
            "bad":{{"auth":"%"}}}}}}"#,
            STANDARD.encode("one:1"),
            STANDARD.encode("two:2:2"),
            STANDARD.encode("three:3"),
        );
        for (repository, wanted) in [
            ("h:5000/a/b", Some("two 2:2")),
            ("h:5000/a/b/c", Some("two 2:2")),
            ("h:5000/a/bc", Some("one 1")),
            ("h:5000/a/c", Some("one 1")),
            ("docker.io/library/x", Some("three 3")),
            ("registry-1.docker.io/library/x", Some("three 3")),
            ("i/x", Some("token t")),
            ("h/a", None),
            ("other/a", None),
        ] {
            assert_eq!(
                find(&text, repository).unwrap().as_deref(),
                wanted,
                "{repository}"
            );
        }
        assert!(find(&text, "bad/a").unwrap_err().contains("`bad`"));
    }

    #[test]
    fn helpers_are_named_for_one_registry_or_for_all() {
        let text = format!(
            r#"{{"auths":{{"a":{{"auth":"{}"}},"b":{{}}}},"credHelpers":{{"c:1":"one","d":"../x"}},
            "credsStore":"all"}}"#,
            STANDARD.encode("user:secret"),
        );
        for (repository, wanted) in [
            ("a/x", "user secret"),
            ("b/x", "all of b"),
            ("c:1/x", "one of c:1"),
            ("c/x", "all of c"),
            ("docker.io/x", "all of https://index.docker.io/v1/"),
        ] {
            assert_eq!(find(&text, repository).unwrap().as_deref(), Some(wanted));
        }
        assert!(find(&text, "d/x").unwrap_err().contains("../x"));
    }

    #[test]
    fn a_helper_is_asked_by_its_protocol() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker-credential-test");
        let program = path.to_str().unwrap();
        let script = |body: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&path, mode).unwrap();
        };
        let password = |user: &str, password: &str| {
            let (user, password) = (user.to_owned(), password.to_owned());
            Ok(Some(Login::Password { user, password }))
        };
        script(
            r#"test "$1" = get && printf '{"ServerURL":"x","Username":"me","Secret":"of %s"}' "$(cat)""#,
        );
        assert!(ask(program, "h:5000") == password("me", "of h:5000"));
        script(r#"echo '{"Username":"<token>","Secret":"long"}'"#);
        assert!(ask(program, "h") == Ok(Some(Login::Identity("long".into()))));
        script("echo credentials not found in native keychain; exit 1");
        assert!(ask(program, "h") == Ok(None));
        script("echo the keychain is locked; exit 3");
        assert!(
            ask(program, "h")
                .err()
                .unwrap()
                .contains("keychain is locked")
        );
        script("echo '{\"Secret\":\"secret\"}'");
        let said = ask(program, "h").err().unwrap();
        assert!(!said.contains("secret"), "{said}");
        // More than is read of it: it ends by the closed pipe.
        script("yes");
        assert!(ask(program, "h").is_err());
        assert!(ask("docker-credential-that-is-not-there", "h").is_err());
    }
}
