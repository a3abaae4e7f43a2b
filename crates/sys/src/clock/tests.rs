use super::*;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const YEAR: Duration = Duration::from_hours(400 * 24);

/// Seconds of this machine's clock.
fn here() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// What a command prints, with another clock; none if it is not there.
fn printed(name: &str, words: &[&str]) -> Option<String> {
    let mut command = Command::new(name);
    command.args(words);
    if !is_there(name) {
        println!("skipped: no {name}");
        return None;
    }
    ahead(&mut command, YEAR);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

fn is_there(name: &str) -> bool {
    Path::new(name).is_absolute()
        || std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|folder| folder.join(name).exists())
}

/// Whether seconds are of the other clock, and not of this machine's.
fn is_ahead(seconds: &str) -> bool {
    let seconds: f64 = seconds.trim().parse().unwrap();
    let from = (here() + YEAR.as_secs()) as f64;
    (from - 3600.0..from + 3600.0).contains(&seconds)
}

#[test]
fn programs_see_the_other_time_however_they_ask() {
    let calls = format!(
        "use Time::HiRes; my $t = pack 'q q', 0, 0; syscall({}, 0, $t); my ($s) = unpack 'q', $t; \
         my $v = pack 'q q', 0, 0; syscall({}, $v, 0); my ($u) = unpack 'q', $v; \
         print join ' ', time, Time::HiRes::time, $s, $u, syscall({}, 0);",
        libc::SYS_clock_gettime,
        libc::SYS_gettimeofday,
        libc::SYS_time
    );
    for (name, words) in [
        ("date", &["+%s"][..]),
        (
            "bash",
            &[
                "-c",
                "echo $EPOCHSECONDS $(date +%s); printf '%(%s)T\\n' -1",
            ],
        ),
        ("perl", &["-e", &calls]),
        (
            "python3",
            &[
                "-S",
                "-c",
                "import time; print(time.time(), time.time_ns() // 10**9)",
            ],
        ),
        ("busybox", &["date", "+%s"]),
        ("awk", &["BEGIN { srand(); srand(); print srand() }"]),
    ] {
        let Some(text) = printed(name, words) else {
            continue;
        };
        assert!(text.split_whitespace().count() > 0, "{name}");
        for seconds in text.split_whitespace() {
            assert!(is_ahead(seconds), "{name}: {text}");
        }
    }
}

#[test]
fn a_static_program_sees_it_too_and_waits_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/clock/static.c");
    let words = ["-static", "-pthread", "-O1", "-o"];
    let compiled = Command::new("cc")
        .args(words)
        .arg(&program)
        .arg(source)
        .output();
    match compiled {
        Ok(output) if output.status.success() => {}
        output => {
            println!("skipped: no C compiler with static libraries: {output:?}");
            return;
        }
    }
    let text = printed(program.to_str().unwrap(), &[]).unwrap();
    assert_eq!(text.lines().count(), 8, "{text}");
    for line in text.lines() {
        assert!(line.parse::<u64>().is_ok() && is_ahead(line), "{text}");
    }
}

#[test]
fn clocks_since_the_start_of_the_machine_stay() {
    let script = format!(
        "my $t = pack 'q q', 0, 0; syscall({}, 1, $t); print unpack 'q', $t;",
        libc::SYS_clock_gettime
    );
    let Some(text) = printed("perl", &["-e", &script]) else {
        return;
    };
    let now = std::fs::read_to_string("/proc/uptime").unwrap();
    let now: f64 = now.split(' ').next().unwrap().parse().unwrap();
    let seen: f64 = text.parse().unwrap();
    assert!((now - 3600.0..now + 1.0).contains(&seen), "{seen} {now}");
}

/// A shell with another clock.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    ahead(&mut command, YEAR);
    command
}

#[test]
fn it_ends_as_the_program_does() {
    use std::os::unix::process::ExitStatusExt as _;
    assert_eq!(shell("exit 3").status().unwrap().code(), Some(3));
    assert_eq!(shell("kill -KILL $$").status().unwrap().signal(), Some(9));
    assert_eq!(shell("kill -ABRT $$").status().unwrap().signal(), Some(6));
    let mut absent = Command::new("/nonexistent");
    ahead(&mut absent, YEAR);
    let error = absent.spawn().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    // Handlers run, and calls that they interrupt go on.
    let script = "trap 'echo caught' USR1; (sleep 0.1; kill -USR1 $$) & wait $!; wait; date +%s";
    let output = shell(script).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    assert!(first == "caught" && is_ahead(rest), "{text}");
}

#[test]
fn a_program_that_is_stopped_goes_on_when_it_is_told_to() {
    // By the one that started it, which sees both.
    let script = "$| = 1; alarm 60; my $child = fork; \
        if (!$child) { alarm 60; kill STOP => $$; print time; exit 7 } \
        waitpid $child, 2; select undef, undef, undef, 0.2; print 'stopped '; kill CONT => $child; waitpid $child, 0; print ' ', $? >> 8;";
    let Some(text) = printed("perl", &["-e", script]) else {
        return;
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let ["stopped", time, "7"] = words[..] else {
        panic!("{text}");
    };
    assert!(is_ahead(time), "{text}");
}

#[test]
fn it_is_asked_to_end_and_leaves_nothing_behind() {
    use std::io::{BufRead as _, BufReader, Read as _};
    // One is left behind that nobody waits for; it holds the pipe as long as it lives, and speaks if that is long.
    let script = "trap 'echo ended; exit 0' TERM; (sleep 60; echo left) & echo ready; wait $!";
    let mut child = shell(script)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "ended\n");
}
