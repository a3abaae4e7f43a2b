//! A machine that lies on a disk: the same commands by `--root`.

use crate::install::{can_install, system};
use crate::program::{Elea, files, has, skipped};
use elea_testkit::registry::Registry;
use std::fs;
use std::process::Command;

/// Installs the small system and unpacks both partitions into `machine`.
fn machine(elea: &Elea) -> bool {
    machine_with(elea, "")
}

/// The same with more options of `elea install`.
fn machine_with(elea: &Elea, more: &str) -> bool {
    if !can_install() {
        return false;
    }
    if !has("mcopy") {
        skipped("no mcopy");
        return false;
    }
    system(elea);
    let plan = elea.json(&format!(
        "install --image hello:1.0 --disk disk.img --size 4G {more}"
    ));
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

    let elsewhere = ["is not a system that Elea installed", "elea home apply"];
    elea.bad("--root . apply x.toml", 1, &elsewhere);
    elea.bad(&on("apply --test --image hello:1.0"), 1, &["hello:1.0"]);
    elea.bad(&on("confirm"), 1, &["was not started by Elea's initrd"]);

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
    let objects = files(&elea.path("machine/elea/store/objects"));
    let is_tool = |path: &&std::path::PathBuf| fs::read(path).is_ok_and(|d| d == vec![7; 9000]);
    let object = objects.iter().find(is_tool).unwrap();
    fs::remove_file(object).unwrap();
    fs::write(object, vec![8; 9000]).unwrap();
    let ran = elea.run("--root machine store fsck");
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(
        ran.out.contains("used by ") && ran.out.contains(" hello 1.0\n"),
        "{ran:?}"
    );
    fs::create_dir(elea.path("backup")).unwrap();
    fs::write(elea.path("backup/any"), vec![7; 9000]).unwrap();
    let repaired = elea.good("--root machine store fsck --repair --from backup");
    assert!(repaired.contains("copied from backup/any"), "{repaired}");
    assert!(repaired.contains("nothing is wrong"), "{repaired}");

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

    // Its initrd and entries know SHA-256 alone.
    fs::rename(elea.path("machine/elea/store"), elea.path("own")).unwrap();
    elea.good("--store machine/elea/store store init --algorithm sha512");
    let words = ["objects by sha512", "sha256 is needed"];
    elea.bad("--root machine store fsck", 1, &words);
}

/// A newer release comes from a registry, signed by the key that the machine was installed with.
#[test]
fn an_upgrade_is_looked_at_staged_and_not_staged_twice() {
    let elea = Elea::without_store();
    if !has("docker-registry") {
        skipped("no docker-registry");
        return;
    }
    let port = elea_testkit::free_port().unwrap();
    let registry = Registry::start(&elea.path("registry"), port).unwrap();
    let place = format!("registry:{}/hello:stable", registry.host());
    elea.good("image keygen k");
    elea.good("image keygen other");
    if !machine_with(&elea, &format!("--key k.pub --follow {place}")) {
        return;
    }
    let release = elea.path("tree/usr/lib/elea/release.json");
    let publish = |version: &str, key: &str| {
        let text = fs::read_to_string(&release).unwrap();
        let old = if version == "2.0" { "1.0" } else { "2.0" };
        fs::write(&release, text.replace(old, version)).unwrap();
        fs::write(elea.path("tree/usr/bin/tool"), format!("{version:>9000}")).unwrap();
        elea.good(&format!("image import dir:tree --name hello:{version}"));
        elea.good(&format!("image push hello:{version} {place} --sign {key}"));
    };
    let upgrade = "--root machine upgrade";
    elea.bad(upgrade, 1, &["hello:stable"]);
    publish("2.0", "other.key");
    elea.bad(upgrade, 5, &["none of the image's 1 signature"]);
    elea.good(&format!("image push hello:2.0 {place} --sign k.key"));

    let check = elea.json(&format!("{upgrade} --check"));
    assert_eq!(check["schema"], "elea.upgrade-check/1");
    assert_eq!(check["outcome"]["state"], "newer");
    assert_eq!(check["offered"]["version"], "2.0");
    let text = elea.good(&format!("{upgrade} --check"));
    assert!(
        text.starts_with("Hello 2.0 is newer than Hello 1.0\n"),
        "{text}"
    );
    assert!(text.contains("reboot     needed"), "{text}");
    let would = elea.json(&format!("{upgrade} --dry-run"));
    assert_eq!(would["dry_run"], true);
    assert_eq!(elea.json("--root machine status")["next"], 1);

    let ran = elea.run(&format!("{upgrade} --exit-reboot"));
    assert_eq!(ran.code, Some(100), "{ran:?}");
    assert_eq!(elea.json("--root machine status")["next"], 2);
    let again = elea.json(upgrade);
    assert_eq!(again["outcome"]["state"], "staged");
    assert_eq!(again["fetched"], 0);
    assert_eq!(
        elea.json("--root machine generations")["generations"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let diff = elea.json("--root machine diff 1 2");
    assert!(diff["new_bytes"].as_u64().unwrap() > 0, "{diff}");
    let ran = elea.run("--root machine diff 1 2 --files");
    assert!(ran.out.contains("~ /usr/bin/tool (content"), "{ran:?}");
}

#[test]
fn the_state_of_a_system_that_does_not_run() {
    let elea = Elea::without_store();
    let keep = r#"{"path":"/var/lib/db","kind":"directory","mode":"0755","uid":0,"gid":0,"service":"db.service"}"#;
    let list = format!(r#"{{"schema":"elea.state/1","mode":"persistent","keep":[{keep}]}}"#);
    fs::create_dir_all(elea.path("tree/usr/lib/elea")).unwrap();
    fs::write(elea.path("tree/usr/lib/elea/state.json"), list).unwrap();
    if !machine(&elea) {
        return;
    }
    let on = |line: &str| format!("--root machine state {line}");
    let data = elea.path("machine/elea/state/var/lib/db/data");
    fs::create_dir_all(data.parent().unwrap()).unwrap();
    fs::write(&data, "one").unwrap();
    let seen = elea.json(&on("list"));
    assert_eq!(seen["declared"][0]["path"], "/var/lib/db");
    assert!(seen["declared"][0]["size"].is_object(), "{seen}");
    elea.good(&on("snapshot --reason before"));
    fs::write(&data, "two").unwrap();
    elea.good(&on("restore 1 --dry-run"));
    assert_eq!(fs::read_to_string(&data).unwrap(), "two");
    // There is no systemd here, and it is not missed.
    let said = elea.good(&on("restore 1 --yes"));
    assert!(said.contains("restored /var/lib/db"), "{said}");
    assert_eq!(fs::read_to_string(&data).unwrap(), "one");
    elea.bad(&on("reset --yes --reboot"), 2, &["`--root` names another"]);
    let request = elea.path("machine/elea/state/reset.json");
    assert!(!request.exists());
    let ran = elea.run(&on("reset --yes"));
    assert!(
        ran.code == Some(0) && request.exists() && ran.err.contains("when that system boots"),
        "{ran:?}"
    );
    elea.good(&on("reset --cancel"));
    assert!(!request.exists());
}
