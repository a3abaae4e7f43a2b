//! Every version of a format that was ever released must still be read.

use elea_compose::lock;

#[test]
fn a_lock_of_the_first_version() {
    let text = include_str!("golden/lock-1.lock");
    let read = lock::parse(text).unwrap();
    assert_eq!(read.packages.len(), 5);
    assert_eq!(read.users["sshd"], 991);
    assert_eq!(read.epoch, 1_795_432_958);
    assert_eq!(read.loader.as_ref().unwrap().name, "systemd-boot-efi");
    assert_eq!(read.archives.last().unwrap().suite, "sid");
    // The first version is what is written today.
    assert_eq!(lock::encode(&read), text);
}
