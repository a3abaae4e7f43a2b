//! In what order dpkg gets packages: which of them it cannot work without, and which must be whole before others come.
//!
//! Source: Debian policy, chapter 7. That all fit together was seen to when the lock was made.

use crate::debian::control;
use std::collections::{BTreeMap, BTreeSet};

/// What a package says of others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Needs {
    is_essential: bool,
    /// Places of other packages of the same list.
    depends: BTreeSet<usize>,
    pre_depends: BTreeSet<usize>,
}

/// Packages that are installed together, by their places in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order(Vec<Needs>);

/// Nothing is installed in more rounds.
const ROUNDS: usize = 32;

impl Order {
    /// Reads control files.
    pub(super) fn of(texts: &[String]) -> Self {
        let stanzas: Vec<_> = texts
            .iter()
            .map(|text| control::parse(text).into_iter().next())
            .collect();
        let mut known: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for (at, stanza) in stanzas.iter().enumerate() {
            let Some(stanza) = stanza else { continue };
            let own = stanza.get("Package").map(str::to_owned);
            let also = names(stanza.get("Provides").unwrap_or_default());
            for name in own.into_iter().chain(also) {
                known.entry(name).or_default().insert(at);
            }
        }
        let needs = stanzas.iter().enumerate().map(|(at, stanza)| {
            let Some(stanza) = stanza else {
                return Needs::default();
            };
            let places = |field: &str| -> BTreeSet<usize> {
                let names = names(stanza.get(field).unwrap_or_default());
                let found = names.filter_map(|name| known.get(&name)).flatten();
                found.copied().filter(|other| *other != at).collect()
            };
            Needs {
                is_essential: stanza.get("Essential") == Some("yes"),
                depends: places("Depends"),
                pre_depends: places("Pre-Depends"),
            }
        });
        Self(needs.collect())
    }

    /// What must be there before any script of a package runs, with what it needs.
    pub(super) fn essential(&self) -> BTreeSet<usize> {
        let all = self.0.iter().enumerate();
        let mut wanted: Vec<usize> = all
            .filter(|(_, needs)| needs.is_essential)
            .map(|(at, _)| at)
            .collect();
        let mut found = BTreeSet::new();
        while let Some(at) = wanted.pop() {
            if found.insert(at)
                && let Some(needs) = self.0.get(at)
            {
                wanted.extend(needs.depends.iter().chain(&needs.pre_depends));
            }
        }
        found
    }

    /// Those that are left when some are installed, in rounds: each is whole before the next begins.
    pub(super) fn rounds(&self, installed: &BTreeSet<usize>) -> Vec<Vec<usize>> {
        let left = |at: &usize| !installed.contains(at);
        let mut rounds = vec![0; self.0.len()];
        // A circle of them would go on for ever; dpkg says what is wrong with it.
        for _ in 0..self.0.len() {
            let mut changed = false;
            for (at, needs) in self.0.iter().enumerate().filter(|(at, _)| left(at)) {
                let round = |other: &usize| rounds.get(*other).copied().unwrap_or(0);
                let with = needs.depends.iter().filter(|o| left(o)).map(round).max();
                let before = needs.pre_depends.iter().filter(|o| left(o));
                let after = before.map(|other| round(other) + 1).max();
                let needed = with.max(after).unwrap_or(0).min(ROUNDS);
                if rounds.get(at).is_some_and(|round| *round < needed) {
                    rounds[at] = needed;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        let mut out: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, round) in rounds.into_iter().enumerate().filter(|(at, _)| left(at)) {
            out.entry(round).or_default().push(at);
        }
        out.into_values().collect()
    }
}

/// The names in a field such as `Depends`, without versions and architectures.
fn names(field: &str) -> impl Iterator<Item = String> {
    field.split([',', '|']).filter_map(|word| {
        let name = word.trim().split([' ', '(', ':', '\n']).next()?;
        (!name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(packages: &[(&str, &str)]) -> Order {
        let text = |(name, fields): &(&str, &str)| format!("Package: {name}\n{fields}");
        Order::of(&packages.iter().map(text).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_needed_comes_first() {
        let order = order(&[
            (
                "dpkg",
                "Essential: yes\nPre-Depends: libc6 (>= 2), tar:any\n",
            ),
            ("libc6", "Depends: gcc-base\n"),
            ("gcc-base", ""),
            ("gnu-tar", "Provides: tar (= 1)\n"),
            ("a", "Depends: libc6, b | nothing\n"),
            ("b", "Pre-Depends: c\n"),
            ("c", "Depends: d\n"),
            ("d", "Depends: c\n"),
            ("e", "Depends: d\n"),
        ]);
        let base = order.essential();
        assert_eq!(base, BTreeSet::from([0, 1, 2, 3]));
        // `a` cannot be whole before `b` is; `c` and `d` need each other.
        assert_eq!(order.rounds(&base), [vec![6, 7, 8], vec![4, 5]]);
        let all: BTreeSet<usize> = (0..9).collect();
        assert!(order.rounds(&all).is_empty());
    }

    #[test]
    fn a_circle_ends() {
        let order = order(&[("a", "Pre-Depends: b\n"), ("b", "Pre-Depends: a\n")]);
        let rounds = order.rounds(&BTreeSet::new());
        assert_eq!(rounds.iter().map(Vec::len).sum::<usize>(), 2);
    }
}
