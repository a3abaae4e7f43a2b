//! What people and registries do.

use super::{Base, Scenario, Stage, Told};
use crate::Result;
use crate::guest::BOOT;
use crate::works::Release;
use std::time::Duration;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "replay",
        done: "the registry serves the old release 1.0, validly signed, to a machine with 2.0",
        run: replay,
    },
    Scenario {
        name: "picked-by-hand",
        done: "a person picks the old entry in the boot menu while 2.0 is armed",
        run: picked,
    },
    Scenario {
        name: "ended-by-hand",
        done: "a person restarts the machine while 2.0 is on trial, in the middle of its health checks",
        run: ended,
    },
    Scenario {
        name: "esp-full",
        done: "$BOOT has no room for the new release's files",
        run: esp_full,
    },
];

fn replay(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::Second)?;
    stage.publish(Release::First)?;
    trial.start()?;
    trial.good("2.0", BOOT)?;
    let said = trial.guest.run("elea upgrade")?;
    trial.check(
        said.code == Some(5),
        &format!("code {:?}: {}", said.code, said.all()),
    )?;
    let other = trial.guest.next_is_another()?;
    trial.check(!other, "1.0 was staged")?;
    let evidence = format!("\"{}\"", said.err.lines().next().unwrap_or_default());
    trial.told(
        "`elea upgrade` refuses it (exit 5); nothing is staged",
        evidence,
    )
}

fn picked(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::Staged)?;
    let text = String::from_utf8_lossy(&trial.disk.esp_read("loader/loader.conf")?).into_owned();
    let mut lines: Vec<&str> = text.lines().filter(|l| !l.starts_with("timeout")).collect();
    lines.push("timeout 20");
    let slow = format!("{}\n", lines.join("\n"));
    trial
        .disk
        .esp_write("loader/loader.conf", slow.as_bytes())?;
    let from = trial.guest.machine.console().length();
    trial.start()?;
    let machine = &mut trial.guest.machine;
    machine.wait_for("starting Boot", from, Duration::from_mins(2))?;
    // The menu is there when the countdown is; 2.0 stands above 1.0.
    std::thread::sleep(Duration::from_secs(6));
    machine.press(&["down", "ret"])?;
    trial.guest.wait_version("1.0", None, BOOT)?;
    trial.arrived();
    let other = trial.guest.next_is_another()?;
    trial.check(other, "2.0 does not boot next any more")?;
    trial.guest.reboot_to("2.0", BOOT)?;
    trial.guest.wait_committed(BOOT)?;
    trial.told(
        "1.0 runs for this boot; the next boot takes 2.0, which is committed",
        "the operation log".into(),
    )
}

fn ended(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::First)?;
    stage.publish(Release::Second)?;
    trial.start()?;
    trial.good("1.0", BOOT)?;
    trial.guest.must(
        "mkdir -p /etc/elea/health.d && cd /etc/elea/health.d && \
         printf '#!/bin/sh\\nexec sleep 50\\n' > slow && chmod +x slow",
    )?;
    trial.guest.must("elea upgrade")?;
    trial.guest.reboot_to("2.0", BOOT)?;
    trial
        .guest
        .must("timeout 300 sh -c 'until pgrep -fx \"sleep 50\"; do sleep 1; done'")?;
    trial.mark();
    trial.guest.reboot_to("2.0", BOOT)?;
    trial.arrived();
    let marks = trial
        .guest
        .ask("grep -l '\"ended\":\"user\"' /sysroot/elea/generations/2/tries/*.json | wc -l")?;
    trial.check(
        marks.trim() == "1",
        &format!("{} tries are marked", marks.trim()),
    )?;
    trial.guest.wait_committed(BOOT)?;
    trial.told(
        "the try counts as no failure; the next boot of 2.0 is committed",
        "record of the try".into(),
    )
}

fn esp_full(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::First)?;
    stage.publish(Release::Second)?;
    trial.start()?;
    trial.good("1.0", BOOT)?;
    trial.guest.must(
        "mkdir -p /run/esp && mount $(blkid -t TYPE=vfat -o device | head -n1) /run/esp && \
         free=$(df --output=avail -k /run/esp | tail -n1) && \
         dd if=/dev/zero of=/run/esp/full bs=1k count=$((free - 64)) status=none && umount /run/esp",
    )?;
    let said = trial.guest.run("elea upgrade")?;
    trial.check(!said.ok(), "the upgrade went on although $BOOT is full")?;
    let text = said.all();
    trial.check(
        text.contains("space") || text.contains("room"),
        &format!("says only: {text}"),
    )?;
    trial.check(
        !text.contains("fetching"),
        &format!("it was found only after the fetch: {text}"),
    )?;
    let other = trial.guest.next_is_another()?;
    trial.check(!other, "something was staged")?;
    let evidence = format!("\"{}\"", said.err.lines().next().unwrap_or_default());
    trial.stop()?;
    let entries = trial.disk.esp_list("loader/entries")?;
    trial.check(
        !entries.iter().any(|e| e.contains('+')),
        &format!("{entries:?}"),
    )?;
    trial.told(
        "`elea upgrade` says so before it fetches or writes anything; 1.0 stays",
        evidence,
    )
}
