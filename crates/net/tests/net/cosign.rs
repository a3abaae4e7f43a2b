//! cosign, from `PATH` or from a newer Debian: it accepts our signatures, and we
//! accept its own.

use crate::docker_registry::{Access, DockerRegistry};
use crate::fixture::{Place, key, options, reference, run, trusting, trusting_public};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::oci::reference::Reference;
use elea_net::{NetError, push, sign};
use elea_store::trust::{Algorithm, PrivateKey, PublicKey, Refusal, Verdict};
use elea_sys::progress::Silent;
use elea_testkit::debian;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PASSWORD: &str = "a pass word";

/// cosign, and the folder that it and we both see.
struct Cosign {
    root: Option<PathBuf>,
    folder: tempfile::TempDir,
}

impl Cosign {
    fn find() -> Option<Self> {
        let root = debian::root();
        let above = root
            .as_ref()
            .map_or_else(std::env::temp_dir, |root| root.join("tmp"));
        let folder = tempfile::tempdir_in(above).unwrap();
        let cosign = Self { root, folder };
        let there = cosign.command(&["version"]).output();
        if there.is_ok_and(|out| out.status.success()) {
            return Some(cosign);
        }
        eprintln!("skipped: no cosign");
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let (mut command, inside) = match &self.root {
            Some(root) => {
                let mut command = Command::new("chroot");
                command.arg(root).arg("cosign");
                let inside = self.folder.path().strip_prefix(root).unwrap();
                (command, Path::new("/").join(inside))
            }
            None => (Command::new("cosign"), self.folder.path().to_owned()),
        };
        let inside = inside.display().to_string();
        command.args(arguments.iter().map(|a| a.replace("%d", &inside)));
        // Nothing of the caller's, and no network beyond loopback is asked for.
        command
            .env("HOME", &inside)
            .env("COSIGN_PASSWORD", PASSWORD)
            .env_remove("DOCKER_CONFIG");
        command
    }

    /// `cosign verify`, with a key file of the folder.
    fn verify(&self, key: &str, image: &str) -> Output {
        let key = format!("%d/{key}");
        self.command(&[
            "verify",
            "--key",
            &key,
            "--private-infrastructure",
            "--allow-http-registry",
            "--output",
            "json",
            image,
        ])
        .output()
        .unwrap()
    }
}

#[test]
fn cosign_accepts_our_signatures() {
    let Some(cosign) = Cosign::find() else { return };
    let Some(registry) = DockerRegistry::start(&Access::default()) else {
        return;
    };
    let place = Place::new();
    let image = place.system("hello", "1.0", 4);
    let name = format!("{}/team/hello:1.0", registry.host());
    let to = reference(&format!("registry:{name}"));
    let (ecdsa, ed25519) = (key(), PrivateKey::generate(Algorithm::Ed25519).unwrap());
    let pushed = push(
        &image.image,
        &place.store,
        &to,
        &options(),
        Some(&ecdsa),
        &Silent,
    )
    .unwrap();
    sign(&to, &options(), &ed25519, None, &Silent).unwrap();
    for (file, key) in [("ecdsa.pub", &ecdsa), ("ed25519.pub", &ed25519)] {
        fs::write(cosign.path(file), key.public().to_pem()).unwrap();
        let out = cosign.verify(file, &name);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{file}: {said}");
        let payloads: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let payload = &payloads[0];
        assert_eq!(
            payload["critical"]["image"]["docker-manifest-digest"],
            format!("sha256:{}", pushed.manifest)
        );
        assert_eq!(payload["optional"]["elea.image"], image.image.to_string());
        assert_eq!(payload["optional"]["elea.epoch"], "4");
    }
    fs::write(cosign.path("other.pub"), key().public().to_pem()).unwrap();
    assert!(!cosign.verify("other.pub", &name).status.success());
}

/// A registry with an image that nobody signed.
struct Offered {
    registry: DockerRegistry,
    image: Digest,
    manifest: Sha256,
}

impl Offered {
    fn new() -> Option<Self> {
        let registry = DockerRegistry::start(&Access::default())?;
        let here = Place::new();
        let image = here.system("hello", "1.0", 0).image;
        let to = reference(&format!("registry:{}/hello:1.0", registry.host()));
        let pushed = push(&image, &here.store, &to, &options(), None, &Silent).unwrap();
        Some(Self {
            registry,
            image,
            manifest: pushed.manifest,
        })
    }

    fn reference(&self) -> Reference {
        reference(&format!("registry:{}/hello:1.0", self.registry.host()))
    }

    /// What cosign signs.
    fn by_digest(&self) -> String {
        format!("{}/hello@sha256:{}", self.registry.host(), self.manifest)
    }
}

impl Cosign {
    /// `cosign sign`, with a key file of the folder.
    fn sign(&self, key: &str, image: &str) {
        run(&mut self.command(&[
            "sign",
            "--key",
            &format!("%d/{key}"),
            "--tlog-upload=false",
            "--allow-http-registry",
            "--yes",
            image,
        ]));
    }

    /// A key pair of cosign's: its own ECDSA, or an Ed25519 key that it imported.
    fn key_pair(&self, name: &str) -> PublicKey {
        let prefix = format!("%d/{name}");
        if name == "ed25519" {
            let theirs = PrivateKey::generate(Algorithm::Ed25519).unwrap();
            theirs.save(&self.path("plain.pem"), None).unwrap();
            let key = ["import-key-pair", "--key", "%d/plain.pem"];
            run(&mut self.command(&[&key[..], &["--output-key-prefix", &prefix]].concat()));
        } else {
            run(&mut self.command(&["generate-key-pair", "--output-key-prefix", &prefix]));
        }
        let public = fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        PublicKey::parse_pem(&public).unwrap().remove(0)
    }
}

#[test]
fn we_accept_cosigns_signatures() {
    let Some(cosign) = Cosign::find() else { return };
    let Some(offered) = Offered::new() else {
        return;
    };
    let (to, by_digest) = (offered.reference(), offered.by_digest());
    for name in ["ecdsa", "ed25519"] {
        let public = cosign.key_pair(name);
        cosign.sign(&format!("{name}.key"), &by_digest);
        let there = Place::new();
        let error = there.check(&to, &trusting(&[&key()])).unwrap_err();
        assert!(
            matches!(error, NetError::Refused(Refusal::WrongKey { .. })),
            "{error}"
        );
        let policy = trusting_public([public.clone()]);
        let offer = there.check(&to, &policy).unwrap();
        let Verdict::Signed { claims, keys, .. } = &offer.verdict else {
            panic!("signed")
        };
        assert_eq!(keys, &[public.id()]);
        assert_eq!(claims.elea, None);
        assert_eq!(
            format!("{}@sha256:{}", claims.repository, claims.manifest),
            by_digest
        );
        let pulled = there.pull(&to, &policy).unwrap();
        assert_eq!(pulled.image.image, offered.image);
        // Ours beside cosign's: both hold.
        let ours = key();
        sign(&to, &options(), &ours, None, &Silent).unwrap();
        there.check(&to, &trusting(&[&ours])).unwrap();
        there.check(&to, &policy).unwrap();
        let out = cosign.verify(&format!("{name}.pub"), &by_digest);
        assert!(out.status.success(), "{out:?}");
    }
}

#[test]
fn cosigns_keys_sign_here() {
    let Some(cosign) = Cosign::find() else { return };
    let Some(offered) = Offered::new() else {
        return;
    };
    for name in ["ecdsa", "ed25519"] {
        let public = cosign.key_pair(name);
        let path = cosign.path(&format!("{name}.key"));
        let load = |password: Option<&str>| PrivateKey::load(&path, || password.map(str::to_owned));
        for (password, part) in [(None, "COSIGN_PASSWORD"), (Some(""), "does not open it")] {
            let error = load(password).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(name), "{error}");
        }
        let key = load(Some(PASSWORD)).unwrap();
        assert_eq!(key.public(), public);
        sign(&offered.reference(), &options(), &key, None, &Silent).unwrap();
        let out = cosign.verify(&format!("{name}.pub"), &offered.by_digest());
        assert!(out.status.success(), "{out:?}");
    }
}

#[test]
fn our_keys_sign_in_cosign() {
    let Some(cosign) = Cosign::find() else { return };
    let Some(offered) = Offered::new() else {
        return;
    };
    let there = Place::new();
    for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
        let key = PrivateKey::generate(algorithm).unwrap();
        let name = format!("{algorithm:?}.key");
        key.save(&cosign.path(&name), Some(PASSWORD)).unwrap();
        let shown = run(&mut cosign.command(&["public-key", "--key", &format!("%d/{name}")]));
        assert_eq!(shown, key.public().to_pem());
        assert!(
            there
                .check(&offered.reference(), &trusting(&[&key]))
                .is_err()
        );
        cosign.sign(&name, &offered.by_digest());
        there
            .check(&offered.reference(), &trusting(&[&key]))
            .unwrap();
    }
}
