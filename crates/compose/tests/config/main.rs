//! Configs, good and bad, as files.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod home;
mod language;
mod sections;

use elea_compose::config::{self, Config, Findings};
use std::fs;
use std::path::Path;

/// A folder of config files; the first is the config.
fn load(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Config, Findings>) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let config = config::load(&dir.path().join(files[0].0));
    (dir, config)
}

fn good(files: &[(&str, &str)]) -> Config {
    let (_dir, config) = load(files);
    config.unwrap_or_else(|e| panic!("{e}"))
}

/// Errors as `file:line:column: message [help]`.
fn bad(files: &[(&str, &str)]) -> Vec<String> {
    let (dir, config) = load(files);
    let errors = config.expect_err("this config is wrong");
    errors
        .errors()
        .iter()
        .map(|e| {
            let file = e.file.as_deref().unwrap_or(Path::new("-"));
            let file = file.strip_prefix(dir.path()).unwrap_or(file);
            let text = e.message.replace(&dir.path().display().to_string(), "DIR");
            let help = e
                .help
                .as_ref()
                .map(|h| format!(" [{h}]"))
                .unwrap_or_default();
            format!("{}:{}:{}: {text}{help}", file.display(), e.line, e.column)
        })
        .collect()
}

const SMALL: &str = "[system]\nname = \"a\"\nversion = \"1\"\n";

#[test]
fn a_small_config_gets_the_usual_rest() {
    let config = good(&[("elea.toml", SMALL)]);
    assert_eq!(config.base.suite, "trixie");
    assert_eq!(config.system.title, "A 1");
    assert_eq!(config.system.hostname, "a");
    assert_eq!(config.kernel.package, "linux-image-amd64");
    assert!(config.kernel.usual_drivers);
    assert_eq!(config.loader.suite, "sid");
    assert_eq!(config.health.timeout, 300);
    assert_eq!(config.origin("system.version").unwrap().line, 3);
    assert!(config.origin("system.title").is_none());
}

/// A mistake before a good config, and what is said of it.
const MISTAKES: &[(&str, &str)] = &[
    (
        "[systm]\n",
        "elea.toml:1:2: unknown key `systm` at the top of a config [did you mean `system`?]",
    ),
    (
        "[packages]\ninstal = [\"a1\"]\n",
        "elea.toml:2:1: unknown key `instal` in `packages` [did you mean `install`?]",
    ),
    (
        "[users.ann]\nssh-keys = []\n",
        "elea.toml:2:1: unknown key `ssh-keys` in `users.ann` [did you mean `ssh_keys`?]",
    ),
    (
        "[loader]\nzzz = 1\n",
        "elea.toml:2:1: unknown key `zzz` in `loader` [known here: suite, package, version]",
    ),
    (
        "[packages]\ninstall = \"jq\"\n",
        "elea.toml:2:11: `packages.install` must be a list of texts, not a text",
    ),
    (
        "[packages]\ninstall = [\"jq\", 3]\n",
        "elea.toml:2:18: `packages.install[1]` must be a text, not a number",
    ),
    (
        "[packages]\ninstall = [\"JQ\"]\n",
        "elea.toml:2:12: `JQ` cannot be `packages.install`",
    ),
    (
        "[packages]\ninstall = [\"jq\", \"jq\"]\n",
        "elea.toml:2:18: `jq` stands twice in `packages.install` [take one of them out]",
    ),
    (
        "[packages]\nremove = [\"jq\"]\n",
        "elea.toml:2:11: `jq` is not in `packages.install` [`remove` takes out what an imported file installs]",
    ),
    (
        "[health]\ntimeout = 0\n",
        "elea.toml:2:11: `health.timeout` must be a number from 1 to 86400",
    ),
    (
        "[health]\ntimeout = true\n",
        "elea.toml:2:11: `health.timeout` must be a number, not true or false",
    ),
    (
        "[health]\ncondemn = 1\n",
        "elea.toml:2:11: `health.condemn` must be true or false, not a number",
    ),
    (
        "[health]\nunits = [\"a.service\"]\n[services]\nmask = [\"a.service\"]\n",
        "elea.toml:2:10: `a.service` must be active after a boot, and is masked [take it out here, or out of `services.mask`]",
    ),
    (
        "[services]\nenable = [\"ssh\"]\n",
        "elea.toml:2:11: `ssh` cannot be `services.enable`",
    ),
    (
        "[services]\nenable = [\"a.service\"]\ndisable = [\"a.service\"]\n",
        "elea.toml:3:12: `a.service` is in two lists of `services`",
    ),
    (
        "[users.\"Anna B\"]\n",
        "elea.toml:1:8: `Anna B` cannot be the name of an account",
    ),
    (
        "[users.ann]\nuid = 70000\n",
        "elea.toml:2:7: `users.ann.uid` must be a number from 0 to 60000",
    ),
    (
        "[users.ann]\nuid = 1000\n[users.bob]\nuid = 1000\n",
        "elea.toml:4:7: two users have the number 1000",
    ),
    (
        "[users.ann]\npassword = \"secret\"\n",
        "elea.toml:2:12: `secret` cannot be `users.ann.password`",
    ),
    (
        "[users.ann]\nssh_keys = [\"AAAA\"]\n",
        "elea.toml:2:13: `AAAA` cannot be `users.ann.ssh_keys`",
    ),
    (
        "[kernel]\narguments = [\"a b\"]\n",
        "elea.toml:2:14: one item of `kernel.arguments` is one argument [write each as an item of its own; a value with blanks in double quotes]",
    ),
    (
        "[kernel]\narguments = [\"root=/dev/vda\"]\n",
        "elea.toml:2:14: the kernel argument `root` is Elea's own [take it out]",
    ),
    (
        "[files.\"etc/a\"]\ncontent = \"\"\n",
        "elea.toml:1:8: `etc/a` cannot be a path in the image",
    ),
    (
        "[files.\"/etc/../a\"]\ncontent = \"\"\n",
        "elea.toml:1:8: `/etc/../a` cannot be a path in the image",
    ),
    (
        "[files.\"/home/a\"]\ncontent = \"\"\n",
        "elea.toml:1:8: an image has nothing in /home/a",
    ),
    (
        "[files.\"/a\"]\n",
        "elea.toml:1:8: `files.\"/a\"` says nothing of what stands there",
    ),
    (
        "[files.\"/a\"]\ncontent = \"\"\nsymlink = \"b\"\n",
        "elea.toml:1:8: `files.\"/a\"` says more than one thing of what stands there",
    ),
    (
        "[files.\"/a\"]\nsource = \"none\"\n",
        "elea.toml:2:10: cannot read DIR/none: No such file or directory (os error 2) [paths are relative to the folder of the file that names them]",
    ),
    (
        "[files.\"/a\"]\ncontent = \"\"\nmode = \"rw\"\n",
        "elea.toml:3:8: `rw` cannot be a mode",
    ),
    (
        "[files.\"/a\"]\ncontent = \"\"\nmode = 644\n",
        "elea.toml:3:8: `files.\"/a\".mode` must be a text, not a number",
    ),
    (
        "[trust]\nkeys = [\"none.pub\"]\n",
        "elea.toml:2:9: cannot read the key DIR/none.pub: No such file or directory (os error 2)",
    ),
    (
        "[trust]\npolicy = \"none.toml\"\n",
        "elea.toml:2:10: cannot read the policy DIR/none.toml: No such file or directory (os error 2)",
    ),
    (
        "[update]\nreference = \"tar:x\"\n",
        "elea.toml:2:13: `tar:x` cannot be `update.reference`",
    ),
    (
        "[update]\nplain_http = true\n",
        "elea.toml:1:1: `update.reference` is missing [add `reference = \"registry:HOST/NAME:TAG\"`]",
    ),
    (
        "[base]\narchitecture = \"arm64\"\n",
        "elea.toml:2:16: `arm64` cannot be `base.architecture`",
    ),
    (
        "[base]\nmirror = \"ftp://x\"\n",
        "elea.toml:2:10: `ftp://x` cannot be `base.mirror`",
    ),
    (
        "[base]\nsuite = 13.0\n",
        "elea.toml:2:9: `base.suite` must be a text, not a fraction",
    ),
];

#[test]
fn each_mistake_is_said_with_its_place() {
    for (text, expected) in MISTAKES {
        // The system stands last, so that places are those of the case.
        let text = format!("{text}{SMALL}");
        assert_eq!(bad(&[("elea.toml", &text)]), [*expected], "{text}");
    }
}

#[test]
fn mistakes_of_the_system_itself() {
    let cases: &[(&str, &[&str])] = &[
        (
            "",
            &[
                "elea.toml:1:1: `system.name` is missing [add `name = \"hello\"`]",
                "elea.toml:1:1: `system.version` is missing [add `version = \"1.0\"`]",
            ],
        ),
        (
            "[system]\nname = \"Hello\"\nversion = \"-1\"\nhostname = \"a_b\"\n",
            &[
                "elea.toml:2:8: `Hello` cannot be `system.name`",
                "elea.toml:3:11: `-1` cannot be `system.version`",
                "elea.toml:4:12: `a_b` cannot be `system.hostname`",
            ],
        ),
        (
            "[system]\nname = 1\nversion = 2\n",
            &[
                "elea.toml:2:8: `system.name` must be a text, not a number",
                "elea.toml:3:11: `system.version` must be a text, not a number",
            ],
        ),
        (
            "schema = 2\n[system]\nname = \"a\"\nversion = \"1\"\n",
            &[
                "elea.toml:1:10: this file is of version 2 of the language, and this Elea knows versions up to 1 [use a newer Elea]",
            ],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(bad(&[("elea.toml", text)]), *expected, "{text}");
    }
}

#[test]
fn all_mistakes_of_all_files_are_said_at_once() {
    let base = "[packages]\ninstall = [\"jq\", \"UP\"]\n[health]\ntimout = 5\n";
    let top = "imports = [\"base.toml\", \"none.toml\"]\n[system]\nname = \"a\"\nversion = \"1\"\nepoch = -1\n";
    let found = bad(&[("elea.toml", top), ("base.toml", base)]);
    assert_eq!(
        found,
        [
            "elea.toml:1:25: cannot read the config DIR/none.toml: No such file or directory (os error 2) [paths are relative to the folder of the file that names them]",
            "elea.toml:5:9: `system.epoch` must be a number from 0 to 4294967295",
            "base.toml:2:18: `UP` cannot be `packages.install`",
            "base.toml:4:1: unknown key `timout` in `health` [did you mean `timeout`?]",
        ]
    );
}

#[test]
fn what_is_no_toml_or_no_file() {
    let text = "a = \n[system\nname = \"a\"\n[b]\nc = 1\nc = 2\n";
    let found = bad(&[("elea.toml", text)]);
    let places: Vec<&str> = found.iter().map(|e| &e[..12]).collect();
    assert_eq!(
        places,
        ["elea.toml:1:", "elea.toml:2:", "elea.toml:6:"],
        "{found:?}"
    );
    assert!(found[2].contains("duplicate key"), "{found:?}");
    let errors = config::load(Path::new("/nonexistent/elea.toml")).unwrap_err();
    assert_eq!(errors.errors().len(), 1);
    assert!(errors.to_string().contains("/nonexistent/elea.toml"));
    let found = bad(&[
        (
            "a.toml",
            "imports = [\"b.toml\"]\n[system]\nname=\"a\"\nversion=\"1\"\n",
        ),
        ("b.toml", "imports = [\"a.toml\"]\n"),
    ]);
    assert_eq!(
        found,
        ["b.toml:1:12: a.toml imports itself [take one of the imports out]"]
    );
}

#[test]
fn errors_are_drawn_with_the_lines_at_fault() {
    let text = format!("[packages]\ninstall = [\n  \"jq\",\n  \"jq\",\n]\n{SMALL}");
    let (dir, config) = load(&[("elea.toml", &text)]);
    let errors = config.unwrap_err();
    let drawn = errors
        .to_string()
        .replace(&format!("{}/", dir.path().display()), "");
    let expected = "\
error: `jq` stands twice in `packages.install`
 --> elea.toml:4:3
  |
3 |   \"jq\",
  |   ---- first here
4 |   \"jq\",
  |   ^^^^ again here
  |
  = help: take one of them out";
    assert_eq!(drawn, expected);
    let json: serde_json::Value = serde_json::from_str(&errors.to_json()).unwrap();
    assert_eq!(json["schema"], "elea.config-errors/1");
    assert_eq!(json["errors"][0]["line"], 4);
    assert_eq!(json["errors"][0]["column"], 3);
}

#[test]
fn a_policy_must_be_whole_in_the_image() {
    let text = format!("{SMALL}[trust]\npolicy = \"trust.toml\"\n");
    let check = |policy: &str| {
        let (_dir, config) = load(&[("elea.toml", &text), ("trust.toml", policy)]);
        config.map_err(|e| e.to_string())
    };
    let config = check("[default]\nkeys = [\"trust.d\"]\nthreshold = 2\n").unwrap();
    assert!(config.trust.policy.unwrap().ends_with("trust.toml"));
    let error = check("[default]\nkeys = [\"a.pub\"]\n").unwrap_err();
    assert!(error.contains("this file is not in the image"), "{error}");
    assert!(error.contains("trust.toml:2:9"), "{error}");
}

#[test]
fn json_is_the_same() {
    let json = "{ \"system\": { \"name\": \"a\", \"version\": \"1\" },\n  \"packages\": { \"install\": [\"jq\"] } }";
    let config = good(&[("elea.json", json)]);
    assert_eq!(config.packages.install, ["jq"]);
    assert_eq!(config.origin("packages.install").unwrap().line, 2);
    let found = bad(&[(
        "elea.json",
        "{ \"system\": { \"name\": \"a\", \"version\": \"1\", \"epch\": 1 } }",
    )]);
    assert_eq!(
        found,
        ["elea.json:1:44: unknown key `epch` in `system` [did you mean `epoch`?]"]
    );
    let found = bad(&[("elea.json", &format!("{{{}", "\"system\": {}"))]);
    assert!(found[0].contains("expected here"), "{found:?}");
}

#[test]
fn the_example_is_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hello");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            let config = config::load(&path).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(config.system.name, "hello", "{}", path.display());
        }
    }
}
