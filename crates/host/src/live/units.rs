//! The units of one configuration: what each is once links, masks and drop-ins are counted in.

use super::files::{Entry, FOLDERS, Files};
use elea_formats::unit::{Error, Kind, Name, Unit};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::iter;
use std::rc::Rc;

/// The longest chain of links that is followed.
const MAX_LINKS: usize = 8;

/// The units of one configuration.
#[derive(Debug, Clone, Default)]
pub struct Units {
    files: Rc<Files>,
    /// Other names of units: alias → the name it stands for.
    aliases: BTreeMap<String, String>,
    /// The same the other way round, through all links: what a unit is called, too.
    also: BTreeMap<String, Vec<String>>,
    /// What was read, by name: a plan asks for the same units again and again.
    read: Rc<RefCell<BTreeMap<String, Result<Found, BadUnit>>>>,
    /// What texts say together, for several configurations: most units of two are the same.
    said: Rc<RefCell<HashMap<Texts, Rc<Unit>>>>,
}

/// The texts of a unit's file and its drop-ins, in order.
type Texts = Vec<Vec<u8>>;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Missing,
    /// A unit that must not be started: a link to `/dev/null`, or an empty file.
    Masked,
    /// A unit.
    Defined(Rc<Definition>),
}

/// A unit as the manager reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its file.
    pub path: String,
    /// The drop-ins that are laid over it, in order.
    pub drop_ins: Vec<String>,
    /// What they say together.
    pub unit: Rc<Unit>,
}

/// A unit file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct BadUnit {
    /// The file.
    pub path: String,
    /// What is wrong with it.
    pub why: Error,
}

enum Fragment<'a> {
    Missing,
    Masked,
    File(String, &'a [u8]),
}

fn base(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

impl Units {
    /// The units of these files.
    pub fn new(files: Files) -> Self {
        let mut aliases = BTreeMap::new();
        for folder in FOLDERS {
            for (name, entry) in files.list(folder) {
                if let Entry::Link(target) = entry
                    && let (Ok(_), Ok(other)) = (Name::parse(name), Name::parse(base(target)))
                    && other.as_str() != name
                    && FOLDERS
                        .iter()
                        .any(|f| files.get(&format!("{f}/{other}")).is_some())
                {
                    let name = name.to_owned();
                    aliases.entry(name).or_insert(other.as_str().to_owned());
                }
            }
        }
        let mut units = Self {
            files: Rc::new(files),
            aliases,
            also: BTreeMap::new(),
            read: Rc::default(),
            said: Rc::default(),
        };
        let mut also: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for alias in units.aliases.keys() {
            let names = also.entry(units.canonical(alias).to_owned()).or_default();
            names.push(alias.clone());
        }
        units.also = also;
        units
    }

    /// The units of other files. Of what is the same nothing is read twice.
    #[must_use]
    pub fn beside(&self, files: Files) -> Self {
        if *self.files == files {
            return self.clone();
        }
        Self {
            said: Rc::clone(&self.said),
            ..Self::new(files)
        }
    }

    /// Whether others are the same, file by file.
    pub(super) fn are(&self, others: &Self) -> bool {
        Rc::ptr_eq(&self.files, &others.files) || self.files == others.files
    }

    /// The name under which the manager knows a unit.
    pub fn canonical<'a>(&'a self, name: &'a str) -> &'a str {
        let mut name = name;
        for _ in 0..MAX_LINKS {
            match self.aliases.get(name) {
                Some(other) => name = other,
                None => break,
            }
        }
        name
    }

    /// Other names of a unit.
    pub fn aliases<'a>(&'a self, name: &str) -> Vec<&'a str> {
        let also = self.also.get(name);
        also.into_iter().flatten().map(String::as_str).collect()
    }

    /// What a name stands for.
    pub fn get(&self, name: &str) -> Result<Found, BadUnit> {
        if let Some(found) = self.read.borrow().get(name) {
            return found.clone();
        }
        let found = self.find(name);
        self.read
            .borrow_mut()
            .insert(name.to_owned(), found.clone());
        found
    }

    fn find(&self, name: &str) -> Result<Found, BadUnit> {
        let name = self.canonical(name);
        let Ok(parsed) = Name::parse(name) else {
            return Ok(Found::Missing);
        };
        let mut fragment = self.fragment(name);
        if let (Fragment::Missing, Some(template)) = (&fragment, parsed.template()) {
            fragment = self.fragment(self.canonical(template.as_str()));
        }
        let (path, text) = match fragment {
            Fragment::Missing => return Ok(Found::Missing),
            Fragment::Masked => return Ok(Found::Masked),
            Fragment::File(path, text) => (path, text),
        };
        let bad = |path: &str| {
            let path = path.to_owned();
            move |why| BadUnit { path, why }
        };
        let drop_ins = self.drop_ins(&parsed);
        let laid = drop_ins.iter().map(|(_, text)| text.to_vec());
        let texts: Texts = iter::once(text.to_vec()).chain(laid).collect();
        let known = self.said.borrow().get(&texts).map(Rc::clone);
        let unit = if let Some(unit) = known {
            unit
        } else {
            let mut unit = Unit::parse(text).map_err(bad(&path))?;
            for (path, text) in &drop_ins {
                unit.lay(text).map_err(bad(path))?;
            }
            let unit = Rc::new(unit);
            self.said.borrow_mut().insert(texts, Rc::clone(&unit));
            unit
        };
        let drop_ins = drop_ins.into_iter().map(|(path, _)| path).collect();
        Ok(Found::Defined(Rc::new(Definition {
            path,
            drop_ins,
            unit,
        })))
    }

    /// A unit, if the name is one's; one that cannot be read is none.
    pub fn unit(&self, name: &str) -> Option<Rc<Unit>> {
        match self.get(name) {
            Ok(Found::Defined(definition)) => Some(Rc::clone(&definition.unit)),
            _ => None,
        }
    }

    fn fragment(&self, name: &str) -> Fragment<'_> {
        for folder in FOLDERS {
            match self.content(&format!("{folder}/{name}")) {
                Fragment::Missing => {}
                found => return found,
            }
        }
        Fragment::Missing
    }

    /// The file at a path, through links.
    fn content(&self, path: &str) -> Fragment<'_> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            match self.files.get(&path) {
                Some(Entry::Link(target)) if target == "/dev/null" => return Fragment::Masked,
                Some(Entry::Link(target)) => path.clone_from(target),
                Some(Entry::File(text)) if text.is_empty() => return Fragment::Masked,
                Some(Entry::File(text)) => return Fragment::File(path, text),
                None => break,
            }
        }
        Fragment::Missing
    }

    /// The names whose drop-ins and dependency folders a unit takes: its own, its aliases', and
    /// those that each of them inherits.
    fn inherits(&self, name: &Name) -> Vec<String> {
        let mut names = name.inherits();
        let kind = names.pop().unwrap_or_default();
        for alias in self.aliases(name.as_str()) {
            if let Ok(alias) = Name::parse(alias) {
                let inherited = alias.inherits();
                let new = inherited.into_iter().filter(|n| *n != kind);
                let new: Vec<_> = new.filter(|n| !names.contains(n)).collect();
                names.extend(new);
            }
        }
        names.push(kind);
        names
    }

    /// The drop-ins of a unit: of one file name the first folder's, then in the order of names.
    fn drop_ins(&self, name: &Name) -> Vec<(String, &[u8])> {
        let mut by_name = BTreeMap::new();
        let names = self.inherits(name);
        let (kind, own) = names.split_last().expect("the kind is always there");
        let own = FOLDERS.iter().flat_map(|f| own.iter().map(move |n| (f, n)));
        let all = own.chain(FOLDERS.iter().map(|f| (f, kind)));
        for (folder, name) in all {
            let folder = format!("{folder}/{name}.d");
            for (file, _) in self.files.list(&folder) {
                if file.ends_with(".conf") {
                    by_name
                        .entry(file)
                        .or_insert_with(|| format!("{folder}/{file}"));
                }
            }
        }
        let content = by_name.into_values().filter_map(|path| {
            match self.content(&path) {
                Fragment::File(_, text) => Some((path, text)),
                // A drop-in is masked as a unit is.
                Fragment::Masked | Fragment::Missing => None,
            }
        });
        content.collect()
    }

    /// The units that links in a unit's `.wants`, `.requires` and `.upholds` folders pull in.
    pub fn linked(&self, name: &str) -> BTreeSet<String> {
        let mut found = self.links(name, "wants");
        found.extend(self.links(name, "requires"));
        found.extend(self.links(name, "upholds"));
        found
    }

    fn links(&self, name: &str, kind: &str) -> BTreeSet<String> {
        let Ok(parsed) = Name::parse(self.canonical(name)) else {
            return BTreeSet::new();
        };
        let mut by_name: BTreeMap<&str, bool> = BTreeMap::new();
        let names = self.inherits(&parsed);
        for folder in FOLDERS {
            for name in &names {
                for (link, entry) in self.files.list(&format!("{folder}/{name}.{kind}")) {
                    let masked = *entry == Entry::Link("/dev/null".into());
                    by_name.entry(link).or_insert(masked);
                }
            }
        }
        let wanted = by_name.into_iter().filter(|(_, masked)| !masked);
        wanted
            .map(|(link, _)| self.canonical(link).to_owned())
            .collect()
    }

    /// The units that a unit pulls in when it starts, by links and by settings.
    pub fn wants(&self, name: &str) -> BTreeSet<String> {
        let mut found = self.linked(name);
        found.extend(self.named(name, &["Wants", "Requires", "Upholds", "BindsTo"]));
        found
    }

    /// The units whose stop stops this one (`Requires=`, `Requisite=`, `BindsTo=`, `PartOf=`).
    pub fn stops_with(&self, name: &str) -> BTreeSet<String> {
        let mut found = self.links(name, "requires");
        found.extend(self.named(name, &["Requires", "Requisite", "BindsTo", "PartOf"]));
        found
    }

    /// The units without which this one does not start (`Requires=`, `Requisite=`, `BindsTo=`).
    pub fn requires(&self, name: &str) -> BTreeSet<String> {
        let mut found = self.links(name, "requires");
        found.extend(self.named(name, &["Requires", "Requisite", "BindsTo"]));
        found
    }

    /// The units that a socket, timer or path starts.
    pub fn triggers(&self, name: &str) -> BTreeSet<String> {
        let Ok(parsed) = Name::parse(name) else {
            return BTreeSet::new();
        };
        let (section, key) = match parsed.kind() {
            Kind::Socket => ("Socket", "Service"),
            Kind::Timer => ("Timer", "Unit"),
            Kind::Path => ("Path", "Unit"),
            Kind::Automount => return [parsed.companion(Kind::Mount)].into(),
            _ => return BTreeSet::new(),
        };
        let unit = self.unit(name).unwrap_or_default();
        let named = unit.value(section, key).map(str::to_owned);
        let started = named.unwrap_or_else(|| parsed.companion(Kind::Service));
        [self.canonical(&started).to_owned()].into()
    }

    /// The units that settings of `[Unit]` name.
    pub(super) fn named(&self, name: &str, keys: &[&str]) -> BTreeSet<String> {
        let Some(unit) = self.unit(name) else {
            return BTreeSet::new();
        };
        let words = keys.iter().flat_map(|key| unit.words("Unit", key));
        words.map(|word| self.canonical(word).to_owned()).collect()
    }
}
