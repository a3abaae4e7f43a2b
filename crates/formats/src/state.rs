//! What of `/etc` and `/var` a machine keeps: `/usr/lib/elea/state.json`, inside the image.
//!
//! `docs/formats/state.md` describes it, and what the initrd makes of it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where the file stands in an image.
pub const PATH: &str = "usr/lib/elea/state.json";
/// The value of `schema`.
pub const SCHEMA: &str = "elea.state/1";
/// The value of `schema` in the record of an ephemeral boot.
pub const FRESH_SCHEMA: &str = "elea.fresh/1";
/// The value of `schema` in the request of a factory reset.
pub const RESET_SCHEMA: &str = "elea.state-reset/1";
/// The file is never larger, in bytes.
pub const LARGEST: u64 = 4 << 20;
/// More than these are not kept one by one.
pub const MOST: usize = 1024;

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`SCHEMA`].
    pub schema: String,
    /// Whether the rest lasts.
    pub mode: Mode,
    /// What is done when a version goes back.
    #[serde(default)]
    pub rollback: Rollback,
    /// What is kept, by path.
    #[serde(default)]
    pub keep: Vec<Keep>,
}

/// Whether `/etc` and `/var` last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They are as they were left.
    #[default]
    Persistent,
    /// They are fresh at each boot, but for what is kept.
    Ephemeral,
}

/// What is done when an older release runs that knows an older version of what is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rollback {
    /// The snapshot that fits is named.
    #[default]
    Offer,
    /// It is restored before services start.
    Restore,
}

/// A directory or file that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// The absolute path, below `/etc` or `/var`.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Permission bits for when it is made.
    #[serde(serialize_with = "octal", deserialize_with = "from_octal")]
    pub mode: u32,
    /// Its user when it is made.
    pub uid: u32,
    /// Its group when it is made.
    pub gid: u32,
    /// How it is shown.
    #[serde(default)]
    pub how: How,
    /// The unit that writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The version of what is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Whether it is kept without being asked for.
    #[serde(default)]
    pub usual: bool,
}

/// What is kept at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A directory with all that is in it.
    Directory,
    /// A file.
    File,
}

/// How what is kept shows at its path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// Mounted over it.
    #[default]
    Bind,
    /// By a link.
    Symlink,
}

/// The record of an ephemeral boot, `boot.json` in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fresh {
    /// [`FRESH_SCHEMA`].
    pub schema: String,
    /// The generation that was booted.
    pub generation: u64,
    /// Whether the rescue menu booted it.
    pub rescue: bool,
    /// The clock at the boot, RFC 3339 in UTC.
    pub time: String,
}

/// A factory reset that is asked for: `/elea/state/reset.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// [`RESET_SCHEMA`].
    pub schema: String,
    /// The entries of `/elea/state` that go.
    pub names: Vec<String>,
    /// When it was asked for, RFC 3339 in UTC.
    pub time: String,
}

/// What a reset can take away, by name: all that is a machine's own below `/elea/state`.
pub const RESET_NAMES: [&str; 15] = [
    "boots",
    "etc",
    "home",
    "last-run",
    "machine-id",
    "opt",
    "restore.json",
    "restoring.json",
    "root",
    "snapshots",
    "srv",
    "ssh",
    "usr-local",
    "var",
    "versions.json",
];

impl Reset {
    /// Reads and checks a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, StateError> {
        let reset: Self = serde_json::from_slice(bytes)?;
        if reset.schema != RESET_SCHEMA {
            return Err(StateError::Schema(reset.schema.chars().take(80).collect()));
        }
        let unknown = |name: &&String| !RESET_NAMES.contains(&name.as_str());
        match reset.names.iter().find(unknown) {
            Some(name) => Err(StateError::Wrong(format!(
                "{name:?} is not the machine's own"
            ))),
            None => Ok(reset),
        }
    }
}

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is no JSON of this shape.
    #[error("what is said of the state cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// It is of another version.
    #[error("what is said of the state has the schema {0}, which this program does not know")]
    Schema(String),
    /// It asks for something that cannot be.
    #[error("what is said of the state cannot be carried out: {0}")]
    Wrong(String),
}

impl State {
    /// Reads and checks a list.
    pub fn parse(bytes: &[u8]) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Version {
            schema: String,
        }
        let Version { schema } = serde_json::from_slice(bytes)?;
        if schema != SCHEMA {
            return Err(StateError::Schema(schema.chars().take(80).collect()));
        }
        let state: Self = serde_json::from_slice(bytes)?;
        match state.wrong() {
            None => Ok(state),
            Some(why) => Err(StateError::Wrong(why)),
        }
    }

    fn wrong(&self) -> Option<String> {
        if self.keep.len() > MOST {
            return Some(format!("it has more than {MOST} paths"));
        }
        for keep in &self.keep {
            if !may_keep(&keep.path) {
                return Some(format!(
                    "{:?} is no path below /etc or /var",
                    keep.path.chars().take(200).collect::<String>()
                ));
            }
            if keep.mode > 0o7777 {
                return Some(format!("{} has the mode {:o}", keep.path, keep.mode));
            }
        }
        // In order of paths, what is inside of another is not always next to it: "a", "a b", "a/b".
        let mut paths: Vec<&str> = self.keep.iter().map(|keep| keep.path.as_str()).collect();
        if !paths.is_sorted() {
            return Some("its paths are not in order".into());
        }
        paths.sort_by(|a, b| a.split('/').cmp(b.split('/')));
        let mut pairs = paths.windows(2);
        let pair = pairs.find(|pair| is_in(pair[1], pair[0]))?;
        Some(format!("{} is inside {}", pair[1], pair[0]))
    }
}

/// Whether a path can be kept at all: absolute, normal, strictly below `/etc` or `/var`.
pub fn may_keep(path: &str) -> bool {
    let names = path
        .strip_prefix("/etc/")
        .or_else(|| path.strip_prefix("/var/"));
    path.len() <= 4095
        && names.is_some_and(|names| {
            names.split('/').all(|name| {
                !matches!(name, "" | "." | "..")
                    && name.len() <= 255
                    && !name.chars().any(char::is_control)
            })
        })
}

/// Whether a path is another one or below it.
pub fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn octal<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{mode:04o}"))
}

fn from_octal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    u32::from_str_radix(&text, 8).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(paths: &[&str]) -> String {
        let keep: Vec<String> = paths
            .iter()
            .map(|path| {
                format!(r#"{{"path":{path:?},"kind":"directory","mode":"0750","uid":1,"gid":2}}"#)
            })
            .collect();
        format!(
            r#"{{"schema":"elea.state/1","mode":"ephemeral","new":1,"keep":[{}]}}"#,
            keep.join(",")
        )
    }

    /// What `elea build` of 0.1.0 wrote.
    const GOLDEN: &str = include_str!("../tests/golden/state-1.json");

    #[test]
    fn the_first_version_is_read_and_is_what_is_written() {
        let state = State::parse(GOLDEN.as_bytes()).unwrap();
        assert_eq!(state.keep[1].version, Some(3));
        let written = serde_json::to_string_pretty(&state).unwrap();
        assert_eq!(format!("{written}\n"), GOLDEN);
    }

    #[test]
    fn a_list_is_read_and_what_it_lacks_is_usual() {
        let state = State::parse(list(&["/etc/a", "/var/lib/x", "/var/lib/x y"]).as_bytes());
        let state = state.unwrap();
        assert_eq!(
            (state.mode, state.rollback),
            (Mode::Ephemeral, Rollback::Offer)
        );
        let keep = &state.keep[0];
        assert_eq!((keep.mode, keep.how, keep.usual), (0o750, How::Bind, false));
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(State::parse(text.as_bytes()).unwrap(), state);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let bad: [&[&str]; 12] = [
            &["/etc"],
            &["/var/"],
            &["/usr/x"],
            &["var/x"],
            &["/var/../etc"],
            &["/var/x/"],
            &["/var//x"],
            &["/var/a\nb"],
            &["/var/b", "/var/a"],
            &["/var/a", "/var/a"],
            &["/var/a", "/var/a/b"],
            &["/var/a", "/var/a b", "/var/a/b"],
        ];
        for paths in bad {
            let error = State::parse(list(paths).as_bytes());
            assert!(matches!(error, Err(StateError::Wrong(_))), "{paths:?}");
        }
        let other = list(&[]).replace("elea.state/1", "elea.state/2");
        assert!(matches!(
            State::parse(other.as_bytes()),
            Err(StateError::Schema(_))
        ));
        let mode = list(&["/var/a"]).replace("0750", "17777");
        assert!(State::parse(mode.as_bytes()).is_err());
        assert!(State::parse(b"{").is_err());
    }
}
