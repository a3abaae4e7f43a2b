//! The same build in other circumstances, which must not matter: `elea build --check`.
//!
//! The place, the user's surroundings, the locale, the time zone, the umask, the number of processors, what is kept of
//! earlier builds and the clock of packages' programs are other ones. Elea itself, which notes in the store what it does,
//! has the machine's clock.

use crate::build::work_folder;
use crate::lock::{Error, Options};
use crate::program;
use elea_sys::At as _;
use elea_sys::progress::{Progress, Unit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where a program builds again.
#[derive(Debug, Clone)]
pub struct Place {
    /// The folder for the work.
    pub work: PathBuf,
    /// The folder of packages: the same ones, with nothing beside it that builds keep.
    pub cache: PathBuf,
    /// By how much later the time is for programs of packages; none where they cannot see another.
    pub clock_ahead: Duration,
}

/// Year, month, day, day of the week, hour, minute and second are other ones.
const CLOCK_AHEAD: Duration = Duration::from_secs(((400 * 24 + 7) * 60 + 13) * 60 + 29);

/// What programs are told of the user, the language and the time zone; UTC+14 and Turkish have surprised many programs.
const SURROUNDINGS: [(&str, &str); 8] = [
    ("HOME", "/nonexistent"),
    ("USER", "somebody"),
    ("LOGNAME", "somebody"),
    ("LANG", "tr_TR.UTF-8"),
    ("LC_ALL", "tr_TR.UTF-8"),
    ("LANGUAGE", "tr"),
    ("TZ", "<+14>-14"),
    ("SOURCE_DATE_EPOCH", "1"),
];

/// Runs a program that builds in other circumstances than ours; `words` are its arguments for a place. What it
/// prints is returned.
pub fn run(
    program: &Path,
    words: impl FnOnce(&Place) -> Vec<OsString>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Vec<u8>, Error> {
    let folder = work_folder(&options.work)?;
    let place = Place {
        work: folder.path().join("another folder/of a longer name"),
        cache: folder.path().join("kept/packages"),
        clock_ahead: clock_ahead(),
    };
    if place.clock_ahead.is_zero() {
        progress.note("packages' programs see the same clock again: nothing may be traced here");
    }
    for path in [&place.work, &folder.path().join("kept")] {
        fs::create_dir_all(path).at("make the folder", path)?;
    }
    let kept = options.cache.canonicalize().at("open", &options.cache)?;
    symlink(kept, &place.cache).at("make the link", &place.cache)?;
    let mut command = Command::new("/bin/sh");
    command
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .envs(SURROUNDINGS)
        .current_dir("/")
        .stdin(std::process::Stdio::null())
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .arg(program)
        .args(words(&place));
    progress.start("build again, in other circumstances", None, Unit::Items);
    let log = folder.path().join("log");
    let printed = on_other_processors(|| program::run(command, "elea", &log, progress))?;
    progress.finish();
    Ok(printed)
}

/// Another time for programs, if they can see one here: some containers let nobody trace.
fn clock_ahead() -> Duration {
    let mut date = program::program("date");
    date.arg("+%s");
    elea_sys::clock::ahead(&mut date, CLOCK_AHEAD);
    let here = SystemTime::now().duration_since(UNIX_EPOCH);
    let seen = date.output().ok().and_then(|output| {
        let text = String::from_utf8(output.stdout).ok()?;
        text.trim().parse().ok().map(Duration::from_secs)
    });
    let is_ahead = seen
        .zip(here.ok())
        .is_some_and(|(seen, here)| seen > here + CLOCK_AHEAD / 2);
    if is_ahead {
        CLOCK_AHEAD
    } else {
        Duration::ZERO
    }
}

/// Lets what is started in between have one processor where we have several, and all where we have one.
fn on_other_processors<T>(start: impl FnOnce() -> T) -> T {
    let Ok(own) = sched_getaffinity(None) else {
        return start();
    };
    let mut other = CpuSet::new();
    if own.count() > 1 {
        let first = (0..CpuSet::MAX_CPU).find(|&cpu| own.is_set(cpu));
        other.set(first.unwrap_or(0));
    } else {
        (0..CpuSet::MAX_CPU).for_each(|cpu| other.set(cpu));
    }
    let _ = sched_setaffinity(None, &other);
    let out = start();
    let _ = sched_setaffinity(None, &own);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Update;
    use elea_sys::progress::Silent;

    #[test]
    fn a_program_finds_other_circumstances_and_nothing_kept() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let options = Options {
            cache: at("cache/packages"),
            work: at("work"),
            locked: true,
            update: Update::Keep,
            fresh: false,
            clock_ahead: Duration::ZERO,
            tools: None,
            elea: at("elea"),
            initrd: at("initrd"),
            specialisations: std::collections::BTreeMap::new(),
        };
        fs::create_dir_all(at("cache/bases")).unwrap();
        fs::create_dir_all(&options.cache).unwrap();
        fs::write(options.cache.join("a.deb"), "a").unwrap();
        let script = "umask; pwd; echo $HOME $USER $LC_ALL; date +%z; nproc; cat $1/a.deb; ls $(dirname $1); test -w \"$2\" && echo done";
        let words = |place: &Place| {
            let words = ["-c".into(), script.into(), "sh".into()];
            // Where tests are run, programs may be traced.
            assert!(place.clock_ahead == CLOCK_AHEAD || cfg!(not(target_arch = "x86_64")));
            let paths = [place.cache.clone().into(), place.work.clone().into()];
            words.into_iter().chain(paths).collect()
        };
        let before = sched_getaffinity(None).unwrap();
        let printed = run(Path::new("/bin/sh"), words, &options, &Silent).unwrap();
        assert_eq!(sched_getaffinity(None).unwrap(), before);
        let text = String::from_utf8(printed).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..4],
            ["0077", "/", "/nonexistent somebody tr_TR.UTF-8", "+1400"],
            "{text}"
        );
        if before.count() > 1 {
            assert_eq!(lines[4], "1", "{text}");
        }
        assert_eq!(lines[5], "apackages", "{text}");
        assert_eq!(lines[6..], ["done"], "{text}");
        assert_eq!(
            fs::read_dir(&options.work).unwrap().count(),
            0,
            "nothing is left"
        );
    }
}
