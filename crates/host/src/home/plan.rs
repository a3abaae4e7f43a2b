//! What an apply does to a home, worked out without touching anything.

use super::declared::{Entry, Wanted};
use super::found::{Found, Look};
use super::journal::{Put, Step};
use super::merge::{self, Format, Ownership};
use super::state::{Placed, State};
use elea_formats::digest::Sha256;
use serde::Serialize;
use std::collections::BTreeMap;

/// What is to be done, as `--dry-run` shows it and an apply carries it out.
#[derive(Debug, Clone, Serialize)]
pub struct HomePlan {
    /// `elea.home-plan/1`.
    pub schema: &'static str,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// The generation that is in use.
    pub from: Option<u64>,
    /// The one that is used afterwards; none after a removal.
    pub to: Option<u64>,
    /// Path by path.
    pub changes: Vec<Change>,
    /// What is in the way; nothing is done as long as there is any.
    pub collisions: Vec<Collision>,
    /// Names of packages that the config has.
    pub packages: Vec<String>,
    /// What else a person may want to know.
    pub notes: Vec<String>,
    /// User units that were started, or restarted, and failed.
    pub failed: Vec<String>,
    /// The steps.
    #[serde(skip)]
    pub(super) steps: Vec<Step>,
    /// What they put there.
    #[serde(skip)]
    pub(super) puts: BTreeMap<String, Put>,
    /// What is true afterwards.
    #[serde(skip)]
    pub(super) state: State,
}

/// What happens at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The path in the home.
    pub path: String,
    /// What is done.
    pub action: Action,
    /// Where what was in the way goes.
    pub backup: Option<String>,
    /// What a person may want to know of it.
    pub notes: Vec<String>,
}

/// What is done at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing was there.
    Create,
    /// What an older generation put there becomes this one's.
    Replace,
    /// It stands there already and is taken over.
    Adopt,
    /// Declared keys are written into it, or taken back.
    Merge,
    /// It is as it should be.
    Keep,
    /// It is not declared any more.
    Remove,
    /// It is not declared any more, and stays, since somebody changed it.
    Leave,
}

/// Something in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Collision {
    /// The declared path.
    pub path: String,
    /// What is in the way.
    pub kind: Kind,
    /// The same in words.
    pub what: String,
}

/// What is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A file of somebody else.
    File,
    /// A link of somebody else, whether it leads anywhere or not.
    Link,
    /// A folder.
    Folder,
    /// A device, socket, pipe, or a file that cannot be read.
    Other,
    /// A file that was put there and changed since.
    Edited,
    /// A file that nothing can be merged into.
    Unmergeable,
    /// A folder of the path is none.
    Parent,
    /// A folder of the path is a link that leads out of the home, or nowhere. A backup does not help.
    Outside,
}

impl Kind {
    fn can_be_moved(self) -> bool {
        !matches!(self, Self::Outside)
    }
}

/// What a path is to become.
enum Outcome {
    Do(Action, Option<Put>, Placed, Vec<String>),
    Collides(Kind, String),
}

/// Works out everything. `links` is what the links of a generation begin with; with `backup`, what is in the way is
/// moved aside.
pub(super) fn plan_home(
    old: &State,
    new: &Wanted,
    to: Option<u64>,
    look: &Look,
    links: &str,
    backup: bool,
) -> HomePlan {
    let mut plan = HomePlan {
        schema: "elea.home-plan/1",
        dry_run: false,
        from: old.generation,
        to,
        changes: Vec::new(),
        collisions: Vec::new(),
        packages: new.packages.clone(),
        notes: Vec::new(),
        failed: Vec::new(),
        steps: Vec::new(),
        puts: BTreeMap::new(),
        state: State {
            generation: to,
            transaction: old.transaction + 1,
            placed: BTreeMap::new(),
            folders: old.folders.clone(),
            ..State::default()
        },
    };
    let goes = |at: &str| {
        let ours = old
            .placed
            .get(at)
            .is_some_and(|p| p.is_there(look.found(at)));
        ours && !new.entries.contains_key(at)
    };
    for (path, entry) in &new.entries {
        let found = match look.found(path) {
            Found::Blocked { at, outside: false } if goes(at) => &Found::Absent,
            found => found,
        };
        let found = (found, look);
        plan.place(path, entry, old.placed.get(path), new, found, links, backup);
    }
    for (path, placed) in &old.placed {
        if !new.entries.contains_key(path) {
            plan.take_back(path, placed, look);
        }
    }
    plan.changes.sort_by(|a, b| a.path.cmp(&b.path));
    // Folders first, those above before those in them; what is in their way before that.
    plan.steps.sort_by_key(|step| match step {
        Step::BackUp { first: true, .. } | Step::Remove { first: true, .. } => 0,
        Step::Folder { .. } => 1,
        _ => 2,
    });
    let current = (old.generation != to).then_some(Step::Current {
        from: old.generation,
        to,
    });
    plan.steps.extend(current);
    plan
}

impl HomePlan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is another side of one path"
    )]
    fn place(
        &mut self,
        path: &str,
        entry: &Entry,
        old: Option<&Placed>,
        new: &Wanted,
        (found, look): (&Found, &Look),
        links: &str,
        backup: bool,
    ) {
        let bytes = new.contents.get(path).map_or(&[][..], Vec::as_slice);
        let mut moved = None;
        let outcome = match outcome(path, entry, bytes, old, found, links) {
            Outcome::Collides(kind, _) if backup && kind.can_be_moved() => {
                let at = match found {
                    Found::Blocked { at, .. } => at.as_str(),
                    _ => path,
                };
                let to = look.backup_of(at);
                let step = Step::BackUp {
                    path: at.to_owned(),
                    to: to.clone(),
                    first: at != path,
                };
                if !self.steps.contains(&step) {
                    self.steps.push(step);
                }
                moved = Some(to);
                outcome(path, entry, bytes, None, &Found::Absent, links)
            }
            other => other,
        };
        let (action, put, placed, notes) = match outcome {
            Outcome::Collides(kind, what) => {
                let path = path.to_owned();
                self.collisions.push(Collision { path, kind, what });
                return;
            }
            Outcome::Do(action, put, placed, notes) => (action, put, placed, notes),
        };
        self.state.placed.insert(path.to_owned(), placed);
        if let Some(put) = put {
            self.folders_of(path, look);
            let path = path.to_owned();
            self.puts.insert(path.clone(), put);
            self.steps
                .push(if matches!(found, Found::Absent) || moved.is_some() {
                    Step::Create { path }
                } else {
                    Step::Replace { path }
                });
        }
        self.change(path, action, moved, notes);
    }

    fn change(&mut self, path: &str, action: Action, backup: Option<String>, notes: Vec<String>) {
        self.changes.push(Change {
            path: path.to_owned(),
            action,
            backup,
            notes,
        });
    }

    /// Folders that are missing, or that are made where something was moved away.
    fn folders_of(&mut self, path: &str, look: &Look) {
        for (at, _) in path.match_indices('/') {
            let folder = path[..at].to_owned();
            let step = Step::Folder {
                path: folder.clone(),
            };
            if !look.folders.contains(&folder) && !self.steps.contains(&step) {
                self.state.folders.insert(folder);
                self.steps.push(step);
            }
        }
    }

    /// What is not declared any more.
    fn take_back(&mut self, path: &str, placed: &Placed, look: &Look) {
        let found = look.found(path);
        // What is to be a folder goes before the folder is made.
        let first = self.state.placed.keys().any(|new| is_below(new, path));
        let remove = Step::Remove {
            path: path.to_owned(),
            first,
        };
        let changed = || vec!["it was changed since, and stays".to_owned()];
        match (placed, found) {
            (_, Found::Absent) | (Placed::Foreign, _) => {}
            (
                Placed::Merged { format, ownership },
                Found::File {
                    text: Some(text),
                    mode,
                    ..
                },
            ) => match merge::merge(*format, Some(text), ownership, "") {
                Ok(merged) => match merged.text {
                    None => {
                        self.steps.push(remove);
                        self.change(path, Action::Remove, None, merged.notes);
                    }
                    Some(new) if new == *text => {
                        self.change(path, Action::Leave, None, merged.notes);
                    }
                    Some(new) => {
                        let put = Put::File(new.into_bytes(), *mode);
                        self.puts.insert(path.to_owned(), put);
                        let path = path.to_owned();
                        self.steps.push(Step::Replace { path: path.clone() });
                        self.change(&path, Action::Merge, None, merged.notes);
                    }
                },
                Err(e) => {
                    let note = format!("nothing could be taken back: {e}");
                    self.change(path, Action::Leave, None, vec![note]);
                }
            },
            (placed, found) if placed.is_there(found) => {
                self.steps.push(remove);
                self.change(path, Action::Remove, None, Vec::new());
            }
            _ => self.change(path, Action::Leave, None, changed()),
        }
    }
}

/// Whether a path is in the folder that another one would be.
pub(super) fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// What becomes of one path.
fn outcome(
    path: &str,
    entry: &Entry,
    bytes: &[u8],
    old: Option<&Placed>,
    found: &Found,
    links: &str,
) -> Outcome {
    match (entry, found) {
        (_, Found::Blocked { at, outside: true }) => {
            let what = format!("{at} is a link that leads out of the home, or nowhere");
            Outcome::Collides(Kind::Outside, what)
        }
        (_, Found::Blocked { at, .. }) => {
            Outcome::Collides(Kind::Parent, format!("{at} is no folder"))
        }
        (Entry::Merge { mode, format, .. }, _) => merged(*format, *mode, bytes, old, found),
        (Entry::Seed { content, mode }, _) => seeded(content, *mode, bytes, old, found),
        (Entry::Symlink { target }, _) => {
            let placed = Placed::Link {
                target: target.clone(),
            };
            plainly(placed, Put::Link(target.clone()), None, old, found)
        }
        (Entry::Link { content, .. }, _) => {
            let target = format!("{links}/{path}");
            let placed = Placed::Link {
                target: target.clone(),
            };
            plainly(placed, Put::Link(target), Some(content), old, found)
        }
        (Entry::Copy { content, mode }, _) => {
            let placed = Placed::File {
                content: *content,
                mode: *mode,
            };
            let put = Put::File(bytes.to_vec(), *mode);
            plainly(placed, put, Some(content), old, found)
        }
    }
}

/// A link or a copy.
fn plainly(
    placed: Placed,
    put: Put,
    content: Option<&Sha256>,
    old: Option<&Placed>,
    found: &Found,
) -> Outcome {
    let there = placed.is_there(found);
    let same = matches!(found, Found::File { content: found, .. } if Some(found) == content);
    match found {
        Found::Absent => {
            let gone = old.map(|_| "it was gone, and is made again".to_owned());
            Outcome::Do(
                Action::Create,
                Some(put),
                placed,
                gone.into_iter().collect(),
            )
        }
        _ if there && old.is_some() => Outcome::Do(Action::Keep, None, placed, Vec::new()),
        _ if there => Outcome::Do(Action::Adopt, None, placed, Vec::new()),
        _ if old.is_some_and(|old| old.is_there(found)) => {
            Outcome::Do(Action::Replace, Some(put), placed, Vec::new())
        }
        // The same content otherwise: another mode, or a file where a link belongs.
        _ if same => Outcome::Do(Action::Adopt, Some(put), placed, Vec::new()),
        found => collides(old, found),
    }
}

fn collides(old: Option<&Placed>, found: &Found) -> Outcome {
    let (kind, what) = match found {
        Found::File { .. } if matches!(old, Some(Placed::File { .. } | Placed::Merged { .. })) => (
            Kind::Edited,
            "it was changed since the last apply".to_owned(),
        ),
        Found::File { .. } => (Kind::File, "a file is in the way".into()),
        Found::Link { target, leads } => {
            let nowhere = if *leads { "" } else { ", which leads nowhere," };
            let target = target.escape_debug();
            (
                Kind::Link,
                format!("a link to {target}{nowhere} is in the way"),
            )
        }
        Found::Folder => (Kind::Folder, "a folder is in the way".into()),
        _ => (
            Kind::Other,
            "something that is no readable file is in the way".into(),
        ),
    };
    Outcome::Collides(kind, what)
}

fn seeded(
    content: &Sha256,
    mode: u32,
    bytes: &[u8],
    old: Option<&Placed>,
    found: &Found,
) -> Outcome {
    let placed = Placed::Seeded { content: *content };
    match (found, old) {
        (Found::Absent, Some(seeded @ Placed::Seeded { .. })) => {
            Outcome::Do(Action::Keep, None, seeded.clone(), Vec::new())
        }
        (Found::Absent, _) => {
            let put = Put::File(bytes.to_vec(), mode);
            Outcome::Do(Action::Create, Some(put), placed, Vec::new())
        }
        // It stays what was written then, whatever the seed is now.
        (_, Some(seeded @ Placed::Seeded { .. })) => {
            Outcome::Do(Action::Keep, None, seeded.clone(), Vec::new())
        }
        (_, Some(Placed::File { content, .. })) => {
            let content = *content;
            Outcome::Do(Action::Keep, None, Placed::Seeded { content }, Vec::new())
        }
        // A link into a generation would change, or break, with it.
        (Found::Link { .. }, Some(old)) if old.is_there(found) => {
            let put = Put::File(bytes.to_vec(), mode);
            Outcome::Do(Action::Replace, Some(put), placed, Vec::new())
        }
        _ => Outcome::Do(Action::Adopt, None, Placed::Foreign, Vec::new()),
    }
}

fn merged(
    format: Format,
    mode: u32,
    fragment: &[u8],
    old: Option<&Placed>,
    found: &Found,
) -> Outcome {
    let nothing = Ownership::default();
    let ownership = match old {
        Some(Placed::Merged { ownership, .. }) => ownership,
        _ => &nothing,
    };
    let ours = old.is_some_and(|old| old.is_there(found));
    let (text, mode) = match found {
        Found::Absent => (None, mode),
        // Put there whole by an older generation, and not changed since.
        Found::File { .. } | Found::Link { .. } if ours => (None, mode),
        Found::File {
            text: Some(text),
            mode,
            ..
        } => (Some(text.as_str()), *mode),
        Found::File { text: None, .. } => {
            let what = "it is too large, or not UTF-8, and nothing can be merged into it";
            return Outcome::Collides(Kind::Unmergeable, what.into());
        }
        found => return collides(None, found),
    };
    // Keys of a file that is gone are nobody's.
    let ownership = if text.is_none() { &nothing } else { ownership };
    let fragment = String::from_utf8_lossy(fragment);
    match merge::merge(format, text, ownership, &fragment) {
        Err(e) => Outcome::Collides(
            Kind::Unmergeable,
            format!("nothing can be merged into it: {e}"),
        ),
        Ok(merged) => {
            let placed = Placed::Merged {
                format,
                ownership: merged.ownership,
            };
            let new = merged.text.unwrap_or_default();
            let action = match (text, found) {
                (Some(text), _) if text == new => {
                    let action = if old.is_some() {
                        Action::Keep
                    } else {
                        Action::Adopt
                    };
                    return Outcome::Do(action, None, placed, merged.notes);
                }
                (None, Found::Absent) => Action::Create,
                (None, _) => Action::Replace,
                (Some(_), _) => Action::Merge,
            };
            let put = Put::File(new.into_bytes(), mode);
            Outcome::Do(action, Some(put), placed, merged.notes)
        }
    }
}
