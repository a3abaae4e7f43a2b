//! Push, pull, sign and verify against a real registry on loopback.

use crate::program::{Elea, skipped};
use elea_testkit::registry::Registry;
use std::fs;

/// A registry with the image of a small tree, signed; none if there is no registry program.
fn pushed(elea: &Elea) -> Option<(Registry, String)> {
    if !elea_testkit::has("docker-registry") {
        skipped("no docker-registry");
        return None;
    }
    let port = elea_testkit::free_port().unwrap();
    let registry = Registry::start(&elea.path("registry"), port).unwrap();
    elea.tree("tree");
    elea.good("image import dir:tree --name hello:1.0");
    elea.good("image keygen a");
    elea.good("image keygen b --ed25519");
    let reference = format!("registry:{}/hello:stable", registry.host());
    let value = elea.json(&format!("image push hello:1.0 {reference} --sign a.key"));
    assert_eq!(value["schema"], "elea.push/1");
    assert!(value["uploaded"].as_u64().unwrap() > 0, "{value}");
    Some((registry, reference))
}

#[test]
fn an_image_goes_to_a_registry_and_comes_back_the_same() {
    let elea = Elea::new();
    let Some((_registry, reference)) = pushed(&elea) else {
        return;
    };
    let again = elea.json(&format!("image push hello:1.0 {reference} --sign a.key"));
    assert_eq!(again["uploaded"], 0, "{again}");

    let digest = elea.json("image show hello:1.0")["image"].clone();
    let other = format!("--store other image pull {reference} --key a.pub");
    let would = elea.run(&format!("{other} --dry-run"));
    assert!(would.err.contains("would fetch"), "{would:?}");
    let value = elea.json(&other);
    assert_eq!(value["schema"], "elea.image/1");
    assert_eq!(value["image"], digest);
    assert_eq!(value["names"][0], "hello:stable");
    assert!(value["fetched"].as_u64().unwrap() > 0);
    assert_eq!(elea.json(&other)["fetched"], 0);
    elea.good("--store other store fsck");

    let verified = elea.json(&format!("image verify {reference} --key a.pub"));
    assert_eq!(verified["schema"], "elea.verify/1");
    assert_eq!(verified["key"].as_str().unwrap().len(), 64);
    // What was pulled is judged by the signatures that it came with.
    elea.good("--store other image verify hello:stable --key a.pub");
    elea.bad(
        "--store other image verify hello:stable --key b.pub",
        5,
        &["none of the image's 1 signature"],
    );
}

#[test]
fn what_no_trusted_key_signed_is_refused_with_exit_code_five() {
    let elea = Elea::new();
    let Some((registry, reference)) = pushed(&elea) else {
        return;
    };
    let pull = format!("--store other image pull {reference}");
    elea.bad(&pull, 5, &["trusts no key", "--key"]);
    elea.bad(&format!("{pull} --key b.pub"), 5, &["none of the image's"]);
    let plain = format!("registry:{}/hello:plain", registry.host());
    fs::write(elea.path("tree/etc/motd"), "another\n").unwrap();
    elea.good("image import dir:tree --name hello:1.1");
    elea.good(&format!("image push hello:1.1 {plain}"));
    elea.bad(
        &format!("--store other image pull {plain} --key a.pub"),
        5,
        &["not signed", "--allow-unsigned"],
    );
    assert_eq!(
        elea.json("--store other image list")["images"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    elea.good(&format!(
        "--store other image pull {plain} --allow-unsigned"
    ));
    // A second key signs what lies there.
    let signed = elea.json(&format!("image sign {plain} --key b.key"));
    assert_eq!(signed["schema"], "elea.sign/1");
    assert_eq!(signed["added"], true);
    elea.good(&format!("image verify {plain} --key b.pub"));
    elea.bad(
        &format!("image verify {plain} --key a.pub"),
        5,
        &["none of the image's"],
    );
}

#[test]
fn a_registry_that_is_not_there_or_has_no_such_image_is_named() {
    let elea = Elea::new();
    let Some((registry, _)) = pushed(&elea) else {
        return;
    };
    let pull = "--store other image pull --key a.pub registry:";
    elea.bad(
        &format!("{pull}{}/hello:9", registry.host()),
        1,
        &["there is no image", "hello:9"],
    );
    let host = registry.host();
    drop(registry);
    elea.bad(
        &format!("{pull}{host}/hello:stable"),
        1,
        &["cannot reach", &host],
    );
    elea.bad(
        &format!("image push hello:1.0 registry:{host}/hello:x"),
        1,
        &["cannot reach", &host],
    );
}

#[test]
fn a_layout_is_a_registry_in_a_folder() {
    let elea = Elea::new();
    elea.tree("tree");
    elea.good("image import dir:tree --name hello");
    elea.good("image keygen a");
    elea.good("image push hello oci:layout:1.0 --sign a.key");
    elea.good("--store other image pull oci:layout:1.0 --key a.pub --name x");
    assert_eq!(
        elea.json("--store other image show x")["image"],
        elea.json("image show hello")["image"]
    );
}

#[test]
fn the_rule_that_decided_is_named() {
    let elea = Elea::without_store();
    let Some((registry, reference)) = pushed(&elea) else {
        return;
    };
    elea.good(&format!("image sign {reference} --key b.key"));
    let machine = elea.path("machine/etc/elea");
    fs::create_dir_all(&machine).unwrap();
    for key in ["a.pub", "b.pub"] {
        fs::copy(elea.path(key), machine.join(key)).unwrap();
    }
    let write = |text: &str| {
        let text = text.replace("HOST", &registry.host());
        fs::write(machine.join("trust.toml"), text).unwrap();
    };
    let verify = format!("--root machine --store other image verify {reference}");
    write("[rules.\"HOST/hello\"]\nkeys = [\"a.pub\", \"b.pub\"]\nthreshold = 2\n");
    let value = elea.json(&verify);
    assert_eq!(value["keys"].as_array().unwrap().len(), 2);
    let rule = format!(
        "the rule `{}/hello` in /etc/elea/trust.toml",
        registry.host()
    );
    assert_eq!(value["rule"], rule);
    assert!(elea.good(&verify).contains(&format!("decided by  {rule}")));
    let pull = format!("--root machine --store other image pull {reference}");
    let value = elea.json(&pull);
    assert_eq!(value["rule"], rule);
    assert_eq!(value["signed_by"].as_array().unwrap().len(), 2);
    // In the store, the image is judged by where it came from.
    let stored = "--root machine --store other image verify hello:stable";
    assert_eq!(elea.json(stored)["rule"], rule);
    write("[rules.\"HOST/hell\"]\npolicy = \"accept\"\n");
    for line in [verify.as_str(), &pull, stored] {
        let told = ["the default of /etc/elea/trust.toml rejects"];
        elea.bad(&format!("{line} --key a.pub --allow-unsigned"), 5, &told);
    }
    write("[rules.\"HOST\"]\npolicy = \"accept\"\n");
    assert_eq!(elea.json(stored)["keys"].as_array().unwrap().len(), 0);
    write("[rules.\"HOST\"]\nkeys = [\"c.pub\"]\n");
    elea.bad(&verify, 1, &["/etc/elea/trust.toml:2:9", "c.pub"]);
}

#[test]
fn a_key_may_be_behind_a_password() {
    let elea = Elea::new();
    elea.tree("tree");
    elea.good("image import dir:tree --name hello");
    elea.good("image push hello oci:layout:1.0");
    let with = |password: &str, line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut command = elea.command(&words);
        let ran = command.env("COSIGN_PASSWORD", password).output().unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        (ran.status.code(), said)
    };
    assert_eq!(with("secret", "image keygen a --password").0, Some(0));
    let key = fs::read_to_string(elea.path("a.key")).unwrap();
    assert!(
        key.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"),
        "{key}"
    );
    let sign = "image sign oci:layout:1.0 --key a.key";
    let (code, said) = with("Secret", sign);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("a.key") && said.contains("password does not open it"),
        "{said}"
    );
    assert_eq!(with("secret", sign).0, Some(0));
    elea.good("image verify oci:layout:1.0 --key a.pub");
}

#[test]
fn an_image_takes_its_specialisations_along() {
    let elea = Elea::new();
    let Some((_registry, reference)) = pushed(&elea) else {
        return;
    };
    let import = |folder: &str, name: &str, specialisations: serde_json::Value| {
        elea.tree(folder);
        let path = elea.path(&format!("{folder}/usr/lib/elea/release.json"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let release = serde_json::json!({
            "schema": "elea.release/1", "name": "hello", "version": "2.0", "architecture": "amd64", "title": folder,
            "kernel": "", "initrds": [], "loader": "", "loader_version": "", "specialisations": specialisations,
        });
        fs::write(path, release.to_string()).unwrap();
        elea.json(&format!("image import dir:{folder} --name {name}"))["image"].clone()
    };
    let quiet = import("quiet", "hello:2.0+quiet", serde_json::json!({}));
    import("main", "hello:2.0", serde_json::json!({ "quiet": quiet }));
    let said = elea.json(&format!("image push hello:2.0 {reference} --sign a.key"));
    assert_eq!(said["specialisations"], serde_json::json!(["quiet"]));
    let pull = format!("--store other image pull {reference} --key a.pub");
    let said = elea.json(&pull);
    assert_eq!(said["specialisations"]["quiet"], quiet);
    let other = elea.json("--store other image show hello:stable+quiet");
    assert_eq!(other["image"], quiet);
    let shown = elea.good("--store other image show hello:stable");
    let line = shown.lines().find(|line| line.starts_with("beside it"));
    let expected = format!(" quiet {}", quiet.as_str().unwrap());
    assert!(line.unwrap().ends_with(&expected), "{shown}");
    // A release with nonsense in it is none.
    let bad = serde_json::json!({ "a\noptions init=/bin/sh": quiet });
    elea.tree("bad");
    let path = elea.path("bad/usr/lib/elea/release.json");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text = fs::read_to_string(elea.path("main/usr/lib/elea/release.json")).unwrap();
    let mut release: serde_json::Value = serde_json::from_str(&text).unwrap();
    release["specialisations"] = bad;
    fs::write(path, release.to_string()).unwrap();
    let import = "image import dir:bad --name hello:bad";
    elea.bad(import, 1, &["no name of a specialisation"]);
}
