//! What makes no sense is refused, with the right exit code and words that help.

use crate::program::{Elea, Ran, has, skipped};
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
            &["tar:FILE, erofs:FILE or dump:FILE"],
        ),
        ("image tag a dir:b", &["outside the store"]),
        ("imag list", &["unrecognized subcommand", "'image'"]),
        ("image list --jsn", &["unexpected argument", "--json"]),
        ("image rm", &["required arguments"]),
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

/// Ctrl-C in the middle of an import: the program ends by the signal, and nothing has a name.
#[test]
fn an_interrupted_import_leaves_nothing_named() {
    let elea = Elea::new();
    elea.good("store init");
    let tree = elea.tree("tree");
    // Sparse files: long to read, nothing to write.
    for number in 0..64 {
        let file = std::fs::File::create(tree.join(format!("big-{number}"))).unwrap();
        file.set_len(1 << 30).unwrap();
    }
    let mut child = elea
        .command(&["image", "import", "dir:tree", "--name", "big"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("stopped"), "{said}");
    assert_eq!(
        elea.json("image list")["images"].as_array().unwrap().len(),
        0
    );
    elea.good("store gc");
    elea.good("store fsck");
    assert_eq!(elea.json("store stats")["objects"], 0);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let elea = Elea::new();
    elea.good("store init");
    let ran: Ran = Command::new("bash")
        .args([
            "-c",
            "set -o pipefail; \"$0\" --store \"$1\" store stats | true; echo $?",
        ])
        .arg(env!("CARGO_BIN_EXE_elea"))
        .arg(elea.store())
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.out, "0\n", "{ran:?}");
    assert_eq!(ran.err, "");
}
