//! The order in which packages are installed: who adds one installs that one, on the tree that is there.
//!
//! What a tree of packages looks like depends on what was installed together. So the order is a part of the lock: the
//! same lock gives the same tree, on a machine that has the tree of the older packages and on one that has nothing.

use super::{Lock, Package};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A lock with more stages is made one of a single stage when it grows.
const MOST: usize = 8;
/// A lock with more stages is refused.
const LIMIT: usize = 64;

/// Packages that are installed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The time that no file of these packages is newer than, in seconds since 1970: that of the lock that brought them.
    pub epoch: i64,
    /// Their names, sorted. The first stage has all that no other one has, and names none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
}

/// A stage of a lock with its packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged<'l> {
    /// As in [`Stage::epoch`].
    pub epoch: i64,
    /// Sorted by name.
    pub packages: Vec<&'l Package>,
}

impl Lock {
    /// The stages in their order; there is at least one.
    pub fn staged(&self) -> Vec<Staged<'_>> {
        let all = || self.packages.iter();
        let later: BTreeSet<&str> = self.stages.iter().flat_map(named).collect();
        let first = Staged {
            epoch: self.stages.first().map_or(self.epoch, |stage| stage.epoch),
            packages: all().filter(|p| !later.contains(p.name.as_str())).collect(),
        };
        let others = self.stages.iter().skip(1).map(|stage| {
            let names: BTreeSet<&str> = named(stage).collect();
            Staged {
                epoch: stage.epoch,
                packages: all().filter(|p| names.contains(p.name.as_str())).collect(),
            }
        });
        [first].into_iter().chain(others).collect()
    }
}

fn named(stage: &Stage) -> impl Iterator<Item = &str> {
    stage.packages.iter().map(String::as_str)
}

/// The stages for packages that are resolved anew: those of the old lock are kept as far as all of their packages are
/// the same, and what is left is one more.
pub(super) fn assign(old: Option<&Lock>, packages: &[Package], epoch: i64) -> Vec<Stage> {
    let mut left: BTreeSet<&Package> = packages.iter().collect();
    let mut stages: Vec<Stage> = Vec::new();
    for stage in old.map(Lock::staged).unwrap_or_default() {
        if stage.packages.is_empty() || !stage.packages.iter().all(|p| left.contains(p)) {
            break;
        }
        for package in &stage.packages {
            left.remove(package);
        }
        let names = stage.packages.iter().map(|p| p.name.clone());
        stages.push(Stage {
            epoch: stage.epoch,
            packages: if stages.is_empty() {
                Vec::new()
            } else {
                names.collect()
            },
        });
    }
    if !left.is_empty() && !stages.is_empty() {
        stages.push(Stage {
            epoch,
            packages: left.into_iter().map(|p| p.name.clone()).collect(),
        });
    }
    let is_plain = stages.len() == 1 && stages[0].epoch == epoch;
    if is_plain || stages.len() > MOST {
        return Vec::new();
    }
    stages
}

/// Says what makes no sense.
pub(super) fn check(lock: &Lock) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (at, stage) in lock.stages.iter().enumerate() {
        if at >= LIMIT {
            return Err(format!("it has more than {LIMIT} stages"));
        }
        if stage.epoch < 0 {
            return Err("the epoch of a stage is before 1970".into());
        }
        if (at == 0) != stage.packages.is_empty() {
            return Err("every stage but the first names its packages".into());
        }
        for name in &stage.packages {
            let known = lock.packages.binary_search_by(|p| p.name.cmp(name));
            if known.is_err() || !seen.insert(name) {
                let shown: String = name.chars().take(80).collect();
                return Err(format!(
                    "a stage names `{}`, which is no package of the lock or stands twice",
                    shown.escape_debug()
                ));
            }
        }
    }
    if seen.len() == lock.packages.len() && !seen.is_empty() {
        return Err("its first stage has no packages".into());
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::lock::{SCHEMA, encode, parse};
    use elea_formats::digest::Sha256;
    use std::collections::BTreeMap;

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.into(),
            version: version.into(),
            architecture: "amd64".into(),
            sha256: Sha256::of(format!("{name} {version}").as_bytes()),
            size: 6,
            archive: "trixie".into(),
            file: format!("pool/{name}_{version}_amd64.deb"),
        }
    }

    /// `a` is version 1 of the package, `a2` version 2.
    fn packages(names: &str) -> Vec<Package> {
        let one = |word: &str| package(&word[..1], if word.len() > 1 { &word[1..] } else { "1" });
        names.split_whitespace().map(one).collect()
    }

    pub(crate) fn lock(names: &str, epoch: i64, old: Option<&Lock>) -> Lock {
        let packages = packages(names);
        Lock {
            schema: SCHEMA.into(),
            request: Sha256::of(b""),
            architecture: "amd64".into(),
            epoch,
            archives: Vec::new(),
            stages: assign(old, &packages, epoch),
            packages,
            loader: Some(package("loader", "260")),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    fn shown(lock: &Lock) -> String {
        let stages = lock.staged();
        let stages = stages.iter().map(|stage| {
            let names: Vec<&str> = stage.packages.iter().map(|p| p.name.as_str()).collect();
            format!("{} {}", stage.epoch, names.join(" "))
        });
        stages.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn what_is_new_comes_after_what_is_there() {
        let first = lock("b d", 1, None);
        assert_eq!((shown(&first).as_str(), first.stages.len()), ("1 b d", 0));
        let second = lock("a b d", 2, Some(&first));
        assert_eq!(shown(&second), "1 b d, 2 a");
        let third = lock("a b c d e", 3, Some(&second));
        assert_eq!(shown(&third), "1 b d, 2 a, 3 c e");
        for (names, old, expected) in [
            // The same again, later.
            ("a b d", &second, "1 b d, 2 a"),
            ("b d", &first, "1 b d"),
            // A package of a stage goes, or has another version: from there on all is new.
            ("b c d e", &third, "1 b d, 9 c e"),
            ("a b c2 d e", &third, "1 b d, 2 a, 9 c e"),
            ("a b2 c d e", &third, "9 a b c d e"),
            ("a c d e", &third, "9 a c d e"),
            ("b d", &third, "1 b d"),
        ] {
            let lock = lock(names, 9, Some(old));
            assert_eq!(shown(&lock), expected, "{names}");
            assert_eq!(parse(&encode(&lock)).unwrap(), lock);
            let names = lock
                .staged()
                .iter()
                .map(|s| s.packages.len())
                .sum::<usize>();
            assert_eq!(names, lock.packages.len());
        }
        let all = "a b c d e f g h i j";
        let mut grown = lock("a", 1, None);
        for (at, end) in (3..=all.len()).step_by(2).enumerate() {
            grown = lock(&all[..end], 2, Some(&grown));
            let stages = if at + 2 > MOST { at + 2 - MOST } else { at + 2 };
            assert_eq!(grown.staged().len(), stages, "{}", &all[..end]);
        }
    }

    #[test]
    fn stages_without_sense_are_refused() {
        let good = lock("a b c", 2, Some(&lock("b", 1, None)));
        let stage = |packages: &str| Stage {
            epoch: 1,
            packages: packages.split_whitespace().map(str::to_owned).collect(),
        };
        for (stages, word) in [
            (vec![stage("a")], "but the first"),
            (vec![stage(""), stage("")], "but the first"),
            (vec![stage(""), stage("x")], "`x`"),
            (vec![stage(""), stage("a"), stage("a")], "`a`"),
            (vec![stage(""), stage("a b c")], "first stage"),
            (
                vec![Stage {
                    epoch: -1,
                    ..stage("")
                }],
                "1970",
            ),
            (vec![stage(""); LIMIT + 1], "but the first"),
        ] {
            let bad = Lock {
                stages,
                ..good.clone()
            };
            let error = parse(&encode(&bad)).unwrap_err();
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
