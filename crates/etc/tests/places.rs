//! Two overlays differ only where their lower folders differ or one of their uppers has something.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use elea_etc::{Places, Sides, carry, differences, differences_at};
use proptest::prelude::*;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::CString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// What is done at a path, whatever stood there.
#[derive(Debug, Clone)]
enum Act {
    Remove,
    Folder,
    File(u8),
    Link(u8),
    Mode(u32),
}

fn acts() -> impl Strategy<Value = Vec<(String, Act)>> {
    let act = prop_oneof![
        2 => Just(Act::Remove),
        2 => Just(Act::Folder),
        4 => (0_u8..3).prop_map(Act::File),
        1 => (0_u8..2).prop_map(Act::Link),
        1 => prop_oneof![Just(0o700), Just(0o755)].prop_map(Act::Mode),
    ];
    prop::collection::vec(("[ab](/[ab]){0,2}", act), 0..12)
}

fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

fn act(root: &Path, acts: &[(String, Act)]) {
    for (path, act) in acts {
        let path = root.join(path);
        // What is no folder on the way stays.
        if let Act::Mode(mode) = act {
            let is_link = fs::symlink_metadata(&path).map_or(true, |meta| meta.is_symlink());
            if !is_link {
                fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
            }
            continue;
        }
        let parent = path.parent().unwrap();
        if !fs::canonicalize(parent).is_ok_and(|real| real == parent) || !parent.is_dir() {
            continue;
        }
        remove(&path);
        match act {
            Act::Remove | Act::Mode(_) => {}
            Act::Folder => fs::create_dir(&path).unwrap(),
            Act::File(content) => fs::write(&path, [*content]).unwrap(),
            Act::Link(target) => symlink(target.to_string(), &path).unwrap(),
        }
    }
}

struct Overlay(PathBuf);

impl Overlay {
    fn new(base: &Path, lower: &str, upper: &str) -> Self {
        let at = |name: &str| base.join(name).display().to_string();
        let (merged, work) = (format!("{upper}-merged"), format!("{upper}-work"));
        for name in [&merged, &work] {
            fs::create_dir(at(name)).unwrap();
        }
        let options = CString::new(format!(
            "lowerdir={},upperdir={},workdir={},metacopy=off,redirect_dir=off,index=off,xino=off",
            at(lower),
            at(upper),
            at(&work)
        ));
        let (flags, options) = (MountFlags::empty(), options.unwrap());
        mount("overlay", at(&merged), "overlay", flags, &*options).unwrap();
        Self(base.join(merged))
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_differs_elsewhere(
        first in acts(),
        second in acts(),
        edits in acts(),
        more in acts(),
    ) {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: not root");
            return Ok(());
        }
        // Overlays do not nest on every file system; a tmpfs carries one everywhere.
        let base = tempfile::tempdir_in("/dev/shm").unwrap();
        let at = |name: &str| base.path().join(name);
        for name in ["old", "new", "upper", "next"] {
            fs::create_dir(at(name)).unwrap();
        }
        for folder in ["old/a", "old/b", "new/a", "new/b"] {
            fs::create_dir(at(folder)).unwrap();
            fs::write(at(folder).join("a"), "both have it").unwrap();
        }
        act(&at("old"), &first);
        act(&at("new"), &first);
        act(&at("new"), &second);
        let old = Overlay::new(base.path(), "old", "upper");
        act(&old.0, &edits);
        let (upper, lower) = (at("upper"), at("old"));
        carry(&Sides { upper: &upper, lower: &lower }, &at("new"), &at("next")).unwrap();
        let new = Overlay::new(base.path(), "new", "next");
        act(&new.0, &more);

        let mut places = Places::new();
        for one in differences(&at("old"), &at("new")).unwrap() {
            places.add(one.path.as_bytes());
        }
        places.add_upper(&at("upper")).unwrap();
        places.add_upper(&at("next")).unwrap();
        let all = differences(&old.0, &new.0).unwrap();
        prop_assert_eq!(differences_at(&old.0, &new.0, &places).unwrap(), all);
    }
}
