//! `/etc/fstab` (`fstab(5)`, and `systemd.mount(5)`, "fstab").

use crate::unit::escape_path;

/// The most lines that are read.
const MAX_LINES: usize = 10_000;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted: a device, `UUID=…`, or a name.
    pub what: String,
    /// Where; `none` for swap.
    pub path: String,
    /// The kind of file system.
    pub kind: String,
    /// Options, in order.
    pub options: Vec<String>,
}

/// Reads a file. Lines with fewer than three fields say nothing, as for `mount(8)`; a `#`
/// begins a comment only as the first character of a line.
pub fn parse(text: &str) -> Vec<Mount> {
    let lines = text.lines().take(MAX_LINES);
    let lines = lines.filter(|line| !line.trim_start().starts_with('#'));
    let mounts = lines.filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().map(unescape);
        Some(Mount {
            what: fields.next()?,
            path: fields.next()?,
            kind: fields.next()?,
            options: fields
                .next()
                .unwrap_or_default()
                .split(',')
                .filter(|option| !option.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    });
    mounts.collect()
}

impl Mount {
    /// Whether it is swap.
    pub fn is_swap(&self) -> bool {
        self.kind == "swap"
    }

    /// Whether it has an option.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|o| o == option)
    }

    /// The name of its unit without the kind: `/srv/my data` is `srv-my\x20data`. Nothing for
    /// swap, whose unit is named by its device, and for paths that have none.
    pub fn stem(&self) -> Option<String> {
        let mounted = !self.is_swap() && self.path.starts_with('/');
        escape_path(self.path.as_bytes()).filter(|_| mounted)
    }
}

/// `\040` and its kind: three octal digits.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        let octal = digits.and_then(|d| u8::from_str_radix(d, 8).ok());
        if let (b'\\', Some(value)) = (byte, octal) {
            bytes.push(value);
            rest = &after[3..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_read() {
        let text = "# comment\n\nUUID=1 /srv/my\\040data\text4 defaults,x=a#b 0 2\n/dev/sda2 none swap sw\nshort /x\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].path, "/srv/my data");
        assert_eq!(mounts[0].stem().unwrap(), "srv-my\\x20data");
        // NixOS's reader drops a line with a `#` anywhere.
        assert!(mounts[0].has("x=a#b") && !mounts[0].has("x"));
        assert!(mounts[1].is_swap() && mounts[1].stem().is_none());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\\\0-9# \t\na-z/,]{0,200}") {
            for mount in parse(&text) {
                let _ = mount.stem();
            }
        }
    }
}
