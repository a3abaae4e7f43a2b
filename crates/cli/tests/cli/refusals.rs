//! What makes no sense is refused, with the right exit code and words that help.

use crate::program::{Elea, Ran, files, has, skipped};
use rustix::process::Signal;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

#[test]
fn wrong_command_lines_are_explained() {
    let elea = Elea::new();
    for (line, texts) in [
        (
            "image import ../x",
            &["`../x` is not a reference", "dir:PATH"][..],
        ),
        ("image import docker://host/a", &["registry:host/a"]),
        (
            "image import ostree:repo:ref",
            &["not supported by this version"],
        ),
        (
            "image import dir:x --form os-9",
            &["`os-9` is no form", "`raw` or `os-1`"],
        ),
        (
            "image import dir:x --name registry:h/a",
            &["outside the store"],
        ),
        (
            "image export a qcow2:b",
            &["tar:FILE, squashfs:FILE, erofs:FILE or dump:FILE"],
        ),
        ("image tag a dir:b", &["outside the store"]),
        (
            "lock --update a.toml",
            &["`a.toml` is no package", "goes before `--update`"],
        ),
        ("lock --update Bash", &["`Bash` is no name of a package"]),
        ("build --locked --update bash", &["cannot be used with"]),
        (
            "build --check -",
            &["reads the config twice", "into a file"],
        ),
        ("imag list", &["unrecognized subcommand", "'image'"]),
        ("image list --jsn", &["unexpected argument", "--json"]),
        ("image rm", &["required arguments"]),
        ("apply --test --boot", &["cannot be used with '--boot'"]),
        ("apply --live-usr --boot", &["cannot be used with '--boot'"]),
        ("apply --confirm 0", &["`0` is no time", "60s, 5m or 1h"]),
        ("apply a.toml --image hello:1.0", &["cannot be used with"]),
    ] {
        let ran = elea.bad(line, 2, texts);
        assert_eq!(ran.out, "", "{line}");
    }
    assert!(!elea.store().exists(), "a refused command made a store");
}

#[test]
fn what_is_not_there_is_named() {
    let elea = Elea::new();
    elea.bad("image list", 1, &["elea: ", "/store", "elea store init"]);
    elea.good("store init");
    elea.bad("image show hello", 1, &["hello", "elea image list"]);
    elea.bad("image rm hello", 1, &["no name `hello`", "elea image list"]);
    elea.bad(
        "image import dir:nowhere --name a",
        1,
        &["nowhere", "No such file"],
    );
    elea.bad("image import tar:nowhere.tar", 1, &["nowhere.tar"]);
}

#[test]
fn who_meets_a_full_disk_is_told_what_frees_room() {
    let elea = Elea::new();
    elea.good("store init");
    let tree = elea.tree("tree").display().to_string();
    elea.good(&format!("image import dir:{tree} --name a"));
    let full = || std::fs::File::create("/dev/full").unwrap();
    let mut export = elea.command(&["image", "export", "a", "tar:-"]);
    let ran: Ran = export.stdout(full()).output().unwrap().into();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for text in ["No space left", "make room", "elea store gc"] {
        assert!(ran.err.contains(text), "{ran:?}");
    }
    // A file that cannot be written is named.
    let export = elea.command(&["image", "export", "a", "tar:x.tar"]);
    let limit = "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"";
    let words = export.get_args().map(std::ffi::OsStr::to_owned);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", limit])
        .arg(export.get_program())
        .args(words);
    limited
        .current_dir(elea.path("."))
        .env("ELEA_STORE", elea.store());
    let ran: Ran = limited.output().unwrap().into();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("x.tar was not written: "), "{ran:?}");
    assert!(!elea.path("x.tar").exists());
}

/// Commands that only root can run say so at once.
#[test]
fn an_ordinary_user_is_told_what_needs_root() {
    if !has("setpriv") || !rustix::process::geteuid().is_root() {
        skipped("no setpriv, or not root");
        return;
    }
    let elea = Elea::new();
    elea.good("store init");
    // Where the build is need not be readable by everybody.
    let folder = elea.path("bin");
    std::fs::create_dir(&folder).unwrap();
    let program = folder.join("elea");
    std::fs::copy(env!("CARGO_BIN_EXE_elea"), &program).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(elea.path("."), open).unwrap();
    let config = elea.path("elea.toml");
    std::fs::write(&config, crate::config::GOOD).unwrap();
    let config = config.display().to_string();
    for words in [
        &["image", "mount", "hello", "/mnt"][..],
        &["build", &config],
        &[
            "install",
            "--image",
            "hello",
            "--disk",
            "/tmp/disk",
            "--size",
            "8G",
        ],
        &["status"],
        &["upgrade"],
        &["rollback"],
        &["etc", "diff"],
        &["agent", "tidy"],
    ] {
        let ran: Ran = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .arg("--store")
            .arg(elea.store())
            .args(words)
            .current_dir("/")
            .output()
            .unwrap()
            .into();
        assert_eq!(ran.code, Some(1), "{words:?}: {ran:?}");
        assert!(ran.err.contains("needs root"), "{words:?}: {ran:?}");
        assert!(ran.err.contains("sudo"), "{words:?}: {ran:?}");
    }
}

/// The header of a tar file's entry (ustar) of this many bytes.
pub(crate) fn header(name: &str, size: u64) -> [u8; 512] {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|&b| u32::from(b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// Bytes of a file whose content never comes to its end: more than a test writes, and little enough
/// for a disk that has hardly room (a file without room is refused before its first byte).
const ENDLESS: u64 = 128 << 20;

/// Ctrl-C and SIGTERM in the middle of an import: the program ends by the signal, and nothing has
/// a name. The import hangs on a pipe, so that it is in the middle for sure.
#[test]
fn an_interrupted_import_leaves_nothing_named() {
    for (signal, number) in [(Signal::INT, 2), (Signal::TERM, 15)] {
        let elea = Elea::new();
        elea.good("store init");
        let mut child = elea
            .command(&["image", "import", "tar:-", "--name", "big"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let piece = vec![7; 1 << 20];
        // A pipe holds 64 KiB: what was written before is read.
        pipe.write_all(&header("whole", 1 << 20)).unwrap();
        pipe.write_all(&piece).unwrap();
        pipe.write_all(&header("cut", ENDLESS)).unwrap();
        pipe.write_all(&piece).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        // It ends at the next piece that it reads.
        let wrote = (0..100)
            .take_while(|_| pipe.write_all(&piece).is_ok())
            .count();
        assert!(wrote < 100, "it read on");
        drop(pipe);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(number), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("elea: stopped"), "{said}");
        assert_eq!(
            elea.json("image list")["images"].as_array().unwrap().len(),
            0
        );
        elea.good("store gc");
        elea.good("store fsck");
        assert_eq!(elea.json("store stats")["objects"]["count"], 0);
        assert!(
            !files(&elea.store())
                .iter()
                .any(|f| f.metadata().is_ok_and(|m| m.len() > 100_000))
        );
    }
}

/// A second Ctrl-C does not wait for anything.
#[test]
fn a_second_interrupt_ends_it_at_once() {
    let elea = Elea::new();
    elea.good("store init");
    let mut child = elea
        .command(&["image", "import", "tar:-", "--name", "big"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(&header("cut", ENDLESS)).unwrap();
    pipe.write_all(&vec![7; 1 << 20]).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    // Nothing more comes through the pipe: only the signals can end it. Two of a kind that come at
    // once are one, so they are of two kinds.
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert!(status.signal().is_some(), "{status:?}");
    drop(pipe);
    elea.good("store gc");
    assert_eq!(
        elea.json("image list")["images"].as_array().unwrap().len(),
        0
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let elea = Elea::new();
    elea.good("store init");
    let ran: Ran = Command::new("bash")
        .args([
            "-c",
            "set -o pipefail; \"$0\" --quiet --store \"$1\" store stats | true; echo $?",
        ])
        .arg(env!("CARGO_BIN_EXE_elea"))
        .arg(elea.store())
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.out, "0\n", "{ran:?}");
    assert_eq!(ran.err, "");
}
