//! Reading a large config, beside Nix with a set of modules that says the same.

use super::build::cells;
use super::measure::{Used, column, command};
use super::report::Section;
use crate::Result;
use crate::works::Works;
use elea_testkit::{Error, has};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// How many files there are, and files of the system in each.
const MODULES: usize = 50;
const FILES: usize = 7;
/// How often each is read in a round.
const TIMES: usize = 10;

/// What Nix needs to lay its modules over one another; the module system of nixpkgs does more, and is slower.
const MERGE: &str = r#"
let
  merge = a: b: builtins.mapAttrs (name: value:
    if !(a ? ${name}) then value
    else if !(b ? ${name}) then a.${name}
    else if builtins.isAttrs value then merge a.${name} b.${name}
    else if builtins.isList value then a.${name} ++ b.${name}
    else throw "${name} is said twice") (a // b);
  vars = { site = "lab"; };
in builtins.foldl' merge { system = { name = "a"; version = "1"; }; } [
"#;

/// Reads both again and again.
pub(super) fn reads(works: &Works, rounds: usize) -> Result<Section> {
    let folder = works.folder.join("config");
    let lines = write_all(&folder)?;
    let elea = |words: &[&str]| {
        let mut elea = Command::new(&works.programs.elea);
        elea.args(words).current_dir(&folder);
        elea
    };
    let mut nix = Command::new("nix-instantiate");
    nix.args(["--eval", "--strict", "--json", "top.nix"])
        .current_dir(&folder);
    let mut runs = vec![
        (
            "`elea config check`",
            elea(&["config", "check", "top.toml"]),
            Vec::new(),
        ),
        (
            "`elea --version`: the start of the process alone",
            elea(&["--version"]),
            Vec::new(),
        ),
    ];
    if has("nix-instantiate") {
        runs.push(("`nix-instantiate --eval --strict`", nix, Vec::new()));
        let mut start = Command::new("nix-instantiate");
        start.args(["--eval", "-E", "1"]);
        runs.push((
            "`nix-instantiate --eval -E 1`: its start alone",
            start,
            Vec::new(),
        ));
    }
    for _ in 0..rounds * TIMES {
        for (_, program, all) in &mut runs {
            all.push(command(program)?);
        }
    }
    let row = |(what, _, all): &(&str, Command, Vec<Used>)| {
        vec![
            (*what).to_owned(),
            column(all, |u| u.wall * 1000.0, 1),
            column(all, |u| u.memory, 1),
        ]
    };
    Ok(Section {
        title: "Reading a large config",
        head: cells(["what", "wall ms", "memory MB"]),
        rows: runs.iter().map(row).collect(),
        how: format!(
            "{MODULES} files that one imports, {lines} lines together, with variables; each read {} times, in turns. Elea checks every value; Nix lays the same over one another with\n\
             a function of ten lines and checks nothing, since nixpkgs' module system is no part of it. GNU `time` is in both.",
            rounds * TIMES
        ),
    })
}

/// Writes the config in both languages; how many lines the TOML has.
fn write_all(folder: &Path) -> Result<usize> {
    let fail = |e: std::io::Error| Error::other(format!("{}: {e}", folder.display()));
    fs::create_dir_all(folder).map_err(fail)?;
    let imports: Vec<String> = (0..MODULES).map(|n| format!("\"m{n}.toml\"")).collect();
    let top = format!(
        "imports = [{}]\n[system]\nname = \"a\"\nversion = \"1\"\n[vars]\nsite = \"lab\"\n",
        imports.join(", ")
    );
    let mut lines = top.lines().count();
    fs::write(folder.join("top.toml"), top).map_err(fail)?;
    let mut nix = MERGE.to_owned();
    for number in 0..MODULES {
        let toml = toml(number);
        lines += toml.lines().count();
        fs::write(folder.join(format!("m{number}.toml")), toml).map_err(fail)?;
        fs::write(folder.join(format!("m{number}.nix")), self::nix(number)).map_err(fail)?;
        // Writing to a string does not fail.
        let _ = writeln!(nix, "  (import ./m{number}.nix {{ inherit vars; }})");
    }
    fs::write(folder.join("top.nix"), format!("{nix}]\n")).map_err(fail)?;
    Ok(lines)
}

/// What a file says, in TOML.
fn toml(number: usize) -> String {
    let mut text = format!(
        "[packages]\ninstall = [\"pkg{number}a\", \"pkg{number}b\", \"common\"]\n[services]\nenable = [\"s{number}.service\"]\n[users.u{number}]\ngroups = [\"adm\"]\n"
    );
    for file in 0..FILES {
        let _ = write!(
            text,
            "[files.\"/etc/m{number}/f{file}\"]\ncontent = \"\"\"\n# ${{vars.site}} {file}\nkey=value\n\"\"\"\n"
        );
    }
    text
}

/// The same in Nix.
fn nix(number: usize) -> String {
    let mut text = format!(
        "{{ vars }}: {{\n  packages.install = [ \"pkg{number}a\" \"pkg{number}b\" \"common\" ];\n  services.enable = [ \"s{number}.service\" ];\n  users.u{number}.groups = [ \"adm\" ];\n"
    );
    for file in 0..FILES {
        let _ = write!(
            text,
            "  files.\"/etc/m{number}/f{file}\".content = ''\n    # ${{vars.site}} {file}\n    key=value\n  '';\n"
        );
    }
    text + "}\n"
}
