//! Help, man pages and completions of every command.

use crate::program::{Elea, files, has, skipped};
use std::process::Command;

/// Every command, as words, with its help.
fn commands(elea: &Elea) -> Vec<(String, String)> {
    let (mut todo, mut all) = (vec![String::new()], Vec::new());
    while let Some(words) = todo.pop() {
        let help = elea.good(&format!("{words} --help"));
        let listed = help.split("\nCommands:\n").nth(1).unwrap_or_default();
        for line in listed.lines().take_while(|line| !line.is_empty()) {
            let name = line.trim_start().split(' ').next().unwrap();
            if line.starts_with("  ") && !line.starts_with("   ") && name != "help" {
                todo.push(format!("{words} {name}"));
            }
        }
        all.push((words.trim().to_owned(), help));
    }
    all
}

#[test]
fn every_help_fits_a_hundred_columns_and_says_what_it_is() {
    let elea = Elea::new();
    let commands = commands(&elea);
    assert!(commands.iter().any(|(words, _)| words == "image show"));
    for (words, help) in commands {
        for line in help.lines() {
            assert!(line.chars().count() <= 100, "{words}: {line}");
        }
        let first = help.lines().next().unwrap();
        assert!(
            !first.is_empty() && !first.starts_with("Usage"),
            "{words}: no description"
        );
    }
}

#[test]
fn man_pages_and_completions_are_made_and_are_well_formed() {
    let elea = Elea::new();
    elea.good("generate out");
    let pages = files(&elea.path("out/man1"));
    assert!(
        pages
            .iter()
            .any(|p| p.ends_with("elea-image-push.1") || p.ends_with("elea-image-show.1"))
    );
    if has("groff") {
        for page in &pages {
            let run = Command::new("groff")
                .args(["-Kutf8", "-man", "-Tutf8", "-ww", "-z"])
                .arg(page)
                .output()
                .unwrap();
            assert!(run.status.success() && run.stderr.is_empty(), "{run:?}");
        }
    } else {
        skipped("no groff");
    }
    let bash = elea.path("out/completions/elea.bash");
    let run = Command::new("bash").arg("-n").arg(&bash).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    assert!(elea.path("out/completions/_elea").is_file());
    assert!(elea.path("out/completions/elea.fish").is_file());
}

/// The hidden commands are the units' business, and in no help.
#[test]
fn hidden_commands_stay_hidden() {
    let help = Elea::new().good("--help");
    assert!(
        !help.contains("agent") && !help.contains("generate"),
        "{help}"
    );
}
