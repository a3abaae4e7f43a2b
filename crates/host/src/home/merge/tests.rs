use super::*;
use proptest::prelude::*;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

fn first(format: Format, text: &str, fragment: &str) -> Merged {
    merge(format, Some(text), &Ownership::default(), fragment).unwrap()
}

/// Merges, and then declares nothing any more.
fn there_and_back(format: Format, text: Option<&str>, fragment: &str) -> (String, Option<String>) {
    let there = merge(format, text, &Ownership::default(), fragment).unwrap();
    let new = there.text.unwrap();
    let back = merge(format, Some(&new), &there.ownership, "").unwrap();
    (new, back.text)
}

#[test]
fn json_keeps_comments_and_the_way_it_is_written() {
    let text = "{\n\t// colours\n\t\"a\": 1.10, /* x */\n\t\"b\": { \"c\": [1,2 ,3] },\n}\n";
    let (new, back) = there_and_back(
        Format::Json,
        Some(text),
        "{\"b\": {\"d\": true}, \"e\": {\"f\": \"x\"}, \"a\": 2}",
    );
    assert_eq!(
        new,
        "{\n\t// colours\n\t\"a\": 2, /* x */\n\t\"b\": { \"c\": [1,2 ,3], \"d\": true },\n\t\"e\": {\n\t  \"f\": \"x\"\n\t}\n}\n"
    );
    // The comma behind the last member is the one thing that is not as it was.
    assert_eq!(back.unwrap(), text.replace(" },\n}", " }\n}"));
}

#[test]
fn ini_goes_where_its_section_is() {
    let text = "; mine\n[user]\n\tname = Ada\n\temail = a@b\n\n[core]\n\teditor = vi\n";
    let (new, back) = there_and_back(
        Format::Ini,
        Some(text),
        "[user]\nemail = x@y\nsigningkey = K\n[alias \"x\"]\nst = status\n",
    );
    assert_eq!(
        new,
        "; mine\n[user]\n\tname = Ada\n\temail = x@y\n\tsigningkey = K\n\n[core]\n\teditor = vi\n\n[alias \"x\"]\n\tst = status\n"
    );
    assert_eq!(back.unwrap(), text);
}

#[test]
fn toml_keeps_comments() {
    let text = "# top\na = 1 # one\n\n[b]\nc = { d = 1 }\n";
    let (new, back) = there_and_back(
        Format::Toml,
        Some(text),
        "a = 2\n[b]\ne = \"x\"\n[b.c]\nf = 1979-05-27\n[g.h]\ni = 1",
    );
    assert!(
        new.starts_with("# top\na = 2 # one\n\n[b]\nc = { d = 1"),
        "{new}"
    );
    assert!(
        new.contains("e = \"x\"") && new.contains("[g.h]\ni = 1"),
        "{new}"
    );
    assert_eq!(
        back.unwrap().parse::<::toml::Table>().unwrap(),
        text.parse::<::toml::Table>().unwrap()
    );
}

#[test]
fn a_value_of_others_comes_back_and_a_changed_one_stays() {
    let there = first(
        Format::Json,
        "{\"a\": 1, \"b\": 2}",
        "{\"a\": 3, \"b\": 2, \"c\": 4}",
    );
    assert_eq!(there.notes, ["`a` was 1 and becomes 3"]);
    let text = there.text.unwrap();
    let back = merge(Format::Json, Some(&text), &there.ownership, "{}").unwrap();
    assert_eq!(back.text.unwrap(), "{\"a\": 1, \"b\": 2}");
    let edited = text.replace("\"a\": 3", "\"a\": 5");
    let back = merge(Format::Json, Some(&edited), &there.ownership, "{}").unwrap();
    assert_eq!(back.text.unwrap(), "{\"a\": 5, \"b\": 2}");
    assert_eq!(back.notes.len(), 1, "{:?}", back.notes);
    // Declared again: ours, and what the person wrote is kept for later.
    let again = merge(Format::Json, Some(&edited), &there.ownership, "{\"a\": 6}").unwrap();
    assert_eq!(again.ownership.keys[0].before.as_deref(), Some("5"));
}

#[test]
fn a_file_that_was_made_goes_again_and_one_that_was_there_stays() {
    for (format, fragment) in [
        (Format::Json, "{\"a\": {\"b\": 1}}"),
        (Format::Ini, "[a]\nb = 1\n"),
        (Format::Toml, "[a.b]\nc = 1\n"),
    ] {
        let (_, back) = there_and_back(format, None, fragment);
        assert_eq!(back, None, "{format:?}");
        let (_, back) = there_and_back(format, Some(""), fragment);
        let nothing = if format == Format::Json { "{}" } else { "" };
        assert_eq!(back.unwrap().replace('\n', ""), nothing, "{format:?}");
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let nothing = Ownership::default();
    for (format, text, fragment) in [
        (Format::Json, "[1]", "{\"a\": 1}"),
        (Format::Json, "{\"a\": 1", "{\"a\": 1}"),
        (Format::Json, "{\"a\": 1}", "{\"a\": {\"b\": 1}}"),
        (Format::Json, "{\"a\": {\"b\": 1}}", "{\"a\": 1}"),
        (Format::Json, "{}", "{/*"),
        (Format::Toml, "a = ", "b = 1"),
        (Format::Toml, "a = 1", "a.b = 1"),
        (Format::Toml, "[a]\nb = 1", "a = 1"),
        (Format::Toml, "", "[[a]]\nb = 1"),
        (Format::Ini, "", "[a]\nb = 1\nb = 2\n"),
    ] {
        let merged = merge(format, Some(text), &nothing, fragment);
        assert!(merged.is_err(), "{text} + {fragment}: {merged:?}");
    }
}

/// What Python reads in a file, as JSON.
fn python(format: Format, text: &str) -> Option<serde_json::Value> {
    let read = match format {
        Format::Json => "json.loads(t)",
        Format::Toml => "tomllib.loads(t)",
        Format::Ini => "(c.read_string(t), {s: dict(c[s]) for s in c.sections()})[1]",
    };
    let program = format!(
        "import sys, json, configparser, tomllib\nt = sys.stdin.buffer.read().decode()\nc = configparser.RawConfigParser()\nc.optionxform = str\nprint(json.dumps({read}))"
    );
    let mut child = Command::new("python3")
        .args(["-c", &program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, text.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "python3 cannot read {text:?}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn python_reads_what_was_merged() {
    let cases = [
        (
            Format::Json,
            "{\n  \"keep\": [1, {\"x\": \"é\\n\"}],\n  \"t\": {\"old\": null}\n}\n",
            "{\"t\": {\"new\": [true], \"old\": \"y\"}, \"z\": {\"q\": 1}}",
            "{\"keep\": [1, {\"x\": \"é\\n\"}], \"t\": {\"old\": \"y\", \"new\": [true]}, \"z\": {\"q\": 1}}",
        ),
        (
            Format::Ini,
            "[a]\nx: 1\nlong = one\n   two\n\n# end\n[b]\ny=2",
            "[a]\nlong = three\nnew = 4\n[b]\nz = 5\n[c d]\nw = 6",
            "{\"a\": {\"x\": \"1\", \"long\": \"three\", \"new\": \"4\"}, \"b\": {\"y\": \"2\", \"z\": \"5\"}, \"c d\": {\"w\": \"6\"}}",
        ),
        (
            Format::Toml,
            "a.b = 1\nc = [ 1, # one\n 2]\n[d]\ne = {f = 1}\n[[g]]\nh = 1\n",
            "a.x = 2\nc = [3]\n[d.e]\ny = \"z\"\n[i]\nj = true",
            "{\"a\": {\"b\": 1, \"x\": 2}, \"c\": [3], \"d\": {\"e\": {\"f\": 1, \"y\": \"z\"}}, \"g\": [{\"h\": 1}], \"i\": {\"j\": true}}",
        ),
    ];
    for (format, text, fragment, wanted) in cases {
        let merged = first(format, text, fragment).text.unwrap();
        let Some(read) = python(format, &merged) else {
            println!("skipped: no python3");
            return;
        };
        let wanted: serde_json::Value = serde_json::from_str(wanted).unwrap();
        assert_eq!(read, wanted, "{merged}");
    }
}

/// A text of the format with these values: two tables of keys.
fn written(format: Format, values: &[(u8, u8, u32)], comments: bool) -> String {
    let mut tables = std::collections::BTreeMap::<u8, std::collections::BTreeMap<u8, u32>>::new();
    for (table, key, value) in values {
        tables.entry(*table).or_default().insert(*key, *value);
    }
    let comment = |text: &str| {
        if comments {
            text.to_owned()
        } else {
            String::new()
        }
    };
    let mut out = String::new();
    match format {
        Format::Json => {
            let body: Vec<String> = tables
                .iter()
                .map(|(table, keys)| {
                    let keys: Vec<String> = keys
                        .iter()
                        .map(|(k, v)| format!("    \"k{k}\": {v}{}", comment(" /* , } */")))
                        .collect();
                    format!(
                        "  \"t{table}\": {{{}\n{}\n  }}",
                        comment(" // {\"\n"),
                        keys.join(",\n")
                    )
                })
                .collect();
            out = format!("{{\n{}\n}}\n", body.join(",\n"));
        }
        Format::Ini | Format::Toml => {
            for (table, keys) in tables {
                let _ = writeln!(out, "{}[t{table}]", comment("# about\n"));
                for (key, value) in keys {
                    let _ = write!(out, "k{key}  =  {value}\n{}", comment("# k = 1\n"));
                }
                out.push('\n');
            }
        }
    }
    out
}

fn values() -> impl Strategy<Value = Vec<(u8, u8, u32)>> {
    proptest::collection::vec((0..3u8, 0..4u8, 0..3u32), 1..8)
}

proptest! {
    #[test]
    fn only_declared_keys_change_and_all_comes_back(
        format in prop_oneof![Just(Format::Json), Just(Format::Ini), Just(Format::Toml)],
        text in values(), old in values(), new in values(),
    ) {
        let before = written(format, &text, true);
        let (old, new) = (written(format, &old, false), written(format, &new, false));
        let there = first(format, &before, &old);
        let on = merge(format, there.text.as_deref(), &there.ownership, &new).unwrap();
        let now = on.text.unwrap();
        let wanted = declared(format, &new).unwrap();
        let mut expected: std::collections::BTreeMap<_, _> =
            declared(format, &before).unwrap().into_iter().collect();
        expected.extend(wanted);
        let found: std::collections::BTreeMap<_, _> =
            declared(format, &now).unwrap().into_iter().collect();
        prop_assert_eq!(found, expected);
        // Every line that declares nothing is there, in its order.
        let is_key = |line: &&str| line.contains('k') && !line.starts_with('#');
        let words = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !is_key(line));
            lines.map(|l| l.trim_end_matches(',').to_owned()).filter(|l| l.contains("about") || l.contains("//") || l.contains("k = 1")).collect()
        };
        prop_assert_eq!(words(&before), words(&now));
        let back = merge(format, Some(&now), &on.ownership, "").unwrap().text.unwrap();
        let lines = |text: &str| text.lines().map(|l| l.trim_end().to_owned()).filter(|l| !l.is_empty()).collect::<Vec<_>>();
        prop_assert_eq!(lines(&back), lines(&before));
    }

    #[test]
    fn no_text_makes_it_fall(text in "[\\[\\]{}\",:/*=#; \\n\\\\a1é]{0,40}", fragment in "[\\[\\]{}\",:=# \\na1]{0,20}") {
        for format in [Format::Json, Format::Ini, Format::Toml] {
            if let Ok(merged) = merge(format, Some(&text), &Ownership::default(), &fragment) {
                let _ = merge(format, merged.text.as_deref(), &merged.ownership, "");
            }
        }
    }
}
