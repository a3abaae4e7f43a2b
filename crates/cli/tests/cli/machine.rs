//! A machine that lies on a disk: the same commands by `--root`.

use crate::install::{can_install, system};
use crate::program::{Elea, has, skipped};
use std::fs;
use std::process::Command;

/// Installs the small system and unpacks both partitions into `machine`.
fn machine(elea: &Elea) -> bool {
    if !can_install() {
        return false;
    }
    if !has("mcopy") {
        skipped("no mcopy");
        return false;
    }
    system(elea);
    let plan = elea.json("install --image hello:1.0 --disk disk.img --size 4G");
    let start = |role: &str| {
        let all = plan["partitions"].as_array().unwrap();
        let one = all.iter().find(|p| p["role"] == role).unwrap();
        one["start"].as_u64().unwrap()
    };
    let root = elea.path("machine");
    fs::create_dir_all(root.join("efi")).unwrap();
    let disk = elea.path("disk.img").display().to_string();
    let dump = format!("rdump /elea {}", root.display());
    let run = Command::new("debugfs")
        .args(["-R", &dump, &format!("{disk}?offset={}", start("root"))])
        .output()
        .unwrap();
    assert!(root.join("elea/generations/1").is_dir(), "{run:?}");
    let run = Command::new("mcopy")
        .args([
            "-s",
            "-n",
            "-i",
            &format!("{disk}@@{}", start("boot")),
            "::/",
        ])
        .arg(root.join("efi"))
        .env("MTOOLS_SKIP_CHECK", "1")
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    true
}

#[test]
fn a_machine_is_looked_at_and_changed() {
    let elea = Elea::without_store();
    if !machine(&elea) {
        return;
    }
    let on = |line: &str| format!("--root machine {line}");
    let status = elea.json(&on("status"));
    assert_eq!(status["schema"], "elea.status/1");
    assert_eq!(status["next"], 1);
    assert!(elea.good(&on("status")).contains("Hello 1.0"));
    let list = elea.json(&on("generations"));
    assert_eq!(list["schema"], "elea.generations/1");
    assert_eq!(list["generations"][0]["state"], "good");

    let before = fs::read(elea.path("machine/elea/log/operations.jsonl")).unwrap();
    let would = elea.good(&on("rollback --dry-run --exit-reboot"));
    assert!(
        would.starts_with("would go back to generation 1"),
        "{would}"
    );
    assert_eq!(
        fs::read(elea.path("machine/elea/log/operations.jsonl")).unwrap(),
        before
    );

    let ran = elea.run(&on("rollback --exit-reboot"));
    assert_eq!(ran.code, Some(100), "{ran:?}");
    let next = elea.json(&on("status"))["next"].as_u64().unwrap();
    assert_eq!(next, 2);
    let text = elea.good(&on("generations"));
    assert!(
        text.lines()
            .any(|l| l.starts_with("2  staged  next  Hello 1.0")),
        "{text}"
    );
    assert!(text.contains("from 1; 3 tries left"), "{text}");

    elea.good(&on("pin 1"));
    assert_eq!(
        elea.json(&on("generations"))["generations"][0]["pinned"],
        true
    );
    elea.good(&on("unpin 1"));
    elea.bad(&on("pin 9"), 1, &["no generation 9", "elea generations"]);
    elea.bad(&on("retry 1"), 1, &["generation 1", "nothing to try again"]);

    let log = elea.json(&on("log"));
    assert_eq!(log["schema"], "elea.log-list/1");
    assert!(
        elea.good(&on("log -n 1"))
            .contains("generation 1 is not kept any more")
    );
    let shown = elea.json(&on("log show 2"));
    assert_eq!(shown["schema"], "elea.evidence/1");
    assert_eq!(shown["number"], 2);
    let diff = elea.json(&on("diff 1 2"));
    assert_eq!(diff["schema"], "elea.generation-diff/1");
    assert_eq!(diff["new_bytes"], 0);
    elea.bad(&on("etc diff"), 1, &["not started by Elea's initrd"]);
}

/// Generations keep images that no name keeps; a check looks at the boot partition too.
#[test]
fn a_machines_store_is_collected_and_checked_with_its_generations() {
    let elea = Elea::without_store();
    if !machine(&elea) {
        return;
    }
    let gone = elea.json("--root machine store gc");
    assert_eq!(gone["images"].as_array().unwrap().len(), 0, "{gone}");
    elea.bad(
        "--store machine/elea/store store gc",
        2,
        &["the store of a machine", "--root"],
    );
    assert!(
        elea.good("--root machine store fsck")
            .contains("nothing is wrong")
    );
    let payloads = elea.path("machine/efi/elea");
    let kernel = fs::read_dir(payloads)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = fs::read(&kernel).unwrap();
    bytes[100] ^= 1;
    fs::write(&kernel, bytes).unwrap();
    let ran = elea.run("--root machine store fsck");
    assert_eq!(ran.code, Some(5), "{ran:?}");
    let name = kernel.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(ran.out.contains(&name[..12]), "{ran:?}");
}
