//! The rescue menu: what is left when no generation boots by itself.
//!
//! It needs nothing but this initrd. It waits for a person without a time limit, since it is
//! the end of the line; the watchdog is stopped.

mod check;
mod terminal;

use crate::boot::Boot;
use crate::disk::{elea, generation};
use crate::request::Target;
use crate::{console, etc, fail, tries};
use elea_sys::At as _;
use rustix::system::RebootCommand;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use terminal::Terminal;

const HELP: &str = "\
  status         the generations, their tries and what is known of failures
  why N          the newest evidence of generation N
  check N        read every object of generation N and compare it with its name
  boot N         boot generation N with this kernel
  fresh N        give generation N an /etc without local edits (the old one is kept aside)
  forget N       forget the failed tries of generation N
  log            the end of the kernel's log
  shell          a shell, if this initrd has one
  reboot, off    start the machine anew, or switch it off";

/// Most generations that are listed.
const LISTED: usize = 50;

/// Serves the menu until the machine is booted or restarted.
pub(crate) fn run(mut boot: Boot, reason: Option<String>) -> ! {
    if let Some(dog) = boot.dog.take() {
        dog.stop();
    }
    let mut terminal = Terminal::open();
    terminal.say("");
    terminal.say("Elea rescue");
    if let Some(reason) = reason {
        console::error(&reason);
        terminal.say(&format!("  {reason}"));
    }
    status(&boot, &mut terminal);
    terminal.say(HELP);
    loop {
        let Some(line) = terminal.ask("elea rescue> ") else {
            // No console to ask on: there is nothing to wait for.
            fail::restart(std::time::Duration::from_mins(5))
        };
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let number = rest.trim().parse::<u64>().ok();
        match (word, number) {
            ("status", _) => status(&boot, &mut terminal),
            ("log", _) => terminal.say(&console::kernel_log()),
            ("shell", _) => shell(&mut terminal),
            ("reboot", _) => fail::stop(RebootCommand::Restart),
            ("off", _) => fail::stop(RebootCommand::PowerOff),
            ("", _) => {}
            ("why" | "check" | "boot" | "fresh" | "forget", Some(n)) if generation(n).is_dir() => {
                if let Err(e) = act(word, n, &mut boot, &mut terminal) {
                    terminal.say(&format!("  {e}"));
                }
            }
            ("why" | "check" | "boot" | "fresh" | "forget", _) => {
                terminal.say(&format!(
                    "  {word} needs the number of a generation that is there"
                ));
            }
            _ => terminal.say(HELP),
        }
    }
}

fn act(
    word: &str,
    number: u64,
    boot: &mut Boot,
    terminal: &mut Terminal,
) -> Result<(), Box<dyn std::error::Error>> {
    match word {
        "why" => why(number, terminal),
        "check" => check::generation(number, &mut boot.drivers, terminal)?,
        "fresh" => {
            let etc = generation(number).join("etc");
            if etc.exists() {
                let aside = generation(number).join(format!("etc.kept-{}", boot.id));
                fs::rename(&etc, &aside).at("rename", &etc)?;
                terminal.say(&format!("  the edits are kept in {}", aside.display()));
            }
            fs::create_dir_all(etc.join("upper")).at("create", &etc)?;
            fs::create_dir_all(etc.join("work")).at("create", &etc)?;
            elea_sys::durable::sync_filesystem(&etc)?;
            terminal.say("  it will start with the image's own /etc");
        }
        "forget" => {
            tries::forget(number)?;
            terminal.say("  forgotten");
        }
        _ => {
            let image = etc::image_of(number).ok_or("its manifest cannot be read")?;
            terminal.say(&format!("  booting generation {number} …"));
            match boot.start(Target { number, image }, true)? {}
        }
    }
    Ok(())
}

fn status(boot: &Boot, terminal: &mut Terminal) {
    let Some(disk) = &boot.disk else {
        terminal.say("  root: not mounted");
        return;
    };
    terminal.say(&format!(
        "  root: {} ({}, {})",
        disk.device.name, disk.kind, disk.uuid
    ));
    let last = etc::last_run();
    for number in numbers().into_iter().rev().take(LISTED) {
        let manifest = etc::manifest(number);
        let what = manifest.map_or("its manifest cannot be read".to_owned(), |m| {
            format!("{} {} ({})", m.name, m.version, m.image.short())
        });
        let failed = tries::failed(&tries::folder(number), &boot.id).len();
        let evidence = names(&generation(number).join("evidence")).len();
        let mut notes = String::new();
        if last == Some(number) {
            notes.push_str(", ran last");
        }
        if !etc::has_upper(number) {
            notes.push_str(", no /etc of its own");
        }
        if failed > 0 {
            let _ = write!(notes, ", {failed} tries without a verdict");
        }
        if evidence > 0 {
            let _ = write!(notes, ", {evidence} pieces of evidence");
        }
        terminal.say(&format!("  {number}: {what}{notes}"));
    }
}

fn numbers() -> Vec<u64> {
    let mut numbers: Vec<u64> = names(&elea("generations"))
        .iter()
        .filter_map(|n| n.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .take(10_000)
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .collect()
}

fn why(number: u64, terminal: &mut Terminal) {
    let folder = generation(number).join("evidence");
    let newest = names(&folder)
        .into_iter()
        .map(|name| folder.join(name))
        .filter(|path| path.is_file())
        .max_by_key(|path| fs::metadata(path).and_then(|m| m.modified()).ok());
    let Some(path) = newest else {
        terminal.say("  there is no evidence");
        return;
    };
    terminal.say(&format!("  {}", path.display()));
    let text = fs::read(&path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[..text.len().min(16 << 10)]).into_owned();
    terminal.say(&text);
}

fn shell(terminal: &mut Terminal) {
    if !Path::new("/bin/sh").exists() {
        terminal.say("  this initrd has no shell");
        return;
    }
    match terminal.stdio().and_then(|(input, output, error)| {
        Command::new("/bin/sh")
            .stdin(input)
            .stdout(output)
            .stderr(error)
            .status()
    }) {
        Ok(_) => {}
        Err(e) => terminal.say(&format!("  the shell cannot be run: {e}")),
    }
}
