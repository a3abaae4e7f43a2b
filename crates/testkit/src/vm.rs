//! A machine under QEMU: OVMF, one disk, a serial console that is logged, and ssh.

mod accelerator;
mod console;
mod monitor;
mod ssh;
mod stuck;

pub use accelerator::{Accelerator, usable as usable_accelerator};
pub use console::Console;

use crate::{Error, Result, bound, free_port};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use elea_sys::At as _;
use monitor::Monitor;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// Firmware code, and the variables that belong to it.
const FIRMWARE: [(&str, &str); 2] = [
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
];

/// Between two presses of the power button.
const PRESS: Duration = Duration::from_secs(30);

/// What a machine is made of.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// Memory in MiB.
    pub memory: u32,
    /// Processors. One by default: with two, TCG gave a rare oops that looks like a bad release.
    pub processors: u32,
    /// Whether there is a hardware watchdog (`i6300esb`).
    pub watchdog: bool,
    /// The key that root may log in with, and the one to log in with; given to the guest as a
    /// systemd credential, so that the image needs nothing of it.
    pub login: Option<crate::key::KeyPair>,
    /// Start a kernel with an initrd and a command line, without firmware.
    pub kernel: Option<(PathBuf, PathBuf, String)>,
    /// More arguments for QEMU.
    pub more: Vec<String>,
}

impl Default for Hardware {
    fn default() -> Self {
        Self {
            memory: 1024,
            processors: 1,
            watchdog: true,
            login: None,
            kernel: None,
            more: Vec::new(),
        }
    }
}

/// A machine that can be switched on and off; its disk and firmware variables stay.
#[derive(Debug)]
pub struct Machine {
    hardware: Hardware,
    disk: PathBuf,
    folder: PathBuf,
    sockets: tempfile::TempDir,
    accelerator: Accelerator,
    ssh_port: u16,
    child: Option<Child>,
    console: Console,
    /// Where in the console's log this run of QEMU begins.
    began_at: u64,
    silence: stuck::Silence,
}

impl Machine {
    /// A machine with this disk; `folder` gets its console's log and firmware variables.
    pub fn new(folder: &Path, disk: &Path, hardware: Hardware) -> Result<Self> {
        fs::create_dir_all(folder).at("create", folder)?;
        let (_, variables) = firmware()?;
        let own = folder.join("variables.fd");
        if !own.exists() {
            fs::copy(variables, &own).at("copy", variables)?;
        }
        let sockets = tempfile::Builder::new().prefix("elea-vm").tempdir();
        Ok(Self {
            console: Console::new(folder.join("console.log")),
            sockets: sockets.at("create", std::env::temp_dir())?,
            accelerator: usable_accelerator(),
            ssh_port: free_port()?,
            disk: disk.to_owned(),
            folder: folder.to_owned(),
            hardware,
            child: None,
            began_at: 0,
            silence: stuck::Silence::new(),
        })
    }

    /// The arguments of QEMU, its program's name first; `console` says where the serial line goes.
    pub fn command_line(&self, console: &[String]) -> Vec<String> {
        let hardware = &self.hardware;
        let mut words: Vec<String> = vec!["qemu-system-x86_64".into()];
        let mut add = |text: &str| words.extend(text.split(' ').map(str::to_owned));
        add("-nodefaults -no-user-config -display none -vga std");
        add(&format!("-machine q35,accel={}", self.accelerator.name()));
        add(&format!(
            "-cpu {} -m {} -smp {}",
            self.accelerator.processor(),
            hardware.memory,
            hardware.processors
        ));
        add("-device virtio-rng-pci");
        add(&format!(
            "-netdev user,id=net,hostfwd=tcp:127.0.0.1:{}-:22 -device virtio-net-pci,netdev=net,romfile=",
            self.ssh_port
        ));
        if hardware.watchdog {
            add("-device i6300esb -action watchdog=reset");
        }
        words.extend([
            "-drive".into(),
            format!(
                "if=none,id=disk,format=raw,cache=unsafe,discard=unmap,file={}",
                self.disk.display()
            ),
            "-device".into(),
            "virtio-blk-pci,drive=disk".into(),
        ]);
        if let Some((kernel, initrd, arguments)) = &hardware.kernel {
            words.extend([
                "-kernel".into(),
                kernel.display().to_string(),
                "-initrd".into(),
                initrd.display().to_string(),
                "-append".into(),
                arguments.clone(),
            ]);
        } else if let Ok((code, _)) = firmware() {
            words.extend([
                "-drive".into(),
                format!("if=pflash,format=raw,readonly=on,file={code}"),
                "-drive".into(),
                format!(
                    "if=pflash,format=raw,file={}",
                    self.folder.join("variables.fd").display()
                ),
            ]);
        }
        let key = hardware
            .login
            .as_ref()
            .and_then(|pair| fs::read(&pair.public).ok());
        if let Some(key) = key {
            words.extend([
                "-smbios".into(),
                format!(
                    "type=11,value=io.systemd.credential.binary:ssh.authorized_keys.root={}",
                    STANDARD.encode(key)
                ),
            ]);
        }
        words.extend(console.iter().cloned());
        words.extend(hardware.more.iter().cloned());
        words
    }

    /// Switches it on.
    pub fn start(&mut self) -> Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        self.began_at = self.console.length();
        let (serial, monitor) = (self.socket("serial"), self.socket("monitor"));
        for socket in [&serial, &monitor] {
            let _ = fs::remove_file(socket);
        }
        let words = self.command_line(&[
            "-chardev".into(),
            format!(
                "socket,id=serial,path={},server=on,wait=off,logfile={},logappend=on",
                serial.display(),
                self.console.path().display()
            ),
            "-serial".into(),
            "chardev:serial".into(),
            "-qmp".into(),
            format!("unix:{},server=on,wait=off", monitor.display()),
        ]);
        let log = self.folder.join("qemu.log");
        let errors = fs::File::options().create(true).append(true).open(&log);
        let child = bound(&words[0])
            .args(&words[1..])
            .stdout(std::process::Stdio::null())
            .stderr(errors.at("open", &log)?)
            .spawn()
            .map_err(|source| Error::Start {
                program: words[0].clone(),
                source,
            })?;
        self.child = Some(child);
        let begun = Instant::now();
        while !monitor.exists() {
            if !self.is_running() || begun.elapsed() > Duration::from_secs(20) {
                let tail = fs::read_to_string(&log).unwrap_or_default();
                return Err(gone("its start", tail));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.sockets.path().join(name)
    }

    /// Whether QEMU runs.
    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Cuts the power: QEMU is killed, whatever the guest does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the guest to switch itself off and waits for it; cuts the power after `limit`.
    pub fn power_off(&mut self, limit: Duration) -> Result<()> {
        self.off(limit, true)
    }

    /// Waits until QEMU has ended by itself; cuts the power after `limit`.
    pub fn wait_off(&mut self, limit: Duration) -> Result<()> {
        self.off(limit, false)
    }

    /// Waits for the end. The power button is pressed again and again: a guest whose logind is
    /// not up yet does not hear the first time.
    fn off(&mut self, limit: Duration, press: bool) -> Result<()> {
        let begun = Instant::now();
        let mut pressed: Option<Instant> = None;
        while self.is_running() {
            if press && pressed.is_none_or(|at| at.elapsed() > PRESS) {
                pressed = Some(Instant::now());
                let said = self
                    .monitor()
                    .and_then(|mut monitor| monitor.execute("system_powerdown", None));
                // It may have ended a moment ago, and its monitor with it.
                if self.is_running() {
                    said?;
                }
            }
            if begun.elapsed() > limit {
                let tail = self.console.tail(self.began_at, 30);
                self.kill();
                return Err(late("the end of the machine", limit, tail));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.child = None;
        Ok(())
    }

    /// Presses the reset button.
    pub fn reset(&self) -> Result<()> {
        self.monitor()?.execute("system_reset", None)
    }

    /// Presses keys of the keyboard, by QEMU's names (`down`, `ret`), one after the other.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        let mut monitor = self.monitor()?;
        for key in keys {
            let keys = serde_json::json!({"keys": [{"type": "qcode", "data": key}]});
            monitor.execute("send-key", Some(keys))?;
            std::thread::sleep(Duration::from_millis(300));
        }
        Ok(())
    }

    /// Keeps a picture of the screen (PPM).
    pub fn screen(&self, path: &Path) -> Result<()> {
        let place = serde_json::json!({"filename": path});
        self.monitor()?.execute("screendump", Some(place))
    }

    fn monitor(&self) -> Result<Monitor> {
        Monitor::connect(&self.socket("monitor"))
    }

    /// Types on the serial console.
    pub fn type_text(&self, text: &str) -> Result<()> {
        Console::type_text(&self.socket("serial"), text)
    }

    /// The serial console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// What the console said since QEMU was started last.
    pub fn said(&self) -> String {
        self.console.since(self.began_at)
    }

    /// Processor time that QEMU has used since it was started.
    pub fn processor_time(&self) -> Result<Duration> {
        let id = self.child.as_ref().map_or(0, Child::id);
        let path = PathBuf::from(format!("/proc/{id}/stat"));
        let text = fs::read_to_string(&path).at("read", &path)?;
        // `utime` and `stime` are the 12th and 13th field behind the name, in hundredths.
        let fields = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks: u64 = fields
            .split(' ')
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Waits until the console says something, looking from a place in its log on; gives the
    /// place behind it.
    pub fn wait_for(&mut self, text: &str, from: u64, limit: Duration) -> Result<u64> {
        let begun = Instant::now();
        loop {
            if let Some(end) = self.console.find(text, from) {
                return Ok(end);
            }
            let what = format!("`{text}`");
            if !self.is_running() {
                return Err(gone(&what, self.console.tail(from, 30)));
            }
            if begun.elapsed() > limit {
                return Err(late(&what, limit, self.console.tail(from, 30)));
            }
            self.free_stuck_restart()?;
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

fn gone(what: &str, tail: String) -> Error {
    Error::Gone {
        who: "the machine".into(),
        what: what.into(),
        tail,
    }
}

fn late(what: &str, limit: Duration, tail: String) -> Error {
    Error::Late {
        what: what.into(),
        seconds: limit.as_secs(),
        tail,
    }
}

/// The firmware's code and its variables as they are shipped.
fn firmware() -> Result<(&'static str, &'static str)> {
    FIRMWARE
        .into_iter()
        .find(|(code, variables)| Path::new(code).exists() && Path::new(variables).exists())
        .ok_or_else(|| Error::other("there is no OVMF firmware; install the package `ovmf`"))
}
