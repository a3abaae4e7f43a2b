//! Numbers of users and groups: each name keeps its own for ever, whatever packages do.

mod people;

use super::Job;
use super::tree::Tree;
use crate::lock::{Error, Lock};
use std::collections::{BTreeMap, BTreeSet};

/// Names and numbers, for owners of files.
#[derive(Debug)]
pub(super) struct Numbers<'a> {
    users: &'a BTreeMap<String, u32>,
    groups: &'a BTreeMap<String, u32>,
}

impl<'a> Numbers<'a> {
    pub(super) fn of(lock: &'a Lock) -> Self {
        Self {
            users: &lock.users,
            groups: &lock.groups,
        }
    }

    /// A user's number by name or number.
    pub(super) fn user(&self, name: &str) -> Option<u32> {
        name.parse().ok().or_else(|| self.users.get(name).copied())
    }

    /// A group's number by name or number.
    pub(super) fn group(&self, name: &str) -> Option<u32> {
        name.parse().ok().or_else(|| self.groups.get(name).copied())
    }
}

/// What numbers become.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Old number → new one, where they differ.
    changes: BTreeMap<u32, u32>,
    /// Every name's number from now on, names that the tree has not included.
    pins: BTreeMap<String, u32>,
}

/// Gives every account of the tree the number that the lock knows, and a new one where it
/// knows none.
fn plan(found: &[(String, u32)], pins: &BTreeMap<String, u32>) -> Result<Plan, String> {
    let mut plan = Plan {
        changes: BTreeMap::new(),
        pins: pins.clone(),
    };
    let mut taken: BTreeSet<u32> = pins.values().copied().collect();
    let mut targets: BTreeMap<u32, (u32, &str)> = BTreeMap::new();
    let (known, unknown): (Vec<_>, Vec<_>) =
        found.iter().partition(|(name, _)| pins.contains_key(name));
    for (name, old) in known.into_iter().chain(unknown) {
        let new = match pins.get(name) {
            Some(pin) => *pin,
            // A second name of one number goes where the first one went.
            None => match targets
                .get(old)
                .filter(|_| !pins.values().any(|pin| pin == old))
            {
                Some((new, _)) => *new,
                None if taken.contains(old) => {
                    free(*old, &taken).ok_or_else(|| format!("no number is free for {name}"))?
                }
                None => *old,
            },
        };
        taken.insert(new);
        plan.pins.insert(name.clone(), new);
        if let Some((other, first)) = targets.insert(*old, (new, name))
            && other != new
        {
            return Err(format!(
                "{first} and {name} share the number {old}, and the lock gives them {other} and {new}"
            ));
        }
        if *old != new {
            plan.changes.insert(*old, new);
        }
    }
    Ok(plan)
}

/// A free number of the same kind: of the system (100–999) from above, of people from below.
fn free(old: u32, taken: &BTreeSet<u32>) -> Option<u32> {
    if old < 1000 {
        system(taken)
    } else {
        person(taken)
    }
}

fn system(taken: &BTreeSet<u32>) -> Option<u32> {
    (100..1000).rev().find(|n| !taken.contains(n))
}

fn person(taken: &BTreeSet<u32>) -> Option<u32> {
    (1000..60_000).find(|n| !taken.contains(n))
}

/// Settles all accounts of the tree; returns the lock with every number.
pub(super) fn settle(job: &Job<'_>, tree: &mut Tree<'_>) -> Result<Lock, Error> {
    let texts = people::Texts::load(tree)?;
    let users = plan(&people::numbers(&texts.passwd), &job.lock.users).map_err(Error::Tree)?;
    let groups = plan(&people::numbers(&texts.group), &job.lock.groups).map_err(Error::Tree)?;
    let mut texts = texts.renumbered(&users.changes, &groups.changes);
    if !users.changes.is_empty() || !groups.changes.is_empty() {
        renumber(tree, &users.changes, &groups.changes);
    }
    let mut lock = Lock {
        users: users.pins,
        groups: groups.pins,
        ..job.lock.clone()
    };
    people::add(job, tree, &mut texts, &mut lock)?;
    texts.save(tree)?;
    Ok(lock)
}

/// Changes the owners of everything.
pub(super) fn renumber(
    tree: &mut Tree<'_>,
    users: &BTreeMap<u32, u32>,
    groups: &BTreeMap<u32, u32>,
) {
    tree.nodes_mut().each_meta(|meta| {
        meta.uid = *users.get(&meta.uid).unwrap_or(&meta.uid);
        meta.gid = *groups.get(&meta.gid).unwrap_or(&meta.gid);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, u32)]) -> BTreeMap<String, u32> {
        pairs.iter().map(|(n, i)| ((*n).to_owned(), *i)).collect()
    }

    fn list(pairs: &[(&str, u32)]) -> Vec<(String, u32)> {
        pairs.iter().map(|(n, i)| ((*n).to_owned(), *i)).collect()
    }

    #[test]
    fn a_name_keeps_its_number() {
        let pins = map(&[("sshd", 991), ("gone", 990)]);
        let found = list(&[("root", 0), ("sshd", 990), ("new", 991), ("other", 989)]);
        let plan = plan(&found, &pins).unwrap();
        // `new` gets neither sshd's number nor that of the package that is not installed now.
        let expected = map(&[
            ("gone", 990),
            ("new", 999),
            ("other", 989),
            ("root", 0),
            ("sshd", 991),
        ]);
        assert_eq!(plan.pins, expected);
        assert_eq!(plan.changes, BTreeMap::from([(990, 991), (991, 999)]));
        let found: Vec<_> = found
            .iter()
            .map(|(n, i)| (n.clone(), *plan.changes.get(i).unwrap_or(i)))
            .collect();
        let again = super::plan(&found, &plan.pins).unwrap();
        assert_eq!(again.changes, BTreeMap::new());
        assert_eq!(again.pins, plan.pins);
    }

    #[test]
    fn two_names_with_one_number_stay_together_or_are_refused() {
        let found = list(&[("root", 0), ("toor", 0)]);
        assert!(plan(&found, &map(&[("root", 0), ("toor", 0)])).is_ok());
        assert_eq!(plan(&found, &map(&[])).unwrap().changes, BTreeMap::new());
        let error = plan(&found, &map(&[("root", 0), ("toor", 7)])).unwrap_err();
        assert!(error.contains("toor"), "{error}");
    }
}
