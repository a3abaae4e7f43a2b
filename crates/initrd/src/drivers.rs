//! Kernel modules: the ones that are always needed, and those that devices ask for.

use crate::console;
use crate::error::Error;
use elea_formats::modules::{self, LoadList};
use elea_sys::At as _;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

/// `MODULE_INIT_COMPRESSED_FILE`: the kernel unpacks the module.
const COMPRESSED: i32 = 4;
/// The list, put there by the composer of the initrd.
const LIST: &str = "/elea/modules";

/// The modules of this initrd and which of them were loaded.
#[derive(Debug, Default)]
pub(crate) struct Drivers {
    list: LoadList,
    folder: String,
    loaded: BTreeSet<String>,
    /// The devices that were asked.
    seen: BTreeSet<String>,
}

impl Drivers {
    /// Reads the list; without one (a kernel with everything built in) there is nothing to do.
    pub(crate) fn open() -> Result<Self, Error> {
        let release = rustix::system::uname();
        let folder = format!("/lib/modules/{}", release.release().to_string_lossy());
        let path = Path::new(LIST);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).at("read", path)?;
        Ok(Self {
            list: LoadList::parse(&text)?,
            folder,
            ..Self::default()
        })
    }

    fn load(&mut self, paths: &[String]) {
        for path in paths {
            if !self.loaded.insert(path.clone()) {
                continue;
            }
            let full = Path::new(&self.folder).join(path);
            let plain = full.extension().is_some_and(|e| e == "ko");
            let flags = if plain { 0 } else { COMPRESSED };
            let result = File::open(&full)
                .and_then(|file| Ok(rustix::system::finit_module(&file, c"", flags)?));
            match result {
                Ok(()) => {}
                // Loaded already; or a driver without its hardware, which is no news.
                Err(e) if matches!(e.raw_os_error(), Some(17 | 19)) => {}
                Err(e) => console::warn(&format!("cannot load {path}: {e}")),
            }
        }
    }

    /// Loads what is always needed, the recorder of panics first.
    pub(crate) fn load_always(&mut self) {
        let paths = std::mem::take(&mut self.list.always);
        self.load(&paths);
    }

    /// Loads the drivers that the devices there ask for, and again those that appeared by it.
    pub(crate) fn load_for_devices(&mut self) {
        // Bounded: each round needs a device that no round before saw.
        for _ in 0..16 {
            let new: Vec<String> = present()
                .into_iter()
                .filter(|alias| !self.seen.contains(alias))
                .collect();
            if new.is_empty() {
                return;
            }
            for alias in new {
                self.ask(&alias);
                self.seen.insert(alias);
            }
        }
    }

    /// Loads what answers to one name (`fs-btrfs`, a device's `modalias`).
    pub(crate) fn ask(&mut self, alias: &str) {
        let wanted: Vec<Vec<String>> = self
            .list
            .drivers
            .iter()
            .filter(|d| d.aliases.iter().any(|p| modules::matches(p, alias)))
            .map(|d| d.paths.clone())
            .collect();
        for paths in wanted {
            self.load(&paths);
        }
    }

    /// Loads every driver: the disk did not appear, perhaps since a device does not say what it needs.
    pub(crate) fn load_all(&mut self) {
        let all: Vec<_> = self.list.drivers.iter().map(|d| d.paths.clone()).collect();
        for paths in all {
            self.load(&paths);
        }
    }

    /// Loads the software watchdog.
    pub(crate) fn load_watchdog(&mut self) {
        let paths = std::mem::take(&mut self.list.watchdog);
        self.load(&paths);
    }

    /// Loads what the EFI system partition needs.
    pub(crate) fn load_esp(&mut self) {
        let paths = std::mem::take(&mut self.list.esp);
        self.load(&paths);
    }

    /// Loads what a loop device needs.
    pub(crate) fn load_loop(&mut self) {
        let paths = std::mem::take(&mut self.list.loop_device);
        self.load(&paths);
    }
}

/// The `modalias` of every device, and of the processor.
fn present() -> BTreeSet<String> {
    let names = |folder: &Path| -> Vec<_> {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|e| Some(e.ok()?.path()))
            .collect()
    };
    let mut aliases = BTreeSet::new();
    let mut add = |path: &Path| {
        if let Ok(text) = fs::read_to_string(path.join("modalias")) {
            aliases.insert(text.trim().to_owned());
        }
    };
    add(Path::new("/sys/devices/system/cpu"));
    for bus in names(Path::new("/sys/bus")) {
        for device in names(&bus.join("devices")) {
            add(&device);
        }
    }
    aliases.remove("");
    aliases
}
