use super::declared::{Content, File, How};
use super::merge::Format;
use super::plan::{Action, Kind};
use super::*;
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};

/// A home in a folder of its own.
struct Lab {
    folder: tempfile::TempDir,
}

fn file(path: &str, text: &str, how: How) -> File {
    File {
        path: path.into(),
        content: Content::Bytes(text.into()),
        mode: 0o644,
        how,
    }
}

fn link(path: &str, target: &str) -> File {
    File {
        content: Content::Link(target.into()),
        ..file(path, "", How::Copy)
    }
}

fn wanted(files: Vec<File>) -> Wanted {
    let home = declared::Home {
        files,
        ..declared::Home::default()
    };
    home.wanted().unwrap()
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn home(&self) -> Home {
        let data = self.path(".local/share");
        Home::open(self.folder.path(), &data, true).unwrap()
    }

    fn try_apply(&self, files: Vec<File>, backup: bool) -> Result<HomePlan, Error> {
        let options = Options {
            backup,
            dry_run: false,
        };
        self.home().apply(
            &wanted(files),
            options,
            &mut no_profile,
            &AtomicBool::new(false),
        )
    }

    fn apply(&self, files: Vec<File>) -> HomePlan {
        let plan = self.try_apply(files, false).unwrap();
        assert_eq!(plan.collisions, [], "{plan:?}");
        plan
    }

    fn remove(&self) -> HomePlan {
        let nothing = AtomicBool::new(false);
        self.home().remove(Options::default(), &nothing).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Everything that a person sees: paths with contents and link targets; Elea's records only if asked for.
    fn all(&self, records: bool) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.folder.path()).unwrap();
                if !records && name.starts_with(".local/share/elea") {
                    continue;
                }
                let status = fs::symlink_metadata(&path).unwrap();
                let what = if status.is_dir() {
                    folders.push(path.clone());
                    "folder".to_owned()
                } else if status.is_symlink() {
                    let to = fs::read_link(&path).unwrap();
                    format!("→ {}: {:?}", to.display(), fs::read_to_string(&path).ok())
                } else {
                    let mode = status.permissions().mode() & 0o777;
                    format!("{mode:o} {}", fs::read_to_string(&path).unwrap())
                };
                all.insert(name.display().to_string(), what);
            }
        }
        all
    }
}

fn action(plan: &HomePlan, path: &str) -> Action {
    let found = plan.changes.iter().find(|change| change.path == path);
    found
        .unwrap_or_else(|| panic!("no {path} in {plan:?}"))
        .action
}

#[test]
fn files_come_change_and_go() {
    let lab = Lab::new();
    lab.write("own", "mine");
    let before = lab.all(true);
    let first = vec![
        file(".config/a b/$x", "one", How::Copy),
        file(".linked", "two", How::Link),
        file("seed", "three", How::Seed),
        link(".there", "/nowhere at all"),
    ];
    let plan = lab.apply(first.clone());
    assert_eq!((plan.from, plan.to), (None, Some(1)));
    assert_eq!(lab.read(".config/a b/$x"), "one");
    assert_eq!(lab.read(".linked"), "two");
    assert!(lab.path(".linked").is_symlink());
    assert_eq!(
        fs::metadata(lab.path(".linked"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o444
    );
    // Nothing differs: no generation.
    let again = lab.apply(first.clone());
    assert_eq!((again.to, again.is_empty()), (Some(1), true));
    lab.write("seed", "edited");
    let plan = lab.apply(vec![
        file(".config/a b/$x", "ONE", How::Link),
        file("seed", "other", How::Seed),
    ]);
    assert_eq!(plan.to, Some(2));
    assert_eq!(action(&plan, ".linked"), Action::Remove);
    assert_eq!(action(&plan, "seed"), Action::Keep);
    assert_eq!(lab.read(".config/a b/$x"), "ONE");
    assert_eq!(lab.read("seed"), "edited");
    assert!(!lab.path(".there").is_symlink());
    let nothing = AtomicBool::new(false);
    let back = lab
        .home()
        .rollback(None, Options::default(), &nothing)
        .unwrap();
    assert_eq!((back.from, back.to), (Some(2), Some(1)));
    assert_eq!(lab.read(".config/a b/$x"), "one");
    assert_eq!(lab.read(".linked"), "two");
    let list = lab.home().generations().unwrap();
    assert_eq!(list.generations.iter().filter(|g| g.current).count(), 1);
    assert!(matches!(
        lab.home().rollback(None, Options::default(), &nothing),
        Err(Error::Oldest(1))
    ));
    let gone = lab.remove();
    assert_eq!(action(&gone, "seed"), Action::Leave);
    fs::remove_file(lab.path("seed")).unwrap();
    assert_eq!(lab.all(true), before);
}

/// Everything that can be in the way of a copy, a link and a merge; every collision in one go, and nothing written.
#[test]
fn what_is_in_the_way_is_listed_and_nothing_is_written() {
    let lab = Lab::new();
    let outside = tempfile::tempdir().unwrap();
    lab.write("file", "other");
    lab.write("readonly", "other");
    fs::set_permissions(lab.path("readonly"), fs::Permissions::from_mode(0o400)).unwrap();
    lab.write("folder/x", "");
    lab.write("parent", "a file");
    lab.write("bad.json", "{\"a\": ");
    symlink("nowhere", lab.path("dangling")).unwrap();
    symlink("file", lab.path("foreign")).unwrap();
    symlink(outside.path(), lab.path("out")).unwrap();
    let names = [
        "file", "readonly", "folder", "parent/x", "dangling", "foreign", "out/x",
    ];
    let mut files: Vec<File> = names.map(|name| file(name, "new", How::Copy)).into();
    files.push(file("bad.json", "{\"a\": 1}", How::Merge(Format::Json)));
    files.push(file("fine", "new", How::Copy));
    let before = lab.all(true);
    let plan = lab.try_apply(files.clone(), false).unwrap();
    let kinds: Vec<_> = plan
        .collisions
        .iter()
        .map(|c| (c.path.as_str(), c.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            ("bad.json", Kind::Unmergeable),
            ("dangling", Kind::Link),
            ("file", Kind::File),
            ("folder", Kind::Folder),
            ("foreign", Kind::Link),
            ("out/x", Kind::Outside),
            ("parent/x", Kind::Parent),
            ("readonly", Kind::File),
        ]
    );
    assert_eq!(lab.all(true), before);
    // A link that leads out is never followed, whatever is asked for.
    let plan = lab.try_apply(files.clone(), true).unwrap();
    assert_eq!(plan.collisions.len(), 1, "{:?}", plan.collisions);
    assert_eq!(lab.all(true), before);
    files.retain(|file| file.path != "out/x");
    let plan = lab.try_apply(files.clone(), true).unwrap();
    assert_eq!(plan.collisions, []);
    assert_eq!(lab.read("parent/x"), "new");
    assert_eq!(lab.read("parent.elea-1"), "a file");
    assert_eq!(lab.read("folder"), "new");
    assert!(lab.path("folder.elea-1/x").is_file());
    assert!(lab.path("dangling.elea-1").is_symlink());
    assert_eq!(lab.read("bad.json.elea-1"), "{\"a\": ");
    // A second backup has the next number.
    lab.write("file", "edited");
    let plan = lab.try_apply(files.clone(), false).unwrap();
    assert_eq!(plan.collisions[0].kind, Kind::Edited);
    lab.try_apply(files, true).unwrap();
    assert_eq!(lab.read("file.elea-1"), "other");
    assert_eq!(lab.read("file.elea-2"), "edited");
    let plan = lab.remove();
    assert!(
        plan.notes.iter().any(|n| n.contains("backups stay")),
        "{:?}",
        plan.notes
    );
    assert!(!lab.path("parent").exists() && !lab.path(".local").exists());
    assert_eq!(lab.read("file.elea-2"), "edited");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn the_same_is_adopted_and_what_is_gone_is_made_again() {
    let lab = Lab::new();
    lab.write("a", "text");
    lab.write("b", "text");
    symlink("x", lab.path("c")).unwrap();
    let files = vec![
        file("a", "text", How::Copy),
        file("b", "text", How::Link),
        link("c", "x"),
    ];
    let plan = lab.apply(files.clone());
    for path in ["a", "b", "c"] {
        assert_eq!(action(&plan, path), Action::Adopt);
    }
    assert!(lab.path("b").is_symlink());
    fs::remove_file(lab.path("a")).unwrap();
    let plan = lab.apply(files);
    assert_eq!((action(&plan, "a"), plan.to), (Action::Create, Some(1)));
    assert_eq!(lab.read("a"), "text");
    // A file becomes a folder and a folder a file, as long as they are ours.
    lab.apply(vec![file("a/b", "deep", How::Copy)]);
    assert_eq!(lab.read("a/b"), "deep");
}

#[test]
fn links_inside_the_home_are_followed() {
    let lab = Lab::new();
    fs::create_dir_all(lab.path("dots/config")).unwrap();
    symlink(lab.path("dots/config"), lab.path(".config")).unwrap();
    lab.apply(vec![file(".config/git/config", "x", How::Copy)]);
    assert_eq!(lab.read("dots/config/git/config"), "x");
    lab.remove();
    assert!(!lab.path("dots/config/git").exists());
    assert!(lab.path("dots/config").exists());
    let twice = vec![
        file(".config/a", "x", How::Copy),
        file("dots/config/a", "y", How::Copy),
    ];
    assert!(lab.try_apply(twice, false).is_err());
    assert!(
        lab.try_apply(vec![file(".local/share/elea/home/1", "x", How::Copy)], true)
            .unwrap()
            .collisions
            .len()
            == 1
    );
}

#[test]
fn merges_follow_generations() {
    let lab = Lab::new();
    let text = "{\n  \"mine\": 1,\n  \"theirs\": 2\n}\n";
    lab.write("s.json", text);
    let how = How::Merge(Format::Json);
    lab.apply(vec![
        file("s.json", "{\"theirs\": 3, \"new\": 4}", how),
        file("made.toml", "a = 1", How::Merge(Format::Toml)),
    ]);
    lab.apply(vec![file("s.json", "{\"theirs\": 5}", how)]);
    assert_eq!(
        lab.read("s.json"),
        "{\n  \"mine\": 1,\n  \"theirs\": 5\n}\n"
    );
    assert!(!lab.path("made.toml").exists());
    let nothing = AtomicBool::new(false);
    lab.home()
        .rollback(None, Options::default(), &nothing)
        .unwrap();
    assert!(lab.read("s.json").contains("\"new\": 4"));
    assert!(lab.path("made.toml").exists());
    lab.remove();
    assert_eq!(
        lab.all(true),
        BTreeMap::from([("s.json".to_owned(), format!("644 {text}"))])
    );
}

#[test]
fn old_generations_are_swept() {
    let lab = Lab::new();
    for number in 0..14 {
        lab.apply(vec![file("a", &number.to_string(), How::Copy)]);
    }
    let list = lab.home().generations().unwrap().generations;
    let numbers: Vec<u64> = list.iter().map(|line| line.number).collect();
    assert_eq!(numbers, (5..=14).collect::<Vec<_>>());
}

/// Dies before each step in turn: what comes next finds all of the old or makes all of the new, and a file that both
/// have is there at every moment.
#[test]
fn a_crash_leaves_all_of_the_old_or_all_of_the_new() {
    let first = || {
        vec![
            file("both", "old", How::Copy),
            file("linked", "old", How::Link),
            file("goes/away", "old", How::Copy),
            file("s.json", "{\"a\": 1}", How::Merge(Format::Json)),
        ]
    };
    let second = || {
        vec![
            file("both", "new", How::Copy),
            file("linked", "new", How::Link),
            file("comes/deep/er", "new", How::Copy),
            file("way/x", "new", How::Copy),
            file("s.json", "{\"b\": 2}", How::Merge(Format::Json)),
        ]
    };
    let start = || {
        let lab = Lab::new();
        lab.write("s.json", "{\"mine\": 0}");
        lab.write("way", "in the way");
        lab.apply(first());
        lab
    };
    let options = Options {
        backup: true,
        dry_run: false,
    };
    // The paths of the temporary folders differ.
    let shape = |lab: &Lab| -> Vec<(String, String)> {
        let here = lab.folder.path().display().to_string();
        let all = lab.all(false).into_iter();
        all.map(|(path, what)| (path, what.replace(&here, "~")))
            .collect()
    };
    let reference = start();
    let old = shape(&reference);
    reference.try_apply(second(), true).unwrap();
    let new = shape(&reference);
    assert_ne!(old, new);
    let (mut taken_back, mut finished) = (0, 0);
    for dies_at in 0.. {
        let lab = start();
        let mut left = dies_at;
        let mut tick = || {
            left -= 1;
            if left < 0 { Tick::Die } else { Tick::Go }
        };
        let died = lab
            .home()
            .apply_with(&wanted(second()), options, &mut no_profile, &mut tick);
        if died.is_ok() {
            assert_eq!(shape(&lab), new);
            break;
        }
        assert!(matches!(died, Err(Error::Dead)), "{died:?}");
        for path in ["both", "s.json", "linked"] {
            assert!(lab.path(path).exists(), "{path} was lost at step {dies_at}");
        }
        // Dies again in the middle of putting it right, and is put right then.
        let mut once = 2;
        let mut tick = || {
            once -= 1;
            if once < 0 { Tick::Die } else { Tick::Go }
        };
        let _ = journal::recover(&lab.home(), &mut tick);
        journal::recover(&lab.home(), &mut || Tick::Go).unwrap();
        let found = shape(&lab);
        if found == old {
            taken_back += 1;
        } else {
            assert_eq!(found, new, "neither at step {dies_at}");
            finished += 1;
        }
        lab.try_apply(second(), true).unwrap();
        assert_eq!(shape(&lab), new);
    }
    assert!(taken_back > 10 && finished > 3, "{taken_back} {finished}");
    // Ctrl-C at each step.
    for stops_at in 0..taken_back {
        let lab = start();
        let mut left = stops_at;
        let mut tick = || {
            left -= 1;
            if left < 0 { Tick::Stop } else { Tick::Go }
        };
        let stopped = lab
            .home()
            .apply_with(&wanted(second()), options, &mut no_profile, &mut tick);
        assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
        assert_eq!(shape(&lab), old, "stopped at {stops_at}");
    }
}

#[test]
fn a_first_apply_that_is_stopped_leaves_nothing() {
    let lab = Lab::new();
    let files = vec![file("a/b", "x", How::Copy)];
    let stopped = lab.home().apply(
        &wanted(files),
        Options::default(),
        &mut no_profile,
        &AtomicBool::new(true),
    );
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(lab.all(true), BTreeMap::new());
}

#[test]
fn what_is_declared_is_checked() {
    for path in ["/etc/x", "../x", "a/../b", "a//b", "", ".", "a/"] {
        let home = declared::Home {
            files: vec![file(path, "", How::Copy)],
            ..declared::Home::default()
        };
        assert!(
            matches!(home.wanted(), Err(Error::Declared { .. })),
            "{path}"
        );
    }
    let home = declared::Home {
        files: vec![file("a", "", How::Copy), file("a/b", "", How::Copy)],
        ..declared::Home::default()
    };
    assert!(home.wanted().is_err());
    let home = declared::Home {
        environment: BTreeMap::from([("A".into(), "$x \"\\".into())]),
        ..declared::Home::default()
    };
    let text = &home.wanted().unwrap().contents[declared::ENVIRONMENT];
    assert_eq!(text, b"A=\"$$x \\\"\\\\\"\n");
}

#[test]
fn records_of_a_newer_elea_are_refused_whole() {
    let lab = Lab::new();
    lab.apply(vec![file("a", "one", How::Copy)]);
    let records = ".local/share/elea/home";
    let state = lab.read(&format!("{records}/state.json"));
    let journal = |schema: &str, step: &str| {
        format!(
            r#"{{"schema":"{schema}","transaction":9,"phase":"prepare","steps":[{step}],"marks":{{}},"paths":[],"later":1}}"#
        )
    };
    let known = r#"{"do":"create","path":"a","later":1}"#;
    for (name, text, newer) in [
        (
            "journal.json",
            journal("elea.home-journal/1", r#"{"do":"swap","path":"a"}"#),
            true,
        ),
        ("journal.json", journal("elea.home-journal/2", known), true),
        ("journal.json", journal("elea.other/1", known), false),
        ("journal.json", "{\"schema\":".to_owned(), false),
        (
            "1/manifest.json",
            lab.read(&format!("{records}/1/manifest.json"))
                .replace("copy", "mount"),
            true,
        ),
        ("state.json", state.replace("\"file\"", "\"tree\""), true),
    ] {
        let path = format!("{records}/{name}");
        let before = fs::read_to_string(lab.path(&path)).ok();
        lab.write(&path, &text);
        let all = lab.all(true);
        let error = lab
            .try_apply(vec![file("a", "two", How::Copy)], false)
            .unwrap_err();
        assert_eq!(
            matches!(error, Error::Newer { .. }),
            newer,
            "{text}: {error}"
        );
        assert!(newer || matches!(error, Error::Record { .. }), "{error}");
        assert_eq!(lab.all(true), all, "{text}");
        match before {
            Some(text) => lab.write(&path, &text),
            None => fs::remove_file(lab.path(&path)).unwrap(),
        }
    }
    // What is only not known is ignored.
    lab.write(
        &format!("{records}/journal.json"),
        &journal("elea.home-journal/1", known),
    );
    lab.apply(vec![file("a", "two", How::Copy)]);
    assert_eq!(lab.read("a"), "two");
}
