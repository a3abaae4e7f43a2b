//! The manual page `elea.toml(5)`.

use super::{Key, Kind, LANGUAGE, all};
use std::fmt::Write as _;

/// The page, as man(7) has it.
pub fn man() -> String {
    let mut page = String::from(
        r#".\" Written by a test from crates/compose/src/config/keys.rs (ELEA_WRITE_DOCS=1).
.TH ELEA.TOML 5 "" Elea "File formats"
.SH NAME
elea.toml \- a system in one file, for elea build
.SH SYNOPSIS
.B elea build
.RI [ CONFIG ]
.SH DESCRIPTION
A config is a TOML file, or a JSON file of the same shape, that describes a whole system.
.B elea config check
says everything that is wrong with it, each with file, line and column;
.B elea config explain
says of a value where it comes from.
.SH LANGUAGE
These stand at the top of a file and say how its parts are laid together.
"#,
    );
    for (name, doc) in LANGUAGE {
        // Writing to a string does not fail.
        let _ = write!(page, ".TP\n.B {}\n{}\n", roff(name), roff(doc));
    }
    page.push_str(".SH KEYS\n");
    for section in all() {
        let (heading, doc) = (roff(&section.heading()), roff(section.doc));
        let _ = write!(page, ".SS {heading}\n{doc}\n");
        for key in section.keys {
            entry(&mut page, "", key);
            if let Kind::Tables(keys) = key.kind {
                let of = format!("{}[].", key.name);
                for key in keys {
                    entry(&mut page, &of, key);
                }
            }
        }
    }
    page.push_str(
        ".SH SEE ALSO\n.BR systemd.unit (5),\n.BR systemd.network (5),\n.BR systemd.time (7),\n.BR tmpfiles.d (5),\n.BR nft (8)\n",
    );
    page
}

fn entry(page: &mut String, of: &str, key: &Key) {
    let (name, kind) = (roff(key.name), roff(&key.kind.word()));
    let default = match key.default {
        "" => "must be given".into(),
        default => format!("default: {}", roff(default)),
    };
    let of = roff(of);
    let _ = write!(
        page,
        ".TP\n\\fB{of}{name}\\fR ({kind}; {default})\n{}\n",
        roff(key.doc)
    );
}

/// A text of Markdown as roff has it: nothing in it is an order, and code is bold.
fn roff(text: &str) -> String {
    let mut out = String::new();
    let mut code = false;
    for c in text.chars() {
        match c {
            '`' => {
                code = !code;
                out.push_str(if code { "\\fB" } else { "\\fR" });
            }
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '"' => out.push_str("\\(dq"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '…' => out.push_str("..."),
            '–' => out.push_str("\\(en"),
            c => out.push(c),
        }
    }
    // A dot at the beginning of a line would be an order.
    if out.starts_with('.') {
        out.insert_str(0, "\\&");
    }
    out
}
