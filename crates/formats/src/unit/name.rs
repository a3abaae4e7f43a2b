//! Names of units (`systemd.unit(5)`, "String Escaping for Inclusion in Unit Names").

use std::fmt;

/// The longest name, in bytes (systemd's `UNIT_NAME_MAX` without its zero byte).
const MAX_NAME: usize = 255;

/// The kind of a unit: what follows the last dot of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `.automount`
    Automount,
    /// `.device`
    Device,
    /// `.mount`
    Mount,
    /// `.path`
    Path,
    /// `.scope`
    Scope,
    /// `.service`
    Service,
    /// `.slice`
    Slice,
    /// `.socket`
    Socket,
    /// `.swap`
    Swap,
    /// `.target`
    Target,
    /// `.timer`
    Timer,
}

const KINDS: [(Kind, &str); 11] = [
    (Kind::Automount, "automount"),
    (Kind::Device, "device"),
    (Kind::Mount, "mount"),
    (Kind::Path, "path"),
    (Kind::Scope, "scope"),
    (Kind::Service, "service"),
    (Kind::Slice, "slice"),
    (Kind::Socket, "socket"),
    (Kind::Swap, "swap"),
    (Kind::Target, "target"),
    (Kind::Timer, "timer"),
];

impl Kind {
    /// The word, without a dot.
    pub fn word(self) -> &'static str {
        KINDS[self as usize].1
    }

    fn of(word: &str) -> Option<Self> {
        KINDS
            .iter()
            .find(|(_, w)| *w == word)
            .map(|(kind, _)| *kind)
    }
}

/// A name that no unit can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no name of a unit: {why}")]
pub struct NameError {
    /// The name, shortened.
    pub name: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// The name of a unit, a template (`getty@.service`) or an instance of one (`getty@tty1.service`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    text: String,
    kind: Kind,
    /// Where the first `@` stands.
    at: Option<usize>,
}

impl Name {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let fail = |why| {
            let name = text.chars().take(80).collect();
            Err(NameError { name, why })
        };
        if text.len() > MAX_NAME {
            return fail("it has more than 255 bytes");
        }
        let Some((stem, suffix)) = text.rsplit_once('.') else {
            return fail("it has no suffix such as .service");
        };
        let Some(kind) = Kind::of(suffix) else {
            return fail("its suffix is of no kind of unit");
        };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
        if stem.is_empty() || !stem.bytes().all(allowed) {
            return fail("letters, digits and :-_.\\ are allowed, and one @ before the instance");
        }
        let at = stem.find('@');
        if at == Some(0) {
            return fail("nothing stands before its @");
        }
        Ok(Self {
            text: text.to_owned(),
            kind,
            at,
        })
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The name without its suffix.
    pub fn stem(&self) -> &str {
        &self.text[..self.text.len() - self.kind.word().len() - 1]
    }

    /// What stands before the `@`, or the whole stem.
    pub fn prefix(&self) -> &str {
        &self.stem()[..self.at.unwrap_or(self.stem().len())]
    }

    /// What stands behind the `@`: empty in a template.
    pub fn instance(&self) -> Option<&str> {
        self.at.map(|at| &self.stem()[at + 1..])
    }

    /// The template of an instance.
    pub fn template(&self) -> Option<Self> {
        self.instance().filter(|instance| !instance.is_empty())?;
        Some(self.sibling(self.kind, ""))
    }

    /// The unit of another kind that belongs to it: the socket `foo.socket` of `foo@x.service`
    /// and of `foo.service`.
    pub fn companion(&self, kind: Kind) -> String {
        format!("{}.{}", self.prefix(), kind.word())
    }

    fn sibling(&self, kind: Kind, instance: &str) -> Self {
        Self {
            text: format!("{}@{instance}.{}", self.prefix(), kind.word()),
            kind,
            at: Some(self.prefix().len()),
        }
    }

    /// The names whose drop-ins it takes, in systemd's order: of two drop-ins with one file name
    /// in one folder of units the first counts. For `a-b.service` these are itself,
    /// `a-.service`, and at last `service`, whose drop-ins are for all services; for an instance
    /// its template and what the template takes come next after itself.
    pub fn inherits(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.inherit(&mut names);
        names.push(self.kind.word().to_owned());
        names
    }

    fn inherit(&self, names: &mut Vec<String>) {
        if names.contains(&self.text) {
            return;
        }
        names.push(self.text.clone());
        if let Some(template) = self.template() {
            template.inherit(names);
        }
        let prefix = self.prefix();
        let cut = prefix.strip_suffix('-').unwrap_or(prefix).rfind('-');
        if let Some(cut) = cut.filter(|cut| *cut > 0) {
            let text = format!("{}{}", &prefix[..=cut], &self.text[prefix.len()..]);
            let at = self.at.map(|_| cut + 1);
            let kind = self.kind;
            Self { text, kind, at }.inherit(names);
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Makes any bytes a part of a name, as `systemd-escape` does.
pub fn escape(text: &[u8]) -> String {
    let mut name = String::with_capacity(text.len());
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if at == 0 => name.push_str("\\x2e"),
            b if b.is_ascii_alphanumeric() || b":_.".contains(&b) => name.push(b.into()),
            b => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                name.push_str("\\x");
                name.extend([b >> 4, b & 15].map(|n| char::from(DIGITS[usize::from(n)])));
            }
        }
    }
    name
}

/// Makes an absolute path a part of a name, as `systemd-escape --path` does: `/` is `-`, and
/// what does not count in a path is left out.
///
/// `None` for a path with `..`, which has no name.
pub fn escape_path(path: &[u8]) -> Option<String> {
    let parts: Vec<&[u8]> = path
        .split(|b| *b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&&b".."[..]) {
        return None;
    }
    if parts.is_empty() {
        return Some("-".to_owned());
    }
    Some(escape(&parts.join(&b'/')))
}

/// The bytes that [`escape`] made a name of; `None` where it is not well-formed.
pub fn unescape(name: &str) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'-' => text.push(b'/'),
            b'\\' => {
                let digits = after.strip_prefix(b"x")?.get(..2)?;
                let digit = |b: u8| char::from(b).to_digit(16);
                let value = digit(digits[0])? * 16 + digit(digits[1])?;
                text.push(u8::try_from(value).ok()?);
                rest = &after[3..];
            }
            byte => text.push(byte),
        }
    }
    Some(text)
}

/// The path that [`escape_path`] made a name of, with its leading slash.
pub fn unescape_path(name: &str) -> Option<Vec<u8>> {
    if name == "-" {
        return Some(b"/".to_vec());
    }
    let mut path = vec![b'/'];
    path.extend(unescape(name)?);
    Some(path)
}
