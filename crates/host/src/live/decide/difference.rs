//! What of a running unit is another one: its text, its program, or what it reads.

use super::super::plan::is_of;
use super::Decisions;
use elea_formats::unit::{Difference, Name, Unit};
use std::rc::Rc;

/// Settings of `[Unit]`: files and folders of which a unit is reloaded when they change (restarted, if it cannot
/// reload), and of which it is restarted.
const RELOAD_ON: &str = "X-Reload-On";
const RESTART_ON: &str = "X-Restart-On";

/// A running unit that needs more than to be read again.
pub(super) struct Change {
    pub(super) name: Name,
    pub(super) difference: Difference,
    pub(super) cause: Cause,
    pub(super) old: Rc<Unit>,
    pub(super) new: Rc<Unit>,
}

/// What of a unit changed.
#[derive(PartialEq, Eq)]
pub(super) enum Cause {
    /// Its own text.
    Text,
    /// Its program, of this path, where the text needs no restart.
    Program(String),
    /// What it reads, at this path, where the text needs less.
    File(String),
}

impl Change {
    pub(super) fn why(&self) -> String {
        match &self.cause {
            Cause::Text => "it changed".into(),
            Cause::Program(path) => format!("its program {path} differs"),
            Cause::File(path) => format!("it reads {path}, which changed"),
        }
    }
}

impl Decisions<'_> {
    /// What a unit needs that is in both configurations, and because of what: of several the most.
    pub(super) fn difference(
        &self,
        name: &Name,
        old: &Rc<Unit>,
        new: &Rc<Unit>,
    ) -> (Difference, Cause) {
        let program = self.replaced.get(name.as_str()).cloned();
        let file = |key| {
            self.reads(new, key)
                .map(|path| Cause::File(path.to_owned()))
        };
        let restart = program.map(Cause::Program).or_else(|| file(RESTART_ON));
        let text = if Rc::ptr_eq(old, new) {
            Difference::None
        } else {
            old.compare(new)
        };
        let causes = [
            (text, Some(Cause::Text)),
            (Difference::Restart, restart),
            (Difference::Reload, file(RELOAD_ON)),
        ];
        let mut most = (Difference::None, Cause::Text);
        for (difference, cause) in causes {
            if let Some(cause) = cause.filter(|_| difference > most.0) {
                most = (difference, cause);
            }
        }
        most
    }

    /// The first path that changed of those that a unit says it reads. A folder is read with all below it, and what is
    /// in a folder that is another one changed, too; whatever is done to `/etc` itself does not concern all.
    fn reads(&self, unit: &Unit, key: &str) -> Option<&str> {
        let reads: Vec<&str> = unit
            .words("Unit", key)
            .map(|read| read.trim_end_matches('/'))
            .filter(|read| !read.is_empty())
            .collect();
        let is_read = |path: &str| {
            let mut reads = reads.iter();
            reads.any(|read| is_of(path, read) || is_of(read, path))
        };
        let is_top = |path: &&str| ["/etc", "/usr"].contains(path);
        let mut paths = self.paths.iter().copied().filter(|path| !is_top(path));
        paths.find(|path| is_read(path))
    }

    /// Whether anything that it reads changed.
    pub(super) fn reads_other(&self, unit: &Unit) -> bool {
        let mut keys = [RELOAD_ON, RESTART_ON].iter();
        keys.any(|key| self.reads(unit, key).is_some())
    }
}
