//! `cargo xtask fuzz`: everything that is read from outside, given to libFuzzer.
//!
//! The targets are the programs of `fuzz/`. Their counters are put in by the compiler's own options, so
//! that no other compiler and no other cargo is needed.

use crate::programs::{self, cargo, target_folder};
use crate::{Result, packages, show, talk, workspace};
use elea_testkit::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is fuzzed: the programs of `fuzz/src/bin`.
const TARGETS: [&str; 6] = ["erofs", "dump", "layer", "chunked", "documents", "config"];
/// How long each is fuzzed, in seconds, if nothing else is said.
const SECONDS: u64 = 60;
/// The architecture that is named, so that build scripts and macros get no counters.
const HOST: &str = "x86_64-unknown-linux-gnu";
/// A counter in every branch, and the values that are compared (`SanitizerCoverage` of LLVM).
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// What a person asks for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    targets: Vec<String>,
    seconds: u64,
}

impl Options {
    fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self {
            targets: Vec::new(),
            seconds: SECONDS,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--seconds" {
                let number = words.next().and_then(|w| w.parse().ok()).filter(|n| *n > 0);
                options.seconds =
                    number.ok_or_else(|| Error::other("--seconds needs a number from 1 on"))?;
            } else if TARGETS.contains(&word.as_str()) {
                options.targets.push(word.clone());
            } else {
                return Err(Error::other(format!(
                    "fuzz knows no `{word}`; the targets are {}",
                    TARGETS.join(", ")
                )));
            }
        }
        if options.targets.is_empty() {
            options.targets = TARGETS.map(str::to_owned).to_vec();
        }
        Ok(options)
    }
}

/// Fuzzes what is asked for, one after the other; the first finding ends it. Inputs that reached
/// something new are kept in `target/fuzz/corpus`, and a later run goes on with them.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let options = Options::parse(words)?;
    packages::install(&[packages::FUZZ])?;
    let folder = target_folder().join("fuzz");
    talk::headline("building the targets");
    let crate_folder = workspace().join("fuzz");
    show(
        cargo()
            .current_dir(&crate_folder)
            .env("RUSTFLAGS", FLAGS)
            .args(["build", "--release", "--locked", "--quiet", "--bins"])
            .args(["--target", HOST, "--target-dir"])
            .arg(folder.join("target")),
    )?;
    let findings = folder.join("findings");
    fs::create_dir_all(&findings).map_err(|e| cannot(&findings, &e))?;
    for target in &options.targets {
        talk::headline(&format!("{target}, {} s", options.seconds));
        let corpus = folder.join("corpus").join(target);
        fs::create_dir_all(&corpus).map_err(|e| cannot(&corpus, &e))?;
        sow(target, &corpus, &folder)?;
        let program = folder.join("target").join(HOST).join("release");
        let scratch = scratch(&folder, target);
        fs::create_dir_all(&scratch).map_err(|e| cannot(&scratch, &e))?;
        let mut fuzzer = Command::new(program.join(target));
        fuzzer
            .env("TMPDIR", &scratch)
            .arg(format!("-max_total_time={}", options.seconds))
            .args(["-rss_limit_mb=2048", "-timeout=20", "-max_len=65536"])
            .arg("-print_final_stats=1")
            .arg(format!("-artifact_prefix={}/{target}-", findings.display()))
            .arg(&corpus);
        let done = show(&mut fuzzer);
        // A fuzzer ends without tidying up.
        fs::remove_dir_all(&scratch).map_err(|e| cannot(&scratch, &e))?;
        done?;
    }
    Ok(())
}

/// Where targets write: in memory where that is possible, since they are to compute and not to wait.
fn scratch(folder: &Path, target: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory } else { folder };
    base.join(format!("elea-fuzz-{target}-{}", std::process::id()))
}

/// Puts real input into a corpus: to find its way there from nothing takes a fuzzer long.
fn sow(target: &str, corpus: &Path, folder: &Path) -> Result<()> {
    let seed = corpus.join("seed");
    let here = workspace();
    match target {
        "erofs" | "dump" => {
            let elea = programs::build()?.elea;
            let store = folder.join("store");
            let source = format!("dir:{}", here.join("crates/formats/src/erofs").display());
            let run = |words: &[&str]| {
                let mut command = Command::new(&elea);
                show(
                    command
                        .arg("--quiet")
                        .arg("--store")
                        .arg(&store)
                        .args(words),
                )
            };
            if !store.exists() {
                run(&["store", "init"])?;
            }
            run(&[
                "image", "import", &source, "--form", "raw", "--name", "seed",
            ])?;
            let _ = fs::remove_file(&seed);
            run(&[
                "image",
                "export",
                "seed",
                &format!("{target}:{}", seed.display()),
            ])
        }
        "layer" => {
            for (number, option) in ["-c", "-cz"].into_iter().enumerate() {
                let file = corpus.join(format!("seed-{number}"));
                // The first byte is the compression.
                fs::write(&file, [u8::try_from(number).unwrap_or(0)])
                    .map_err(|e| cannot(&file, &e))?;
                let script = r#"tar "$1" -C "$2" bls.rs digest.rs verity.rs >> "$3""#;
                let mut tar = Command::new("sh");
                tar.args(["-euc", script, "sh", option]);
                show(tar.arg(here.join("crates/formats/src")).arg(&file))?;
            }
            Ok(())
        }
        "chunked" => {
            let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
            let table = format!(
                r#"{{"version":1,"entries":[{{"type":"dir","name":"a/"}},{{"type":"reg","name":"a/b","size":9,"digest":"{digest}","offset":20,"endOffset":40}},{{"type":"chunk","name":"a/b","offset":30}}],"tarSplitDigest":"{digest}"}}"#
            );
            let chunks = format!(
                r#"{{"version":1,"entries":[{{"type":"reg","name":"a","size":9,"digest":"{digest}","offset":20,"endOffset":40,"chunkSize":4,"chunkDigest":"{digest}"}},{{"type":"chunk","name":"a","offset":30,"chunkSize":5,"chunkOffset":4,"chunkDigest":"{digest}"}}]}}"#
            );
            let split = "\0{\"type\":2,\"payload\":\"AAAA\",\"position\":0}\n{\"type\":1,\"name\":\"a/b\",\"size\":9,\"payload\":\"uQlWx3WkEAE=\",\"position\":1}\n";
            for (name, text) in [
                ("seed-table", table.as_str()),
                ("seed-chunks", chunks.as_str()),
                ("seed-split", split),
            ] {
                let file = corpus.join(name);
                fs::write(&file, text).map_err(|e| cannot(&file, &e))?;
            }
            Ok(())
        }
        "documents" => {
            let golden = ["crates/formats/tests/golden", "crates/compose/tests/golden"];
            copy(&golden.map(|folder| here.join(folder)), corpus)
        }
        _ => copy(&[here.join("examples/hello")], corpus),
    }
}

/// Copies the files of folders.
fn copy(folders: &[PathBuf], corpus: &Path) -> Result<()> {
    for folder in folders {
        let entries = fs::read_dir(folder).map_err(|e| cannot(folder, &e))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_file() {
                let name = path.file_name().unwrap_or_default();
                fs::copy(&path, corpus.join(name)).map_err(|e| cannot(&path, &e))?;
            }
        }
    }
    Ok(())
}

fn cannot(path: &Path, error: &std::io::Error) -> Error {
    Error::other(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_those_of_the_folder() {
        let folder = workspace().join("fuzz/src/bin");
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                path.file_stem().unwrap().to_str().unwrap().to_owned()
            })
            .collect();
        names.sort();
        let mut known = TARGETS.map(str::to_owned).to_vec();
        known.sort();
        assert_eq!(names, known);
    }

    #[test]
    fn options_are_read_and_others_refused() {
        let parse = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Options::parse(&words)
        };
        assert_eq!(parse("").unwrap().targets.len(), TARGETS.len());
        let one = parse("dump --seconds 5").unwrap();
        assert_eq!((one.targets, one.seconds), (vec!["dump".to_owned()], 5));
        assert!(parse("nothing").is_err() && parse("--seconds 0").is_err());
    }
}
