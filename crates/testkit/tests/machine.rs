//! The driver itself, with a machine that has nothing to boot.

use elea_testkit::vm::{Hardware, Machine};
use std::time::Duration;

#[test]
fn a_machine_speaks_resets_and_ends_with_its_driver() {
    if !elea_testkit::has("qemu-system-x86_64") {
        eprintln!("skipped: no qemu-system-x86_64");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::File::create(&disk)
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let mut machine = Machine::new(folder.path(), &disk, Hardware::default()).unwrap();
    machine.start().unwrap();
    let limit = Duration::from_mins(2);
    let first = machine.wait_for("BdsDxe", 0, limit).unwrap();
    machine.reset().unwrap();
    machine.wait_for("BdsDxe", first, limit).unwrap();
    let picture = folder.path().join("screen.ppm");
    machine.screen(&picture).unwrap();
    assert!(picture.metadata().unwrap().len() > 1000);
    assert!(machine.said().contains("BdsDxe"));
    machine.kill();
    assert!(!machine.is_running());
    let error = machine.wait_for("login:", 0, limit).unwrap_err();
    assert!(error.to_string().contains("BdsDxe"), "{error}");
}
