//! Tests of units.

use super::*;
use proptest::prelude::*;
use std::process::Command;

fn unit(text: &str) -> Unit {
    Unit::parse(text.as_bytes()).unwrap()
}

#[test]
fn lines_are_read_as_systemd_reads_them() {
    let text = "\u{feff}Outside=1\n[Unit]\r\n Description =  one \\\n# a comment within\n\n  two\\\n; and another\n three\n\
        No equals sign\n=no key\nAfter=a.service b.service\nAfter=c.service\n[X-Mine]\nKey=a=b\n[Service]\n\
        Environment=\"A=\\\\\"\nTail=open \\";
    let unit = unit(text);
    assert_eq!(unit.value("Unit", "Description"), Some("one    two  three"));
    let after: Vec<_> = unit.words("Unit", "After").collect();
    assert_eq!(after, ["a.service", "b.service", "c.service"]);
    assert_eq!(unit.value("X-Mine", "Key"), Some("a=b"));
    // Two backslashes continue nothing.
    assert_eq!(unit.value("Service", "Environment"), Some("\"A=\\\\\""));
    assert_eq!(unit.value("Service", "Tail"), Some("open"));
    assert_eq!(unit.value("Unit", "Outside"), None);
    assert!(unit.has("Service") && !unit.has("Socket"));
}

#[test]
fn what_systemd_does_not_load_is_refused() {
    let error = Unit::parse(b"[Unit]\r\n[Service\nType=oneshot\n").unwrap_err();
    let shown = "line 2: `[Service` begins a section and has no `]` at its end";
    assert_eq!(error.to_string(), shown);
    assert_eq!(
        Unit::parse(&vec![b'a'; MAX_TEXT + 1]),
        Err(Error::TooLong(MAX_TEXT + 1))
    );
    let many = format!("[Unit]\n{}", "A=b\n".repeat(MAX_SETTINGS + 1));
    assert_eq!(Unit::parse(many.as_bytes()), Err(Error::TooMany));
}

#[test]
fn drop_ins_add_and_take_back() {
    let mut unit = unit("[Service]\nExecStart=/a\nEnvironment=A=1\nRestart=no\n");
    unit.lay(b"[Service]\nExecStart=\nExecStart=/b\nEnvironment=B=2\nRestart=always\n")
        .unwrap();
    assert_eq!(unit.values("Service", "ExecStart"), ["/b"]);
    assert_eq!(unit.values("Service", "Environment"), ["A=1", "B=2"]);
    assert_eq!(unit.value("Service", "Restart"), Some("always"));
    // A line that is torn in one file is not continued in the next.
    unit.lay(b"[Unit]\nDescription=a\\").unwrap();
    unit.lay(b"Type=x\n").unwrap();
    assert_eq!(unit.value("Unit", "Description"), Some("a"));
}

#[test]
fn truth_has_many_words() {
    let unit = unit("[Unit]\nA=Yes\nB=0\nC=perhaps\nD=off\nE=\n");
    let is = |key, default| unit.is("Unit", key, default);
    assert!(is("A", false) && !is("B", true) && !is("D", true));
    assert!(is("C", true) && !is("C", false) && is("E", true) && is("None", true));
}

const BASE: &str = "[Unit]\nDescription=a\n[Service]\nExecStart=/a\n";

/// Old, new, and what it needs. By NixOS's `compare_units`, in substance.
const CHANGES: &[(&str, &str, Difference)] = {
    use Difference::{Manager, None, Reload, Restart};
    &[
        (BASE, BASE, None),
        (
            BASE,
            "[Unit]\nDescription=b\n[Service]\nExecStart=/a\n",
            Manager,
        ),
        (BASE, "[Service]\nExecStart=/a\n", Manager),
        ("[Service]\nExecStart=/a\n", BASE, Manager),
        (
            BASE,
            "[Unit]\nDescription=a\nAfter=b.service\n[Service]\nExecStart=/a\n",
            Restart,
        ),
        (
            BASE,
            "[Unit]\nDescription=a\nOnFailure=b.service\nRefuseManualStop=yes\n[Service]\nExecStart=/a\n",
            Manager,
        ),
        (
            BASE,
            "[Unit]\nDescription=a\n[Service]\nExecStart=/b\n",
            Restart,
        ),
        (
            BASE,
            "[Unit]\nDescription=a\n[Service]\nExecStart=/a\n[Install]\nWantedBy=x.target\n",
            None,
        ),
        (
            BASE,
            "[Unit]\nDescription=a\n[Service]\nExecStart=/a\n[X-Test]\nA=b\n",
            Restart,
        ),
        (
            BASE,
            "[Unit]\nDescription=a\n[Service]\nExecStart=/a\n[X-Test]\n",
            None,
        ),
        (
            "[Service]\nExecStart=/a\n[X-Test]\nA=b\n",
            "[Service]\nExecStart=/a\n",
            Restart,
        ),
        (
            "[Service]\nExecStart=/a\n[X-Test]\nA=b\n",
            "[Service]\nExecStart=/a\n[X-Next]\nA=b\n",
            Restart,
        ),
        // Reload triggers.
        (
            BASE,
            "[Unit]\nDescription=a\nX-Reload-Triggers=1\n[Service]\nExecStart=/a\n",
            Reload,
        ),
        (
            "[Unit]\nX-Reload-Triggers=1\n",
            "[Unit]\nX-Reload-Triggers=2\n",
            Reload,
        ),
        ("[Unit]\nX-Reload-Triggers=1\n", "[Unit]\n", Manager),
        ("[Unit]\nX-Reload-Triggers=1\n", "", Manager),
        ("", "[Unit]\nX-Reload-Triggers=1\n", Reload),
        ("", "[Unit]\nAfter=x.service\n", Restart),
        // What a unit reads is looked at by whoever switches.
        (
            "[Unit]\nX-Reload-On=/etc/a\n",
            "[Unit]\nX-Restart-On=/etc/a\n",
            Manager,
        ),
        (
            "[Unit]\nX-Reload-Triggers=1\n[Service]\nA=1\n",
            "[Unit]\nX-Reload-Triggers=2\n[Service]\nA=2\n",
            Restart,
        ),
        // ExecReload.
        (
            BASE,
            "[Unit]\nDescription=a\n[Service]\nExecStart=/a\nExecReload=/r\n",
            Reload,
        ),
        (
            "[Service]\nExecReload=/r\n",
            "[Service]\nExecReload=/s\n",
            Reload,
        ),
        (
            "[Service]\nExecReload=/r\nA=b\n",
            "[Service]\nA=b\n",
            Manager,
        ),
        // Mounts.
        (
            "[Mount]\nWhat=a\nOptions=ro\n",
            "[Mount]\nWhat=a\nOptions=rw\n",
            Reload,
        ),
        (
            "[Mount]\nWhat=a\nOptions=ro\n",
            "[Mount]\nWhat=b\nOptions=rw\n",
            Restart,
        ),
        (
            "[Mount]\nWhat=a\n",
            "[Mount]\nWhat=a\nOptions=rw\n",
            Restart,
        ),
        // An empty value is not the same as no value.
        ("[Service]\nA=b\n", "[Service]\nA=b\nSockets=\n", Restart),
        // The order of values counts, the order of settings does not.
        ("[Service]\nA=1\nB=1\n", "[Service]\nB=1\nA=1\n", None),
        ("[Service]\nA=1\nA=2\n", "[Service]\nA=2\nA=1\n", Restart),
    ]
};

#[test]
fn what_changed_says_what_is_needed() {
    for (old, new, expected) in CHANGES {
        let found = unit(old).compare(&unit(new));
        assert_eq!(found, *expected, "{old:?} -> {new:?}");
    }
}

#[test]
fn names_are_taken_apart() {
    let name = Name::parse("a-b@x.y@z.service").unwrap();
    assert_eq!(name.kind(), Kind::Service);
    assert_eq!((name.prefix(), name.instance()), ("a-b", Some("x.y@z")));
    assert_eq!(name.template().unwrap().as_str(), "a-b@.service");
    assert_eq!(name.companion(Kind::Socket), "a-b.socket");
    let template = name.template().unwrap();
    assert_eq!((template.instance(), template.template()), (Some(""), None));
    let names = [
        "a-b@x.y@z.service",
        "a-b@.service",
        "a-@.service",
        "a-@x.y@z.service",
        "service",
    ];
    assert_eq!(name.inherits(), names);
    let plain = Name::parse("a-b-c.timer").unwrap();
    let names = ["a-b-c.timer", "a-b-.timer", "a-.timer", "timer"];
    assert_eq!(plain.inherits(), names);
    // The root slice and mount, and names of escaped dashes.
    let root = Name::parse("-.mount").unwrap();
    assert_eq!((root.stem(), root.inherits().len()), ("-", 2));
    let escaped = Name::parse("escaped\\x2ddash.service").unwrap();
    assert_eq!(escaped.stem(), "escaped\\x2ddash");
    for wrong in [
        "",
        "a",
        ".service",
        "@.service",
        "@x.service",
        "a.b",
        "a/b.service",
        "a b.service",
        "ä.service",
    ] {
        assert!(Name::parse(wrong).is_err(), "{wrong}");
    }
    assert!(Name::parse(&format!("{}.service", "a".repeat(248))).is_err());
    assert!(Name::parse(&format!("{}.service", "a".repeat(247))).is_ok());
}

/// `systemd-escape` is right.
#[test]
fn escaping_is_systemds() {
    let texts = [
        "/",
        "/a//b/",
        "/.x/.y",
        "/usr/./lib",
        "/a-b/c d",
        "/ä/\\x",
        "/a:b_c.d/é",
        "/..a",
    ];
    for path in texts {
        let Ok(output) = Command::new("systemd-escape")
            .args(["-p", "--", path])
            .output()
        else {
            eprintln!("skipped: no systemd-escape");
            return;
        };
        let expected = String::from_utf8(output.stdout).unwrap();
        assert_eq!(escape_path(path.as_bytes()).unwrap(), expected.trim_end());
        let output = Command::new("systemd-escape").args(["--", path]).output();
        let expected = String::from_utf8(output.unwrap().stdout).unwrap();
        assert_eq!(escape(path.as_bytes()), expected.trim_end());
    }
    assert_eq!(escape_path(b"/a/../b"), None);
    assert_eq!(unescape_path("a-b\\x2dc").unwrap(), b"/a/b-c");
    for wrong in ["\\", "\\x", "\\x2", "\\xgg", "\\y20"] {
        assert_eq!(unescape(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(unit) = Unit::parse(&bytes) {
            prop_assert_eq!(unit.compare(&unit), Difference::None);
        }
        let text = String::from_utf8_lossy(&bytes);
        let _ = (Name::parse(&text).map(|n| n.inherits()), unescape(&text));
    }

    #[test]
    fn escaping_goes_back(bytes in proptest::collection::vec(1u8.., 0..60)) {
        prop_assert_eq!(unescape(&escape(&bytes)).unwrap(), bytes);
    }

    /// What is written is read, however long lines are broken.
    #[test]
    fn a_value_survives_continuation(words in proptest::collection::vec("[a-z0-9=]{1,8}", 1..12)) {
        let text = format!("[S]\nK={}\n", words.join("\\\n# x\n"));
        let read = unit(&text);
        prop_assert_eq!(read.words("S", "K").collect::<Vec<_>>(), words.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// The greater of two changes is what both together need.
    #[test]
    fn a_change_is_as_large_as_its_largest_part(trigger: bool, text: bool, exec: bool) {
        let new = format!(
            "[Unit]\nDescription={}\nX-Reload-Triggers={}\n[Service]\nExecStart={}\n",
            u8::from(text), u8::from(trigger), u8::from(exec)
        );
        let old = unit("[Unit]\nDescription=0\nX-Reload-Triggers=0\n[Service]\nExecStart=0\n");
        let expected = match (exec, trigger, text) {
            (true, _, _) => Difference::Restart,
            (_, true, _) => Difference::Reload,
            (_, _, true) => Difference::Manager,
            _ => Difference::None,
        };
        prop_assert_eq!(old.compare(&unit(&new)), expected);
    }
}
