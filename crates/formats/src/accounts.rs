//! The account files of `/etc` as records, and their three-way merge.
//!
//! `passwd(5)`, `group(5)`, `shadow(5)`, `gshadow(5)`, `subuid(5)` and `subgid(5)` are lists of
//! records of which some belong to the image (system users that packages brought) and some
//! to the machine (people, passwords, memberships). Taking either file whole would lose
//! the other half, so an update merges them record by record and field by field.

use std::collections::{BTreeMap, BTreeSet};

/// One of the account files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// `passwd`: name, password, uid, gid, comment, home, shell.
    Passwd,
    /// `group`: name, password, gid, members.
    Group,
    /// `shadow`: name, password, then six dates and a reserved field.
    Shadow,
    /// `gshadow`: name, password, administrators, members.
    Gshadow,
    /// `subuid` and `subgid`: owner, first id, count.
    Subordinate,
}

impl File {
    /// The kind of a file by its path below `/etc`, if it is an account file.
    pub fn of(path: &[u8]) -> Option<Self> {
        match path {
            b"passwd" => Some(Self::Passwd),
            b"group" => Some(Self::Group),
            b"shadow" => Some(Self::Shadow),
            b"gshadow" => Some(Self::Gshadow),
            b"subuid" | b"subgid" => Some(Self::Subordinate),
            _ => None,
        }
    }

    /// The field that holds the numeric id that must be unique, if the file has one.
    fn id_field(self) -> Option<usize> {
        matches!(self, Self::Passwd | Self::Group).then_some(2)
    }

    /// Whether a field is a set of names, merged by element.
    fn is_set(self, field: usize) -> bool {
        match self {
            Self::Group => field == 3,
            Self::Gshadow => field == 2 || field == 3,
            _ => false,
        }
    }
}

/// What a merge came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// The merged file.
    pub text: Vec<u8>,
    /// Fields that both sides changed; the machine's value was kept.
    pub conflicts: Vec<String>,
    /// Ids that two accounts claim, or accounts with two ids. Staging refuses these; a boot
    /// that meets one all the same takes the image's record and reports it.
    pub clashes: Vec<String>,
}

type Record = Vec<Vec<u8>>;

/// A file as records in order; the key is the name, or the whole line where a name cannot
/// be one (comments, blank lines, NIS lines, second records of a name, subordinate ranges).
#[derive(Default)]
struct Records {
    order: Vec<Vec<u8>>,
    by_key: BTreeMap<Vec<u8>, Record>,
}

fn parse(file: File, text: &[u8]) -> Records {
    let mut records = Records::default();
    for line in text.split(|b| *b == b'\n') {
        if line.is_empty() {
            continue;
        }
        let fields: Record = line.split(|b| *b == b':').map(<[u8]>::to_vec).collect();
        let named = file != File::Subordinate
            && fields.len() > 2
            && !matches!(line[0], b'#' | b'+' | b'-')
            && !records.by_key.contains_key(&fields[0]);
        let key = if named {
            fields[0].clone()
        } else {
            line.to_vec()
        };
        if records.by_key.insert(key.clone(), fields).is_none() {
            records.order.push(key);
        }
    }
    records
}

/// Merges an account file: `base` is the old image's, `local` the machine's, `new` the new
/// image's. Records that only one side added are kept, records that only one side removed go,
/// and a record that both changed is merged by field with the machine's value before the image's.
pub fn merge(file: File, base: &[u8], local: &[u8], new: &[u8]) -> Merged {
    let (base, local, new) = (parse(file, base), parse(file, local), parse(file, new));
    let mut merged = Merged::default();
    let mut out: Vec<Record> = Vec::new();
    let keys = new
        .order
        .iter()
        .chain(local.order.iter().filter(|k| !new.by_key.contains_key(*k)));
    for key in keys {
        let sides = (
            base.by_key.get(key),
            local.by_key.get(key),
            new.by_key.get(key),
        );
        let record = match sides {
            (Some(b), Some(l), Some(n)) => Some(fields(file, b, l, n, &mut merged)),
            (None, Some(l), Some(n)) => Some(both_added(file, l, n, &mut merged)),
            // Only the machine has it, or the image dropped what the machine had changed.
            (None, Some(l), None) => Some(l.clone()),
            (Some(b), Some(l), None) if b != l => {
                merged.conflicts.push(format!(
                    "{}: removed by the release, changed on this machine; kept",
                    shown(key)
                ));
                Some(l.clone())
            }
            // Only the image has it, or the machine removed what the image then changed.
            (None, None, Some(n)) => Some(n.clone()),
            (Some(b), None, Some(n)) if b != n => {
                merged.conflicts.push(format!(
                    "{}: removed on this machine, changed by the release; stays removed",
                    shown(key)
                ));
                None
            }
            _ => None,
        };
        out.extend(record);
    }
    merged.clashes.extend(clashes(file, &out, &local));
    for record in out {
        merged.text.extend(record.join(&b':'));
        merged.text.push(b'\n');
    }
    merged
}

/// One record that all three have.
fn fields(file: File, base: &Record, local: &Record, new: &Record, merged: &mut Merged) -> Record {
    if local == base || local == new {
        return new.clone();
    }
    if new == base {
        return local.clone();
    }
    let empty = Vec::new();
    let width = local.len().max(new.len());
    (0..width)
        .map(|i| {
            let (b, l, n) = (
                base.get(i).unwrap_or(&empty),
                local.get(i).unwrap_or(&empty),
                new.get(i).unwrap_or(&empty),
            );
            if file.is_set(i) {
                members(b, l, n)
            } else if l == b {
                n.clone()
            } else {
                if n != b && n != l {
                    merged.conflicts.push(format!(
                        "{}: field {} changed on this machine and by the release; kept the machine's",
                        shown(&local[0]),
                        i + 1
                    ));
                }
                l.clone()
            }
        })
        .collect()
}

/// An account of the same name that came up on both sides.
fn both_added(file: File, local: &Record, new: &Record, merged: &mut Merged) -> Record {
    if let Some(i) = file.id_field()
        && local.get(i) != new.get(i)
    {
        merged.clashes.push(format!(
            "{}: has id {} on this machine and {} in the release",
            shown(&local[0]),
            shown(local.get(i).map_or(&[][..], |f| f)),
            shown(new.get(i).map_or(&[][..], |f| f)),
        ));
        return new.clone();
    }
    let mut record = local.clone();
    for (i, field) in record.iter_mut().enumerate() {
        if let Some(theirs) = new.get(i).filter(|_| file.is_set(i)) {
            *field = members(b"", field, theirs);
        }
    }
    record
}

/// Members: the new image's, and what the machine added, without what the machine removed.
fn members(base: &[u8], local: &[u8], new: &[u8]) -> Vec<u8> {
    let set = |text: &[u8]| -> Vec<Vec<u8>> {
        text.split(|b| *b == b',')
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    };
    let (base, local, new) = (set(base), set(local), set(new));
    let mut out: Vec<Vec<u8>> = Vec::new();
    for name in new.iter().chain(&local) {
        let kept = if base.contains(name) {
            local.contains(name) && new.contains(name)
        } else {
            true
        };
        if kept && !out.contains(name) {
            out.push(name.clone());
        }
    }
    out.join(&b',')
}

/// Ids that a record of the machine and another one of the image both claim.
fn clashes(file: File, out: &[Record], local: &Records) -> Vec<String> {
    match file.id_field() {
        Some(i) => {
            let mut owner: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
            let mut found = Vec::new();
            for record in out.iter().filter(|r| r.len() > i) {
                if let Some(other) = owner.insert(&record[i], &record[0]) {
                    // Two names that the machine itself gave one id are its own business.
                    let own =
                        |name: &[u8]| local.by_key.get(name).is_some_and(|l| l[i] == record[i]);
                    if own(other) && own(&record[0]) {
                        continue;
                    }
                    found.push(format!(
                        "id {} belongs to {} and to {}",
                        shown(&record[i]),
                        shown(other),
                        shown(&record[0])
                    ));
                }
            }
            found
        }
        None if file == File::Subordinate => overlaps(out, local),
        None => Vec::new(),
    }
}

/// Subordinate ranges of different owners that overlap, where the release brought one of them.
fn overlaps(out: &[Record], local: &Records) -> Vec<String> {
    let mut ranges: BTreeSet<(u64, u64, &[u8], bool)> = BTreeSet::new();
    for record in out.iter().filter(|r| r.len() == 3) {
        let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<u64>().ok();
        if let (Some(first), Some(count)) = (number(&record[1]), number(&record[2])) {
            let ours = local.by_key.contains_key(&record.join(&b':'));
            ranges.insert((first, first.saturating_add(count), &record[0], ours));
        }
    }
    let list: Vec<_> = ranges.into_iter().collect();
    list.windows(2)
        .filter(|pair| pair[1].0 < pair[0].1 && pair[0].2 != pair[1].2 && !(pair[0].3 && pair[1].3))
        .map(|pair| {
            format!(
                "the id ranges of {} and {} overlap at {}",
                shown(pair[0].2),
                shown(pair[1].2),
                pair[1].0
            )
        })
        .collect()
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(file: File, base: &str, local: &str, new: &str) -> (String, Merged) {
        let merged = merge(file, base.as_bytes(), local.as_bytes(), new.as_bytes());
        (String::from_utf8(merged.text.clone()).unwrap(), merged)
    }

    #[test]
    fn system_users_come_from_the_image_and_people_from_the_machine() {
        let base = "root:x:0:0:root:/root:/bin/bash\nmail:x:8:8::/var/mail:/sbin/nologin\n";
        let local = format!("{base}anna:x:1000:1000:Anna:/home/anna:/bin/zsh\n");
        let new = format!("{base}tor:x:990:990::/var/lib/tor:/sbin/nologin\n");
        let (text, merged) = run(File::Passwd, base, &local, &new);
        assert_eq!(
            text,
            format!("{new}anna:x:1000:1000:Anna:/home/anna:/bin/zsh\n")
        );
        assert!(merged.conflicts.is_empty() && merged.clashes.is_empty());
    }

    #[test]
    fn a_local_password_survives_a_release_that_changes_another_field() {
        let (text, merged) = run(
            File::Shadow,
            "root:*:19000:0:99999:7:::\n",
            "root:$y$secret:19500:0:99999:7:::\n",
            "root:*:19000:0:99999:14:::\n",
        );
        assert_eq!(text, "root:$y$secret:19500:0:99999:14:::\n");
        assert!(merged.conflicts.is_empty());
    }

    #[test]
    fn both_sides_of_one_field_keep_the_machines_and_say_so() {
        let (text, merged) = run(
            File::Passwd,
            "root:x:0:0:root:/root:/bin/sh\n",
            "root:x:0:0:root:/root:/bin/zsh\n",
            "root:x:0:0:root:/root:/bin/bash\n",
        );
        assert_eq!(text, "root:x:0:0:root:/root:/bin/zsh\n");
        assert_eq!(merged.conflicts.len(), 1);
    }

    #[test]
    fn memberships_of_both_sides_add_up_and_removals_hold() {
        let (text, _) = run(
            File::Group,
            "video:x:44:old\nsudo:x:27:\n",
            "video:x:44:anna\nsudo:x:27:anna\n",
            "video:x:44:old,gdm\nsudo:x:27:\n",
        );
        assert_eq!(text, "video:x:44:gdm,anna\nsudo:x:27:anna\n");
    }

    #[test]
    fn an_id_that_a_person_took_clashes_with_the_release() {
        let (_, merged) = run(
            File::Passwd,
            "root:x:0:0::/root:/bin/sh\n",
            "root:x:0:0::/root:/bin/sh\nmine:x:990:990::/:/bin/sh\n",
            "root:x:0:0::/root:/bin/sh\ntor:x:990:990::/:/bin/false\n",
        );
        assert_eq!(merged.clashes, ["id 990 belongs to tor and to mine"]);
        let (text, merged) = run(File::Group, "", "tor:x:1001:\n", "tor:x:990:\n");
        assert_eq!(text, "tor:x:990:\n");
        assert_eq!(merged.clashes.len(), 1);
    }

    #[test]
    fn deletions_hold_on_both_sides() {
        let (text, merged) = run(
            File::Passwd,
            "a:x:1:1::/:/s\nb:x:2:2::/:/s\nc:x:3:3::/:/s\n",
            "a:x:1:1::/:/s\nc:x:3:3::/:/s\n",
            "a:x:1:1::/:/s\nb:x:2:2::/:/s\n",
        );
        assert_eq!(text, "a:x:1:1::/:/s\n");
        assert!(merged.conflicts.is_empty());
    }

    #[test]
    fn subordinate_ranges_are_a_set_and_overlaps_clash() {
        let (text, merged) = run(
            File::Subordinate,
            "",
            "anna:100000:65536\nanna:400000:10\n",
            "app:150000:65536\n",
        );
        assert_eq!(
            text,
            "app:150000:65536\nanna:100000:65536\nanna:400000:10\n"
        );
        assert_eq!(merged.clashes.len(), 1);
    }

    #[test]
    fn odd_lines_and_duplicates_are_kept() {
        let odd = "# note\n+::::::\nx:1\nroot:x:0:0::/root:/a\nroot:x:0:0::/root:/b\n";
        let (text, _) = run(
            File::Passwd,
            odd,
            &format!("{odd}me:x:1000:1000::/:/s\n"),
            odd,
        );
        assert_eq!(text, format!("{odd}me:x:1000:1000::/:/s\n"));
    }
}
