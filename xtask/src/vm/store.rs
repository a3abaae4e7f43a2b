//! Damage to what generations are made of.

use super::{Base, Scenario, Stage, Told, Trial};
use crate::{Result, workspace};
use elea_testkit::{Error, run};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(20);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "object-flipped",
        done: "one bit of a file of the new release is wrong on the disk",
        run: object,
    },
    Scenario {
        name: "image-flipped",
        done: "one bit of the new release's image file is wrong on the disk",
        run: image,
    },
    Scenario {
        name: "good-fails",
        done: "the good generation's image is damaged, then the older good one's too",
        run: good_fails,
    },
];

/// The image file of a generation, as a path below the root.
fn image_file(trial: &Trial, number: u64) -> Result<String> {
    let path = format!("elea/generations/{number}/manifest.json");
    let text = trial.disk.root_read(&path)?;
    let manifest: serde_json::Value = serde_json::from_slice(&text)
        .map_err(|e| Error::other(format!("{path} is no JSON: {e}")))?;
    let digest = manifest["image"].as_str().unwrap_or_default();
    object_file(digest)
}

fn object_file(digest: &str) -> Result<String> {
    match digest.split_at_checked(2) {
        Some((first, rest)) if digest.len() == 64 => {
            Ok(format!("elea/store/objects/{first}/{rest}"))
        }
        _ => Err(Error::other(format!("`{digest}` is no digest"))),
    }
}

fn object(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::Staged)?;
    let mut digest = Command::new("fsverity");
    digest.args(["digest", "--compact", "--hash-alg=sha256"]);
    let file = workspace().join("examples/hello/hello-2.0");
    let path = object_file(run(digest.arg(file))?.trim())?;
    trial.disk.root_flip(&path, 10)?;
    trial.start()?;
    trial.good("1.0", LIMIT)?;
    let evidence = trial.evidence("2.0")?;
    let fsck = trial.guest.run("elea store fsck")?;
    trial.check(
        !fsck.ok(),
        "`elea store fsck` did not find the damaged object",
    )?;
    trial.check(
        fsck.all().contains("hello"),
        &format!(
            "`elea store fsck` does not name the image that uses it: {}",
            fsck.all()
        ),
    )?;
    // From the registry that the machine follows.
    trial.guest.must("elea store fsck --repair")?;
    trial.guest.must("elea store fsck")?;
    trial.told(
        "reading it fails, the health check says so; three tries, then 1.0 again; fsck names object and image, and its repair fetches the object again",
        evidence,
    )
}

fn image(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::Staged)?;
    let path = image_file(&trial, 2)?;
    trial.disk.root_flip(&path, 100_000)?;
    trial.start()?;
    trial.good("1.0", LIMIT)?;
    let evidence = trial.evidence("2.0")?;
    trial.told(
        "the initrd refuses it; three tries, then 1.0 again",
        evidence,
    )
}

fn good_fails(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::Second)?;
    let (second, first) = (image_file(&trial, 2)?, image_file(&trial, 1)?);
    trial.disk.root_flip(&second, 100_000)?;
    trial.start()?;
    trial.good("1.0", LIMIT)?;
    let evidence = trial.guest.must("elea status")?;
    trial.check(evidence.contains("2.0"), "`elea status` does not name 2.0")?;
    trial.stop()?;
    trial.disk.root_flip(&first, 100_000)?;
    let from = trial.guest.machine.console().length();
    trial.guest.machine.start()?;
    // The rescue menu waits for a person, here on the serial console.
    trial.guest.machine.wait_for("elea rescue>", from, LIMIT)?;
    trial.guest.machine.kill();
    trial.told(
        "2.0 fails twice, then 1.0 takes its place; when that fails too, the rescue menu",
        "the initrd's reason beside each generation".into(),
    )
}
