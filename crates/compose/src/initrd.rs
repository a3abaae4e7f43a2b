//! The initrd: `elea-initrd` and the kernel's modules as a cpio archive.
//!
//! The same tree gives the same bytes. Modules stay compressed as the distribution ships
//! them, since the kernel unpacks them itself; the archive is not compressed again.

use elea_formats::cpio::{self, Writer};
use elea_formats::modules::{self, Driver, Index, LoadList, Texts};
use elea_formats::tree::Tree;
use elea_store::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

/// A module or an index of modules is never larger.
const LIMIT: u64 = 64 << 20;

/// Loaded at every boot, in this order: the recorder of panics first.
const ALWAYS: [&str; 3] = ["efi_pstore", "erofs", "overlay"];
/// Without these no image is mounted.
const NEEDED: [&str; 2] = ["erofs", "overlay"];
/// For machines without a hardware watchdog.
const WATCHDOG: [&str; 1] = ["softdog"];
/// For the EFI system partition, with the character sets that kernels have as defaults.
const ESP: [&str; 5] = [
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859_1",
    "nls_utf8",
];
/// For kernels whose EROFS is mounted from block devices alone.
const LOOP: [&str; 1] = ["loop"];

/// Loaded where a device, the processor or a file system asks for them.
const DRIVERS: [&str; 43] = [
    // Buses and disks of virtual machines.
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_scsi",
    "hv_vmbus",
    "hv_storvsc",
    "xen_blkfront",
    "vmw_pvscsi",
    // Disks.
    "nvme",
    "ahci",
    "ata_piix",
    "sd_mod",
    "megaraid_sas",
    "mpt3sas",
    "vmd",
    // USB disks, and keyboards for the rescue menu.
    "xhci_pci",
    "ehci_pci",
    "uhci_hcd",
    "ohci_pci",
    "usb_storage",
    "uas",
    "usbhid",
    "hid_generic",
    "virtio_input",
    // Cards.
    "sdhci_pci",
    "sdhci_acpi",
    "mmc_block",
    // File systems of the physical root, and the firmware's variables.
    "ext4",
    "btrfs",
    "xfs",
    "efivarfs",
    // Digests with the processor's help.
    "crc32c_intel",
    "sha256_ssse3",
    // Watchdogs, and the bridges that show them.
    "i6300esb",
    "iTCO_wdt",
    "wdat_wdt",
    "sp5100_tco",
    "hpwdt",
    "lpc_ich",
    "i2c_i801",
    "xen_wdt",
    "intel_pmc_bxt",
    "ipmi_watchdog",
];

/// Which drivers an initrd gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drivers {
    /// Whether the usual drivers are in it, as far as the kernel has them: virtio, `NVMe`, AHCI,
    /// SCSI, USB, MMC, watchdogs.
    pub usual: bool,
    /// Names of more modules, each of which the kernel must have. One that no device asks for
    /// is loaded at every boot.
    pub more: Vec<String>,
}

impl Default for Drivers {
    fn default() -> Self {
        Self {
            usual: true,
            more: Vec::new(),
        }
    }
}

/// Why an initrd cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the tree could not be read.
    #[error(transparent)]
    File(#[from] elea_store::Error),
    /// A file that the kernel's package should have brought.
    #[error("the image has no `{0}`; install the kernel's package again, or another kernel")]
    Absent(String),
    /// A release that is no plain name.
    #[error("`{0}` cannot be the release of a kernel")]
    Release(String),
    /// The index of modules is not understood.
    #[error(
        "the modules of the kernel {release} are not understood: {source}; run depmod in the tree"
    )]
    Index {
        /// The kernel's release.
        release: String,
        /// What is wrong.
        #[source]
        source: modules::Error,
    },
    /// The kernel lacks something that the machine cannot boot without.
    #[error(
        "the kernel {release} has no {}; choose another kernel, or take the name out of the list of drivers",
        names.join(", ")
    )]
    Missing {
        /// The kernel's release.
        release: String,
        /// The modules.
        names: Vec<String>,
    },
    /// A module that the kernel cannot unpack, nor we.
    #[error("the module {0} is compressed in a way that neither the kernel nor Elea unpacks")]
    Compression(String),
    /// A damaged module.
    #[error("the module {path} cannot be unpacked: {source}")]
    Unpack {
        /// Its path below the folder of modules.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The archive cannot hold something.
    #[error(transparent)]
    Archive(#[from] cpio::Error),
}

/// Makes the initrd for a kernel of a tree of the store, with `init` (the static `elea-initrd`)
/// as its first program.
pub fn build(
    store: &Store,
    tree: &Tree,
    kernel_release: &str,
    init: &[u8],
    drivers: &Drivers,
) -> Result<Vec<u8>, Error> {
    let bad = kernel_release.is_empty()
        || kernel_release.starts_with('.')
        || kernel_release.contains(|c: char| !c.is_ascii_graphic() || c == '/');
    if bad {
        return Err(Error::Release(kernel_release.chars().take(80).collect()));
    }
    let kernel = Kernel::open(store, tree, kernel_release)?;
    let mut list = plan(&kernel.index, drivers).map_err(|e| match e {
        Unplanned::Index(source) => Error::Index {
            release: kernel_release.to_owned(),
            source,
        },
        Unplanned::Missing(names) => Error::Missing {
            release: kernel_release.to_owned(),
            names,
        },
    })?;
    let files = kernel.load(&mut list)?;
    archive(kernel_release, init, &list, &files)
}

/// A kernel's folder of modules.
struct Kernel<'a> {
    store: &'a Store,
    tree: &'a Tree,
    folder: String,
    index: Index,
    /// Whether it unpacks modules itself; unknown counts as yes, as on every kernel since 6.0.
    unpacks: bool,
}

impl<'a> Kernel<'a> {
    fn open(store: &'a Store, tree: &'a Tree, release: &str) -> Result<Self, Error> {
        let folder = format!("usr/lib/modules/{release}");
        let text = |path: &str| -> Result<Option<String>, elea_store::Error> {
            let bytes = store.read_file(tree, path, LIMIT)?;
            Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        };
        let index = |name: &str| text(&format!("{folder}/modules.{name}"));
        let dep = index("dep")?.ok_or_else(|| Error::Absent(format!("{folder}/modules.dep")))?;
        let index = Index::parse(Texts {
            dep: &dep,
            softdep: &index("softdep")?.unwrap_or_default(),
            builtin: &index("builtin")?.unwrap_or_default(),
            alias: &index("alias")?.unwrap_or_default(),
        })
        .map_err(|source| Error::Index {
            release: release.to_owned(),
            source,
        })?;
        let config = match text(&format!("{folder}/config"))? {
            None => text(&format!("boot/config-{release}"))?,
            config => config,
        };
        let unpacks =
            config.is_none_or(|text| text.lines().any(|l| l == "CONFIG_MODULE_DECOMPRESS=y"));
        Ok(Self {
            store,
            tree,
            folder,
            index,
            unpacks,
        })
    }

    /// Reads every module of the list; unpacks those that the kernel would not, and says so in
    /// the list.
    fn load(&self, list: &mut LoadList) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let mut files = BTreeMap::new();
        let LoadList {
            always,
            watchdog,
            esp,
            loop_device,
            drivers,
        } = list;
        let groups = [always, watchdog, esp, loop_device].into_iter();
        let all = groups
            .flatten()
            .chain(drivers.iter_mut().flat_map(|d| &mut d.paths));
        for path in all {
            let shipped = path.clone();
            let compression = shipped.rsplit_once(".ko").map_or("", |(_, end)| end);
            if !compression.is_empty() && !self.unpacks {
                path.truncate(path.len() - compression.len());
            }
            if files.contains_key(path.as_str()) {
                continue;
            }
            let path_there = format!("{}/{shipped}", self.folder);
            let bytes = self.store.read_file(self.tree, &path_there, LIMIT)?;
            let bytes = bytes.ok_or(Error::Absent(path_there))?;
            let bytes = match compression {
                _ if *path == shipped => bytes,
                ".xz" => unpack(&bytes).map_err(|source| Error::Unpack {
                    path: shipped,
                    source,
                })?,
                _ => return Err(Error::Compression(shipped)),
            };
            files.insert(path.clone(), bytes);
        }
        Ok(files)
    }
}

fn unpack(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let reader = liblzma::read::XzDecoder::new(bytes);
    reader.take(LIMIT + 1).read_to_end(&mut out)?;
    if out.len() as u64 > LIMIT {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(out)
}

#[derive(Debug)]
enum Unplanned {
    Index(modules::Error),
    Missing(Vec<String>),
}

impl From<modules::Error> for Unplanned {
    fn from(e: modules::Error) -> Self {
        Self::Index(e)
    }
}

/// What is loaded when.
fn plan(index: &Index, drivers: &Drivers) -> Result<LoadList, Unplanned> {
    let wanted = NEEDED
        .into_iter()
        .chain(drivers.more.iter().map(String::as_str));
    let missing: Vec<String> = wanted
        .filter(|name| !index.has(name))
        .map(str::to_owned)
        .collect();
    if !missing.is_empty() {
        return Err(Unplanned::Missing(missing));
    }
    let mut list = LoadList {
        always: index.plan(ALWAYS)?.order,
        watchdog: index.plan(WATCHDOG)?.order,
        esp: index.plan(ESP)?.order,
        loop_device: index.plan(LOOP)?.order,
        drivers: Vec::new(),
    };
    let usual = if drivers.usual { &DRIVERS[..] } else { &[] };
    let more = drivers.more.iter().map(String::as_str);
    let mut seen = BTreeSet::new();
    for (name, chosen) in more
        .map(|n| (n, true))
        .chain(usual.iter().map(|n| (*n, false)))
    {
        if !seen.insert(modules::name(name)) {
            continue;
        }
        let paths = index.plan([name])?.order;
        let aliases: Vec<String> = index
            .patterns(name)
            .iter()
            .filter(|alias| alias.contains(':') || alias.starts_with("fs-"))
            .cloned()
            .collect();
        if paths.is_empty() {
            continue;
        }
        if !aliases.is_empty() {
            list.drivers.push(Driver { paths, aliases });
        } else if chosen {
            list.always.extend(paths);
        }
    }
    let mut once = BTreeSet::new();
    list.always.retain(|path| once.insert(path.clone()));
    Ok(list)
}

fn archive(
    release: &str,
    init: &[u8],
    list: &LoadList,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::new();
    for folder in ["dev", "elea", "proc", "run", "sys", "sysroot"] {
        writer.directory(folder, 0o755)?;
    }
    // The kernel opens it for init before anything is mounted.
    writer.device("dev/console", 0o600, (5, 1))?;
    writer.file("init", 0o755, init)?;
    writer.file("elea/modules", 0o644, list.encode().as_bytes())?;
    let mut folders = BTreeSet::new();
    for (path, content) in files {
        let path = format!("lib/modules/{release}/{path}");
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        for parent in parents {
            if folders.insert(parent.to_owned()) {
                writer.directory(parent, 0o755)?;
            }
        }
        writer.file(&path, 0o644, content)?;
    }
    Ok(writer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const DEP: &str = "\
kernel/fs/erofs/erofs.ko.xz:
kernel/fs/overlayfs/overlay.ko.xz:
kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/virtio/virtio.ko.xz:
kernel/drivers/char/plain.ko.xz:
";
    const ALIAS: &str = "alias virtio:d00000002v* virtio_blk\nalias block-major-1-* virtio_blk\n";

    /// A kernel's folder in a store: the store's folder, the store, the tree and the files as shipped.
    struct Shipped {
        _folder: tempfile::TempDir,
        store: Store,
        tree: Tree,
    }

    impl Shipped {
        fn new(config: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let top = folder.path().join("tree");
            let modules = top.join("usr/lib/modules/6.1");
            fs::create_dir_all(&modules).unwrap();
            fs::write(modules.join("modules.dep"), DEP).unwrap();
            fs::write(modules.join("modules.alias"), ALIAS).unwrap();
            fs::write(modules.join("config"), config).unwrap();
            for line in DEP.lines() {
                let path = modules.join(line.split(':').next().unwrap());
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, packed(line)).unwrap();
            }
            let store = Store::init(&folder.path().join("store")).unwrap();
            let tree = store.import_dir(&top, &elea_sys::progress::Silent).unwrap();
            Self {
                _folder: folder,
                store,
                tree,
            }
        }

        fn build(&self, release: &str, drivers: &Drivers) -> Result<Vec<u8>, Error> {
            build(&self.store, &self.tree, release, b"init", drivers)
        }
    }

    fn packed(text: &str) -> Vec<u8> {
        let mut packed = Vec::new();
        liblzma::read::XzEncoder::new(text.as_bytes(), 1)
            .read_to_end(&mut packed)
            .unwrap();
        packed
    }

    fn list(bytes: &[u8]) -> LoadList {
        let entries = cpio::read(bytes).unwrap();
        let entry = entries.iter().find(|e| e.path == "elea/modules").unwrap();
        LoadList::parse(std::str::from_utf8(entry.content).unwrap()).unwrap()
    }

    #[test]
    fn drivers_come_with_what_they_need_and_twice_the_same_bytes() {
        let kernel = Shipped::new("CONFIG_MODULE_DECOMPRESS=y\n");
        let drivers = Drivers {
            more: vec!["plain".into()],
            ..Drivers::default()
        };
        let bytes = kernel.build("6.1", &drivers).unwrap();
        assert_eq!(bytes, kernel.build("6.1", &drivers).unwrap());
        let list = list(&bytes);
        let driver = Driver {
            paths: vec![
                "kernel/drivers/virtio/virtio.ko.xz".into(),
                "kernel/drivers/block/virtio_blk.ko.xz".into(),
            ],
            aliases: vec!["virtio:d00000002v*".into()],
        };
        assert_eq!(list.drivers, [driver]);
        assert_eq!(
            list.always,
            [
                "kernel/fs/erofs/erofs.ko.xz",
                "kernel/fs/overlayfs/overlay.ko.xz",
                "kernel/drivers/char/plain.ko.xz"
            ]
        );
        let entries = cpio::read(&bytes).unwrap();
        let found = entries
            .iter()
            .find(|e| e.path == "lib/modules/6.1/kernel/fs/erofs/erofs.ko.xz");
        assert_eq!(
            found.unwrap().content,
            packed("kernel/fs/erofs/erofs.ko.xz:")
        );
        assert_eq!(
            entries.iter().filter(|e| e.path == "lib/modules").count(),
            1
        );
    }

    #[test]
    fn a_kernel_that_does_not_unpack_gets_unpacked_modules() {
        let kernel = Shipped::new("CONFIG_MODULES=y\n");
        let bytes = kernel.build("6.1", &Drivers::default()).unwrap();
        assert_eq!(list(&bytes).always[0], "kernel/fs/erofs/erofs.ko");
        let entries = cpio::read(&bytes).unwrap();
        let found = entries
            .iter()
            .find(|e| e.path == "lib/modules/6.1/kernel/fs/erofs/erofs.ko");
        assert_eq!(found.unwrap().content, b"kernel/fs/erofs/erofs.ko.xz:");
    }

    #[test]
    fn what_is_missing_is_named() {
        let kernel = Shipped::new("");
        let drivers = Drivers {
            usual: false,
            more: vec!["nvme".into(), "plain".into()],
        };
        let error = kernel.build("6.1", &drivers).unwrap_err().to_string();
        assert!(error.contains("has no nvme;"), "{error}");
        let error = kernel.build("6.2", &drivers).unwrap_err().to_string();
        assert!(
            error.contains("no `usr/lib/modules/6.2/modules.dep`"),
            "{error}"
        );
        for bad in ["", "..", "a/b", "a b"] {
            let error = kernel.build(bad, &drivers).unwrap_err();
            assert!(matches!(error, Error::Release(_)), "{bad}");
        }
    }
}
