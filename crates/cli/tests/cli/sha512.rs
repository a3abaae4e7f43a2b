//! A store with SHA-512: every command works in it, and no machine is made of it.

use crate::install::{can_install, system};
use crate::program::{Elea, files};
use std::fs;

fn with_store() -> Elea {
    let elea = Elea::new();
    let made = elea.json("store init --algorithm sha512");
    assert_eq!(made["algorithm"], "sha512");
    elea.tree("tree");
    elea
}

/// The name of an image.
fn image(elea: &Elea, line: &str) -> String {
    let shown = elea.json(line);
    shown["image"].as_str().unwrap().to_owned()
}

#[test]
fn images_are_made_compared_and_taken_out() {
    let elea = with_store();
    let would = elea.run("image import dir:tree --dry-run").err;
    let digest = image(&elea, "image import dir:tree --name hello");
    assert_eq!(digest.len(), 128);
    assert!(would.contains(&digest), "{would}");
    let shown = format!("image show {}", &digest[..80]);
    assert_eq!(image(&elea, &shown), digest);
    let object = format!("objects/{}/{}", &digest[..2], &digest[2..]);
    assert!(elea.store().join(object).is_file());

    for to in ["tar:x.tar", "dump:x.dump", "erofs:x.erofs"] {
        elea.good(&format!("image export hello {to}"));
        // In another store of the kind, after its contents came.
        elea.good("--store other store init --algorithm sha512");
        elea.good("--store other image import dir:tree");
        let line = format!("--store other image import {to}");
        assert_eq!(image(&elea, &line), digest, "{to}");
        let line = format!("image explain {to} hello");
        assert_eq!(elea.json(&line)["b"]["image"], digest.as_str());
        fs::remove_dir_all(elea.path("other")).unwrap();
    }
    // Without a store, by the algorithm that is asked for or that the source has.
    for (source, word) in [
        ("dir:tree", "--algorithm sha512"),
        ("tar:x.tar", "--algorithm sha512"),
        ("erofs:x.erofs", ""),
        ("hello", ""),
        ("hello", "--algorithm sha512"),
    ] {
        let found = image(&elea, &format!("image digest {source} {word}"));
        assert_eq!(found, digest, "{source} {word}");
    }
    let twin = image(&elea, "image digest dir:tree");
    assert_eq!(twin.len(), 64);
    let found = image(&elea, "image digest hello --algorithm sha256");
    assert_eq!(found, twin);
    let words = ["objects by sha512", "store init --algorithm sha512"];
    let line = "--store usual image import erofs:x.erofs";
    elea.bad(line, 1, &words);
    elea.bad("image digest dir:tree --algorithm sha1", 2, &["`sha512`"]);

    elea.tree("new");
    fs::write(elea.path("new/usr/bin/tool"), vec![9; 9000]).unwrap();
    elea.good("image import dir:new --name new");
    let changes = elea.good("image diff hello new");
    assert!(changes.contains("usr/bin/tool"), "{changes}");
    let stats = elea.json("store stats");
    assert_eq!(stats["images"].as_array().unwrap().len(), 2, "{stats}");
    elea.good("image rm hello");
    let gone = elea.json("store gc");
    assert_eq!(gone["images"][0], digest.as_str());
    assert_eq!(elea.json("store fsck")["findings"], serde_json::json!([]));
}

/// What leaves the store has the name that every store and machine knows.
#[test]
fn an_image_goes_to_stores_of_both_kinds() {
    let elea = with_store();
    let long = image(&elea, "image import dir:tree --name hello");
    let short = image(&elea, "--store usual image import dir:tree --name hello");
    elea.good("image keygen a");
    let pushed = elea.json("image push hello oci:layout:1.0 --sign a.key");
    let usual = elea.json("--store usual image push hello oci:layout:2.0 --sign a.key");
    assert_eq!(pushed["manifest"], usual["manifest"]);

    let pull = "image pull oci:layout:1.0 --key a.pub --name x";
    let line = format!("--store plain {pull}");
    assert_eq!(image(&elea, &line), short);
    elea.good("--store other store init --algorithm sha512");
    let line = format!("--store other {pull}");
    assert_eq!(image(&elea, &line), long);
    // The layers are there; the claim is looked at again.
    assert_eq!(elea.json(&line)["fetched"], 0);

    let all = files(&elea.path("other/objects"));
    let is_tool = |path: &&std::path::PathBuf| fs::read(path).is_ok_and(|d| d == vec![7; 9000]);
    let object = all.iter().find(is_tool).unwrap();
    fs::remove_file(object).unwrap();
    fs::write(object, vec![8; 9000]).unwrap();
    let ran = elea.run("--store other store fsck");
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.out.contains(&format!("used by {long} x")), "{ran:?}");
    let repaired = elea.json("--store other store fsck --repair");
    assert_eq!(repaired["findings"], serde_json::json!([]), "{repaired}");
}

#[test]
fn no_machine_is_made_of_it() {
    let elea = Elea::new();
    elea.good("store init --algorithm sha512");
    system(&elea);
    if !can_install() {
        return;
    }
    let words = ["objects by sha512", "sha256 is needed"];
    let line = "install --image hello:1.0 --disk d.img --size 4G";
    elea.bad(line, 1, &words);
    assert!(!elea.path("d.img").exists());
}
