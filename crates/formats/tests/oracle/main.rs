//! Our images are the reference writers', bit for bit, we read what they wrote, and refuse the dumps
//! that they refuse.
//!
//! There are two: the C program `mkcomposefs`, which is right where they disagree, and the `composefs`
//! crate as the program of `oracle/`, which answers thousands of questions in a minute.
//! `elea_testkit::oracle` says where they are found. `PROPTEST_CASES` sets how many trees the crate is
//! asked about; C is asked about a twentieth.

#![expect(clippy::unwrap_used, reason = "a test may fail")]
#![expect(clippy::print_stdout, reason = "what is skipped is told")]

mod both;
mod generated;
mod hard;
mod refused;

use elea_formats::dump;
use elea_formats::erofs::{self, Version};
use elea_formats::tree::{Content, Node, Tree};
use elea_testkit::oracle::{Composefs, Oracle};
use proptest::test_runner::{Config, TestRunner};
use std::collections::HashSet;

/// Starts the crate's oracle, or says that it is not there.
fn crate_oracle() -> Option<Oracle> {
    let oracle = Oracle::start();
    if oracle.is_none() {
        println!("skipped: no elea-oracle");
    }
    oracle
}

fn c_oracle() -> Option<Composefs> {
    let oracle = Composefs::find();
    if oracle.is_none() {
        println!("skipped: no mkcomposefs");
    }
    oracle
}

fn runner(share: u32) -> TestRunner {
    let cases = std::env::var("PROPTEST_CASES").map_or(2000, |n| n.parse().unwrap());
    TestRunner::new(Config {
        cases: cases / share,
        failure_persistence: None,
        // A tree that fails is made small, but not for hours.
        max_shrink_iters: 2000,
        ..Config::default()
    })
}

/// What `mkcomposefs` is told to write a version.
fn options(version: Version) -> &'static [&'static str] {
    match version {
        Version::V0 => &["--max-version=0"],
        Version::V1 => &["--min-version=1"],
    }
}

/// Says where two images differ, with the dump that they were made from.
fn same(ours: &[u8], theirs: &[u8], who: &str, text: &str) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    let place = ours.iter().zip(theirs).position(|(a, b)| a != b);
    let (ours, theirs) = (ours.len(), theirs.len());
    let text = &text[..text.len().min(20_000)];
    Err(format!(
        "{who}: {ours} and {theirs} bytes differ at {place:?}\n{text}"
    ))
}

/// Compares with C, in both versions, and reads the image back.
fn compare_c(c: &Composefs, tree: &Tree) -> Result<(), String> {
    let text = dump::encode(tree);
    for version in [Version::V1, Version::V0] {
        let theirs = match c.write(options(version), text.as_bytes()) {
            Ok(theirs) => theirs,
            // It forgets the eight bytes of an escaped name when it counts what a mark replaces.
            Err(e) if e.contains("cannot write file: Numerical result out of range") => continue,
            Err(e) => return Err(format!("mkcomposefs refuses: {e}\n{text}")),
        };
        let ours = erofs::write(tree, version);
        same(&ours, &theirs, &format!("mkcomposefs {version}"), &text)?;
        let back = erofs::read(&theirs).map_err(|e| format!("{e}\n{text}"))?;
        same(&erofs::write(&back, version), &ours, "read back", &text)?;
    }
    let parsed = dump::parse(text.as_bytes()).map_err(|e| format!("{e}\n{text}"))?;
    let back = dump::encode(&parsed);
    same(back.as_bytes(), text.as_bytes(), "by the dump", &text)
}

/// Compares with the crate: its V0 and V1 are ours, its V2 is read.
fn compare_crate(oracle: &mut Oracle, tree: &Tree) -> Result<(), String> {
    let text = dump::encode(tree);
    let mut write = |verb: &str| {
        let answer = oracle.ask(verb, text.as_bytes());
        answer.map_err(|e| format!("the crate refuses: {e}\n{text}"))
    };
    let first = write("write")?;
    let old = write("write-v0")?;
    let second = write("write-v2")?;
    same(&erofs::write(tree, Version::V1), &first, "the crate", &text)?;
    // Its V0 has another version in the header if there are whiteouts.
    if !tree
        .leaves()
        .any(|id| tree.content(id) == Content::CharDevice(0))
    {
        same(
            &erofs::write(tree, Version::V0),
            &old,
            "the crate's V0",
            &text,
        )?;
    }
    let read = |image: &[u8]| erofs::read(image).map_err(|e| format!("{e}\n{text}"));
    let back = dump::encode(&read(&first)?);
    same(back.as_bytes(), text.as_bytes(), "read back", &text)?;
    // V2 has no nanoseconds.
    let mut whole = tree.clone();
    whole.each_meta(|meta| meta.mtime.nanoseconds = 0);
    let (back, whole) = (dump::encode(&read(&second)?), dump::encode(&whole));
    same(back.as_bytes(), whole.as_bytes(), "V2 read", &text)
}

/// Takes the second and later names of whiteouts away, which the crate refuses.
fn single_whiteouts(tree: &mut Tree) {
    let mut seen = HashSet::new();
    for directory in tree.directories() {
        tree.retain(directory, |tree, node| match node {
            Node::Leaf(id) if tree.content(id) == Content::CharDevice(0) => seen.insert(id),
            _ => true,
        });
    }
}
