//! Kernel modules: what depends on what, and the order of loading.
//!
//! Sources: `modules.dep(5)`, `depmod(8)`, the `softdep` lines of `modprobe.d(5)`. The text
//! forms in `/usr/lib/modules/<release>/` are read, since depmod always writes them too.

mod list;

pub use list::{Driver, ListError, LoadList, matches};

use std::collections::{BTreeMap, BTreeSet};

/// How deep dependencies may go; real ones stay below ten.
const DEPTH: usize = 64;

/// The modules of one kernel.
#[derive(Debug, Clone, Default)]
pub struct Index {
    modules: BTreeMap<String, Module>,
    builtin: BTreeSet<String>,
    aliases: BTreeMap<String, Vec<String>>,
    /// Patterns that devices are matched with, by module.
    patterns: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone, Default)]
struct Module {
    /// Below `/usr/lib/modules/<release>/`.
    path: String,
    needs: Vec<String>,
    before: Vec<String>,
    after: Vec<String>,
}

/// The texts that depmod writes; an absent file is an empty text, except for `dep`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Texts<'a> {
    /// `modules.dep`.
    pub dep: &'a str,
    /// `modules.softdep`.
    pub softdep: &'a str,
    /// `modules.builtin`.
    pub builtin: &'a str,
    /// `modules.alias`.
    pub alias: &'a str,
}

/// Why module files could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A line of `modules.dep` without a colon, or with a path that leaves the folder.
    #[error("line {line} of modules.dep is not `path: dependencies`")]
    Dep {
        /// Counted from 1.
        line: usize,
    },
    /// Dependencies more than 64 levels deep.
    #[error("the dependencies of the module `{0}` go deeper than any kernel has them")]
    Deep(String),
}

/// What to load for a list of wanted names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Paths below `/usr/lib/modules/<release>/`, in the order of loading.
    pub order: Vec<String>,
    /// Wanted names that are part of the kernel itself.
    pub builtin: Vec<String>,
    /// Wanted names that the kernel does not have.
    pub missing: Vec<String>,
}

/// A module's name by its file: `kernel/fs/nls/nls_utf8.ko.xz` is `nls_utf8`; the kernel
/// takes `-` and `_` for the same.
pub fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split(".ko").next().unwrap_or(file);
    stem.replace('-', "_")
}

impl Index {
    /// Reads the texts.
    pub fn parse(texts: Texts<'_>) -> Result<Self, Error> {
        let mut index = Self {
            builtin: texts.builtin.lines().map(|l| name(l.trim())).collect(),
            ..Self::default()
        };
        for (i, line) in texts.dep.lines().enumerate() {
            let bad = Error::Dep { line: i + 1 };
            if line.trim().is_empty() {
                continue;
            }
            let (path, needs) = line.split_once(':').ok_or(bad.clone())?;
            if path.starts_with('/') || path.split('/').any(|c| matches!(c, "" | "..")) {
                return Err(bad);
            }
            let module = Module {
                path: path.to_owned(),
                needs: needs.split_whitespace().map(name).collect(),
                ..Module::default()
            };
            index.modules.insert(name(path), module);
        }
        index.soft(texts.softdep);
        index.alias(texts.alias);
        Ok(index)
    }

    fn soft(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if words.next() != Some("softdep") {
                continue;
            }
            let Some(module) = words.next().and_then(|n| self.modules.get_mut(&name(n))) else {
                continue;
            };
            let mut after = false;
            for word in words {
                match word {
                    "pre:" => after = false,
                    "post:" => after = true,
                    other if after => module.after.push(name(other)),
                    other => module.before.push(name(other)),
                }
            }
        }
    }

    /// A name without wildcards is what soft dependencies name (`crc32c`); the others match devices.
    fn alias(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let (Some("alias"), Some(alias), Some(module)) =
                (words.next(), words.next(), words.next())
            {
                if !alias.contains(['*', '?', '[', ':']) {
                    let modules = self.aliases.entry(name(alias)).or_default();
                    modules.push(name(module));
                }
                let patterns = self.patterns.entry(name(module)).or_default();
                patterns.push(alias.to_owned());
            }
        }
    }

    /// The patterns of `modalias` texts that ask for a module.
    pub fn patterns(&self, module: &str) -> &[String] {
        self.patterns.get(&name(module)).map_or(&[], Vec::as_slice)
    }

    /// Whether the kernel has the name, as a module or built in.
    pub fn has(&self, wanted: &str) -> bool {
        let wanted = name(wanted);
        self.modules.contains_key(&wanted) || self.builtin.contains(&wanted)
    }

    /// The order of loading for the wanted names: dependencies first, soft ones where the
    /// kernel has them, each module once.
    pub fn plan<S: AsRef<str>>(&self, wanted: impl IntoIterator<Item = S>) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        let mut done = BTreeSet::new();
        for wanted in wanted {
            let wanted = name(wanted.as_ref());
            if self.modules.contains_key(&wanted) {
                self.visit(&wanted, 0, &mut done, &mut plan.order)?;
            } else if self.builtin.contains(&wanted) {
                plan.builtin.push(wanted);
            } else {
                plan.missing.push(wanted);
            }
        }
        Ok(plan)
    }

    fn visit(
        &self,
        wanted: &str,
        depth: usize,
        done: &mut BTreeSet<String>,
        order: &mut Vec<String>,
    ) -> Result<(), Error> {
        let Some(module) = self.modules.get(wanted) else {
            return Ok(());
        };
        if done.contains(wanted) {
            return Ok(());
        }
        if depth > DEPTH {
            return Err(Error::Deep(wanted.to_owned()));
        }
        // Soft dependencies may go in circles; marking first ends those.
        done.insert(wanted.to_owned());
        for soft in &module.before {
            self.visit_soft(soft, depth + 1, done, order)?;
        }
        for need in module.needs.iter().rev() {
            self.visit(need, depth + 1, done, order)?;
        }
        order.push(module.path.clone());
        for soft in &module.after {
            self.visit_soft(soft, depth + 1, done, order)?;
        }
        Ok(())
    }

    fn visit_soft(
        &self,
        soft: &str,
        depth: usize,
        done: &mut BTreeSet<String>,
        order: &mut Vec<String>,
    ) -> Result<(), Error> {
        self.visit(soft, depth, done, order)?;
        for module in self.aliases.get(soft).into_iter().flatten() {
            self.visit(module, depth, done, order)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/fs/overlayfs/overlay.ko.xz:
kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/virtio/virtio_ring.ko.xz: kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/virtio/virtio.ko.xz:
kernel/fs/erofs/erofs.ko.xz: kernel/lib/libcrc32c.ko.xz
kernel/lib/libcrc32c.ko.xz:
kernel/arch/x86/crypto/crc32c-intel.ko.xz:
";

    fn index() -> Index {
        Index::parse(Texts {
            dep: DEP,
            softdep: "# comment\nsoftdep libcrc32c pre: crc32c\nsoftdep gone pre: x\n",
            builtin: "kernel/fs/ext4/ext4.ko\n",
            alias: "alias crc32c crc32c_intel\nalias pci:v*d* e1000\n",
        })
        .unwrap()
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let plan = index()
            .plan(["virtio_blk", "virtio", "erofs", "ext4", "nvme"])
            .unwrap();
        let names: Vec<_> = plan.order.iter().map(|p| name(p)).collect();
        assert_eq!(
            names,
            [
                "virtio",
                "virtio_ring",
                "virtio_blk",
                "crc32c_intel",
                "libcrc32c",
                "erofs"
            ]
        );
        assert_eq!(plan.builtin, ["ext4"]);
        assert_eq!(plan.missing, ["nvme"]);
        assert!(index().has("crc32c-intel") && !index().has("crc32c"));
    }

    #[test]
    fn circles_end_and_bad_lines_are_told() {
        let circle = "a.ko: b.ko\nb.ko: a.ko\n";
        let texts = Texts {
            dep: circle,
            ..Texts::default()
        };
        let plan = Index::parse(texts).unwrap().plan(["a"]).unwrap();
        assert_eq!(plan.order, ["b.ko", "a.ko"]);
        for bad in ["no colon", "/abs.ko:", "../up.ko:"] {
            let texts = Texts {
                dep: bad,
                ..Texts::default()
            };
            assert_eq!(
                Index::parse(texts).unwrap_err(),
                Error::Dep { line: 1 },
                "{bad}"
            );
        }
    }
}
