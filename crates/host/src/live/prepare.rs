//! Looks at what runs, and at what it would be with another image: the two sides of a plan.

use super::Units;
use super::generation::{etc_layers, over};
use super::images::{Images, Pairs};
use super::overlay::{Overlays, mounted_below};
use super::plan::{Boot, Differences, Over, Plan, Side, is_of, plan};
use super::state::Live;
use super::target::Running;
use super::usr::keeps_modules;
use crate::diff::package_changes;
use crate::error::Error;
use crate::machine::Machine;
use elea_etc::{Places, Report, Sides};
use elea_formats::cmdline::CommandLine;
use elea_formats::digest::Digest;
use elea_formats::generation::{DIGEST_ARGUMENT, GENERATION_ARGUMENT, Generation, MEMORY_ARGUMENT};
use elea_formats::release::Package;
use elea_store::{Backing, Change, Kind};
use elea_sys::mount::{self, Attributes, Filesystem};
use elea_sys::{At as _, PathError, parallel};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;

/// Where this process alone has the system as it would be.
const PLANNED: &str = "/run/elea/planned";
/// What is merged from an image and a machine's edits.
const ETC: &str = "/etc";
/// Folders of state that links of units may lead into.
const STATE: [&str; 6] = ["usr/local", "opt", "srv", "var", "home", "root"];
/// The largest account file or fstab that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// The two generations: what was booted, whose `/etc` shows, and what is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Between<'a> {
    /// What was booted: its kernel runs, and its `/usr` unless another shows.
    pub(super) booted: &'a Generation,
    /// Whose `/etc` shows.
    pub(super) shown: &'a Generation,
    /// The image whose `/usr` shows.
    pub(super) usr: Digest,
    /// Whether `/usr` is exchanged, too.
    pub(super) live_usr: bool,
    /// What is to be.
    pub(super) new: &'a Generation,
    /// The packages of both.
    pub(super) packages: [&'a [Package]; 2],
}

/// Plans how what runs becomes `between.new`; with what the machine's edits of `/etc` met.
pub(super) fn prepare(
    machine: &Machine,
    between: Between<'_>,
    running: Running,
) -> Result<(Plan, Report), Error> {
    Overlays::of_system()?.look()?;
    super::usr::look()?;
    let planned = Path::new(PLANNED);
    fs::create_dir_all(planned).at("create", planned)?;
    Filesystem::new("tmpfs")
        .source("elea-planned")
        .value("mode", "0700")
        .mount(planned)?;
    let made = compare(machine, between, running, planned);
    let _ = mount::detach(planned);
    made
}

fn compare(
    machine: &Machine,
    between: Between<'_>,
    running: Running,
    planned: &Path,
) -> Result<(Plan, Report), Error> {
    let [upper, work, root] = ["upper", "work", "root"].map(|name| planned.join(name));
    for folder in [&upper, &work, &root] {
        fs::create_dir(folder).at("create", folder)?;
    }
    let (old_upper, old_lower) = etc_layers(machine, between.shown.number)?;
    let from = Sides {
        upper: &old_upper,
        lower: &old_lower,
    };
    let pairs = Pairs::read(machine, &between)?;
    let (images, report) = thread::scope(|scope| {
        let images = scope.spawn(|| pairs.compare());
        let report = lay_out(machine, &between.new.image, &from, [&upper, &work, &root]);
        Ok::<_, Error>((parallel::join_scoped(images)?, report?))
    })?;
    let files = files(&images, &root, [&old_upper, &upper])?;
    let old_files = parallel::join(running.files)?;
    let new_files = old_files.with(&root, &files)?;
    let units = Units::new(old_files);
    let new = side(units.beside(new_files), &root, between.new)?;
    let old = side(units, Path::new("/"), between.booted)?;
    let [old_packages, new_packages] = between.packages;
    let objects = &images.booted.objects;
    let differences = Differences {
        files,
        packages: package_changes(old_packages, new_packages),
        bytes: objects.values().sum(),
        over: exchange(machine, between)?,
    };
    let mut live = parallel::join(running.live).map_err(Error::Live)?;
    if differences.over.is_some() {
        live.programs = programs(&old.units, &live);
    }
    Ok((plan(&old, &new, differences, &live)?, report))
}

/// Has the system at `root` as it would be, with what edits of `/etc` met; folders are upper, work, root.
fn lay_out(
    machine: &Machine,
    image: &Digest,
    from: &Sides<'_>,
    [upper, work, root]: [&Path; 3],
) -> Result<Report, Error> {
    let below = machine.image(image, Backing::File)?;
    let report = elea_etc::carry(from, &below.join("etc"), upper)?;
    mount::tree(&below, false)?.attach(root)?;
    over(machine, image, upper, work)?.attach(&root.join("etc"))?;
    show_state(root)?;
    Ok(report)
}

/// State shows in the planned system as in the running one.
fn show_state(root: &Path) -> Result<(), Error> {
    let device = |path: &Path| fs::metadata(path).map(|m| m.dev()).ok();
    let system = device(Path::new("/"));
    for name in STATE {
        let (here, there) = (Path::new("/").join(name), root.join(name));
        if device(&here).is_some_and(|own| Some(own) != system) && there.is_dir() {
            mount::bind(&here, &there, Attributes::NONE)?;
        }
    }
    Ok(())
}

fn side(units: Units, root: &Path, generation: &Generation) -> Result<Side, Error> {
    let text = |name: &str| read(&root.join("etc").join(name));
    Ok(Side {
        units,
        boot: boot(generation),
        passwd: text("passwd")?,
        group: text("group")?,
        fstab: text("fstab")?,
    })
}

fn read(path: &Path) -> Result<String, PathError> {
    let file = match fs::File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        opened => opened.at("open", path)?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .at("read", path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What boots of a generation.
fn boot(generation: &Generation) -> Boot {
    let line = CommandLine::parse(&generation.options);
    // What names the image, the generation and the machine's root, which stays where it is.
    let names = [
        DIGEST_ARGUMENT,
        GENERATION_ARGUMENT,
        MEMORY_ARGUMENT,
        "root",
    ];
    let words = line.arguments().iter();
    let words = words.filter(|word| !names.contains(&&*word.key));
    let words: Vec<String> = words.map(ToString::to_string).collect();
    Boot {
        kernel: Some(generation.kernel.sha256),
        initrds: generation.initrds.iter().map(|i| i.sha256).collect(),
        arguments: words.join(" "),
    }
}

/// The exchange of `/usr` that is asked for.
fn exchange(machine: &Machine, between: Between<'_>) -> Result<Option<Over>, Error> {
    let (from, to) = (between.usr, between.new.image);
    if !between.live_usr || from == to {
        return Ok(None);
    }
    Ok(Some(Over {
        from,
        to,
        keeps_modules: to != between.booted.image && keeps_modules(machine, &to)?,
    }))
}

/// The programs of the services that have a process: what their units name, and what runs.
fn programs(units: &Units, live: &Live) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, active) in live.running().filter(|(_, active)| active.main > 0) {
        let unit = units.unit(name).unwrap_or_default();
        let named = unit
            .values("Service", "ExecStart")
            .iter()
            .filter_map(|line| program(line));
        let runs = fs::read_link(format!("/proc/{}/exe", active.main)).ok();
        for path in named.map(PathBuf::from).chain(runs) {
            // As it is called, and what links make of that. What another mount of /usr had is called without its /usr.
            let real = fs::canonicalize(&path).ok();
            let paths = real.into_iter().chain([path]);
            let shown = paths.map(|path| path.to_string_lossy().into_owned());
            found.entry(name.to_owned()).or_default().extend(shown);
        }
    }
    found
}

/// The path of the program that a line of `ExecStart=` runs (`systemd.service(5)`).
fn program(line: &str) -> Option<String> {
    let word = line.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let word = word.split_whitespace().next()?.trim_matches(['"', '\'']);
    if word.starts_with('/') {
        return Some(word.to_owned());
    }
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
    let mut places = folders.iter().map(|folder| format!("{folder}/{word}"));
    places.find(|path| Path::new(path).is_file())
}

/// Of `/etc` what programs see, of the rest what the images say. `uppers` are those of `/etc` as it is and will be.
fn files(images: &Images, root: &Path, uppers: [&Path; 2]) -> Result<Vec<Change>, Error> {
    let booted = &images.booted.changes;
    let mut places = Places::new();
    for change in images.etc.as_ref().unwrap_or(booted) {
        if is_of(&change.path, ETC) {
            place(&mut places, change);
        }
    }
    for upper in uppers {
        places.add_upper(upper)?;
    }
    let mut files = booted.clone();
    files.retain(|change| !is_of(&change.path, ETC));
    if let Some(usr) = &images.usr {
        // What runs is another /usr than what was booted.
        files.retain(|change| !is_of(&change.path, "/usr"));
        let usr = usr.iter().cloned();
        files.extend(usr.filter(|change| is_of(&change.path, "/usr")));
    }
    let etc = elea_etc::differences_at(Path::new(ETC), &root.join("etc"), &places)?;
    // What is mounted below /etc goes along, and hides the same there.
    let mounted = mounted_below(ETC)?;
    let hidden = |path: &str| {
        let mut places = mounted.iter().filter_map(|at| path.strip_prefix(&**at));
        places.any(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let changes = etc.into_iter().map(|difference| Change {
        path: format!("{ETC}/{}", difference.path),
        kind: match difference.sides {
            (false, _) => Kind::Added,
            (_, false) => Kind::Removed,
            _ => Kind::Changed,
        },
        fields: difference.fields,
    });
    files.extend(changes.filter(|change| !hidden(&change.path)));
    Ok(files)
}

/// Adds where `/etc` of two images differs. A path is shown with escapes, but may have what looks like one by itself, as
/// names of units do.
fn place(places: &mut Places, change: &Change) {
    let path = change.path.strip_prefix(ETC).unwrap_or_default();
    places.add(path.as_bytes());
    if path.contains('\\') {
        places.add(&elea_store::unescaped(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_a_line_is_its_first_word() {
        for (line, expected) in [
            ("/usr/sbin/a --b", Some("/usr/sbin/a")),
            ("-@/usr/sbin/a a b", Some("/usr/sbin/a")),
            ("+\"/usr/bin/x\" y", Some("/usr/bin/x")),
            ("!!|/a", Some("/a")),
            ("no-such-program x", None),
            ("", None),
        ] {
            assert_eq!(program(line).as_deref(), expected, "{line}");
        }
        assert!(program("sh -c x").unwrap().ends_with("/sh"));
    }

    #[test]
    fn what_a_service_runs_is_what_its_unit_names_and_its_process() {
        use crate::live::{Active, Entry, Files};
        let text = "[Service]\nExecStart=/bin/sh -c x\n";
        let mut files = Files::new();
        let mut live = Live::default();
        for (name, main) in [("a.service", std::process::id()), ("no-process.service", 0)] {
            files.insert(
                &format!("/etc/systemd/system/{name}"),
                Entry::File(text.into()),
            );
            let active = Active {
                active: "active".into(),
                main,
                ..Active::default()
            };
            live.units.insert(name.into(), active);
        }
        let found = programs(&Units::new(files), &live);
        let this = std::env::current_exe().unwrap();
        let real = fs::canonicalize("/bin/sh").unwrap();
        let paths = [Path::new("/bin/sh"), &real, &this];
        let expected = paths.map(|path| path.to_string_lossy().into_owned());
        assert_eq!(
            found,
            BTreeMap::from([("a.service".to_owned(), BTreeSet::from(expected))])
        );
    }

    #[test]
    fn what_boots_is_told_apart_from_which_image_and_number() {
        let text = include_str!("../../../formats/tests/golden/generation-1.json");
        let first: Generation = serde_json::from_str(text).unwrap();
        let mut second = first.repeated(9, String::new());
        second.options = second.options.replace(
            &first.image.to_string(),
            &elea_formats::digest::Sha256::of(b"other").to_string(),
        );
        assert_ne!(first.options, second.options);
        assert_eq!(boot(&first), boot(&second));
        let mut in_memory = first.clone();
        let root = CommandLine::parse(&first.options);
        let root = format!("root={}", root.value("root").unwrap());
        in_memory.options = first.options.replace(&root, MEMORY_ARGUMENT);
        assert_ne!(first.options, in_memory.options);
        assert_eq!(boot(&first), boot(&in_memory));
        second.options.push_str(" quiet");
        assert_ne!(boot(&first), boot(&second));
    }
}
