//! How the edits of one generation come over the `/etc` of another image.

use crate::edits::{Change, Edit, edits, text};
use crate::entry::{Attributes, Entry, Kind};
use crate::{Error, Sides, owner};
use elea_formats::accounts;
use elea_sys::At;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What carrying the edits does, for `status`, `etc diff` and the report beside the generation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// `elea.etc-report/1`.
    pub schema: String,
    /// Edits of people that were carried as they were.
    pub carried: u64,
    /// Paths where local and released changes were merged without a conflict.
    pub merged: Vec<String>,
    /// Edits that the new image has itself, so that nothing is left to carry.
    pub adopted: Vec<String>,
    /// Changed on both sides: "hosts: changed on this machine and by the release; kept the machine's".
    pub conflicts: Vec<String>,
    /// Accounts that cannot both be: staging refuses a release that brings any.
    pub clashes: Vec<String>,
}

/// What to do, and the report of it.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) actions: Vec<Action>,
    /// What a person is told.
    pub report: Report,
}

/// One entry of the new upper.
#[derive(Debug, Clone)]
pub(crate) struct Action {
    pub(crate) path: Vec<u8>,
    pub(crate) put: Put,
}

/// What stands there.
#[derive(Debug, Clone)]
pub(crate) enum Put {
    /// The image's entry is hidden.
    Whiteout,
    /// A copy of an entry with these attributes; of a folder, only the folder.
    Copy(Entry, Attributes),
    /// A file with this content.
    Write(Vec<u8>, Attributes),
}

/// An account file larger than this is not one.
const MAX_ACCOUNTS: u64 = 16 << 20;

/// Plans how the edits of `from` come over `new_lower`. Only reads.
pub fn plan(from: &Sides<'_>, new_lower: &Path) -> Result<Plan, Error> {
    let mut plan = Plan {
        actions: Vec::new(),
        report: Report {
            schema: "elea.etc-report/1".to_owned(),
            ..Report::default()
        },
    };
    for edit in edits(from)? {
        let sides = Three {
            base: Entry::below(from.lower, &edit.path)?,
            local: Entry::below(from.upper, &edit.path)?,
            new: Entry::below(new_lower, &edit.path)?,
        };
        let before = plan.report.conflicts.len();
        let put = plan.decide(&edit, &sides)?;
        if edit.machine {
            // Its identity is the machine's alone: nothing to tell.
            plan.report.conflicts.truncate(before);
        }
        if let Some(put) = put {
            plan.actions.push(Action {
                path: edit.path,
                put,
            });
        }
    }
    Ok(plan)
}

/// An entry on the three sides of a merge.
struct Three {
    base: Option<Entry>,
    local: Option<Entry>,
    new: Option<Entry>,
}

impl Three {
    /// Whether the release did something to the entry (for a folder, anywhere below it).
    fn released(&self) -> Result<bool, Error> {
        Ok(match (&self.base, &self.new) {
            (None, None) => false,
            (Some(base), Some(new)) => !base.same_below(new)?,
            _ => true,
        })
    }
}

impl Plan {
    fn decide(&mut self, edit: &Edit, sides: &Three) -> Result<Option<Put>, Error> {
        match (edit.change, &sides.local, &sides.new) {
            (Change::Deleted, _, None) => {
                self.report.adopted.push(text(&edit.path));
                Ok(None)
            }
            (Change::Deleted, _, Some(_)) => {
                if sides.released()? {
                    self.conflict(
                        edit,
                        "removed on this machine, changed by the release; stays removed",
                    );
                } else {
                    self.count(edit);
                }
                Ok(Some(Put::Whiteout))
            }
            (_, None, _) => Ok(None),
            (_, Some(local), None) => {
                if sides.base.is_some() {
                    self.conflict(
                        edit,
                        "changed on this machine, removed by the release; kept the machine's",
                    );
                } else {
                    self.count(edit);
                }
                Ok(Some(Put::Copy(local.clone(), local.attributes.clone())))
            }
            (_, Some(local), Some(new)) if local.kind.same_type(&new.kind) => {
                self.merge(edit, sides.base.as_ref(), local, new)
            }
            (_, Some(local), Some(new)) => {
                if sides.released()? {
                    let why = format!(
                        "{} on this machine, {} in the release; kept the machine's",
                        local.kind.word(),
                        new.kind.word()
                    );
                    self.conflict(edit, &why);
                } else {
                    self.count(edit);
                }
                Ok(Some(Put::Copy(local.clone(), local.attributes.clone())))
            }
        }
    }

    /// Local and new are of one type: merged aspect by aspect against the base.
    fn merge(
        &mut self,
        edit: &Edit,
        base: Option<&Entry>,
        local: &Entry,
        new: &Entry,
    ) -> Result<Option<Put>, Error> {
        if local.same(new)? {
            self.report.adopted.push(text(&edit.path));
            return Ok(None);
        }
        let base = base.filter(|base| base.kind.same_type(&local.kind));
        let mut conflict = false;
        let attributes = attributes(base, local, new, &mut conflict);
        if let Some(file) = accounts::File::of(&edit.path)
            && let (Kind::File { .. }, Some(base)) = (&local.kind, base)
        {
            let merged = accounts::merge(file, &account(base)?, &account(local)?, &account(new)?);
            let name = text(&edit.path);
            let named = |why: &String| format!("{name}: {why}");
            self.report
                .conflicts
                .extend(merged.conflicts.iter().map(named));
            self.report.clashes.extend(merged.clashes.iter().map(named));
            if merged.text == account(new)? && attributes == new.attributes {
                self.report.adopted.push(name);
                return Ok(None);
            }
            self.report.merged.push(name);
            return Ok(Some(Put::Write(merged.text, attributes)));
        }
        let changed =
            |by: &Entry| base.map_or(Ok(true), |base| base.same_content(by).map(|same| !same));
        let (here, released) = (changed(local)?, changed(new)?);
        if !here && attributes == new.attributes {
            self.report.adopted.push(text(&edit.path));
            return Ok(None);
        }
        conflict |= here && released && !local.same_content(new)?;
        if conflict {
            self.conflict(
                edit,
                "changed on this machine and by the release; kept the machine's",
            );
        } else if released {
            self.report.merged.push(text(&edit.path));
        } else {
            self.count(edit);
        }
        let source = if here { local } else { new };
        Ok(Some(Put::Copy(source.clone(), attributes)))
    }

    fn conflict(&mut self, edit: &Edit, why: &str) {
        self.report
            .conflicts
            .push(format!("{}: {why}", text(&edit.path)));
    }

    fn count(&mut self, edit: &Edit) {
        if !owner::is_machines(&edit.path) {
            self.report.carried += 1;
        }
    }
}

/// Each of mode, owner, group and attributes by itself: the side that changed it, the machine
/// where both did.
fn attributes(base: Option<&Entry>, local: &Entry, new: &Entry, conflict: &mut bool) -> Attributes {
    fn pick<'a, T: PartialEq>(
        base: Option<&T>,
        local: &'a T,
        new: &'a T,
        conflict: &mut bool,
    ) -> &'a T {
        match base {
            Some(base) if local == base => new,
            Some(base) if new == base || new == local => local,
            None if new == local => local,
            _ => {
                *conflict = true;
                local
            }
        }
    }
    let (b, l, n) = (
        base.map(|b| &b.attributes),
        &local.attributes,
        &new.attributes,
    );
    Attributes {
        mode: *pick(b.map(|b| &b.mode), &l.mode, &n.mode, conflict),
        uid: *pick(b.map(|b| &b.uid), &l.uid, &n.uid, conflict),
        gid: *pick(b.map(|b| &b.gid), &l.gid, &n.gid, conflict),
        xattrs: pick(b.map(|b| &b.xattrs), &l.xattrs, &n.xattrs, conflict).clone(),
    }
}

fn account(entry: &Entry) -> Result<Vec<u8>, Error> {
    match entry.kind {
        Kind::File { size } if size <= MAX_ACCOUNTS => {
            Ok(std::fs::read(&entry.path).at("read", &entry.path)?)
        }
        _ => Err(Error::TooMuch {
            path: entry.path.display().to_string(),
            limit: "16 MiB of accounts",
        }),
    }
}
