//! The units of a tree that differs from another at some paths are those that are read from it as a whole.

use super::super::files::{FOLDERS, Files};
use elea_store::{Change, Kind};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

#[derive(Debug, Clone)]
enum Act {
    Remove,
    Folder,
    File(u8),
    Link(&'static str),
}

const NAMES: [&str; 9] = [
    "a.service",
    "b.service",
    "a.service.d",
    "a.service.d/x.conf",
    "b.service.wants",
    "b.service.wants/a.service",
    "sub",
    "sub/c.service",
    "sub/d.d",
];
const TARGETS: [&str; 9] = [
    "/dev/null",
    "a.service",
    "b.service",
    "sub/c.service",
    "/usr/lib/systemd/system/a.service",
    "/lib/systemd/system/sub/c.service",
    "/opt/a.service",
    "/opt/sub",
    "nothing",
];

fn acts() -> impl Strategy<Value = Vec<(String, Act)>> {
    let folders = prop::sample::select(vec![FOLDERS[0], FOLDERS[2], "/opt"]);
    let path = (folders, prop::sample::select(&NAMES[..]));
    let path = path.prop_map(|(folder, name)| format!("{folder}/{name}"));
    let rare = prop::sample::select(vec![FOLDERS[0], "/usr/lib/systemd", FOLDERS[1]]);
    let path = prop_oneof![20 => path, 1 => rare.prop_map(str::to_owned)];
    let act = prop_oneof![
        2 => Just(Act::Remove),
        2 => Just(Act::Folder),
        4 => (0_u8..3).prop_map(Act::File),
        3 => prop::sample::select(&TARGETS[..]).prop_map(Act::Link),
    ];
    prop::collection::vec((path, act), 0..16)
}

fn act(root: &Path, acts: &[(String, Act)]) {
    for (path, act) in acts {
        let path = root.join(path.trim_start_matches('/'));
        let parent = path.parent().unwrap();
        if fs::canonicalize(parent).is_ok_and(|real| real == parent) && parent.is_dir() {
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path).unwrap(),
                Ok(_) => fs::remove_file(&path).unwrap(),
                Err(_) => {}
            }
            match act {
                Act::Remove => {}
                Act::Folder => fs::create_dir(&path).unwrap(),
                Act::File(content) => fs::write(&path, [*content]).unwrap(),
                Act::Link(target) => symlink(target, &path).unwrap(),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_did_not_change_need_not_be_read(first in acts(), second in acts()) {
        let base = tempfile::tempdir_in("/dev/shm").unwrap();
        let base = base.path().canonicalize().unwrap();
        let [old, new] = ["old", "new"].map(|name| base.join(name));
        for root in [&old, &new] {
            for folder in [FOLDERS[0], FOLDERS[2], "/opt/sub"] {
                fs::create_dir_all(root.join(folder.trim_start_matches('/'))).unwrap();
            }
            act(root, &first);
        }
        act(&new, &second);
        let differences = elea_etc::differences(&old, &new).unwrap();
        let changes: Vec<Change> = differences.into_iter().map(|found| Change {
            path: format!("/{}", found.path),
            kind: match found.sides {
                (true, true) => Kind::Changed,
                (true, false) => Kind::Removed,
                _ => Kind::Added,
            },
            fields: found.fields,
        }).collect();
        let files = Files::load(&old).unwrap().with(&new, &changes).unwrap();
        prop_assert_eq!(files, Files::load(&new).unwrap());
    }
}
