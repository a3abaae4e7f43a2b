//! What the sections of a config become in an image: files, and units that start. All of it is text that is worked out from
//! the config alone; the build lays it like the entries of `[files]` and `[services]`.

mod firewall;
mod kernel;
mod network;
mod secrets;
mod ssh;
mod state;
mod storage;
#[cfg(test)]
mod tests;
mod timers;
mod units;
mod update;

use crate::config::{Config, Content, File};
pub(crate) use kernel::plain;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A file that a section makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) file: File,
    /// The dotted name of the section that it is from: what is wrong with it is wrong there.
    pub(crate) key: String,
}

/// What all sections make.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    /// Files by their absolute path.
    pub(crate) files: BTreeMap<String, Made>,
    /// Units that start, and the section that says so.
    pub(crate) units: BTreeMap<String, String>,
    /// Paths that more than one section makes, with the second one.
    pub(crate) twice: Vec<(String, Made)>,
}

/// The folder of the config's authorities, among those of the distribution.
pub(crate) const AUTHORITIES: &str = "elea";

/// Renders every section.
pub(crate) fn render(config: &Config) -> Rendered {
    let mut out = Rendered::default();
    units::render(config, &mut out);
    timers::render(config, &mut out);
    kernel::render(config, &mut out);
    tmpfiles(config, &mut out);
    network::render(config, &mut out);
    firewall::render(config, &mut out);
    storage::render(config, &mut out);
    state::render(config, &mut out);
    ssh::render(config, &mut out);
    for (name, pem) in &config.certificates.pem {
        let path = format!("/usr/share/ca-certificates/{AUTHORITIES}/{name}");
        out.text("certificates.trust", path, pem.clone());
    }
    secrets::render(config, &mut out);
    for (path, template) in &config.templates {
        out.file(&format!("templates.{path:?}"), path, template.file.clone());
    }
    update::render(config, &mut out);
    out
}

fn tmpfiles(config: &Config, out: &mut Rendered) {
    let lines = &config.tmpfiles.lines;
    if !lines.is_empty() {
        let text = format!("# From [tmpfiles] of the config.\n{}\n", lines.join("\n"));
        out.text("tmpfiles", "/etc/tmpfiles.d/60-elea.conf", text);
    }
}

impl Rendered {
    /// A file of root's that all may read.
    fn text(&mut self, key: &str, path: impl Into<String>, text: String) {
        self.content(key, path, Content::Text(text), 0o644);
    }

    fn content(&mut self, key: &str, path: impl Into<String>, content: Content, mode: u32) {
        let file = File {
            content,
            mode,
            owner: "root".into(),
            group: "root".into(),
        };
        self.file(key, path, file);
    }

    fn file(&mut self, key: &str, path: impl Into<String>, file: File) {
        let (path, key) = (path.into(), key.to_owned());
        let made = Made { file, key };
        match self.files.entry(path) {
            Entry::Vacant(free) => {
                free.insert(made);
            }
            Entry::Occupied(taken) => self.twice.push((taken.key().clone(), made)),
        }
    }

    /// A unit that starts.
    fn start(&mut self, key: &str, unit: impl Into<String>) {
        self.units.entry(unit.into()).or_insert_with(|| key.into());
    }
}
