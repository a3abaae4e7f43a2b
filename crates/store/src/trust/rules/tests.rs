use super::*;
use crate::trust::{Algorithm, PrivateKey};

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn key() -> String {
    PrivateKey::generate(Algorithm::Ed25519)
        .unwrap()
        .public()
        .to_pem()
}

/// What is wrong with a file: line, column, message.
fn wrong(text: &str) -> (usize, usize, String) {
    let trusted = Keys::default();
    let known = Known {
        trust_d: &trusted,
        named: &trusted,
        file: &|path| match path.to_str() {
            Some("a.pub") => {
                let mut keys = Keys::default();
                keys.extend(&Keys::load(&[], &[a_key()]).unwrap());
                Ok(keys)
            }
            _ => Err(format!("cannot open {}", path.display())),
        },
    };
    let error = parse(Path::new("/etc/elea/trust.toml"), text, &known).unwrap_err();
    let drawn = error.to_string();
    let place = format!("/etc/elea/trust.toml:{}:{}", error.line, error.column);
    assert!(
        drawn.contains(&place) && drawn.contains(&error.message),
        "{drawn}"
    );
    (error.line, error.column, error.message)
}

/// A file with one key, kept for the whole run.
fn a_key() -> PathBuf {
    static FILE: std::sync::LazyLock<tempfile::NamedTempFile> = std::sync::LazyLock::new(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), key()).unwrap();
        file
    });
    FILE.path().to_owned()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn mistakes_are_shown_where_they_stand() {
    let rule = "[rules.\"r.example/os\"]\n";
    for (text, line, column, part) in [
        ("rules = 1\n", 1, 9, "expected a map"),
        ("[rule]\n", 1, 2, "unknown field `rule`"),
        (
            &format!("{rule}keys = [\"a.pub\"]\nthresold = 2\n"),
            3,
            1,
            "unknown field `thresold`",
        ),
        (
            &format!("{rule}keys = \"a.pub\"\n"),
            2,
            8,
            "expected a sequence",
        ),
        (
            &format!("{rule}keys = [\"a.pub\"]\nkeys = [\"a.pub\"]\n"),
            3,
            1,
            "duplicate key",
        ),
        (
            &format!("{rule}keys = [\"a.pub\", \"b.pub\"]\n"),
            2,
            18,
            "cannot open b.pub",
        ),
        (
            &format!("{rule}keys = [\"-----BEGIN PUBLIC KEY-----\"]\n"),
            2,
            9,
            "no PEM key",
        ),
        (&format!("{rule}keys = []\n"), 2, 8, "never met"),
        (rule, 1, 1, "who must have signed is missing"),
        (
            &format!("{rule}keys = [\"a.pub\", \"a.pub\"]\nthreshold = 2\n"),
            3,
            13,
            "from 1 to 1",
        ),
        (
            &format!("{rule}keys = [\"a.pub\"]\nthreshold = 0\n"),
            3,
            13,
            "from 1 to 1",
        ),
        (
            &format!("{rule}keys = [\"a.pub\"]\nthreshold = -1\n"),
            3,
            13,
            "from 1 to 1",
        ),
        (
            &format!("{rule}policy = \"Accept\"\n"),
            2,
            10,
            "`Accept` is no policy",
        ),
        (
            &format!("{rule}policy = \"reject\"\nthreshold = 2\n"),
            3,
            13,
            "\"signed\" alone",
        ),
        (
            &format!("{rule}keys = [\"a.pub\"]\nsigned_as = \"r.example/os:1\"\n"),
            3,
            13,
            "not a repository name",
        ),
        (
            "[rules.\"r.example/os/\"]\npolicy = \"accept\"\n",
            1,
            8,
            "not HOST[:PORT][/NAME]",
        ),
        (
            "[rules.\"oci:usb\"]\npolicy = \"accept\"\n",
            1,
            8,
            "must be absolute",
        ),
        (
            "[rules.\"oci:/a/../b\"]\npolicy = \"accept\"\n",
            1,
            8,
            "must be absolute",
        ),
        (
            "[rules.\"r.example\"]\npolicy = \"reject\"\n[rules.\"R.example:443\"]\npolicy = \"accept\"\n",
            1,
            8,
            "has a rule already",
        ),
        (
            "[default]\nkeys = [\"a.pub\"]\nsigned_as = \"r.example\"\n",
            3,
            13,
            "the default covers no prefix",
        ),
    ] {
        let (at_line, at_column, message) = wrong(text);
        assert!(message.contains(part), "{text}: {message}");
        assert_eq!((at_line, at_column), (line, column), "{text}: {message}");
    }
}

#[test]
fn the_systems_file_counts_before_the_running_images() {
    let dir = tempfile::tempdir().unwrap();
    let (root, image) = (dir.path().join("root"), dir.path().join("image"));
    let places = Places {
        root: root.clone(),
        image: image.clone(),
        state: dir.path().join("state"),
    };
    let name = || {
        let rules = Rules::of_system(&places, &[])?;
        let rule = rules.find(&"registry:r.example/os:1".parse().unwrap());
        let keys = match &rule.demand {
            Demand::Signed(signers) => signers.keys.iter().count(),
            Demand::Accept | Demand::Reject => 0,
        };
        Ok::<_, TrustError>((rule.name.clone(), keys))
    };
    for (at, folder) in [
        (&root, "etc/elea/trust.d/a.pub"),
        (&image, "usr/lib/elea/trust.d/b.pub"),
        (&places.state, "trust.d/c.pub"),
    ] {
        write(at, folder, &key());
    }
    // What lies in the system's own /usr is the candidate's, where the running image is another.
    write(&root, "usr/lib/elea/trust.d/candidate.pub", &key());
    write(
        &root,
        "usr/lib/elea/trust.toml",
        "[default]\npolicy = \"accept\"\n",
    );
    assert_eq!(name().unwrap(), ("trust.d".into(), 3));

    let text = "[rules.\"r.example\"]\nkeys = [\"keys/x.pub\", \"/etc/elea/y.pub\", \"trust.d\"]\n";
    write(&image, "usr/lib/elea/trust.toml", text);
    write(&image, "usr/lib/elea/keys/x.pub", &key());
    let error = name().unwrap_err().to_string();
    assert!(error.contains("etc/elea/y.pub"), "{error}");
    write(&image, "etc/elea/y.pub", &key());
    let shown = "the rule `r.example` in /usr/lib/elea/trust.toml";
    assert_eq!(name().unwrap(), (shown.into(), 5));

    write(
        &root,
        "etc/elea/trust.toml",
        "[default]\nkeys = [\"trust.d\"]\n",
    );
    assert_eq!(
        name().unwrap(),
        ("the default of /etc/elea/trust.toml".into(), 3)
    );
    write(&root, "etc/elea/trust.toml", "");
    assert_eq!(
        name().unwrap(),
        ("the default of /etc/elea/trust.toml".into(), 0)
    );
    // A file that cannot be read is no file that is not there.
    let spaces = " ".repeat((256 << 10) + 1);
    write(&root, "etc/elea/trust.toml", &spaces);
    assert!(
        name()
            .unwrap_err()
            .to_string()
            .contains("larger than 256 KiB")
    );
    fs::remove_file(root.join("etc/elea/trust.toml")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("etc/elea/trust.toml")).unwrap();
    assert!(name().is_err());
}
