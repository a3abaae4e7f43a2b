//! What is not accepted, though it came whole.

use crate::docker_registry::{Access, DockerRegistry};
use crate::fixture::{
    Place, anything, has, key, options, reference, ruled, run, running, trusting, trusting_public,
};
use crate::server::{Repository, Server};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::oci::reference::Reference;
use elea_formats::oci::{ImageConfig, Manifest};
use elea_formats::signature::Identity;
use elea_net::{NetError, check, pull, push, sign};
use elea_store::trust::{
    Algorithm, Keys, Known, Policy, PrivateKey, Refusal, Running, parse_rules,
};
use elea_sys::progress::Silent;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A repository with one system in it, served and also reachable as a layout.
struct Offered {
    place: Place,
    image: Digest,
    server: Server,
}

impl Offered {
    fn new(version: &str, epoch: u64, key: Option<&PrivateKey>) -> Self {
        let place = Place::new();
        let image = place.system("hello", version, epoch).image;
        let offered = Self {
            server: Server::start({
                let repository = Repository::new(&place.path("layout"));
                move |asked| repository.answer(asked)
            }),
            place,
            image,
        };
        push(
            &image,
            &offered.place.store,
            &offered.layout(),
            &options(),
            key,
            &Silent,
        )
        .unwrap();
        offered
    }

    fn path(&self) -> PathBuf {
        self.place.path("layout")
    }

    fn layout(&self) -> Reference {
        reference(&format!("oci:{}:1", self.path().display()))
    }

    fn served(&self) -> Reference {
        reference(&format!("registry:{}/hello:1", self.server.host()))
    }

    /// Replaces config and manifest by what `change` makes of them.
    fn change(&self, change: impl FnOnce(&mut Manifest, &mut ImageConfig)) {
        let blobs = self.path().join("blobs/sha256");
        let index = self.path().join("index.json");
        let mut list: serde_json::Value =
            serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
        let entries = list["manifests"].as_array_mut().unwrap();
        let entry = entries
            .iter_mut()
            .find(|e| e["annotations"]["org.opencontainers.image.ref.name"] == "1")
            .unwrap();
        let old = entry["digest"].as_str().unwrap().replace("sha256:", "");
        let mut manifest = Manifest::parse(&fs::read(blobs.join(old)).unwrap()).unwrap();
        let config = fs::read(blobs.join(manifest.config.digest.to_string())).unwrap();
        let mut config = ImageConfig::parse(&config).unwrap();
        change(&mut manifest, &mut config);
        let put = |bytes: &[u8]| {
            let digest = Sha256::of(bytes);
            fs::write(blobs.join(digest.to_string()), bytes).unwrap();
            (digest, bytes.len() as u64)
        };
        (manifest.config.digest, manifest.config.size) = put(&config.encode());
        let (digest, size) = put(&manifest.encode());
        entry["digest"] = format!("sha256:{digest}").into();
        entry["size"] = size.into();
        fs::write(&index, list.to_string()).unwrap();
    }
}

/// The refusal of a look; nothing was fetched and nothing is in the store.
fn refused(offered: &Offered, policy: &Policy, running: Option<&Running>) -> Refusal {
    let there = Place::new();
    let error = check(
        &offered.served(),
        &there.store,
        &options(),
        policy,
        running,
        &Silent,
    );
    there.assert_empty();
    let error = error.unwrap_err();
    assert!(error.is_verification(), "{error}");
    match error {
        NetError::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

#[test]
fn a_missing_signature_and_a_strange_key_are_refused_before_anything_is_fetched() {
    let (ours, other) = (key(), PrivateKey::generate(Algorithm::Ed25519).unwrap());
    let unsigned = Offered::new("1.0", 0, None);
    let refusal = refused(&unsigned, &trusting(&[&ours]), None);
    assert!(matches!(refusal, Refusal::Unsigned { .. }), "{refusal}");
    let signed = Offered::new("1.0", 0, Some(&other));
    let refusal = refused(&signed, &trusting(&[&ours]), None);
    assert!(
        matches!(
            refusal,
            Refusal::WrongKey {
                signatures: 1,
                keys: 1,
                ..
            }
        ),
        "{refusal}"
    );
    let refusal = refused(&signed, &trusting(&[]), None);
    assert!(matches!(refusal, Refusal::NoKeys { .. }), "{refusal}");
    // The signature and its payload are blobs too; no layer was asked for.
    assert!(signed.server.count("/blobs/") <= 2);
    let there = Place::new();
    let pulled = there
        .pull(&signed.served(), &trusting(&[&ours, &other]))
        .unwrap();
    assert_eq!(pulled.image.image, signed.image);
    there.pull(&unsigned.served(), &anything()).unwrap();
}

#[test]
fn a_lower_version_or_epoch_and_another_name_are_refused() {
    let key = key();
    let policy = trusting(&[&key]);
    let old = Offered::new("1.0", 1, Some(&key));
    let with = |running: &Running| refused(&old, &policy, Some(running));
    let refusal = with(&running("hello", "1.1", 1));
    assert!(matches!(refusal, Refusal::LowerVersion { .. }), "{refusal}");
    let refusal = with(&running("hello", "0.9", 2));
    assert!(matches!(refusal, Refusal::LowerEpoch { .. }), "{refusal}");
    let refusal = with(&running("world", "1.0", 1));
    assert!(matches!(refusal, Refusal::OtherName { .. }), "{refusal}");
    let allowed = Policy {
        allow_downgrade: true,
        ..policy.clone()
    };
    let now = running("hello", "2.0", 2);
    let place = Place::new();
    check(
        &old.served(),
        &place.store,
        &options(),
        &allowed,
        Some(&now),
        &Silent,
    )
    .unwrap();
    let now = running("hello", "1.0", 1);
    check(
        &old.served(),
        &place.store,
        &options(),
        &policy,
        Some(&now),
        &Silent,
    )
    .unwrap();
}

#[test]
fn unsigned_images_do_not_downgrade_either() {
    let old = Offered::new("1.0", 0, None);
    let refusal = refused(&old, &anything(), Some(&running("hello", "2.0", 0)));
    assert!(matches!(refusal, Refusal::LowerVersion { .. }), "{refusal}");
    // A config that claims more than the image holds: found out once the layers are here.
    old.change(|_, config| config.release.as_mut().unwrap().version = "3.0".into());
    let (there, now) = (Place::new(), running("hello", "2.0", 0));
    let look = check(
        &old.served(),
        &there.store,
        &options(),
        &anything(),
        Some(&now),
        &Silent,
    );
    let error = pull(
        &look.unwrap(),
        &there.store,
        &options(),
        &anything(),
        Some(&now),
        &Silent,
    )
    .unwrap_err();
    assert!(
        matches!(error, NetError::Refused(Refusal::LowerVersion { .. })),
        "{error}"
    );
    there.assert_empty();
}

#[test]
fn a_signature_of_another_manifest_is_refused() {
    let key = key();
    let policy = trusting(&[&key]);
    let offered = Offered::new("1.0", 0, Some(&key));
    let there = Place::new();
    let old = there.check(&offered.served(), &policy).unwrap().manifest;
    // The signature of the first manifest beside a second one.
    offered.change(|_, config| config.created = Some("2026-01-01T00:00:00Z".into()));
    let new = there
        .check(&offered.served(), &anything())
        .unwrap()
        .manifest;
    assert_ne!(new, old);
    let index = offered.path().join("index.json");
    let text = fs::read_to_string(&index).unwrap();
    let moved = text.replace(&format!("sha256-{old}.sig"), &format!("sha256-{new}.sig"));
    assert_ne!(text, moved);
    fs::write(&index, moved).unwrap();
    let refusal = refused(&offered, &policy, None);
    assert!(
        matches!(refusal, Refusal::OtherManifest { manifest, signed } if (manifest, signed) == (new, old)),
        "{refusal}"
    );
}

#[test]
fn an_image_that_is_not_the_signed_one_is_refused() {
    let key = key();
    let policy = trusting(&[&key]);
    let offered = Offered::new("1.0", 0, None);
    let wrong = Digest::from(Sha256::of(b"another image"));
    let identity = Identity {
        name: "hello".into(),
        version: "1.0".into(),
        epoch: 0,
        image: wrong,
        form: "os-1".into(),
    };
    sign(
        &offered.layout(),
        &options(),
        &key,
        Some(identity.clone()),
        &Silent,
    )
    .unwrap();
    let there = Place::new();
    let error = there.check(&offered.served(), &policy).unwrap_err();
    assert!(
        matches!(&error, NetError::Label { signed, .. } if *signed == wrong.to_string()),
        "{error}"
    );
    assert!(error.is_verification());

    // Without a label nothing is known before the layers are here.
    offered.change(|_, config| config.config.labels = None);
    sign(&offered.layout(), &options(), &key, Some(identity), &Silent).unwrap();
    let error = there.pull(&offered.served(), &policy).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, NetError::Image { .. }) && error.is_verification(),
        "{text}"
    );
    assert!(text.contains(&wrong.to_string()) && text.contains(&offered.image.to_string()));
    there.assert_empty();

    let other = Identity {
        name: "hello".into(),
        version: "2.0".into(),
        epoch: 0,
        image: offered.image,
        form: "os-1".into(),
    };
    let offered = Offered::new("1.0", 0, None);
    sign(&offered.layout(), &options(), &key, Some(other), &Silent).unwrap();
    let refusal = refused(&offered, &policy, None);
    assert!(matches!(refusal, Refusal::OtherRelease { .. }), "{refusal}");
}

#[test]
fn documents_that_contradict_each_other_are_refused() {
    let there = Place::new();
    let offered = Offered::new("1.0", 0, None);
    let pull = || there.pull(&offered.served(), &anything()).unwrap_err();
    offered.change(|_, config| config.rootfs.diff_ids.swap(0, 1));
    let error = pull();
    assert!(
        matches!(error, NetError::DiffId { .. }) && error.is_verification(),
        "{error}"
    );
    offered.change(|_, config| config.rootfs.diff_ids.truncate(1));
    let error = pull();
    assert!(
        matches!(error, NetError::Layers { named: 1, .. }) && error.is_verification(),
        "{error}"
    );
    there.assert_empty();

    let offered = Offered::new("1.0", 0, None);
    let label = |name: &str, value: &str| {
        let (name, value) = (name.to_owned(), value.to_owned());
        offered.change(|_, config| {
            config.config.labels.as_mut().unwrap().insert(name, value);
        });
        there.pull(&offered.served(), &anything()).unwrap_err()
    };
    let error = label("elea.image", "twelve");
    assert!(matches!(error, NetError::NoDigest { .. }), "{error}");
    let error = label("elea.image", &Sha256::of(b"x").to_string());
    assert!(matches!(error, NetError::Image { .. }), "{error}");
    let error = label("elea.form", "os-9");
    assert!(matches!(error, NetError::Form { .. }), "{error}");
    there.assert_empty();
}

#[test]
fn a_signature_of_another_repository_is_refused_unless_a_mirror_is_meant() {
    let key = key();
    let place = Place::new();
    let image = place.system("hello", "1.0", 0).image;
    let Some(registry) = DockerRegistry::start(&Access::default()) else {
        return;
    };
    let to = |name: &str| reference(&format!("registry:{}/{name}:1.0", registry.host()));
    let put = |name, key| push(&image, &place.store, &to(name), &options(), key, &Silent).unwrap();
    let pushed = put("hello", Some(&key));
    put("other", None);
    // Its signature, as it is, beside the same image in the other repository.
    let copy = |what: &str| {
        run(Command::new("skopeo").args([
            "copy",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            &format!("docker://{}/hello:{what}", registry.host()),
            &format!("docker://{}/other:{what}", registry.host()),
        ]))
    };
    if !has("skopeo") {
        return;
    }
    copy(&format!("sha256-{}.sig", pushed.manifest));
    let there = Place::new();
    let policy = trusting_public([key.public()]);
    there.check(&to("hello"), &policy).unwrap();
    let error = there.check(&to("other"), &policy).unwrap_err();
    assert!(
        matches!(error, NetError::Refused(Refusal::OtherRepository { .. })),
        "{error}"
    );
    let rule = format!(
        "[rules.\"{0}/other\"]\nkeys = [\"trust.d\"]\nsigned_as = \"{0}/hello\"\n",
        registry.host()
    );
    let mut keys = Keys::default();
    keys.add(Path::new("test.pub"), key.public());
    let known = Known {
        trust_d: &keys,
        named: &Keys::default(),
        file: &|_| Err("no files".into()),
    };
    let mirror = ruled(parse_rules(Path::new("trust.toml"), &rule, &known).unwrap());
    there.pull(&to("other"), &mirror).unwrap();
    // Under the rules, the repository itself is without one.
    let error = there.check(&to("hello"), &mirror).unwrap_err();
    assert!(
        matches!(error, NetError::Refused(Refusal::Rejected { .. })),
        "{error}"
    );
}
