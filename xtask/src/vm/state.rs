//! The machine's own state across releases.

use super::{Base, Scenario, Stage, Told, live};
use crate::Result;
use crate::guest::BOOT;
use crate::works::{Break, Release};
use std::time::Duration;

/// Three tries, and the way back.
const RETURN: Duration = Duration::from_mins(20);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "edits-after-staging",
        done: "/etc is edited between the upgrade and the reboot; people and a password are added, and the release adds a system user and a /var folder",
        run: edits,
    },
    Scenario {
        name: "rollback-reads",
        done: "2.0 writes users, edits and state; then a rollback to 1.0, whose elea reads it all",
        run: rollback,
    },
    Scenario {
        name: "ephemeral",
        done: "a release whose /etc and /var are fresh at each boot, over three boots, and a rollback to one whose are not",
        run: ephemeral,
    },
    Scenario {
        name: "state-version",
        done: "a release changes the data of a service; then, without a network, a rollback across it, with the data from before",
        run: state_version,
    },
    Scenario {
        name: "btrfs",
        done: "the whole path on a btrfs root: install, upgrade to 2.0, to 3.0 that fails its health check, rollback",
        run: btrfs,
    },
];

/// Edits of every kind, each with what shows it afterwards.
const EDITS: [(&str, &str, &str); 8] = [
    ("echo edited >> /etc/hosts", "tail -n1 /etc/hosts", "edited"),
    ("echo new > /etc/person.conf", "cat /etc/person.conf", "new"),
    (
        "rm /etc/issue.net",
        "ls /etc/issue.net 2>&1 | grep -c 'No such'",
        "1",
    ),
    (
        "ln -sf person.conf /etc/person.link",
        "readlink /etc/person.link",
        "person.conf",
    ),
    (
        "chmod 600 /etc/person.conf",
        "stat -c %a /etc/person.conf",
        "600",
    ),
    (
        "chown 1234:5678 /etc/person.conf",
        "stat -c %u:%g /etc/person.conf",
        "1234:5678",
    ),
    (
        "rm /etc/issue; mkdir /etc/issue; echo in > /etc/issue/file",
        "cat /etc/issue/file",
        "in",
    ),
    (
        "useradd -m -u 1500 alice; echo alice:secret | chpasswd",
        "getent passwd alice | cut -d: -f3; getent shadow alice | cut -c1-7; ls -d /home/alice",
        "1500\nalice:$\n/home/alice",
    ),
];

fn edits(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::First)?;
    stage.publish(Release::Second)?;
    trial.start()?;
    trial.good("1.0", BOOT)?;
    trial.guest.must("elea upgrade")?;
    for (edit, _, _) in EDITS {
        trial.guest.must(edit)?;
    }
    trial.mark();
    trial.guest.reboot_to("2.0", BOOT)?;
    trial.arrived();
    trial.guest.wait_committed(BOOT)?;
    for (_, look, wanted) in EDITS {
        let said = trial.guest.must(look)?;
        trial.check(said.trim() == wanted, &format!("`{look}` says `{said}`"))?;
    }
    let user = trial
        .guest
        .must("getent passwd hello && stat -c %U /var/lib/hello")?;
    trial.check(
        user.trim_end().ends_with("hello"),
        &format!("the release's user: {user}"),
    )?;
    let diff = trial.guest.must("elea etc diff")?;
    trial.check(
        diff.contains("person.conf"),
        "`elea etc diff` does not show the edit",
    )?;
    trial.told(
        "every edit is there in 2.0, beside its new user and folder",
        "`elea etc diff`".into(),
    )
}

fn rollback(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::Second)?;
    trial.start()?;
    trial.good("2.0", BOOT)?;
    for (edit, _, _) in EDITS {
        trial.guest.must(edit)?;
    }
    trial.guest.must("elea pin 2 && elea rollback")?;
    trial.mark();
    trial.guest.reboot_to("1.0", BOOT)?;
    trial.arrived();
    trial.guest.wait_committed(BOOT)?;
    for (_, look, wanted) in EDITS {
        let said = trial.guest.must(look)?;
        trial.check(said.trim() == wanted, &format!("`{look}` says `{said}`"))?;
    }
    for command in [
        "elea status",
        "elea generations",
        "elea log",
        "elea store fsck",
        "elea etc diff",
    ] {
        trial.guest.must(command)?;
    }
    trial.told(
        "1.0 runs with every edit, and reads log, store and generations",
        "the operation log".into(),
    )
}

/// What a person writes before each boot of the ephemeral release, and what must be there after it.
const WRITES: &str = "echo $N > /var/lib/person/data; echo $N > /etc/person.conf; echo $N > /etc/linked/x; \
    echo lost > /var/lib/lost; echo lost > /etc/lost; echo lost > /etc/hostname; echo $N > /root/home";

fn ephemeral(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::First)?;
    stage.publish(Release::Ephemeral)?;
    trial.start()?;
    trial.good("1.0", BOOT)?;
    let own = "cat /etc/machine-id /elea/state/ssh/*.pub";
    let identity = trial.guest.must(own)?;
    trial.guest.must(
        "mkdir /var/lib/person && echo 0 > /var/lib/person/data && echo 0 > /etc/person.conf && echo edit > /etc/other.conf && echo old > /var/lib/old",
    )?;
    trial.guest.must("elea upgrade")?;
    trial.mark();
    trial.guest.reboot_to("4.0", BOOT)?;
    trial.arrived();
    trial.guest.wait_committed(BOOT)?;
    // What the persistent release had of it is there, and nothing else.
    let kept = "cat /var/lib/person/data /etc/person.conf";
    trial.says(kept, "0\n0")?;
    trial.guest.must("! ls /etc/other.conf /var/lib/old")?;
    for boot in 1..=2 {
        trial.guest.must(&WRITES.replace("$N", &boot.to_string()))?;
        trial.guest.reboot_to("4.0", BOOT)?;
        trial.guest.wait_committed(BOOT)?;
        trial.says(kept, &format!("{boot}\n{boot}"))?;
        trial.says("cat /etc/linked/x /root/home", &format!("{boot}\n{boot}"))?;
        trial.says("cat /etc/hostname", "hello")?;
        trial.guest.must("! ls /var/lib/lost /etc/lost")?;
        trial.says(own, identity.trim())?;
        trial.says("elea etc diff", "")?;
        trial.says("systemctl --failed --no-legend", "")?;
    }
    trial
        .guest
        .must("test $(journalctl --list-boots -q | wc -l) -ge 4")?;
    trial.guest.must("systemctl start elea-tidy.service")?;
    trial.says("ls /sysroot/elea/state/boots | wc -l", "1")?;
    let list = trial.guest.must("elea state list")?;
    let words: Vec<&str> = list.split_whitespace().collect();
    let plain = words.join(" ");
    for line in ["declared", "orphaned /sysroot/elea/state/var/lib/old"] {
        trial.check(plain.contains(line), &format!("`elea state list`: {list}"))?;
    }
    trial
        .guest
        .must("elea state snapshot && echo 3 > /var/lib/person/data")?;
    trial
        .guest
        .must("elea state restore 1 /var/lib/person --yes")?;
    trial.says(kept, "2\n2")?;
    trial.guest.must("elea rollback 1")?;
    trial.guest.reboot_to("1.0", BOOT)?;
    trial.guest.wait_committed(BOOT)?;
    trial.says(
        "cat /var/lib/person/data /var/lib/old /etc/other.conf",
        "2\nold\nedit",
    )?;
    trial.told(
        "what is declared is there after each boot and nothing else is; 1.0 has that and what it had before",
        "`elea state list`".into(),
    )
}

/// A directory whose data has this version.
fn data_of(version: u32) -> String {
    format!("[state.directories.\"/var/lib/person\"]\nversion = {version}\n")
}

fn state_version(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::First)?;
    let first = live::publish(&stage.works, "data-1", "1", &data_of(1))?;
    let second = live::publish(&stage.works, "data-2", "2", &data_of(2))?;
    trial.start()?;
    trial.good("1.0", BOOT)?;
    for (image, data) in [(&first, "old"), (&second, "new")] {
        trial.guest.must(&format!(
            "elea apply --boot --image {image} --plain-http --yes"
        ))?;
        trial.guest.reboot_to("1.0", BOOT)?;
        trial.guest.wait_committed(BOOT)?;
        trial.says("systemctl --failed --no-legend", "")?;
        trial
            .guest
            .must(&format!("echo {data} > /var/lib/person/data"))?;
    }
    // Without a network, and without the data, the older release is told what it will find.
    trial.guest.must("ip route del default")?;
    let offered = trial.guest.run("elea rollback --dry-run")?.all();
    trial.check(
        offered.contains("/var/lib/person has data of version 2") && offered.contains("snapshot 1"),
        &format!("the rollback offers nothing: {offered}"),
    )?;
    trial.guest.must("elea rollback --restore-state")?;
    trial.mark();
    trial.guest.reboot_to("1.0", BOOT)?;
    trial.arrived();
    trial.guest.wait_committed(BOOT)?;
    trial.says("cat /etc/hello.conf /var/lib/person/data", "1\nold")?;
    // What the newer one had written is kept, too.
    trial.says(
        "cat /sysroot/elea/state/snapshots/2/data/var/lib/person/data",
        "new",
    )?;
    trial.told(
        "the older release runs with the data from before the upgrade; the newer data is in a snapshot",
        "`elea state list`".into(),
    )
}

fn btrfs(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial_installed(name, &["--fs", "btrfs"])?;
    trial.start()?;
    trial.good("1.0", BOOT)?;
    trial
        .guest
        .must("findmnt -no FSTYPE /sysroot | grep -x btrfs")?;
    trial.guest.must("echo kept > /var/lib/person")?;
    stage.publish(Release::Second)?;
    trial.guest.must("elea upgrade")?;
    trial.guest.reboot_to("2.0", BOOT)?;
    trial.guest.wait_committed(BOOT)?;
    trial
        .guest
        .must("grep -x kept /var/lib/person && elea store fsck")?;
    stage.publish(Release::Third(Break::Health))?;
    trial.guest.must("elea upgrade")?;
    trial.mark();
    trial.guest.reboot_to("2.0", RETURN)?;
    trial.arrived();
    trial.guest.wait_committed(BOOT)?;
    let evidence = trial.evidence("3.0")?;
    trial.guest.must("elea rollback 1")?;
    trial.guest.reboot_to("1.0", BOOT)?;
    trial.guest.wait_committed(BOOT)?;
    trial.guest.must("grep -x kept /var/lib/person")?;
    trial.told(
        "as on ext4: 2.0 is good, 3.0 fails three times and 2.0 comes back, then 1.0 by choice",
        evidence,
    )
}
