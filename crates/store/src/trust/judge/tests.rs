use super::*;
use crate::trust::{Algorithm, Keys, Known, PrivateKey, PublicKey, parse_rules};
use elea_formats::signature::Identity;
use proptest::prelude::*;
use std::path::Path;
use std::sync::LazyLock;

struct Case {
    key: PrivateKey,
    claims: Claims,
    repository: String,
    policy: Policy,
    running: Option<Running>,
}

fn keys(keys: &[PublicKey]) -> Keys {
    let mut all = Keys::default();
    for key in keys {
        all.add(Path::new("test.pub"), key.clone());
    }
    all
}

fn trusting(trusted: &[PublicKey]) -> Policy {
    ruled(Rules::of_keys(keys(trusted)))
}

fn ruled(rules: Rules) -> Policy {
    Policy {
        rules,
        allow_unsigned: false,
        allow_downgrade: false,
    }
}

fn case() -> Case {
    let key = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
    let policy = trusting(&[key.public()]);
    Case {
        key,
        claims: Claims {
            repository: "localhost:5000/hello".into(),
            manifest: Sha256::of(b"manifest"),
            elea: Some(Identity {
                name: "hello".into(),
                version: "2.0".into(),
                epoch: 1,
                image: Sha256::of(b"image").into(),
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
            reference: &format!("registry:{}:stable", self.repository)
                .parse()
                .unwrap(),
            manifest: Sha256::of(b"manifest"),
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
    let Verdict::Signed { keys, claims, rule } = case.judge().unwrap() else {
        panic!("it is signed")
    };
    assert_eq!(keys, [case.key.public().id()]);
    assert_eq!(rule, "trust.d");
    assert_eq!(*claims, case.claims);
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
            keys: 1,
            ..
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
    case.policy = trusting(&[]);
    assert!(matches!(case.judge(), Err(Refusal::NoKeys { .. })));
    case.policy.allow_unsigned = true;
    let unsigned = Verdict::Unsigned {
        rule: "--allow-unsigned".into(),
    };
    assert_eq!(case.judge_with(&[wrong]).unwrap(), unsigned);
    assert_eq!(case.judge_with(&[]).unwrap(), unsigned);
}

#[test]
fn a_signature_for_something_else_is_refused() {
    let mut case = case();
    case.claims.manifest = Sha256::of(b"another");
    assert!(matches!(case.judge(), Err(Refusal::OtherManifest { .. })));
    let mut case = self::case();
    case.claims.repository = "localhost:5000/other".into();
    assert!(matches!(case.judge(), Err(Refusal::OtherRepository { .. })));
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
    let unsigned = &Verdict::Unsigned {
        rule: String::new(),
    };
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

/// Three keys, made once: A, B, C.
static THREE: LazyLock<[PrivateKey; 3]> = LazyLock::new(|| {
    [
        PrivateKey::generate(Algorithm::EcdsaP256).unwrap(),
        PrivateKey::generate(Algorithm::Ed25519).unwrap(),
        PrivateKey::generate(Algorithm::EcdsaP256).unwrap(),
    ]
});

/// The rules of a text in which `A`, `B` and `C` are files of keys, and `trust.d` holds A.
fn rules(text: &str, named: &[PublicKey]) -> Rules {
    let file = |path: &Path| {
        let at = ["A", "B", "C"]
            .iter()
            .position(|name| Path::new(name) == path);
        let at = at.ok_or("there is no such file")?;
        Ok(keys(&[THREE[at].public()]))
    };
    let known = Known {
        trust_d: &keys(&[THREE[0].public()]),
        named: &keys(named),
        file: &file,
    };
    parse_rules(Path::new("trust.toml"), text, &known).unwrap()
}

/// A signature by one of the three, of this manifest in `repository`, with or without what Elea adds.
fn by(key: usize, repository: &str, version: Option<&str>) -> Signature {
    let payload = signature::encode(&Claims {
        repository: repository.into(),
        manifest: Sha256::of(b"manifest"),
        elea: version.map(|version| Identity {
            name: "hello".into(),
            version: version.into(),
            epoch: 1,
            image: Sha256::of(b"image").into(),
            form: "os-1".into(),
        }),
    });
    let signature = THREE[key].sign(&payload).unwrap();
    Signature { payload, signature }
}

fn judged(policy: &Policy, reference: &str, signatures: &[Signature]) -> Result<Verdict, Refusal> {
    let candidate = Candidate {
        reference: &reference.parse().unwrap(),
        manifest: Sha256::of(b"manifest"),
        signatures,
    };
    judge(&candidate, None, policy)
}

#[test]
fn two_keys_must_be_two_keys() {
    let policy = ruled(rules(
        "[rules.\"r.example/os\"]\nkeys = [\"A\", \"B\", \"C\"]\nthreshold = 2\n",
        &[],
    ));
    let judged = |signatures: &[Signature]| judged(&policy, "registry:r.example/os:1", signatures);
    let (os, two) = ("r.example/os", Some("2.0"));
    let too_few = |result: Result<Verdict, Refusal>, n| {
        let refusal = result.unwrap_err();
        assert!(
            matches!(refusal, Refusal::TooFew { found, threshold: 2, .. } if found == n),
            "{refusal}"
        );
        let text = refusal.to_string();
        assert!(
            text.contains("the rule `r.example/os` in trust.toml"),
            "{text}"
        );
    };
    // One key, twice: ECDSA signs the same differently each time.
    let twice = [by(0, os, two), by(0, os, two)];
    assert_ne!(twice[0].signature, twice[1].signature);
    too_few(judged(&twice), 1);
    // One key under two claims.
    too_few(judged(&[by(0, os, two), by(0, os, None)]), 1);
    // Two keys that claim different things.
    too_few(judged(&[by(0, os, two), by(1, os, Some("3.0"))]), 1);
    // The second one is of another repository, or of another host's with a longer name.
    for other in ["r.example/other", "r.example/os-old", "r.example/os/base"] {
        too_few(judged(&[by(0, os, two), by(1, other, two)]), 1);
    }
    // A signature that was changed counts for nobody.
    let mut changed = by(1, os, two);
    changed.payload.push(b' ');
    too_few(judged(&[by(0, os, two), changed]), 1);

    let verdict = judged(&[by(0, os, two), by(0, os, two), by(2, os, two)]).unwrap();
    let mut both = vec![THREE[0].public().id(), THREE[2].public().id()];
    both.sort();
    assert_eq!(verdict.keys(), both);
    assert_eq!(verdict.rule(), "the rule `r.example/os` in trust.toml");
    // cosign's own vouches for the manifest, and Elea's claims stand.
    let verdict = judged(&[by(1, os, None), by(2, os, two)]).unwrap();
    let Verdict::Signed { claims, .. } = verdict else {
        panic!("it is signed")
    };
    assert_eq!(claims.elea.unwrap().version, "2.0");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn the_longest_prefix_decides_and_the_default_is_to_reject() {
    let text = r#"
        [rules."r.example"]
        keys = ["B"]
        [rules."r.example/os"]
        keys = ["A"]
        [rules."r.example/os/old"]
        policy = "reject"
        [rules."localhost:5000"]
        policy = "accept"
        [rules."oci:/media/usb"]
        keys = ["trust.d"]
        [rules."oci-archive:"]
        keys = ["C"]
    "#;
    let strict = ruled(rules(text, &[]));
    let open = ruled(rules(&format!("{text}\n[default]\nkeys = [\"C\"]\n"), &[]));
    let layout = |n| by(n, "", Some("1.0"));
    for (reference, signature, alone, with_default) in [
        (
            "registry:r.example/os:1",
            by(0, "r.example/os", None),
            true,
            true,
        ),
        (
            "registry:r.example/os/base:1",
            by(0, "r.example/os/base", None),
            true,
            true,
        ),
        (
            "registry:r.example/os/base:1",
            by(1, "r.example/os/base", None),
            false,
            false,
        ),
        // Neither below `os` nor without a rule.
        (
            "registry:r.example/os-old:1",
            by(0, "r.example/os-old", None),
            false,
            false,
        ),
        (
            "registry:r.example/os-old:1",
            by(1, "r.example/os-old", None),
            true,
            true,
        ),
        (
            "registry:R.EXAMPLE./os/old:1",
            by(0, "r.example/os/old", None),
            false,
            false,
        ),
        (
            "registry:r.example:443/os/older:1",
            by(0, "r.example/os/older", None),
            true,
            true,
        ),
        // Another host, whatever it begins with.
        (
            "registry:r.example.org/os:1",
            by(0, "r.example.org/os", None),
            false,
            false,
        ),
        (
            "registry:r.example.org/os:1",
            by(2, "r.example.org/os", None),
            false,
            true,
        ),
        (
            "registry:r.example:5000/os:1",
            by(1, "r.example/os", None),
            false,
            false,
        ),
        (
            "registry:localhost:5000/any:1",
            by(1, "x/y", None),
            true,
            true,
        ),
        (
            "registry:localhost:50001/any:1",
            by(2, "localhost/any", None),
            false,
            true,
        ),
        ("oci:/media/usb/a:1", layout(0), true, true),
        ("oci:/media/usb2:1", layout(0), false, false),
        ("oci:/media/usb2:1", layout(2), false, true),
        ("oci-archive:/tmp/x.tar", layout(2), true, true),
    ] {
        let signatures = [signature];
        for (policy, good) in [(&strict, alone), (&open, with_default)] {
            let verdict = judged(policy, reference, &signatures);
            assert_eq!(verdict.is_ok(), good, "{reference}: {verdict:?}");
        }
    }
    let refusal = judged(&strict, "registry:other.example/a:1", &[]).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the default of trust.toml rejects registry:other.example/a:1; if it is to be trusted, \
         write a rule for it (docs/formats/trust.md)"
    );
}

#[test]
fn a_mirror_serves_what_was_signed_for_another_name() {
    let text = r#"
        [rules."mirror.lan:5000/copies"]
        keys = ["A"]
        signed_as = "r.example/vendor"
        [rules."oci:/media/usb"]
        keys = ["A"]
        signed_as = "r.example/vendor"
    "#;
    let policy = ruled(rules(text, &[]));
    let at = "registry:mirror.lan:5000/copies/os:1";
    for (reference, signed, good) in [
        (at, "r.example/vendor/os", true),
        (at, "R.example:443/vendor/os", true),
        (at, "r.example/vendor", false),
        (at, "r.example/vendor/os2", false),
        (at, "r.example/vendor/os/base", false),
        // The name behind the host is not enough here, nor is the mirror's own.
        (at, "x.example/vendor/os", false),
        (at, "mirror.lan:5000/copies/os", false),
        (at, "", false),
        (
            "registry:mirror.lan:5000/copies:1",
            "r.example/vendor",
            true,
        ),
        ("oci:/media/usb:1", "r.example/vendor/os", true),
        ("oci:/media/usb:1", "r.example/vendors", false),
        ("oci:/media/usb:1", "", false),
    ] {
        let verdict = judged(&policy, reference, &[by(0, signed, None)]);
        assert_eq!(verdict.is_ok(), good, "{reference} {signed}: {verdict:?}");
        if let Err(refusal) = verdict {
            assert!(
                matches!(refusal, Refusal::OtherRepository { .. }),
                "{refusal}"
            );
        }
    }
}

#[test]
fn options_help_where_signatures_are_asked_for_and_nowhere_else() {
    let text = "[rules.\"r.example/os\"]\nkeys = [\"A\", \"B\"]\nthreshold = 2\n";
    let with_key = ruled(rules(text, &[THREE[2].public()]));
    let os = "registry:r.example/os:1";
    let signed = |n| by(n, "r.example/os", None);
    // The threshold stays.
    assert!(judged(&with_key, os, &[signed(2)]).is_err());
    assert!(judged(&with_key, os, &[signed(2), signed(0)]).is_ok());
    let mut allowed = with_key;
    allowed.allow_unsigned = true;
    let verdict = judged(&allowed, os, &[]).unwrap();
    assert_eq!(verdict.rule(), "--allow-unsigned");
    let elsewhere = "registry:r.example/other:1";
    let other = by(2, "r.example/other", None);
    let refusal = judged(&allowed, elsewhere, &[other]).unwrap_err();
    assert!(matches!(refusal, Refusal::Rejected { .. }), "{refusal}");
}

proptest! {
    /// Whoever signed what, in whatever order and how often: the verdict is the one that counting
    /// different keys by hand gives.
    #[test]
    fn the_verdict_is_the_number_of_different_keys(
        threshold in 1_usize..=3,
        made in prop::collection::vec((0_usize..3, 0_usize..4, any::<bool>()), 0..8),
    ) {
        let text = format!(
            "[rules.\"r.example/os\"]\nkeys = [\"C\", \"A\", \"B\"]\nthreshold = {threshold}\n"
        );
        let policy = ruled(rules(&text, &[]));
        let versions = [None, Some("1.0"), Some("2.0"), Some("3.0")];
        let signatures: Vec<_> = made
            .iter()
            .map(|(key, version, here)| {
                let repository = if *here { "r.example/os" } else { "r.example/oss" };
                by(*key, repository, versions[*version])
            })
            .collect();
        let enough = (0..4).any(|claim| {
            let signed = |key| made.iter().any(|(k, v, here)| {
                *k == key && *here && (*v == claim || *v == 0)
            });
            (0..3).filter(|key| signed(*key)).count() >= threshold
        });
        let verdict = judged(&policy, "registry:r.example/os:1", &signatures);
        prop_assert_eq!(verdict.is_ok(), enough, "{:?}", verdict);
        if let Ok(verdict) = verdict {
            prop_assert!(verdict.keys().len() >= threshold);
        }
    }
}
