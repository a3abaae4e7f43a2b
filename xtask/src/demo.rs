//! `cargo xtask demo`: from one file to a machine that updates and heals itself.

mod story;

use crate::Result;
use crate::programs::target_folder;
use crate::talk::{self, Timeline};
use crate::works::Break;
use elea_testkit::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// What a person asks for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Leave the disk, and print how to boot it.
    pub(crate) keep: bool,
    /// Drop into the guest at the end.
    pub(crate) interactive: bool,
    /// The folder of it all.
    pub(crate) work: PathBuf,
    /// How the third release is bad.
    pub(crate) kind: Break,
}

impl Options {
    /// Reads the words of a command line.
    pub(crate) fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self {
            keep: false,
            interactive: false,
            work: target_folder().join("demo"),
            kind: Break::Health,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or_else(|| Error::other(format!("{word} needs a value")))
            };
            match word.as_str() {
                "--keep" => options.keep = true,
                "--interactive" => options.interactive = true,
                "--work" => options.work = PathBuf::from(value()?),
                "--break" => options.kind = Break::parse(value()?)?,
                _ => return Err(Error::other(format!("demo has no option `{word}`"))),
            }
        }
        Ok(options)
    }
}

/// Tells the story; its last line says how it went.
pub(crate) fn run(options: &Options) -> ExitCode {
    let mut timeline = Timeline::new();
    match story::tell(options, &mut timeline) {
        Ok(boots) => {
            println!("\n{}", timeline.table());
            println!("demo: ok: {boots} boots, {} s", timeline.seconds());
            ExitCode::SUCCESS
        }
        Err(e) => {
            println!("\n{}", timeline.table());
            let text = e.to_string();
            let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
            talk::output(rest);
            println!("demo: failed: {first}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_others_refused() {
        let parse = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Options::parse(&words)
        };
        let options = parse("--keep --break hang --work /srv/x").unwrap();
        assert!(options.keep && !options.interactive);
        assert_eq!(options.kind, Break::Hang);
        assert_eq!(options.work, PathBuf::from("/srv/x"));
        for bad in ["--brake", "--break fire", "--work"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
