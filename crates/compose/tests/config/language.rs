//! The config's language: what is laid over what, variables, modules, conditions, specialisations.

use crate::{bad, good, load};
use elea_compose::config::{Content, Rank};
use std::path::Path;

const SYSTEM: &str = "[system]\nname = \"a\"\nversion = \"1\"\n";

#[test]
fn the_strongest_holds_and_lists_are_joined() {
    let top = "imports = [\"base/one.toml\", \"two.toml\"]\n[system]\nversion = \"2\"\n[packages]\ninstall = [\"tree\", \"jq\"]\nremove = [\"vim\"]\n[force.services]\nenable = [\"b.service\"]\n[files.\"/etc/a\"]\nmode = \"0600\"\n";
    let one = "[system]\nname = \"a\"\n[default.system]\nversion = \"1\"\n[packages]\ninstall = [\"jq\", \"vim\"]\n[default.services]\nenable = [\"a.service\"]\ndisable = [\"b.service\"]\n[files.\"/etc/a\"]\nsource = \"a\"\n";
    let two = "[services]\ndisable = [\"a.service\"]\n[files.\"/etc/a\"]\nowner = \"mail\"\n";
    let (dir, config) = load(&[
        ("top.toml", top),
        ("base/one.toml", one),
        ("base/a", "content"),
        ("two.toml", two),
    ]);
    let config = config.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.system.version, "2");
    assert_eq!(config.packages.install, ["jq", "tree"]);
    // Of the list `enable` the forced one is all that counts; of `disable` the default does not.
    assert_eq!(config.services.enable, ["b.service"]);
    assert_eq!(config.services.disable, ["a.service"]);
    let file = &config.files["/etc/a"];
    assert_eq!((file.mode, file.owner.as_str()), (0o600, "mail"));
    // Paths mean what the file that they stand in means.
    assert!(matches!(&file.content, Content::Copy(path) if path.ends_with("base/a")));
    let origin = |key| config.origin(key).unwrap().file;
    assert!(origin("system.version").ends_with("top.toml"));
    assert!(origin("packages.install[vim]").ends_with("one.toml"));
    assert_eq!(config.read.len(), 3);
    let said = config.said("system.version");
    let told: Vec<_> = said
        .iter()
        .map(|d| {
            let file = d.origin.file.strip_prefix(dir.path()).unwrap();
            (
                file.to_str().unwrap(),
                d.origin.line,
                d.value.as_str(),
                d.rank,
                d.why.as_str(),
                d.holds,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                "base/one.toml",
                4,
                "\"1\"",
                Rank::Default,
                "imported",
                false
            ),
            ("top.toml", 3, "\"2\"", Rank::Plain, "", true),
        ]
    );
    assert!(config.said("nothing.here").is_empty());
}

#[test]
fn who_says_otherwise_with_the_same_weight_is_told_of_both() {
    let other = "[system]\nversion = \"2\"\n[base]\nsuite = \"trixie\"\n";
    let top = format!("imports = [\"other.toml\"]\n{SYSTEM}[base]\nsuite = \"trixie\"\n");
    let files = [("top.toml", top.as_str()), ("other.toml", other)];
    assert_eq!(
        bad(&files),
        [
            "top.toml:4:11: `system.version` is said twice, each time otherwise [take one of them out, or write the one that holds below `[force]`, or the other below `[default]`]"
        ]
    );
    let (dir, config) = load(&files);
    let drawn = config.unwrap_err().to_string();
    let drawn = drawn.replace(&format!("{}/", dir.path().display()), "");
    for part in [
        "--> top.toml:4:11",
        "^^^ and here",
        "::: other.toml:2:11",
        "--- here",
    ] {
        assert!(drawn.contains(part), "no `{part}` in:\n{drawn}");
    }
    let files = [
        ("top.toml", "imports = [\"b.toml\"]\nsystem = 3\n"),
        ("b.toml", SYSTEM),
    ];
    assert_eq!(
        bad(&files)[0],
        "b.toml:1:1: `system` is a table here and a number there"
    );
}

#[test]
fn imports_are_files_folders_and_profiles_each_once() {
    let top = format!(
        "imports = [\"conf.d\", \"left.toml\", \"right.toml\", \"profile:server\"]\n{SYSTEM}"
    );
    let shared = "[packages]\ninstall = [\"jq\"]\n";
    let config = good(&[
        ("top.toml", &top),
        ("conf.d/20.toml", "[packages]\ninstall = [\"two\"]\n"),
        ("conf.d/10.json", "{\"packages\": {\"install\": [\"one\"]}}"),
        ("conf.d/README", "no config"),
        ("conf.d/.30.toml.swp", "no config"),
        ("left.toml", "imports = [\"shared.toml\"]\n"),
        ("right.toml", "imports = [\"shared.toml\"]\n"),
        ("shared.toml", shared),
    ]);
    for name in ["one", "two", "jq", "openssh-server"] {
        assert!(config.packages.install.contains(&name.to_owned()), "{name}");
    }
    let names: Vec<_> = config
        .read
        .iter()
        .map(|p| p.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "top.toml",
            "10.json",
            "20.toml",
            "left.toml",
            "shared.toml",
            "right.toml",
            "profile:server"
        ]
    );
    assert_eq!(
        config.said("health.units")[0].origin.file,
        Path::new("profile:server")
    );
    let found = bad(&[(
        "top.toml",
        "imports = [\"profile:sever\"]\n[system]\nname = \"a\"\nversion = \"1\"\n",
    )]);
    assert_eq!(
        found,
        ["top.toml:1:12: there is no profile `sever` [those that come with Elea are: server]"]
    );
}

#[test]
fn variables_stand_in_texts_and_names() {
    let text = format!(
        "{SYSTEM}[vars]\nsite = \"lab\"\nport = 8080\nnames = [\"jq\", \"tree\"]\nnested.deep = \"x\"\n\
         [packages]\ninstall = \"${{vars.names}}\"\n\
         [health]\ntimeout = \"${{vars.port}}\"\n\
         [files.\"/etc/${{vars.site}}.conf\"]\n\
         content = \"port=${{vars.port}} ${{vars.nested.deep}} $HOME ${{HOME}} $${{vars.site}}\"\n"
    )
    .replace("8080", "300");
    let config = good(&[("top.toml", &text)]);
    assert_eq!(config.packages.install, ["jq", "tree"]);
    assert_eq!(config.health.timeout, 300);
    let Content::Text(content) = &config.files["/etc/lab.conf"].content else {
        panic!("a text")
    };
    assert_eq!(content, "port=300 x $HOME ${HOME} ${vars.site}");
    let text = format!(
        "{SYSTEM}[vars]\nsite = \"lab\"\nlist = []\n[default.vars]\nsite = \"home\"\n\
         [files.\"/etc/a\"]\ncontent = \"${{vars.sit}} ${{vars.list}} ${{vars.site\"\n"
    );
    assert_eq!(
        bad(&[("top.toml", &text)]),
        [
            "top.toml:10:11: there is no `vars.sit` [did you mean `site`?]",
            "top.toml:10:11: `vars.list` is a list and no part of a text",
            "top.toml:10:11: `${vars.` has no end",
        ]
    );
}

/// A module for web sites.
const SITE: &str = "[parameters.name]\ntype = \"text\"\n[parameters.port]\ntype = \"number\"\ndefault = 80\n\
    [parameters.kind]\ntype = \"text\"\ndefault = \"static\"\none_of = [\"static\", \"proxy\"]\ndoc = \"How it is served\"\n\
    [packages]\ninstall = [\"nginx\"]\n\
    [files.\"/etc/nginx/sites/${param.name}\"]\ncontent = \"listen ${param.port}; # ${param.kind} ${vars.admin}\"\n";

#[test]
fn a_module_is_laid_in_for_each() {
    let text = format!(
        "{SYSTEM}[vars]\nadmin = \"ada\"\n[vars.sites.blog]\nport = 81\n[vars.sites.shop]\nkind = \"proxy\"\n\
         [[use]]\nmodule = \"site.toml\"\nfor_each = \"vars.sites\"\n\
         [[use]]\nmodule = \"site.toml\"\nwith = {{ name = \"one\", port = 82 }}\n"
    );
    let config = good(&[("top.toml", &text), ("site.toml", SITE)]);
    let content = |name: &str| match &config.files[name].content {
        Content::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(content("/etc/nginx/sites/blog"), "listen 81; # static ada");
    assert_eq!(content("/etc/nginx/sites/shop"), "listen 80; # proxy ada");
    assert_eq!(content("/etc/nginx/sites/one"), "listen 82; # static ada");
    // All three ask for it.
    assert_eq!(config.packages.install, ["nginx"]);
    let said = config.said("packages.install");
    let why: Vec<_> = said.iter().map(|d| d.why.as_str()).collect();
    assert_eq!(
        why,
        [
            "module site.toml for blog",
            "module site.toml for shop",
            "module site.toml"
        ]
    );
    assert!(said.iter().all(|d| d.holds));
}

/// What stands for a variable is not looked through, on its way through a module neither.
#[test]
fn values_are_literal() {
    let text = format!(
        "{SYSTEM}[vars]\na = \"$${{vars.b}}\"\nlit = '${{vars.none}}'\n[[use]]\nmodule = \"m.toml\"\nwith = {{ text = \"${{vars.lit}}\" }}\n"
    );
    let module =
        "[parameters.text]\ntype = \"text\"\n[files.\"/etc/a\"]\ncontent = \"<${param.text}>\"\n";
    let config = good(&[("top.toml", &text), ("m.toml", module)]);
    let Content::Text(content) = &config.files["/etc/a"].content else {
        panic!("a text")
    };
    assert_eq!(content, "<${vars.none}>");
}

#[test]
fn what_is_given_to_a_module_is_checked() {
    for (with, expected) in [
        (
            "with = { name = \"a\", prot = 1 }",
            "top.toml:7:22: the module has no parameter `prot` [did you mean `port`?]",
        ),
        (
            "with = { name = 1 }",
            "top.toml:7:17: `the parameter name` must be a text, not a number",
        ),
        (
            "with = { name = \"a\", kind = \"cgi\" }",
            "top.toml:7:29: \"cgi\" cannot be the parameter `kind`",
        ),
        (
            "with = { port = 1 }",
            "top.toml:5:1: the module needs the parameter `name` [add it to `with`: a text]",
        ),
        (
            "for_each = \"sites\"",
            "top.toml:7:12: `for_each` names a variable [write \"vars.NAME\", and a table or list of tables there]",
        ),
        (
            "for_each = \"vars.x\"",
            "top.toml:7:12: there is no `vars.x`",
        ),
        (
            "module_ = 1\nwith = { name = \"a\" }",
            "top.toml:7:1: unknown key `module_` in `use` [did you mean `module`?]",
        ),
    ] {
        let text = format!("{SYSTEM}\n[[use]]\nmodule = \"site.toml\"\n{with}\n");
        let site = SITE.replace(" ${vars.admin}", "");
        let found = bad(&[("top.toml", &text), ("site.toml", &site)]);
        assert_eq!(found, [expected], "{with}");
    }
    let text = format!("{SYSTEM}[[use]]\nmodule = \"m.toml\"\n");
    for (module, expected) in [
        (
            "[parameters.a]\ntype = \"int\"\n",
            "m.toml:2:8: `int` is no type of a parameter [known here: text, number, boolean, list, table]",
        ),
        (
            "[parameters.a]\ndefault = 1\n",
            "m.toml:1:13: `parameters.a` has no type [add `type`: one of text, number, boolean, list, table]",
        ),
        (
            "[parameters.a]\ntype = \"text\"\ndefault = 1\n",
            "m.toml:3:11: `the parameter a` must be a text, not a number",
        ),
        (
            "[vars]\na = 1\n",
            "m.toml:1:2: `vars` stands at the top of a config alone",
        ),
        (
            "[[use]]\nmodule = \"m.toml\"\n",
            "m.toml:1:3: `use` stands at the top of a config alone",
        ),
    ] {
        let found = bad(&[("top.toml", &text), ("m.toml", module)]);
        assert_eq!(found[0], expected, "{module}");
    }
}

#[test]
fn conditions_choose_what_counts() {
    let text = |conditions: &str| {
        format!(
            "{SYSTEM}[vars]\nsite = \"lab\"\n[base]\nsuite = \"trixie\"\n[[when]]\n{conditions}\napply = {{ packages.install = [\"jq\"] }}\n"
        )
    };
    for (conditions, holds) in [
        ("arch = \"amd64\"", true),
        ("arch = \"arm64\"", false),
        ("arch = [\"arm64\", \"amd64\"]", true),
        ("suite = \"trixie\"\narch = \"arm64\"", false),
        ("vars = { site = \"lab\" }", true),
        ("vars = { site = [\"home\", \"work\"] }", false),
        ("not = { arch = \"arm64\" }", true),
        (
            "any = [{ arch = \"arm64\" }, { vars = { site = \"lab\" } }]",
            true,
        ),
        ("any = []", false),
        ("", true),
    ] {
        let config = good(&[("top.toml", &text(conditions))]);
        assert_eq!(!config.packages.install.is_empty(), holds, "{conditions}");
    }
    let config = good(&[("top.toml", &text("arch = \"amd64\""))]);
    assert_eq!(
        config.said("packages.install")[0].why,
        "when arch = \"amd64\""
    );
    for (conditions, expected) in [
        (
            "arhc = \"amd64\"",
            "top.toml:9:1: unknown condition `arhc` [did you mean `arch`?]",
        ),
        (
            "vars = { sit = 1 }",
            "top.toml:9:10: there is no `vars.sit` [did you mean `site`?]",
        ),
        (
            "any = 1",
            "top.toml:9:7: `when[].any` must be a list of tables, not a number",
        ),
    ] {
        assert_eq!(bad(&[("top.toml", &text(conditions))]), [expected]);
    }
    // What is removed under a condition that does not hold stays.
    for (arch, left) in [("amd64", 0), ("arm64", 1)] {
        let text = format!(
            "{SYSTEM}[packages]\ninstall = [\"jq\"]\n[[when]]\narch = \"{arch}\"\napply = {{ remove.packages.install = [\"jq\"] }}\n"
        );
        let config = good(&[("top.toml", &text)]);
        assert_eq!(config.packages.install.len(), left, "{arch}");
    }
    let text = format!("{SYSTEM}[[when]]\napply = {{ default.vars.a = 1 }}\n");
    assert_eq!(
        bad(&[("top.toml", &text)]),
        ["top.toml:5:19: `vars` stands at the top of a config alone"]
    );
    // What is asked for cannot be decided by what asks, and what does not count is checked too.
    let text = format!(
        "{SYSTEM}[[when]]\narch = \"arm64\"\napply = {{ base.suite = \"sid\", packages.instal = 1 }}\n"
    );
    let found = bad(&[("top.toml", &text)]);
    assert!(
        found[0].contains("`base.suite` cannot depend on a condition"),
        "{found:?}"
    );
}

#[test]
fn what_is_removed_is_gone_unless_it_is_forced() {
    let base = "[packages]\ninstall = [\"jq\", \"vim\"]\n[services]\nenable = [\"a.service\"]\n[files.\"/etc/a\"]\ncontent = \"a\"\n[files.\"/etc/b\"]\ncontent = \"b\"\n[users.bob]\n";
    let top = format!(
        "imports = [\"base.toml\"]\n{SYSTEM}[remove]\nfiles = [\"/etc/a\"]\nusers = [\"bob\"]\npackages.install = [\"vim\"]\nservices.enable = [\"a.service\", \"none.service\"]\n"
    );
    let config = good(&[("top.toml", &top), ("base.toml", base)]);
    assert_eq!(config.packages.install, ["jq"]);
    assert!(config.services.enable.is_empty() && config.users.is_empty());
    let files: Vec<_> = config.files.keys().collect();
    assert_eq!(files, ["/etc/b"]);
    let top = format!("{top}[force.packages]\ninstall = [\"vim\"]\n");
    let config = good(&[("top.toml", &top), ("base.toml", base)]);
    assert_eq!(config.packages.install, ["vim"]);
}

#[test]
fn a_specialisation_is_the_same_system_otherwise() {
    let text = format!(
        "{SYSTEM}[packages]\ninstall = [\"jq\"]\n[kernel]\narguments = [\"quiet\"]\n\
         [specialisation.debug]\nsystem.title = \"A, to look into\"\nkernel.arguments = [\"debug\"]\nremove.packages.install = [\"jq\"]\n\
         [force.health]\ntimeout = 10\n[specialisation.debug.health]\ntimeout = 20\n"
    );
    let config = good(&[("top.toml", &text)]);
    assert_eq!(config.kernel.arguments, ["quiet"]);
    let debug = &config.specialisation["debug"];
    assert_eq!(
        (debug.system.title.as_str(), debug.system.version.as_str()),
        ("A, to look into", "1")
    );
    // Its lists go on with what is there.
    assert_eq!(debug.kernel.arguments, ["quiet", "debug"]);
    assert!(debug.packages.install.is_empty());
    assert_eq!(debug.health.timeout, 10, "what is forced holds");
    assert_eq!(debug.said("system.title")[0].why, "specialisation debug");
    // Who says nothing of the title can tell them apart all the same.
    let text = format!("{SYSTEM}[specialisation.lab.kernel]\narguments = [\"a\"]\n");
    let config = good(&[("top.toml", &text)]);
    let title = config.system.title.clone();
    let lab = config.clone().specialised("lab").unwrap();
    assert_eq!(lab.system.title, format!("{title} (lab)"));
    assert_eq!(lab.special.as_deref(), Some("lab"));
    let error = config.specialised("labs").unwrap_err();
    assert!(
        error.to_string().contains("no specialisation `labs`"),
        "{error}"
    );
    let text = format!("{SYSTEM}[specialisation.debug]\nkernel.argments = []\n");
    assert_eq!(
        bad(&[("top.toml", &text)]),
        ["top.toml:5:8: unknown key `argments` in `kernel` [did you mean `arguments`?]"]
    );
}

#[test]
fn few_words_do_not_make_a_config_without_end() {
    let large = "x".repeat(1 << 20);
    let many = "${vars.large}".repeat(100);
    let text =
        format!("{SYSTEM}[vars]\nlarge = \"{large}\"\n[files.\"/etc/a\"]\ncontent = \"{many}\"\n");
    assert_eq!(
        bad(&[("top.toml", &text)]),
        ["top.toml:7:11: variables and modules make more than 64 MiB"]
    );
    let names: Vec<String> = (0..200).map(|number| format!("\"{number}\"")).collect();
    let text = format!(
        "{SYSTEM}[[use]]\nmodule = \"m.toml\"\nfor_each = [{}]\n",
        names.join(", ")
    );
    let module = format!(
        "[parameters.name]\ntype = \"text\"\n[files.\"/etc/${{param.name}}\"]\ncontent = \"{large}\"\n"
    );
    assert_eq!(
        bad(&[("top.toml", &text), ("m.toml", &module)]),
        ["top.toml:4:1: variables and modules make more than 64 MiB"]
    );
    let many = (0..33).fold(SYSTEM.to_owned(), |text, number| {
        format!("{text}[specialisation.s{number}]\n")
    });
    let found = bad(&[("top.toml", &many)]);
    assert!(
        found[0].ends_with("there are more than 32 specialisations"),
        "{found:?}"
    );
}
