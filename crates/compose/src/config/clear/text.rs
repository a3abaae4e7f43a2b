//! What a text has in clear, line by line.

/// A secret in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clear {
    /// What it is: `a private key`.
    pub(super) what: &'static str,
    /// Whether it is one for certain, and has not just the name of one.
    pub(super) is_certain: bool,
    /// The line that it begins in, without blanks around it.
    pub(super) line: String,
    /// Which line of the text that is, from 1.
    pub(super) number: usize,
}

/// What begins so, and goes on with so many letters and digits, is a secret of a known kind.
const TOKENS: [(&str, usize, &str); 13] = [
    ("AGE-SECRET-KEY-1", 50, "a key of age"),
    ("ghp_", 36, "a token of GitHub"),
    ("gho_", 36, "a token of GitHub"),
    ("ghs_", 36, "a token of GitHub"),
    ("github_pat_", 40, "a token of GitHub"),
    ("glpat-", 20, "a token of GitLab"),
    ("xoxb-", 20, "a token of Slack"),
    ("xoxp-", 20, "a token of Slack"),
    ("sk_live_", 24, "a key of Stripe"),
    ("dckr_pat_", 20, "a token of Docker"),
    ("npm_", 36, "a token of npm"),
    ("hvs.", 24, "a token of Vault"),
    ("tskey-", 20, "a key of Tailscale"),
];

/// How hashes of passwords begin (crypt(5), and others of the same form).
const HASHES: [&str; 8] = [
    "$1$",
    "$5$",
    "$6$",
    "$y$",
    "$2b$",
    "$2y$",
    "$apr1$",
    "$argon2id$",
];

/// What a file has in clear.
pub(super) fn of(text: &str) -> Vec<Clear> {
    found(text, assignment)
}

/// What a unit has in clear: its variables and the options of its commands too.
pub(super) fn of_unit(text: &str) -> Vec<Clear> {
    found(text, |line| match line.split_once('=') {
        Some(("Environment", value)) => environment(value),
        Some((name, value)) if name.starts_with("Exec") => {
            let mut found = of_command(value.split_whitespace()).into_iter();
            found.next().map(|clear| (clear.what, clear.is_certain))
        }
        // The names of other settings are systemd's.
        _ => None,
    })
}

/// What a command has in clear in its options: `--password=…`, `--token …`.
pub(super) fn of_command<'a>(words: impl Iterator<Item = &'a str>) -> Vec<Clear> {
    let words: Vec<&str> = words.map(|word| word.trim_matches(['"', '\''])).collect();
    let mut all = Vec::new();
    for (number, word) in words.iter().enumerate() {
        let Some(option) = word.strip_prefix("--") else {
            continue;
        };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, value),
            None => (option, words.get(number + 1).copied().unwrap_or_default()),
        };
        let is_option = value.starts_with('-');
        let kind = kind_of(name, value).filter(|_| !is_option);
        all.extend(kind.map(|(what, is_certain)| Clear {
            what,
            is_certain,
            line: (*word).to_owned(),
            number: 1,
        }));
    }
    all
}

fn found(text: &str, by_name: impl Fn(&str) -> Option<(&'static str, bool)>) -> Vec<Clear> {
    // What is no text has no names and values.
    let is_text = !text.contains('\0');
    let mut all = Vec::new();
    let mut lines = (1..).zip(text.lines().map(str::trim)).peekable();
    while let Some((number, line)) = lines.next() {
        let is_locked = lines
            .peek()
            .is_some_and(|(_, next)| next.starts_with("Proc-Type: 4,ENCRYPTED"));
        let is_comment = line.starts_with(['#', ';']) || line.starts_with("//");
        let found = if has_key(line) && !is_locked {
            Some(("a private key", true))
        } else if !is_text {
            None
        } else if let Some(what) = token(line) {
            Some((what, true))
        } else if is_comment {
            None
        } else if has_credentials(line) {
            Some(("a password in a URL", true))
        } else if let Some(found) = by_name(line) {
            Some(found)
        } else if has_hash(line) {
            Some(("the hash of a password", false))
        } else {
            None
        };
        all.extend(found.map(|(what, is_certain)| Clear {
            what,
            is_certain,
            line: line.to_owned(),
            number,
        }));
    }
    all
}

/// A private key (RFC 7468; OpenSSH and PGP have the same form), on a line of its own or in a value.
fn has_key(line: &str) -> bool {
    let Some((_, rest)) = line.split_once("-----BEGIN ") else {
        return false;
    };
    let kind = rest.split_once("-----").map_or("", |(kind, _)| kind);
    let is_private = kind.ends_with("PRIVATE KEY") || kind.ends_with("PRIVATE KEY BLOCK");
    is_private && kind != "ENCRYPTED PRIVATE KEY"
}

fn token(line: &str) -> Option<&'static str> {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let fits = |(begin, least, _): &&(&str, usize, &str)| {
        line.match_indices(begin).any(|(at, _)| {
            let is_begin = !line[..at].ends_with(is_of_word);
            let rest = line[at + begin.len()..].chars();
            is_begin && rest.take_while(|c| is_of_word(*c)).count() >= *least
        })
    };
    TOKENS.iter().find(fits).map(|(.., what)| *what)
}

/// `scheme://user:password@host`, the password written out.
fn has_credentials(line: &str) -> bool {
    line.match_indices("://").any(|(at, _)| {
        let is_scheme = line[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        let end = |c: char| c.is_whitespace() || "/\"'`<>".contains(c);
        let authority = line[at + 3..].split(end).next().unwrap_or_default();
        let user = authority
            .rsplit_once('@')
            .and_then(|(user, _)| user.split_once(':'));
        is_scheme && user.is_some_and(|(_, password)| is_literal(password))
    })
}

fn has_hash(line: &str) -> bool {
    let is_of_hash = |c: char| c.is_ascii_alphanumeric() || "./$=,+".contains(c);
    HASHES.iter().any(|begin| {
        line.match_indices(begin).any(|(at, _)| {
            let rest = line[at + begin.len()..]
                .chars()
                .take_while(|c| is_of_hash(*c));
            rest.count() >= 25
        })
    })
}

/// `NAME = VALUE`, `NAME: VALUE`.
fn assignment(line: &str) -> Option<(&'static str, bool)> {
    let (name, value) = line.split_once(['=', ':'])?;
    let name = name.strip_prefix("export ").unwrap_or(name);
    kind_of(name.trim().trim_matches(['"', '\'']), value)
}

/// What the value of `Environment=` has in clear.
fn environment(value: &str) -> Option<(&'static str, bool)> {
    let mut words = value.split_whitespace();
    words.find_map(|word| {
        let (name, value) = word.split_once('=')?;
        let name = name.trim_start_matches(['"', '\'']);
        // Variables have no other names for it.
        let ends = ["SECRET", "TOKEN", "API_KEY"];
        let by_end = ends.iter().any(|end| name.ends_with(end)) && is_literal(value);
        kind_of(name, value)
            .filter(|(_, is_certain)| *is_certain)
            .or_else(|| by_end.then_some(("a password or token", true)))
            .or_else(|| kind_of(name, value))
    })
}

/// What a value is by the last words of its name, and whether that is certain.
fn kind_of(name: &str, value: &str) -> Option<(&'static str, bool)> {
    if name.len() > 100 || name.contains(char::is_whitespace) || !is_literal(value) {
        return None;
    }
    let words = words_of(name);
    let last = words.last().map_or("", String::as_str);
    let before = words.iter().rev().nth(1).map_or("", String::as_str);
    let is_key = [
        "access",
        "api",
        "auth",
        "encryption",
        "private",
        "secret",
        "signing",
    ];
    match last {
        "password" | "passwd" | "passphrase" | "psk" => Some(("a password", true)),
        "pass" | "pwd" if is_random(value) => Some(("a password", false)),
        "secret" | "token" | "apikey" if is_random(value) => Some(("a secret", false)),
        "key" if is_key.contains(&before) && is_random(value) => Some(("a secret key", false)),
        _ => None,
    }
}

/// The words of a name: `db_password`, `db.password`, `dbPassword`, `DB-PASSWORD`.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for c in name.chars() {
        if "_-.".contains(c) || (was_small && c.is_ascii_uppercase()) {
            words.push(String::new());
        }
        was_small = c.is_ascii_lowercase();
        if let Some(word) = words.last_mut().filter(|_| !"_-.".contains(c)) {
            word.push(c.to_ascii_lowercase());
        }
    }
    words
}

/// A value without what is around it in files.
fn bare(value: &str) -> &str {
    let value = value.trim().trim_end_matches([',', ';']);
    value.trim_matches(['"', '\'']).trim()
}

/// Whether a value is a secret itself: no hash, no place where it is, nothing to fill in, no switch.
fn is_literal(value: &str) -> bool {
    let value = bare(value);
    let word = value.to_ascii_lowercase();
    let no_secret = [
        "", "x", "*", "!", "ask", "prompt", "none", "null", "true", "false", "yes", "no",
        "required", "optional",
    ];
    !no_secret.contains(&word.as_str()) && !value.starts_with(['$', '%', '/', '<', '{', '@', '*'])
}

/// Whether a value looks made by a machine: one word of some length, of letters and digits.
fn is_random(value: &str) -> bool {
    let value = bare(value);
    value.len() >= 8
        && !value.contains(char::is_whitespace)
        && value.contains(|c: char| c.is_ascii_digit())
        && value.contains(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(found: &[Clear]) -> Vec<(&'static str, bool)> {
        found
            .iter()
            .map(|clear| (clear.what, clear.is_certain))
            .collect()
    }

    #[test]
    fn what_is_certain_is_seen() {
        let long = "0123456789abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRST";
        let token = |begin: &str| format!("x: {begin}{long}");
        for (text, what) in [
            (
                "a\n -----BEGIN OPENSSH PRIVATE KEY-----\nx",
                "a private key",
            ),
            ("-----BEGIN PRIVATE KEY-----", "a private key"),
            ("-----BEGIN PGP PRIVATE KEY BLOCK-----", "a private key"),
            (
                "{\"key\": \"-----BEGIN EC PRIVATE KEY-----\\nMII\"}",
                "a private key",
            ),
            ("bytes \0\n-----BEGIN RSA PRIVATE KEY-----", "a private key"),
            ("password = hunter2", "a password"),
            ("db.password: \"hunter2\"", "a password"),
            ("[a]\n\"admin_password\" = 'x y'", "a password"),
            ("dbPassword=hunter2", "a password"),
            ("export SMTP_PASSWD=hunter2", "a password"),
            ("  psk=\"our wifi\"", "a password"),
            ("url = postgres://ada:hunter2@db/x", "a password in a URL"),
            (
                "deb https://ada:hunter2@example.org/debian x main",
                "a password in a URL",
            ),
            (&token("ghp_"), "a token of GitHub"),
            (&token("# github_pat_"), "a token of GitHub"),
            (&token("AGE-SECRET-KEY-1"), "a key of age"),
        ] {
            assert_eq!(said(&of(text)), [(what, true)], "{text}");
        }
        let text = "a = 1\n  password = one\npasswd: two\n";
        let lines: Vec<String> = of(text).into_iter().map(|clear| clear.line).collect();
        assert_eq!(lines, ["password = one", "passwd: two"]);
    }

    #[test]
    fn what_is_a_guess_is_none_but_a_guess() {
        for text in [
            "api_key = 0a1b2c3d4e5f",
            "client_secret: 'abc123def456'",
            "auth_token=abc123def456",
            "PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=",
            "smtp_pass = Hunter22",
            "ada:$6$saltsalt$0123456789abcdefghijklmnopqrstuvwxyz",
            "ada:$apr1$saltsalt$0123456789abcdefghijkl",
        ] {
            let found = of(text);
            assert_eq!(found.len(), 1, "{text}");
            assert!(!found[0].is_certain, "{text}: {found:?}");
        }
    }

    #[test]
    fn what_is_none_is_left_alone() {
        for text in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED",
            "-----BEGIN CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----",
            "PasswordAuthentication no",
            "PasswordAuthentication = no",
            "password required pam_unix.so",
            "password = $6$salt$hash",
            "password = ${PASSWORD}",
            "password_file = /run/x",
            "password: ask",
            "# password = hunter2",
            "password=",
            "token = required",
            "token: word",
            "public_key = 0a1b2c3d4e5f",
            "key = 0a1b2c3d4e5f",
            "bypass = 0a1b2c3d4e5f",
            "see https://example.org:8080/a@b",
            "url = postgres://ada:${PASSWORD}@db/x",
            "url = postgres://ada@db/x",
            "ghp_short",
            "cost is $5$ or $6$ a day",
        ] {
            assert!(of(text).is_empty(), "{text}: {:?}", of(text));
        }
    }

    #[test]
    fn units_have_variables_and_commands() {
        for (text, is_certain) in [
            ("Environment=A=1 DB_PASSWORD=hunter2", true),
            ("[Service]\nEnvironment=\"API_TOKEN=abc\"", true),
            ("Environment=URL=redis://:hunter2@host", true),
            ("ExecStart=/bin/x --db-password=hunter2", true),
            ("ExecStartPre=/bin/x --password \"hunter2\" -v", true),
            ("ExecStart=/bin/x --auth-token=abc123def456", false),
        ] {
            let found = of_unit(text);
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(found[0].is_certain, is_certain, "{text}");
        }
        for text in [
            "Environment=DB_PASSWORD_FILE=%d/x PASSWORD=%d/y",
            "ExecStart=/bin/x --password-file=/run/x --password -v",
            "ExecStart=/bin/x --token ${TOKEN}",
            "SetCredential=x:hunter2password",
            "Description=token: abc123def456",
        ] {
            assert!(of_unit(text).is_empty(), "{text}");
        }
        let words = ["x", "--password=hunter2"];
        assert_eq!(of_command(words.into_iter())[0].line, "--password=hunter2");
    }
}
