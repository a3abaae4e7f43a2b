use super::*;
use elea_formats::digest::Algorithm;
use elea_formats::dump;

fn tree(text: &str) -> Tree {
    dump::parse(text.as_bytes()).unwrap()
}

/// A tree in the form `os-1`, with more lines in the order of their paths.
fn os1(lines: &str) -> Tree {
    let mut tree = tree(&format!("/ 0 40755 2 0 0 0 0.0 - - -\n{lines}"));
    canonical(&mut tree, Form::Os1);
    tree
}

fn lines(explanation: &Explanation) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
    explanation
        .differences
        .iter()
        .map(|d| {
            let rule = d.rule.map_or("stays".into(), |rule| format!("{rule:?}"));
            format!(
                "{} {}: {} | {} ({rule})",
                d.path,
                d.field,
                text(&d.a),
                text(&d.b)
            )
        })
        .collect()
}

#[test]
fn every_field_is_told_with_both_values() {
    let hash = "6b2b7e1e7a3e1e6f1d3c3f2a9d5b4c8e7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c";
    let object = format!("{}/{}", &hash[..2], &hash[2..]);
    let a = format!(
        "\
/ 0 40755 2 0 0 0 0.0 - - -
/a 3 100644 1 0 0 0 5.000000001 - abc - user.x=1 user.y=2
/b 3 100644 1 0 0 0 5.0 - abc -
/c 9000 100644 1 0 0 0 5.0 {object} - {hash}
/d 0 20644 1 0 0 1281 5.0 - - -
/e 1 120777 1 0 0 0 5.0 x - -
/f 0 40755 2 0 0 0 5.0 - - -
/f/in 0 100644 1 0 0 0 5.0 - - -
/h 1 100644 2 0 0 0 5.0 - h -
/i 0 @120000 - - - - 0.0 /h - -
"
    );
    let b = "\
/ 0 40755 2 0 0 0 0.0 - - -
/a 3 104755 1 7 8 0 6.000000002 - abc - user.x=3 user.z=4
/b 3 100644 1 0 0 0 5.0 - abd -
/c 3 100644 1 0 0 0 5.0 - abc -
/d 0 20644 1 0 0 1282 5.0 - - -
/e 1 120777 1 0 0 0 5.0 y - -
/f 1 120777 1 0 0 0 5.0 x - -
/h 1 100644 1 0 0 0 5.0 - h -
/i 1 100644 2 0 0 0 5.0 - h -
/j 0 @120000 - - - - 0.0 /i - -
";
    let explanation = explain(&tree(&a), &tree(b));
    assert_eq!(explanation.verdict, Verdict::Different);
    let (abc, abd) = (
        verity::measure(Algorithm::Sha256, b"abc"),
        verity::measure(Algorithm::Sha256, b"abd"),
    );
    assert_eq!(
        lines(&explanation),
        [
            "/a mode: 0644 | 4755 (stays)".to_owned(),
            "/a uid: 0 | 7 (stays)".into(),
            "/a gid: 0 | 8 (stays)".into(),
            "/a mtime: 5.000000001 | 6.000000002 (stays)".into(),
            "/a xattr user.x: 1 | 3 (stays)".into(),
            "/a xattr user.y: 2 | - (stays)".into(),
            "/a xattr user.z: - | 4 (stays)".into(),
            format!("/b content: 3 bytes, {abc} | 3 bytes, {abd} (stays)"),
            format!("/c content: 9000 bytes, {hash} | 3 bytes, {abc} (stays)"),
            "/d device: 5:1 | 5:2 (stays)".into(),
            "/e target: x | y (stays)".into(),
            "/f type: directory | symbolic link (stays)".into(),
            "/f/in type: file | - (stays)".into(),
            "/h links: 2 names: /h, /i | 1 name (stays)".into(),
            "/i links: 2 names: /h, /i | 2 names: /i, /j (stays)".into(),
            "/j type: - | file (stays)".into(),
        ]
    );
    assert_eq!(explain(&tree(b), &tree(b)).verdict, Verdict::Same);
    assert!(explain(&tree(b), &tree(b)).differences.is_empty());
}

/// Each rule of the form is named where it alone made the difference.
#[test]
fn the_rules_of_the_form_are_named() {
    let small = verity::measure(Algorithm::Sha256, b"abc").to_string();
    let capability = |revision: u8, rest: &str| {
        format!(
            "security.capability=\\x00\\x00\\x00\\x{revision:02x}{}{rest}",
            "\\x00".repeat(16)
        )
    };
    let raw = format!(
        "\
/ 0 40700 2 7 7 0 5.0 - - - user.root=1
/a 3 100644 1 0 0 0 5.500000000 - abc -
/b 3 100644 1 0 0 0 5.0 {}/{} - {small}
/c 0 100644 1 0 0 0 5.0 - - - {}
/d 0 40755 2 0 0 0 -3.0 - - - security.selinux=l
/e 0 140755 1 0 0 0 5.0 - - -
/f 1 120700 1 0 0 0 5.0 x - -
/g 1 100644 2 0 0 0 5.0 - h -
/tmp 0 41777 2 0 0 0 5.0 - - -
/tmp/g 0 @120000 - - - - 0.0 /g - -
",
        &small[..2],
        &small[2..],
        capability(3, "\\x00\\x00\\x00\\x00"),
    );
    let form = format!(
        "\
/a 3 100644 1 0 0 0 5.0 - abc -
/b 3 100644 1 0 0 0 5.0 - abc -
/c 0 100644 1 0 0 0 5.0 - - - {}
/d 0 40755 2 0 0 0 0.0 - - -
/f 1 120777 1 0 0 0 5.0 x - -
/g 1 100644 1 0 0 0 5.0 - h -
",
        capability(2, "")
    );
    let explanation = explain(&tree(&raw), &os1(&form));
    let found = lines(&explanation).join("\n");
    for line in [
        "/ mode: 0700 | 0755 (Root)",
        "/ uid: 7 | 0 (Root)",
        "/ mtime: 5.000000000 | 0.000000000 (Root)",
        "/ xattr user.root: 1 | - (Root)",
        "/a mtime: 5.500000000 | 5.000000000 (Times)",
        "/b place: object | in the image (Inline)",
        "/boot type: - | directory (Emptied)",
        "/d mtime: -3.000000000 | 0.000000000 (Times)",
        "/d xattr security.selinux: l | - (Attributes)",
        "/e type: socket | - (Sockets)",
        "/f mode: 0700 | 0777 (LinkModes)",
        "/g links: 2 names: /g, /tmp/g | 1 name (Emptied)",
        "/tmp mtime: 5.000000000 | 0.000000000 (Emptied)",
        "/tmp/g type: file | - (Emptied)",
    ] {
        assert!(found.lines().any(|l| l == line), "no `{line}` in\n{found}");
    }
    assert!(found.contains("(Capabilities)"), "{found}");
    assert!(!found.contains("(stays)"), "{found}");
    assert_eq!(explanation.verdict, Verdict::FormOfA, "{found}");
    assert_eq!(explain(&os1(&form), &tree(&raw)).verdict, Verdict::FormOfB);
    let other = raw.replace("5.500000000", "5.700000000");
    assert_eq!(
        explain(&tree(&raw), &tree(&other)).verdict,
        Verdict::SameInForm
    );
    // One real difference among the others.
    let other = form.replace("/a 3 100644", "/a 3 100600");
    let explanation = explain(&tree(&raw), &os1(&other));
    assert_eq!(explanation.verdict, Verdict::Different);
    let stays: Vec<String> = lines(&explanation)
        .into_iter()
        .filter(|line| line.ends_with("(stays)"))
        .collect();
    assert_eq!(stays, ["/a mode: 0644 | 0600 (stays)"]);
}

/// Two trees whose only difference is where content stands are one in the form, but the one
/// that has it elsewhere is not in the form.
#[test]
fn content_at_another_place_is_the_same_content() {
    let small = verity::measure(Algorithm::Sha256, b"abc").to_string();
    let object = format!(
        "/ 0 40755 2 0 0 0 0.0 - - -\n/b 3 100644 1 0 0 0 5.0 {}/{} - {small}\n",
        &small[..2],
        &small[2..]
    );
    let inline = os1("/b 3 100644 1 0 0 0 5.0 - abc -\n");
    let mut object = tree(&object);
    canonical(&mut object, Form::Os1);
    assert_eq!(explain(&object, &inline).verdict, Verdict::FormOfA);
    assert_eq!(explain(&inline, &object).verdict, Verdict::FormOfB);
}

#[test]
fn long_values_are_cut_and_many_names_counted() {
    let text = bounded(&[b'x'; 300]);
    assert!(text.len() < 150 && text.contains("300 bytes"), "{text}");
    let names: Vec<Vec<u8>> = (0..9).map(|n| format!("/{n}").into_bytes()).collect();
    assert_eq!(group(Some(&names)), "9 names: /0, /1, /2, /3, …");
}
