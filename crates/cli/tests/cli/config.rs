//! A config that makes no sense: all its errors at once, exit 3.

use crate::program::Elea;
use std::fs;

/// The shortest config that makes sense.
pub(crate) const GOOD: &str = "\
[system]
name = \"hello\"
version = \"1.0\"
[base]
suite = \"trixie\"
";

#[test]
fn a_good_config_is_read_and_named() {
    let elea = Elea::new();
    fs::write(elea.path("elea.toml"), GOOD).unwrap();
    let out = elea.good("config check");
    assert!(
        out.contains("elea.toml: hello 1.0: nothing is wrong"),
        "{out}"
    );
    let value = elea.json("config check elea.toml");
    assert_eq!(value["schema"], "elea.config-check/1");
    assert_eq!(value["version"], "1.0");
}

#[test]
fn every_error_has_its_place_and_the_exit_code_is_three() {
    let elea = Elea::new();
    let text = format!("{GOOD}[packges]\ninstall = [\"jq\"]\n[kernel]\narguments = 7\n");
    fs::write(elea.path("elea.toml"), text).unwrap();
    for line in ["config check", "config check elea.toml --quiet"] {
        let ran = elea.bad(
            line,
            3,
            &[
                "elea.toml:6:",
                "packges",
                "packages",
                "elea.toml:9:",
                "arguments",
                "nothing was done",
            ],
        );
        assert_eq!(ran.out, "");
    }
    let ran = elea.run("config check --json");
    assert_eq!(ran.code, Some(3));
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["schema"], "elea.config-errors/1");
    assert_eq!(value["errors"].as_array().unwrap().len(), 2, "{value}");
    assert_eq!(value["errors"][0]["line"], 6);
    elea.bad("config check nowhere.toml", 3, &["nowhere.toml"]);
}

/// A config with two services on one port, and an ssh port behind the firewall.
const TRAPS: &str = "\
[packages]
install = [\"nftables\", \"openssh-server\"]
[users.ada]
ssh_keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGAbcdefghijklmnopqrstuvwxyz0123456789abcd ada\"]
[firewall]
tcp = [80]
[units.\"a.socket\"]
enable = true
Socket.ListenStream = 80
[units.\"b.socket\"]
enable = true
Socket.ListenStream = [\"/run/b\", \"0.0.0.0:80\"]
";

/// Whatever reads a config shows its warnings, and does its work.
#[test]
fn warnings_are_shown_by_whatever_reads_a_config_and_fail_nothing() {
    let elea = Elea::new();
    fs::write(elea.path("elea.toml"), format!("{GOOD}{TRAPS}")).unwrap();
    for line in ["config check", "config show", "config explain system"] {
        let ran = elea.run(line);
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        for text in [
            "warning: `a.socket` and `b.socket` both listen at the TCP port 80",
            "--> elea.toml:17:34",
            "14 | Socket.ListenStream = 80",
            "warning: the firewall keeps the port of ssh, 22, closed for everybody",
            "add 22 to `firewall.tcp`",
        ] {
            assert!(ran.err.contains(text), "{line}: no `{text}` in {}", ran.err);
        }
        assert_eq!(elea.run(&format!("{line} --quiet")).err, "", "{line}");
        let value = elea.json(line);
        assert_eq!(elea.run(&format!("{line} --json")).err, "", "{line}");
        let warning = &value["warnings"][1];
        assert_eq!(
            (&warning["line"], &warning["column"]),
            (&17.into(), &34.into())
        );
        assert_eq!(warning["other"]["line"], 14, "{value}");
    }
    let out = elea.good("config check");
    assert!(out.ends_with("hello 1.0: no error, 2 warnings\n"), "{out}");
    // Beside errors they are there too.
    fs::write(
        elea.path("elea.toml"),
        format!("{GOOD}{TRAPS}nonsense = 1\n"),
    )
    .unwrap();
    let ran = elea.bad(
        "config check",
        3,
        &["warning: the firewall", "error: ", "the config has 1 error"],
    );
    assert!(ran.err.find("warning").unwrap() < ran.err.find("error: ").unwrap());
    let ran = elea.run("config check --json");
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["errors"].as_array().unwrap().len(), 1, "{value}");
    assert_eq!(value["warnings"].as_array().unwrap().len(), 2, "{value}");
}

/// Whatever a program prints is a config: JSON, or TOML. Its paths are those of the current folder.
#[test]
fn a_config_comes_by_stdin() {
    let elea = Elea::new();
    fs::write(elea.path("motd"), "hello").unwrap();
    fs::write(elea.path("base.toml"), "[base]\nsuite = \"trixie\"\n").unwrap();
    let json = "{\"imports\": [\"base.toml\"],\n \"system\": {\"name\": \"a\", \"version\": \"1\"},\n \"files\": {\"/etc/motd\": {\"source\": \"motd\"}}}";
    let ran = elea.run_with("config check -", json);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(0), "stdin, base.toml: a 1: nothing is wrong\n")
    );
    assert_eq!(elea.run_with("config check -", GOOD).code, Some(0));
    let ran = elea.run_with("config show -", json);
    assert!(ran.out.contains("source = \"motd\""), "{ran:?}");
    let wrong = json.replace("\"1\"", "1");
    let ran = elea.run_with("config check - --json", &wrong);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let error = &value["errors"][0];
    assert_eq!(ran.code, Some(3));
    assert_eq!(
        error["message"],
        "`system.version` must be a text, not a number"
    );
    assert_eq!(
        (&error["file"], &error["line"], &error["column"]),
        (&"stdin".into(), &2.into(), &37.into())
    );
    for (text, words) in [
        (&json[..40], "stdin:2:"),
        ("[", "stdin:1:"),
        ("{\"system\": \"\u{fffd}", "stdin:1:14"),
    ] {
        let ran = elea.run_with("config check -", text);
        assert_eq!(ran.code, Some(3), "{text}");
        assert!(ran.err.contains(words), "{text}: {ran:?}");
    }
    let long = " ".repeat((4 << 20) + 1);
    let ran = elea.run_with("config check -", &long);
    assert!(
        ran.err
            .contains("cannot read stdin: it is larger than 4 MiB"),
        "{ran:?}"
    );
    // A build of it has the lock of the folder.
    let ran = elea.run_with("lock - --locked --initrd motd", json);
    assert_eq!(ran.code, Some(3));
    assert!(ran.err.contains("there is no lock elea.lock"), "{ran:?}");
    fs::write(elea.path("elea.lock"), "nonsense").unwrap();
    let ran = elea.run_with("lock - --locked --initrd motd", json);
    assert!(ran.err.contains("the lock elea.lock is damaged"), "{ran:?}");
}

/// Imports and defaults are in what is shown, and each value that was written has its place.
#[test]
fn the_whole_config_is_shown_with_the_origin_of_each_value() {
    let elea = Elea::new();
    fs::write(elea.path("elea.toml"), GOOD).unwrap();
    let more = "imports = [\"elea.toml\"]\n[force.system]\nversion = \"2.0\"\n[packages]\ninstall = [\"jq\"]\n";
    fs::write(elea.path("2.0.toml"), more).unwrap();
    let out = elea.good("config show 2.0.toml");
    assert!(
        out.contains("version = \"2.0\"") && out.contains("suite = \"trixie\""),
        "{out}"
    );
    assert!(out.contains("timeout = "), "no defaults: {out}");
    // What is shown is a config itself, and means the same.
    fs::write(elea.path("whole.toml"), &out).unwrap();
    assert_eq!(elea.good("config show whole.toml"), out);
    let value = elea.json("config show 2.0.toml");
    assert_eq!(value["schema"], "elea.config/1");
    assert_eq!(value["config"]["packages"]["install"][0], "jq");
    assert_eq!(value["origins"]["system.version"]["file"], "2.0.toml");
    assert_eq!(value["origins"]["base.suite"]["line"], 5);
    let origins = elea.good("config show 2.0.toml --origins");
    assert!(origins.contains("2.0.toml:3:"), "{origins}");
}

/// Without a lock and without leave to make one, nothing is asked of any archive.
#[test]
fn a_locked_build_needs_its_lock() {
    let elea = Elea::new();
    fs::write(elea.path("elea.toml"), GOOD).unwrap();
    for command in ["build", "lock"] {
        if command == "build" && !rustix::process::geteuid().is_root() {
            continue;
        }
        let ran = elea.bad(
            &format!("{command} --locked --initrd elea.toml"),
            3,
            &["there is no lock elea.lock", "make one with `elea lock`"],
        );
        assert_eq!(ran.out, "");
    }
    fs::write(elea.path("elea.lock"), "schema = \"elea.lock/9\"\n").unwrap();
    elea.bad(
        "lock --locked --initrd elea.toml",
        3,
        &["elea.lock", "elea.lock/9", "newer"],
    );
    fs::write(elea.path("elea.lock"), "nonsense").unwrap();
    elea.bad(
        "lock --locked --initrd elea.toml",
        3,
        &["elea.lock", "damaged"],
    );
    assert!(!elea.store().exists());
}

#[test]
fn what_an_update_names_must_be_in_the_lock() {
    let elea = Elea::new();
    fs::write(elea.path("elea.toml"), GOOD).unwrap();
    let zeros = "0".repeat(64);
    let package = |name: &str| {
        format!(
            "{{ name = \"{name}\", version = \"1\", architecture = \"amd64\", sha256 = \"{zeros}\", size = 1, archive = \"trixie\", file = \"pool/x.deb\" }}"
        )
    };
    let lock = format!(
        "schema = \"elea.lock/1\"\nrequest = \"{zeros}\"\narchitecture = \"amd64\"\nepoch = 1\narchives = []\npackages = [{}]\nloader = {}\n",
        package("openssl"),
        package("systemd-boot-efi")
    );
    fs::write(elea.path("elea.lock"), &lock).unwrap();
    let ran = elea.bad(
        "lock --initrd elea.toml --update opensl whatever-it-is",
        1,
        &[
            "`opensl`; did you mean `openssl`?",
            "no package `whatever-it-is`",
        ],
    );
    assert_eq!(ran.out, "");
    assert_eq!(fs::read_to_string(elea.path("elea.lock")).unwrap(), lock);
}

/// Whoever said something of a value is named, and why it holds or does not.
#[test]
fn a_value_is_explained_with_everything_that_is_said_of_it() {
    let elea = Elea::new();
    fs::write(elea.path("elea.toml"), GOOD).unwrap();
    let more = "imports = [\"elea.toml\"]\n[force.system]\nversion = \"2.0\"\n\
        [specialisation.debug]\nsystem.title = \"To look into\"\n";
    fs::write(elea.path("2.0.toml"), more).unwrap();
    let out = elea.good("config explain system.version 2.0.toml");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "system.version = \"2.0\"");
    assert!(
        lines[1].starts_with("    elea.toml:") && lines[1].ends_with("plain (imported)"),
        "{out}"
    );
    assert_eq!(lines[2], "  → 2.0.toml:3:11: \"2.0\" force");
    let out = elea.good("config explain system.epoch 2.0.toml");
    assert!(out.contains("nobody says anything else"), "{out}");
    let out = elea.good("config explain system.title 2.0.toml --specialisation debug");
    assert!(
        out.contains("specialisation (specialisation debug)"),
        "{out}"
    );
    let value = elea.json("config explain system 2.0.toml");
    assert_eq!(value["schema"], "elea.config-explain/1");
    let values = value["values"].as_array().unwrap();
    let version = values
        .iter()
        .find(|v| v["key"] == "system.version")
        .unwrap();
    assert_eq!(version["said"][1]["rank"], "force");
    assert_eq!(version["said"][1]["line"], 3);
    elea.bad(
        "config explain sistem 2.0.toml",
        2,
        &[
            "nothing in a config is called `sistem`",
            "did you mean `system`?",
        ],
    );
    let line = "config explain system 2.0.toml --specialisation debag";
    elea.bad(
        line,
        2,
        &["no specialisation is called `debag`", "there are: debug"],
    );
}

/// Of a list it is said of each item who says it, and who takes it out.
#[test]
fn lists_are_explained_item_by_item() {
    let elea = Elea::new();
    let base = "[packages]\ninstall = [\"jq\", \"vim\", \"nano\"]\n[files.\"/etc/a\"]\ncontent = \"a\"\n[services]\nenable = [\"a.service\"]\n";
    fs::write(elea.path("base.toml"), base).unwrap();
    let top = format!(
        "imports = [\"base.toml\"]\n{GOOD}[packages]\ninstall = [\"tree\", \"jq\"]\nremove = [\"nano\"]\n[remove]\npackages.install = [\"vim\"]\nfiles = [\"/etc/a\"]\nservices.enable = [\"a.service\"]\n[services]\ndisable = [\"b.service\"]\n"
    );
    fs::write(elea.path("elea.toml"), top).unwrap();
    let out = elea.good("config explain packages.install");
    let expected = "\
packages.install = [\"jq\", \"tree\"]
  → base.toml:2:11: [\"jq\", \"vim\", \"nano\"] plain (imported)
  → elea.toml:8:11: [\"tree\", \"jq\"] plain
  \"jq\"
    → base.toml:2:12: plain (imported)
    → elea.toml:8:20: plain
  \"vim\"
      base.toml:2:18: plain (imported), taken out by elea.toml:11:21
  \"nano\"
      base.toml:2:25: plain (imported), taken out by elea.toml:9:11
  \"tree\"
    → elea.toml:8:12: plain
";
    assert_eq!(out, expected);
    let out = elea.good("config explain services.enable");
    assert!(out.starts_with("services.enable = []\n    base.toml:6:10: [\"a.service\"] plain (imported), taken out by elea.toml:13:20\n"), "{out}");
    let out = elea.good("config explain services.disable");
    assert_eq!(
        out,
        "services.disable = [\"b.service\"]\n  → elea.toml:15:11: [\"b.service\"] plain\n"
    );
    let out = elea.good("config explain files");
    assert_eq!(
        out,
        "files.\"/etc/a\".content: not in what comes out\n    base.toml:4:11: \"a\" plain (imported), taken out by elea.toml:12:10\n"
    );
    let value = elea.json("config explain packages.install");
    let items = value["values"][0]["items"].as_array().unwrap();
    assert_eq!(
        (&items[1]["value"], &items[1]["holds"]),
        (&"\"vim\"".into(), &false.into())
    );
    assert_eq!(items[1]["said"][0]["removed"]["line"], 11);
}

/// All keys can be listed and searched, and editors get a schema.
#[test]
fn keys_are_listed_searched_and_described_for_editors() {
    let elea = Elea::new();
    let all = elea.good("config options");
    assert!(
        all.contains("system.name (text; must be given)\n    what the system is called"),
        "{all}"
    );
    let found = elea.good("config options initrd modules");
    assert_eq!(
        found,
        "kernel.drivers (list of texts; default: [])\n    modules in the initrd besides the usual ones\n"
    );
    let inner = elea.good("config options firewall an address");
    assert!(
        inner.starts_with("firewall.from[].source (text; must be given)\n"),
        "{inner}"
    );
    let value = elea.json("config options user uid");
    assert_eq!(value["options"][0]["key"], "users.NAME.uid");
    assert_eq!(
        value["options"][0]["type"]["number"],
        serde_json::json!([0, 60_000])
    );
    elea.bad(
        "config options nothing like it",
        1,
        &["no key has to do with `nothing like it`"],
    );
    let schema: serde_json::Value = serde_json::from_str(&elea.good("config schema")).unwrap();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-04/schema#");
    let schema: serde_json::Value =
        serde_json::from_str(&elea.good("config schema --modules")).unwrap();
    assert_eq!(schema["properties"]["parameters"]["type"], "object");
}

/// No key has been renamed yet, so nothing is changed; what is no TOML is said, of imports too.
#[test]
fn nothing_is_migrated_that_has_its_name() {
    let elea = Elea::new();
    fs::write(
        elea.path("elea.toml"),
        format!("imports = [\"b.toml\"]\n{GOOD}"),
    )
    .unwrap();
    fs::write(elea.path("b.toml"), "[health]\ntimeout = 9\n").unwrap();
    for line in [
        "config migrate",
        "config migrate --dry-run elea.toml b.toml",
    ] {
        assert_eq!(elea.good(line), "every key has its name of today\n");
    }
    let value = elea.json("config migrate");
    assert_eq!(value["schema"], "elea.config-migrate/1");
    assert_eq!(value["changed"], serde_json::json!([]));
    fs::write(elea.path("b.toml"), "[health\n").unwrap();
    elea.bad("config migrate", 3, &["b.toml", "no TOML"]);
    elea.bad("config migrate none.toml", 1, &["none.toml"]);
}

/// A file is written anew only if it has to be, with its mode; `--check` says so alone.
#[test]
fn a_config_is_made_tidy_in_its_place() {
    use std::os::unix::fs::PermissionsExt as _;
    let elea = Elea::new();
    let path = elea.path("elea.toml");
    fs::write(&path, "[ system ]\nname=\"a\" # who\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let ran = elea.run("config fmt --check");
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(1), "elea.toml is not tidy\n")
    );
    assert_eq!(elea.good("config fmt"), "elea.toml was made tidy\n");
    let tidy = "[system]\nname = \"a\" # who\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), tidy);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert_eq!(elea.good("config fmt"), "");
    assert_eq!(elea.good("config fmt --check"), "");
    // Of several nothing is written if one is no TOML.
    fs::write(&path, "a=1\n").unwrap();
    fs::write(elea.path("b.toml"), "b = \n").unwrap();
    elea.bad("config fmt elea.toml b.toml", 3, &["b.toml", "no TOML"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "a=1\n");
    elea.bad("config fmt x.json", 1, &["x.json"]);
}
