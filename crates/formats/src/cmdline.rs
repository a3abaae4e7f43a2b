//! Kernel command lines: words separated by blanks, `key` or `key=value`, double quotes
//! around blanks.
//!
//! Source: the kernel's `Documentation/admin-guide/kernel-parameters.rst` and `next_arg` in
//! `lib/cmdline.c`: a quote toggles, is no part of the value when it opens it or the whole
//! word, and there is no escape.

use std::fmt;

/// One word of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// What stands before the first `=`.
    pub key: String,
    /// What stands after it; `None` without a `=`.
    pub value: Option<String>,
}

/// A command line, in order; keys may be there more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine(Vec<Argument>);

/// Something that no command line can say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The kernel has no escape for a double quote.
    #[error("the kernel argument `{0}` has a double quote, which a command line cannot hold")]
    Quote(String),
    /// A line break or another control character.
    #[error("the kernel argument `{0}` has a control character")]
    Control(String),
    /// An empty key.
    #[error("a kernel argument has no name")]
    Empty,
}

impl Argument {
    /// `key` or `key=value`; refuses what a command line cannot hold.
    pub fn new(key: &str, value: Option<&str>) -> Result<Self, Error> {
        let all = format!("{key}{}", value.unwrap_or_default());
        if key.is_empty() {
            return Err(Error::Empty);
        }
        if all.contains('"') || key.contains('=') {
            return Err(Error::Quote(all));
        }
        if all.chars().any(char::is_control) {
            return Err(Error::Control(all.escape_debug().to_string()));
        }
        Ok(Self {
            key: key.to_owned(),
            value: value.map(str::to_owned),
        })
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blank = |s: &str| s.contains(|c: char| c.is_ascii_whitespace());
        match &self.value {
            _ if blank(&self.key) => match &self.value {
                Some(value) => write!(f, "\"{}={value}\"", self.key),
                None => write!(f, "\"{}\"", self.key),
            },
            None => f.write_str(&self.key),
            Some(value) if blank(value) => write!(f, "{}=\"{value}\"", self.key),
            Some(value) => write!(f, "{}={value}", self.key),
        }
    }
}

impl CommandLine {
    /// Reads a command line; never fails, as the kernel never does. What stands after a
    /// lone `--` is for init and is left out.
    pub fn parse(text: &str) -> Self {
        let mut words = Vec::new();
        let mut word = String::new();
        let (mut quoted, mut begun) = (false, false);
        for c in text.chars() {
            match c {
                '"' => (quoted, begun) = (!quoted, true),
                c if c.is_ascii_whitespace() && !quoted => {
                    if begun {
                        words.push(std::mem::take(&mut word));
                    }
                    begun = false;
                }
                c => {
                    word.push(c);
                    begun = true;
                }
            }
        }
        if begun {
            words.push(word);
        }
        Self(
            words
                .into_iter()
                .take_while(|w| w != "--")
                .filter(|w| !w.is_empty())
                .map(|w| match w.split_once('=') {
                    Some((key, value)) => Argument {
                        key: key.to_owned(),
                        value: Some(value.to_owned()),
                    },
                    None => Argument {
                        key: w,
                        value: None,
                    },
                })
                .collect(),
        )
    }

    /// The last value of a key, which is the one that counts for most.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|a| a.key == key)
            .and_then(|a| a.value.as_deref())
    }

    /// Whether the key is there, with or without a value.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|a| a.key == key)
    }

    /// Adds an argument at the end.
    pub fn push(&mut self, argument: Argument) {
        self.0.push(argument);
    }

    /// Removes every argument of the key; says how many there were.
    pub fn remove(&mut self, key: &str) -> usize {
        let before = self.0.len();
        self.0.retain(|a| a.key != key);
        before - self.0.len()
    }

    /// The arguments in order.
    pub fn arguments(&self) -> &[Argument] {
        &self.0
    }
}

impl FromIterator<Argument> for CommandLine {
    fn from_iter<I: IntoIterator<Item = Argument>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, argument) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{argument}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_the_kernel_reads() {
        let line = CommandLine::parse(
            "  root=UUID=ab ro quiet  dyndbg=\"file a.c +p; module b\" \"x y=1 2\" a=1 a=2 e= -- single\n",
        );
        assert_eq!(line.value("root"), Some("UUID=ab"));
        assert_eq!(line.value("dyndbg"), Some("file a.c +p; module b"));
        assert_eq!(line.value("x y"), Some("1 2"));
        assert_eq!(line.value("a"), Some("2"));
        assert_eq!(line.value("e"), Some(""));
        assert_eq!(line.value("ro"), None);
        assert!(line.has("ro") && !line.has("single"));
        assert_eq!(
            line.to_string(),
            "root=UUID=ab ro quiet dyndbg=\"file a.c +p; module b\" \"x y=1 2\" a=1 a=2 e="
        );
        assert_eq!(CommandLine::parse("\"").arguments(), []);
    }

    #[test]
    fn refuses_what_cannot_be_said() {
        for (key, value) in [
            ("", None),
            ("a", Some("\"")),
            ("a", Some("b\nc")),
            ("a=b", None),
        ] {
            assert!(Argument::new(key, value).is_err(), "{key} {value:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(words in proptest::collection::vec(("[a-z][a-z. _-]{0,8}", proptest::option::of("[a-z =:/]{0,8}")), 0..6)) {
            let line: CommandLine = words
                .iter()
                .filter(|(key, _)| key != "--")
                .map(|(key, value)| Argument::new(key, value.as_deref()).unwrap())
                .collect();
            prop_assert_eq!(CommandLine::parse(&line.to_string()), line);
        }
    }
}
