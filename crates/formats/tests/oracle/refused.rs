//! Dumps that the reference writers refuse are refused.

use crate::generated::small_tree;
use crate::{c_oracle, crate_oracle, runner};
use elea_formats::dump;
use elea_formats::erofs::{self, Version};
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::RefCell;

const ROOT: &str = "/ 0 40755 2 0 0 0 0.0 - - -\n";

/// Lines behind a sound root, each wrong in its own way.
fn wrong() -> Vec<String> {
    let file = |path: &str| format!("{path} 1 100644 1 0 0 0 0.0 - x -\n");
    let tail = "1 0 0 0 0.0 - - -";
    let mut dumps: Vec<String> = [
        // The reasons of the C parser, in its order.
        "/a 1 100644 1 0 0 0 0.0 - x\0 -\n",
        "/a\\ 1 100644 1 0 0 0 0.0 - x -\n",
        "/a\\x 1 100644 1 0 0 0 0.0 - x -\n",
        "/a\\x4 1 100644 1 0 0 0 0.0 - x -\n",
        "/a\\xg0 1 100644 1 0 0 0 0.0 - x -\n",
        "/a\\q 1 100644 1 0 0 0 0.0 - x -\n",
        " 1 100644 1 0 0 0 0.0 - x -\n",
        "/a 1 100844 1 0 0 0 0.0 - x -\n",
        "/a 1 - 1 0 0 0 0.0 - x -\n",
        "/a 1 644 1 0 0 0 0.0 - x -\n",
        "/a 1 170644 1 0 0 0 0.0 - x -\n",
        "/ 0 40755 2 0 0 0 0.0 - - -\n",
        "/no/a 1 100644 1 0 0 0 0.0 - x -\n",
        "/. 1 100644 1 0 0 0 0.0 - x -\n",
        "/.. 0 40755 2 0 0 0 0.0 - - -\n",
        "/d/ 1 100644 1 0 0 0 0.0 - x -\n",
        "/l 0 @40755 1 0 0 0 0.0 / - -\n",
        "/l 0 @100644 1 0 0 0 0.0 / - -\n",
        "/l 0 @100644 1 0 0 0 0.0 - - -\n",
        "/l 0 @100644 1 0 0 0 0.0 /l - -\n",
        "/l 0 @100644 1 0 0 0 0.0 /nothing - -\n",
        "/l 0 @0 1 0 0 0 0.0 /l - -\n",
        "/a x 100644 1 0 0 0 0.0 - x -\n",
        "/a 1 100644 x 0 0 0 0.0 - x -\n",
        "/a 1 100644 1 x 0 0 0.0 - x -\n",
        "/a 1 100644 1 0 0 0 x.0 - x -\n",
        "/a 1 100644 1 0 0 0 0.x - x -\n",
        "/a 1 100644 1 0 0 0 00 - x -\n",
        "/a 2 100644 1 0 0 0 0.0 - x -\n",
        "/a 1 100644 1 0 0 5 0.0 - x -\n",
        "/s 1 120777 1 0 0 0 0.0 - - -\n",
        "/s 2 120777 1 0 0 0 0.0 t - -\n",
        "/s 1 120777 1 0 0 0 0.0 t t -\n",
        "/s 0 120777 1 0 0 0 0.0  - -\n",
        "/a 1 100644 1 0 0 0 0.0 - x - user.a\n",
        "/a 1 100644 1 0 0 0 0.0 - x - =v\n",
        "/a 1 100644 1 0 0 0 0.0 - x -",
        // What only the crate minds.
        "/a 1 100644 1 0 4294967296 0 0.0 - x -\n",
        "/a 1 100644 1 0 0 0 0.1000000000 - x -\n",
        "//a 1 100644 1 0 0 0 0.0 - x -\n",
        "a 1 100644 1 0 0 0 0.0 - x -\n",
        "/a 1 100644 1 0 0 0 0.0 - x 00\n",
        "/d 0 40755 2 0 0 0 0.0 - x -\n",
        "/p 0 10644 1 0 0 0 0.0 - x -\n",
        "/a 1 100644 1 0 0 0 0.0 - x - user.\\x00a=v\n",
        "/a 1 100644 1 0 0 0 0.0 -\n",
        "/l 0 @100644 1 0 0 0\n",
        "/t\\x00 1 120777 1 0 0 0 0.0 t - -\n",
    ]
    .map(str::to_owned)
    .to_vec();
    dumps.push(format!("{}{}", file("/a"), file("/a")));
    dumps.push(format!("{}{}", file("/a"), file("/a/b")));
    dumps.push(file(&format!("/{}", "n".repeat(256))));
    dumps.push(format!("/a {} 100644 {tail}\n", (1_u64 << 53) + 1));
    let digest = "0".repeat(64);
    let object = format!("00/{}", "0".repeat(62));
    let size = (1_u64 << 53) + 1;
    dumps.push(format!(
        "/a {size} 100644 1 0 0 0 0.0 {object} - {digest}\n"
    ));
    dumps.push(format!(
        "/a 9 100644 1 0 0 0 0.0 {object} - {}\n",
        &digest[1..]
    ));
    let target = "t".repeat(4096);
    dumps.push(format!("/s 4096 120777 1 0 0 0 0.0 {target} - -\n"));
    let content = "c".repeat(5001);
    dumps.push(format!("/a 5001 100644 1 0 0 0 0.0 - {content} -\n"));
    let name = "k".repeat(256);
    dumps.push(format!("/a 1 100644 1 0 0 0 0.0 - x - {name}=v\n"));
    for length in [32_760, 65_536] {
        let value = "v".repeat(length);
        dumps.push(format!("/a 1 100644 1 0 0 0 0.0 - x - user.a={value}\n"));
    }
    let many: Vec<_> = (0..4000).map(|n| format!("user.{n:04}=0")).collect();
    let many = many.join(" ");
    dumps.push(format!("/a 1 100644 1 0 0 0 0.0 - x - {many}\n"));
    let mut dumps: Vec<String> = dumps.iter().map(|line| format!("{ROOT}{line}")).collect();
    dumps.push(String::new());
    dumps.push(file("/"));
    dumps.push(format!("{}{ROOT}", file("/a")));
    dumps
}

#[test]
fn what_the_writers_refuse_is_refused() {
    assert!(dump::parse(ROOT.as_bytes()).is_ok());
    let (c, mut oracle) = (c_oracle(), crate_oracle());
    for text in wrong() {
        let shown = &text[..text.len().min(300)];
        assert!(dump::parse(text.as_bytes()).is_err(), "{shown}");
        // It is in the list because one of them refuses it.
        if let (Some(c), Some(oracle)) = (&c, &mut oracle) {
            let refused = c.write(&["--min-version=1"], text.as_bytes()).is_err()
                || oracle.ask("write", text.as_bytes()).is_err();
            assert!(refused, "both take it: {shown}");
        }
    }
}

/// What is done to a dump: a byte in another's place, one more, one less, a piece twice or gone.
#[derive(Debug, Clone)]
enum Change {
    Replace(usize, u8),
    Insert(usize, u8),
    Remove(usize, usize),
    Copy(usize, usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    // No minus: the crate takes no times before 1970, and C and we do.
    let telling = prop::sample::select(b"/\\ @=.0123456789abcdefx\nnrt".to_vec());
    let byte = prop_oneof![6 => telling, 1 => any::<u8>().prop_filter("a minus", |b| *b != b'-')];
    let place = any::<usize>();
    prop_oneof![
        (place, byte.clone()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        (place, byte).prop_map(|(at, byte)| Change::Insert(at, byte)),
        (place, 1_usize..4).prop_map(|(at, count)| Change::Remove(at, count)),
        (place, place, 1_usize..80).prop_map(|(from, to, count)| Change::Copy(from, to, count)),
    ]
}

fn apply(text: &mut Vec<u8>, change: &Change) {
    let length = text.len();
    match *change {
        Change::Replace(at, byte) => text[at % length] = byte,
        Change::Insert(at, byte) => text.insert(at % length, byte),
        Change::Remove(at, count) => {
            let at = at % length;
            text.drain(at..length.min(at + count));
        }
        Change::Copy(from, to, count) => {
            let from = from % length;
            let piece = text[from..length.min(from + count)].to_vec();
            let to = to % length;
            text.splice(to..to, piece);
        }
    }
    if text.is_empty() {
        text.push(b'/');
    }
}

fn broken() -> impl Strategy<Value = Vec<u8>> {
    (small_tree(), vec(change(), 1..3)).prop_map(|(tree, changes)| {
        let mut text = dump::encode(&tree).into_bytes();
        for change in &changes {
            apply(&mut text, change);
        }
        text
    })
}

/// The crate's own limits, where C and we go further.
fn only_the_crate(error: &str) -> bool {
    let limits = [
        "whiteout",
        "exceeds limit 1024",
        "exceeded maximum length 512",
    ];
    limits.iter().any(|limit| error.contains(limit))
}

/// Thousands of dumps with an error or two: what we take the crate takes, and makes the same image of.
#[test]
fn a_broken_dump_is_taken_only_if_the_crate_takes_it() {
    let Some(oracle) = crate_oracle() else { return };
    let oracle = RefCell::new(oracle);
    let check = |text: Vec<u8>| {
        let Ok(tree) = dump::parse(&text) else {
            return Ok(());
        };
        let shown = String::from_utf8_lossy(&text);
        match oracle.borrow_mut().ask("write", &text) {
            Ok(image) => prop_assert!(erofs::write(&tree, Version::V1) == image, "{shown}"),
            Err(error) => prop_assert!(only_the_crate(&error), "{error}\n{shown}"),
        }
        Ok(())
    };
    runner(1).run(&broken(), check).unwrap();
}

#[test]
fn a_broken_dump_is_taken_only_if_mkcomposefs_takes_it() {
    let Some(c) = c_oracle() else { return };
    let check = |text: Vec<u8>| {
        if dump::parse(&text).is_ok() {
            let answer = c.write(&["--min-version=1"], &text);
            let shown = String::from_utf8_lossy(&text);
            prop_assert!(answer.is_ok(), "{answer:?}\n{shown}");
        }
        Ok(())
    };
    runner(2).run(&broken(), check).unwrap();
}
