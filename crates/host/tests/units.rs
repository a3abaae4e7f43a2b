//! systemd itself reads the units that go into an image.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose/units/usr/lib/systemd/system");
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no", "--recursive-errors=no"]);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_dir() {
            // A drop-in becomes a unit: what it says stands in the same sections.
            continue;
        }
        // The program is in the image, not here.
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("ConditionPathExists=/run/elea/booted"),
            "{name:?}"
        );
        let here = dir.path().join(name);
        fs::write(&here, text.replace("/usr/bin/elea", "/usr/bin/env")).unwrap();
        command.arg(here);
        count += 1;
    }
    assert_eq!(count, 2);
    for unit in ["emergency", "rescue"] {
        let path = folder.join(format!("{unit}.service.d/50-elea.conf"));
        let text = fs::read_to_string(path).unwrap();
        let text = text.replace("/usr/bin/elea", "/usr/bin/env");
        let here = dir.path().join(format!("elea-{unit}-drop-in.service"));
        fs::write(&here, format!("[Unit]\n{text}\nExecStart=/usr/bin/env\n")).unwrap();
        command.arg(here);
    }
    let Ok(output) = command.env("SYSTEMD_LOG_LEVEL", "warning").output() else {
        println!("skipped: no systemd-analyze");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = said.lines().filter(|line| line.contains("elea")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}
