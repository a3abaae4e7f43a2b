//! cosign, from `PATH` or from a root that `ELEA_COSIGN_ROOT` names: it accepts our signatures, and we
//! accept its own.

use crate::docker_registry::{Access, DockerRegistry};
use crate::fixture::{Place, key, options, reference, run, trusting, trusting_public};
use elea_net::{NetError, push, sign};
use elea_store::trust::{Algorithm, PrivateKey, PublicKey, Refusal, Verdict};
use elea_sys::progress::Silent;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// cosign, and the folder that it and we both see.
struct Cosign {
    root: Option<PathBuf>,
    folder: tempfile::TempDir,
}

impl Cosign {
    fn find() -> Option<Self> {
        let root = std::env::var_os("ELEA_COSIGN_ROOT").map(PathBuf::from);
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
            .env("COSIGN_PASSWORD", "")
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

#[test]
fn we_accept_cosigns_signatures() {
    let Some(cosign) = Cosign::find() else { return };
    let Some(registry) = DockerRegistry::start(&Access::default()) else {
        return;
    };
    let (here, there) = (Place::new(), Place::new());
    let image = here.system("hello", "1.0", 0);
    let name = format!("{}/hello", registry.host());
    let to = reference(&format!("registry:{name}:1.0"));
    let pushed = push(&image.image, &here.store, &to, &options(), None, &Silent).unwrap();
    let prefix = ["generate-key-pair", "--output-key-prefix", "%d/key"];
    run(&mut cosign.command(&prefix));
    let by_digest = format!("{name}@sha256:{}", pushed.manifest);
    run(&mut cosign.command(&[
        "sign",
        "--key",
        "%d/key.key",
        "--tlog-upload=false",
        "--allow-http-registry",
        "--yes",
        &by_digest,
    ]));
    let public = fs::read_to_string(cosign.path("key.pub")).unwrap();
    let public = PublicKey::parse_pem(&public).unwrap().remove(0);
    let error = there.check(&to, &trusting(&[&key()])).unwrap_err();
    assert!(
        matches!(error, NetError::Refused(Refusal::WrongKey { .. })),
        "{error}"
    );
    let policy = trusting_public([public]);
    let offer = there.check(&to, &policy).unwrap();
    let Verdict::Signed { claims, .. } = &offer.verdict else {
        panic!("signed")
    };
    assert_eq!(claims.elea, None);
    assert_eq!(claims.repository, name);
    let pulled = there.pull(&to, &policy).unwrap();
    assert_eq!(pulled.image.image, image.image);
    // Ours beside cosign's: both hold.
    let ours = key();
    sign(&to, &options(), &ours, None, &Silent).unwrap();
    there.check(&to, &trusting(&[&ours])).unwrap();
    there.check(&to, &policy).unwrap();
    assert!(cosign.verify("key.pub", &by_digest).status.success());
}
