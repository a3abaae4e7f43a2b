use super::*;
use crate::dump;
use std::collections::BTreeMap;

fn os1_of(text: &str) -> String {
    let mut tree = dump::parse(text.as_bytes()).unwrap();
    canonical(&mut tree, Form::Os1);
    let once = dump::encode(&tree);
    canonical(&mut tree, Form::Os1);
    assert_eq!(dump::encode(&tree), once, "twice is once");
    once
}

const EMPTY: &str = "\
/ 0 40755 8 0 0 0 0.0 - - -
/boot 0 40755 2 0 0 0 0.0 - - -
/dev 0 40755 2 0 0 0 0.0 - - -
/proc 0 40555 2 0 0 0 0.0 - - -
/run 0 40755 2 0 0 0 0.0 - - -
/sys 0 40555 2 0 0 0 0.0 - - -
/tmp 0 41777 2 0 0 0 0.0 - - -
";

#[test]
fn the_frame_is_fixed() {
    assert_eq!(os1_of("/ 0 40700 2 5 6 0 77.8 - - - user.a=b\n"), EMPTY);
    let full = "\
/ 0 40755 2 0 0 0 1.0 - - -
/boot 1 120777 1 0 0 0 1.0 x - -
/dev 0 40700 2 0 0 0 1.0 - - -
/dev/null 0 20666 1 0 0 259 1.0 - - -
/run 0 40700 3 0 0 0 1.0 - - -
/run/lock 0 40755 2 0 0 0 1.0 - - -
";
    assert_eq!(os1_of(full), EMPTY);
}

#[test]
fn roads_that_carry_less_give_the_same() {
    let frame: Vec<&str> = EMPTY.lines().collect();
    let (by_directory, by_tar) = (
        "\
/ 0 40755 2 0 0 0 9.9 - - -
/a 3 100644 1 0 0 0 5.999 - abc - security.selinux=x trusted.y=z user.k=v user.overlay.origin=q
/l 1 120777 1 0 0 0 5.1 a - - security.selinux=x
/old 0 100600 1 0 0 0 -3.5 - - -
/s 0 140755 1 0 0 0 5.0 - - -
",
        "\
/ 0 40700 2 0 0 0 0.0 - - -
/a 3 100644 1 0 0 0 5.0 - abc - user.k=v
/l 1 120644 1 0 0 0 5.0 a - -
/old 0 100600 1 0 0 0 0.0 - - -
",
    );
    let mut expected = vec![
        frame[0],
        "/a 3 100644 1 0 0 0 5.0 - abc - user.k=v",
        frame[1],
        frame[2],
        "/l 1 120777 1 0 0 0 5.0 a - -",
        "/old 0 100600 1 0 0 0 0.0 - - -",
    ];
    expected.extend(&frame[3..]);
    let expected = expected.join("\n") + "\n";
    assert_eq!(os1_of(by_directory), expected);
    assert_eq!(os1_of(by_tar), expected);
}

#[test]
fn times_are_clamped() {
    let out = os1_of("/ 0 40755 2 0 0 0 0.0 - - -\n/a 0 100600 1 0 0 0 99999999999.0 - - -\n");
    assert!(
        out.contains("/a 0 100600 1 0 0 0 8589934591.0 - - -\n"),
        "{out}"
    );
}

#[test]
fn attributes_that_say_nothing_are_dropped() {
    let acl = |tags: &[u8]| {
        let mut value = vec![2, 0, 0, 0];
        for tag in tags {
            value.extend([*tag, 0, 6, 0, 0xff, 0xff, 0xff, 0xff]);
        }
        value
    };
    let mut meta = Meta::default();
    let of = |name: &[u8], value: Vec<u8>| BTreeMap::from([(name.to_vec(), value)]);
    for (name, value, kept) in [
        (ACCESS_ACL, acl(&[1, 4, 0x20]), false),
        (ACCESS_ACL, acl(&[]), false),
        (ACCESS_ACL, acl(&[1, 2, 4, 0x10, 0x20]), true),
        (ACCESS_ACL, acl(&[1, 2, 4]), true),
        (DEFAULT_ACL, acl(&[1, 4, 0x20]), true),
        (DEFAULT_ACL, acl(&[]), false),
        (b"user.overlay.opaque", vec![], false),
        (b"user.overlaid", vec![0], true),
        (b"user.empty", vec![], false),
        (b"user.a=b", vec![0], false),
        (b"user.%25", vec![0], false),
        (b"security.ima", vec![], false),
    ] {
        meta.xattrs = of(name, value.clone());
        canonical_meta(&mut meta);
        assert_eq!(
            meta.xattrs.len() == 1,
            kept,
            "{} {value:?}",
            name.escape_ascii()
        );
    }
    let mut third = vec![1, 0, 0, 3];
    third.resize(24, 7);
    meta.xattrs = of(CAPABILITY, third.clone());
    canonical_meta(&mut meta);
    assert_eq!(meta.xattrs[CAPABILITY], third, "another root's stays");
    third[20..].fill(0);
    let mut second = third[..20].to_vec();
    second[3] = 2;
    meta.xattrs = of(CAPABILITY, third);
    canonical_meta(&mut meta);
    assert_eq!(meta.xattrs[CAPABILITY], second);
}

#[test]
fn names_round_trip() {
    for form in [Form::Raw, Form::Os1] {
        assert_eq!(form.name().parse(), Ok(form));
    }
    assert!("os-2".parse::<Form>().is_err());
}
