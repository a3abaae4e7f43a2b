//! `elea state list`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::text::{self, Lines as _};
use elea_formats::state::{How, Kind, Mode};
use elea_host::state::list::{self, Found, List};

/// List what is on the disk of /etc and /var: declared, undeclared, orphaned; and snapshots
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, context: &Context) -> Outcome {
    let machine = context.machine("elea state list")?;
    context.show(&list::list(&machine)?, lines)
}

fn lines(list: &List) -> String {
    let mut rows = Vec::new();
    for one in &list.declared {
        let keep = &one.keep;
        let mut notes = Vec::new();
        if keep.usual {
            notes.push("usual".to_owned());
        }
        if keep.kind == Kind::File {
            notes.push("a file".to_owned());
        }
        if keep.how == How::Symlink {
            notes.push("linked".to_owned());
        }
        notes.extend(keep.version.map(|version| format!("version {version}")));
        notes.extend(keep.service.clone());
        let size = one
            .size
            .map_or_else(|| "none".to_owned(), |size| text::size(size.bytes));
        rows.push(vec![
            "declared".to_owned(),
            text::plain(&keep.path),
            size,
            notes.join(", "),
        ]);
    }
    for (state, found) in [
        ("undeclared", &list.undeclared),
        ("orphaned", &list.orphaned),
        ("earlier", &list.boots),
    ] {
        rows.extend(found.iter().map(|one| row(state, one)));
    }
    for one in &list.snapshots {
        let bytes = one.entries.iter().map(|entry| entry.bytes).sum();
        let paths: Vec<&str> = one
            .entries
            .iter()
            .map(|entry| entry.path.as_str())
            .collect();
        rows.push(vec![
            "snapshot".to_owned(),
            format!("{}: {}", one.number, paths.join(" ")),
            text::size(bytes),
            format!("{}, {}", text::ago(&one.about.time), one.about.reason),
        ]);
    }
    let mut out = String::new();
    out.line(match list.mode {
        Mode::Ephemeral => "/etc and /var are fresh at each boot; what is declared stays",
        Mode::Persistent => "/etc and /var stay as they are",
    });
    if !rows.is_empty() {
        out.push_str(&text::table(&["STATE", "PATH", "SIZE", "NOTES"], rows));
    }
    if list.cut {
        out.line("… and more");
    }
    for offer in &list.offers {
        out.line(format!("! {offer}"));
    }
    out
}

fn row(state: &str, one: &Found) -> Vec<String> {
    vec![
        state.to_owned(),
        text::plain(&one.path),
        text::size(one.size.bytes),
        one.why.to_owned(),
    ]
}
