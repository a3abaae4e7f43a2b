use super::*;
use crate::trust::{Algorithm, PrivateKey};
use elea_formats::signature::Identity;
use std::path::Path;

struct Case {
    key: PrivateKey,
    claims: Claims,
    repository: String,
    policy: Policy,
    running: Option<Running>,
}

fn case() -> Case {
    let key = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
    let mut policy = Policy::default();
    policy.keys.add(Path::new("test.pub"), key.public());
    Case {
        key,
        claims: Claims {
            repository: "localhost:5000/hello".into(),
            manifest: Digest::sha256(b"manifest"),
            elea: Some(Identity {
                name: "hello".into(),
                version: "2.0".into(),
                epoch: 1,
                image: Digest::sha256(b"image"),
                form: "os-1".into(),
            }),
        },
        repository: "10.0.2.2:5000/hello".into(),
        policy,
        running: Some(Running {
            name: "hello".into(),
            version: "1.0".into(),
            epoch: 1,
        }),
    }
}

impl Case {
    fn signed(&self, key: &PrivateKey) -> Signature {
        let payload = signature::encode(&self.claims);
        let signature = key.sign(&payload).unwrap();
        Signature { payload, signature }
    }

    fn judge(&self) -> Result<Verdict, Refusal> {
        self.judge_with(&[self.signed(&self.key)])
    }

    fn judge_with(&self, signatures: &[Signature]) -> Result<Verdict, Refusal> {
        let candidate = Candidate {
            repository: Some(&self.repository),
            manifest: Digest::sha256(b"manifest"),
            signatures,
        };
        judge(&candidate, self.running.as_ref(), &self.policy)
    }

    fn elea(&mut self) -> &mut Identity {
        self.claims.elea.as_mut().unwrap()
    }
}

#[test]
fn a_newer_release_by_a_trusted_key_is_accepted() {
    let case = case();
    let Verdict::Signed { key, claims } = case.judge().unwrap() else {
        panic!("it is signed")
    };
    assert_eq!(key, case.key.public().id());
    assert_eq!(claims, case.claims);
    // The right signature among others.
    let other = PrivateKey::generate(Algorithm::Ed25519).unwrap();
    let all = [case.signed(&other), case.signed(&case.key)];
    assert!(case.judge_with(&all).is_ok());
}

#[test]
fn signatures_that_vouch_for_nothing_are_refused() {
    let mut case = case();
    assert!(matches!(
        case.judge_with(&[]),
        Err(Refusal::Unsigned { .. })
    ));
    let other = PrivateKey::generate(Algorithm::Ed25519).unwrap();
    let wrong = case.signed(&other);
    assert!(matches!(
        case.judge_with(std::slice::from_ref(&wrong)),
        Err(Refusal::WrongKey {
            signatures: 1,
            keys: 1
        })
    ));
    let mut changed = case.signed(&case.key);
    changed.payload.push(b' ');
    assert!(matches!(
        case.judge_with(&[changed]),
        Err(Refusal::WrongKey { .. })
    ));
    let noise = Signature {
        payload: b"{}".to_vec(),
        signature: case.key.sign(b"{}").unwrap(),
    };
    assert!(matches!(
        case.judge_with(&[noise]),
        Err(Refusal::Payload(_))
    ));
    case.policy.keys = Keys::default();
    assert!(matches!(case.judge(), Err(Refusal::NoKeys)));
    case.policy.allow_unsigned = true;
    assert_eq!(case.judge_with(&[wrong]).unwrap(), Verdict::Unsigned);
    assert_eq!(case.judge_with(&[]).unwrap(), Verdict::Unsigned);
}

#[test]
fn a_signature_for_something_else_is_refused() {
    let mut case = case();
    case.claims.manifest = Digest::sha256(b"another");
    assert!(matches!(case.judge(), Err(Refusal::OtherManifest { .. })));
    let mut case = self::case();
    case.claims.repository = "localhost:5000/other".into();
    assert!(matches!(case.judge(), Err(Refusal::OtherRepository { .. })));
    case.policy.any_repository = true;
    assert!(case.judge().is_ok());
    let mut case = self::case();
    case.elea().name = "other".into();
    assert!(matches!(case.judge(), Err(Refusal::OtherName { .. })));
    case.policy.allow_downgrade = true;
    case.policy.allow_unsigned = true;
    assert!(matches!(case.judge(), Err(Refusal::OtherName { .. })));
    case.running = None;
    assert!(case.judge().is_ok());
}

#[test]
fn going_back_needs_a_word() {
    let mut case = case();
    case.elea().version = "1.0".into();
    assert!(case.judge().is_ok(), "the same version again");
    case.elea().version = "0.9".into();
    assert!(matches!(case.judge(), Err(Refusal::LowerVersion { .. })));
    // Not signed enough to be trusted is no way around it.
    case.policy.allow_unsigned = true;
    assert!(matches!(case.judge(), Err(Refusal::LowerVersion { .. })));
    case.elea().version = "9.0".into();
    case.elea().epoch = 0;
    assert!(matches!(
        case.judge(),
        Err(Refusal::LowerEpoch {
            offered: 0,
            running: 1
        })
    ));
    case.policy.allow_downgrade = true;
    assert!(case.judge().is_ok());
}

#[test]
fn the_release_in_the_image_must_be_the_one_that_was_signed() {
    let case = case();
    let verdict = case.judge().unwrap();
    let release = |name: &str, version: &str| -> Release {
        serde_json::from_value(serde_json::json!({
            "schema": "elea.release/1", "name": name, "version": version, "epoch": 1,
            "architecture": "amd64", "title": "", "kernel": "", "initrds": [], "loader": "",
            "loader_version": ""
        }))
        .unwrap()
    };
    let check = |release: &Release, verdict| {
        check_release(Some(release), verdict, case.running.as_ref(), &case.policy)
    };
    check(&release("hello", "2.0"), &verdict).unwrap();
    let error = check(&release("hello", "3.0"), &verdict).unwrap_err();
    assert!(
        error.to_string().contains("hello 2.0 epoch 1 was signed"),
        "{error}"
    );
    let unsigned = &Verdict::Unsigned;
    check(&release("hello", "1.0"), unsigned).unwrap();
    assert!(matches!(
        check(&release("hello", "0.1"), unsigned),
        Err(Refusal::LowerVersion { .. })
    ));
    assert!(matches!(
        check(&release("evil", "2.0"), unsigned),
        Err(Refusal::OtherName { .. })
    ));
}
