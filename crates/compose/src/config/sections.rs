//! The sections of a config, each read into its type.

mod accounts;
pub(super) mod apps;
pub(super) mod certificates;
mod files;
pub(super) mod firewall;
pub(super) mod home;
mod kernel;
pub(super) mod network;
pub(super) mod secrets;
pub(super) mod ssh;
pub(super) mod state;
pub(super) mod storage;
pub(super) mod templates;
pub(super) mod timers;
pub(super) mod units;
pub(super) mod update;

use super::reader::{Fields, Located, Reader};
use super::value::{Place, place_of};
use super::{Base, Config, Findings, Loader, Packages, Services, System, Tmpfiles, Trust};
use super::{check, clear, traps};
use elea_formats::release::Health;
use elea_store::trust::{Keys, Known, PublicKey, parse_rules};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Architectures that Elea boots.
const ARCHITECTURES: [&str; 1] = ["amd64"];

/// Reads the merged table.
pub(super) fn read(reader: &mut Reader, mut top: Fields) -> Option<Config> {
    // What these say is laid in already; the names are known all the same.
    for name in [
        "default",
        "force",
        "imports",
        "remove",
        "schema",
        "specialisation",
        "use",
        "vars",
        "when",
    ] {
        reader.texts(&mut top, name);
    }
    let system = system(reader, &mut top);
    let base = base(reader, &mut top);
    let packages = packages(reader, &mut top);
    let services = services(reader, &mut top);
    let kernel = kernel::read(reader, &mut top, &base);
    let health = health(reader, &mut top, &services);
    let config = Config {
        path: PathBuf::new(),
        read: Vec::new(),
        files: files::read(reader, &mut top),
        users: accounts::users(reader, &mut top),
        groups: accounts::groups(reader, &mut top),
        services,
        units: units::read(reader, &mut top),
        timers: timers::read(reader, &mut top),
        sysctl: kernel::sysctl(reader, &mut top),
        tmpfiles: tmpfiles(reader, &mut top),
        network: network::read(reader, &mut top, &packages),
        firewall: firewall::read(reader, &mut top, &packages),
        mounts: storage::mounts(reader, &mut top),
        swap: storage::swap(reader, &mut top, &packages),
        state: state::read(reader, &mut top),
        ssh: ssh::read(reader, &mut top, &packages),
        certificates: certificates::read(reader, &mut top),
        secrets: secrets::read(reader, &mut top),
        templates: templates::read(reader, &mut top),
        health,
        update: update::read(reader, &mut top),
        trust: trust(reader, &mut top),
        loader: loader(reader, &mut top),
        home: home::read(reader, &mut top),
        apps: apps::apps(reader, &mut top),
        boxes: apps::boxes(reader, &mut top),
        system: System::default(),
        packages,
        base,
        kernel,
        specialisation: BTreeMap::new(),
        special: None,
        places: BTreeMap::new(),
        said: BTreeMap::new(),
        gone: BTreeMap::new(),
        sources: Arc::default(),
        warnings: Findings::default(),
    };
    reader.finish(&top);
    Some(Config {
        system: system?,
        ..config
    })
}

impl Reader {
    /// A text that must pass a test.
    fn checked(
        &mut self,
        fields: &mut Fields,
        key: &'static str,
        fits: fn(&str) -> bool,
        rule: &str,
    ) -> Option<Located<String>> {
        let text = self.text(fields, key)?;
        let name = fields.full(key);
        self.check(&name, text, fits, rule)
    }

    pub(super) fn check(
        &mut self,
        name: &str,
        text: Located<String>,
        fits: fn(&str) -> bool,
        rule: &str,
    ) -> Option<Located<String>> {
        if fits(&text.value) {
            return Some(text);
        }
        let shown: String = text.value.chars().take(80).collect();
        self.problem(
            Some(text.at),
            format!("`{}` cannot be `{name}`", shown.escape_debug()),
            rule,
            None,
        );
        None
    }

    /// A list of texts that must all pass a test; later ones that were there before are dropped.
    fn checked_list(
        &mut self,
        fields: &mut Fields,
        key: &'static str,
        fits: fn(&str) -> bool,
        rule: &str,
    ) -> Vec<Located<String>> {
        let name = fields.full(key);
        let mut seen: BTreeMap<String, Place> = BTreeMap::new();
        let mut out = Vec::new();
        for text in self.texts(fields, key) {
            let Some(text) = self.check(&name, text, fits, rule) else {
                continue;
            };
            match seen.insert(text.value.clone(), text.at) {
                None => out.push(text),
                // Two files may both ask for it; one file asking twice is a slip.
                Some(first) if first.file == text.at.file => {
                    self.problem(
                        Some(text.at),
                        format!("`{}` stands twice in `{name}`", text.value),
                        "again here",
                        Some("take one of them out".into()),
                    );
                    if let Some(problem) = self.problems.last_mut() {
                        problem.other = Some((first, "first here".into()));
                    }
                }
                Some(_) => {}
            }
        }
        out
    }

    /// A path as the file that it stands in means it.
    fn resolve(&self, text: &Located<String>) -> PathBuf {
        self.beside(text.at, &text.value)
    }
}

fn values(list: Vec<Located<String>>) -> Vec<String> {
    list.into_iter().map(|text| text.value).collect()
}

fn system(reader: &mut Reader, top: &mut Fields) -> Option<System> {
    let mut fields = reader.table(top, "system");
    let f = &mut fields;
    let rule = "lower-case letters, digits and `._-`, at most 63";
    let name = reader.checked(f, "name", check::system_name, rule);
    let name = reader.needed(name, f, "name", "\"hello\"");
    let rule = "letters, digits and `.-~^+`, at most 64; the first a letter or digit";
    let version = reader.checked(f, "version", check::version, rule);
    let version = reader.needed(version, f, "version", "\"1.0\"");
    let epoch = reader.number(f, "epoch", 0..=u64::from(u32::MAX));
    let rule = "letters, digits and dashes, parted by dots, at most 64";
    let hostname = reader.checked(f, "hostname", check::hostname, rule);
    let plain =
        |text: &str| !text.is_empty() && text.len() <= 80 && !text.chars().any(char::is_control);
    let title = reader.checked(f, "title", plain, "one line, at most 80 bytes");
    let word: fn(&str) -> bool = |text| {
        let good = |c: char| c.is_ascii_alphanumeric() || "._-@+/".contains(c);
        !text.is_empty() && text.len() <= 64 && text.chars().all(good) && !text.contains("..")
    };
    let locale = reader.checked(f, "locale", word, "a locale such as C.UTF-8");
    let timezone = reader.checked(f, "timezone", word, "a time zone such as Europe/Vienna");
    reader.finish(&fields);
    let (name, version) = (name?.value, version?.value);
    let text = |located: Option<Located<String>>| located.map(|l| l.value);
    Some(System {
        hostname: text(hostname).unwrap_or_else(|| name.replace(['.', '_'], "-")),
        title: text(title).unwrap_or_else(|| format!("{} {version}", capital(&name))),
        locale: text(locale).unwrap_or_else(|| "C.UTF-8".into()),
        timezone: text(timezone).unwrap_or_else(|| "Etc/UTC".into()),
        epoch: epoch.map_or(0, |n| n.value),
        name,
        version,
    })
}

/// What is wrong with the whole: what two parts both make, what starts though it must not, secrets in clear; and what
/// looks so.
pub(super) fn whole(reader: &mut Reader, config: &Config) {
    clear::look(reader, config);
    state::whole(reader, config);
    let rendered = crate::render::render(config);
    traps::look(reader, config, &rendered);
    let at = |key: &str| place_of(&config.places, key);
    let own = config
        .files
        .keys()
        .map(|path| (path, format!("files.{path:?}")));
    let again = rendered
        .twice
        .iter()
        .map(|(path, made)| (path, made.key.clone()));
    for (path, key) in own.chain(again) {
        let other = rendered.files.get(path).map(|made| &made.key);
        if let Some((at, other)) = at(&key).zip(other.and_then(|key| at(key))) {
            let what = format!("two parts of the config make {path}");
            reader.problem_of_two(at, what, "and here", other, "here");
        }
    }
    for list in ["disable", "mask"] {
        for (unit, key) in &rendered.units {
            let off = at(&format!("services.{list}[{unit}]"));
            if let Some((off, on)) = off.zip(at(key)) {
                let what = format!("`{unit}` starts by `{key}` and is in `services.{list}`");
                reader.problem_of_two(off, what, "and here", on, "here");
            }
        }
    }
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
        .unwrap_or_default()
}

pub(super) fn base(reader: &mut Reader, top: &mut Fields) -> Base {
    let mut fields = reader.table(top, "base");
    let f = &mut fields;
    let suite = reader.checked(f, "suite", check::suite, "a suite such as trixie");
    let url: fn(&str) -> bool = |text| {
        let known = ["http://", "https://", "file:///", "copy:///"];
        known.iter().any(|scheme| text.starts_with(scheme))
            && text.len() <= 1024
            && text
                .chars()
                .all(|c| c.is_ascii_graphic() && !"[]\"".contains(c))
    };
    let mirror = reader.checked(f, "mirror", url, "a URL of http, https, file or copy");
    let pinned: fn(&str) -> bool = |text| crate::profile::tools::pinned(text).is_some();
    let rule = "an image in a registry, by its digest: registry:HOST/NAME@sha256:DIGEST";
    let tools = reader.checked(f, "tools", pinned, rule);
    let known: fn(&str) -> bool = |text| ARCHITECTURES.contains(&text);
    let architecture = reader.checked(f, "architecture", known, "only amd64 is built so far");
    let components = reader.checked_list(f, "components", check::suite, "such as main");
    reader.finish(&fields);
    let text = |located: Option<Located<String>>, other: &str| {
        located.map_or_else(|| other.to_owned(), |l| l.value)
    };
    let mut components = values(components);
    if components.is_empty() {
        components.push("main".into());
    }
    Base {
        suite: text(suite, "trixie"),
        mirror: mirror.map(|l| l.value),
        tools: tools.map(|l| l.value),
        architecture: text(architecture, "amd64"),
        components,
    }
}

fn packages(reader: &mut Reader, top: &mut Fields) -> Packages {
    let mut fields = reader.table(top, "packages");
    let rule = "a package's name: lower-case letters, digits and `+.-`";
    let install = reader.checked_list(&mut fields, "install", check::package, rule);
    let remove = reader.checked_list(&mut fields, "remove", check::package, rule);
    let recommends = reader.boolean(&mut fields, "recommends");
    reader.finish(&fields);
    let mut set: BTreeSet<String> = install.into_iter().map(|l| l.value).collect();
    for name in remove {
        if !set.remove(&name.value) {
            reader.problem(
                Some(name.at),
                format!("`{}` is not in `packages.install`", name.value),
                "nothing to remove",
                Some("`remove` takes out what an imported file installs".into()),
            );
        }
    }
    Packages {
        install: set.into_iter().collect(),
        recommends: recommends.unwrap_or(false),
    }
}

fn services(reader: &mut Reader, top: &mut Fields) -> Services {
    let mut fields = reader.table(top, "services");
    let rule = "a unit's name with its type, such as ssh.service";
    let enable = reader.checked_list(&mut fields, "enable", check::unit, rule);
    let disable = reader.checked_list(&mut fields, "disable", check::unit, rule);
    let mask = reader.checked_list(&mut fields, "mask", check::unit, rule);
    reader.finish(&fields);
    // What has more weight holds: of a unit that is in two lists, too.
    let mut last: BTreeMap<String, (usize, Place)> = BTreeMap::new();
    for (kind, list) in [&enable, &disable, &mask].into_iter().enumerate() {
        for unit in list {
            let rank = |at: &Place| reader.ranks.get(at).copied();
            match last.get(&unit.value).copied() {
                Some((_, other)) if rank(&other) == rank(&unit.at) => {
                    let what = format!("`{}` is in two lists of `services`", unit.value);
                    reader.problem_of_two(unit.at, what, "and here", other, "here");
                }
                Some((_, other)) if rank(&other) > rank(&unit.at) => {}
                _ => {
                    last.insert(unit.value.clone(), (kind, unit.at));
                }
            }
        }
    }
    let pick = |wanted: usize| {
        last.iter()
            .filter(|(_, (kind, _))| *kind == wanted)
            .map(|(name, _)| name.clone())
            .collect()
    };
    Services {
        enable: pick(0),
        disable: pick(1),
        mask: pick(2),
    }
}

fn tmpfiles(reader: &mut Reader, top: &mut Fields) -> Tmpfiles {
    let mut fields = reader.table(top, "tmpfiles");
    let mut lines = Vec::new();
    for text in reader.texts(&mut fields, "lines") {
        match check::tmpfiles::wrong(&text.value) {
            None => lines.push(text.value),
            Some(why) => {
                let what = format!("this is no line of tmpfiles.d(5): {why}");
                let help = "type, path, mode, user, group, age and argument, such as \"d /run/web 0755 web web -\"";
                reader.problem(Some(text.at), what, why, Some(help.into()));
            }
        }
    }
    reader.finish(&fields);
    Tmpfiles { lines }
}

fn health(reader: &mut Reader, top: &mut Fields, services: &Services) -> Health {
    let mut fields = reader.table(top, "health");
    let rule = "a unit's name with its type, such as ssh.service";
    let units = reader.checked_list(&mut fields, "units", check::unit, rule);
    for unit in units.iter().filter(|u| services.mask.contains(&u.value)) {
        reader.problem(
            Some(unit.at),
            format!(
                "`{}` must be active after a boot, and is masked",
                unit.value
            ),
            "no boot could ever be good",
            Some("take it out here, or out of `services.mask`".into()),
        );
    }
    let timeout = reader.number(&mut fields, "timeout", 1..=86_400);
    let condemn = reader.boolean(&mut fields, "condemn");
    reader.finish(&fields);
    let usual = Health::default();
    Health {
        units: values(units),
        timeout: timeout.map_or(usual.timeout, |n| n.value),
        condemn: condemn.unwrap_or(usual.condemn),
    }
}

fn trust(reader: &mut Reader, top: &mut Fields) -> Trust {
    let mut fields = reader.table(top, "trust");
    let mut keys = Vec::new();
    for text in reader.texts(&mut fields, "keys") {
        let path = reader.resolve(&text);
        let wrong = match std::fs::read_to_string(&path) {
            Err(e) => format!("cannot read the key {}: {e}", path.display()),
            Ok(pem) => match PublicKey::parse_pem(&pem) {
                Ok(_) => {
                    keys.push(path);
                    continue;
                }
                Err(e) => format!("{} is no public key: {e}", path.display()),
            },
        };
        reader.problem(Some(text.at), wrong, "named here", None);
    }
    let policy = reader.text(&mut fields, "policy").map(|text| {
        let path = reader.resolve(&text);
        if let Err(wrong) = check_policy(&path) {
            reader.problem(Some(text.at), wrong, "named here", None);
        }
        path
    });
    reader.finish(&fields);
    Trust { keys, policy }
}

/// What is wrong with a `trust.toml` that is to go into an image.
fn check_policy(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| format!("cannot read the policy {}: {e}", path.display()))?;
    let nothing = Keys::default();
    let known = Known {
        trust_d: &nothing,
        named: &nothing,
        file: &|_| {
            Err("this file is not in the image: write the key itself, or \"trust.d\"".into())
        },
    };
    parse_rules(path, &text, &known)
        .map(|_| ())
        .map_err(|e| e.to_string())
}

fn loader(reader: &mut Reader, top: &mut Fields) -> Loader {
    let mut fields = reader.table(top, "loader");
    let suite = reader.checked(&mut fields, "suite", check::suite, "a suite such as sid");
    let rule = "a package's name";
    let package = reader.checked(&mut fields, "package", check::package, rule);
    let rule = "a package's version";
    let version = reader.checked(&mut fields, "version", check::package_version, rule);
    reader.finish(&fields);
    let text = |located: Option<Located<String>>, other: &str| {
        located.map_or_else(|| other.to_owned(), |l| l.value)
    };
    Loader {
        suite: text(suite, "sid"),
        package: text(package, "systemd-boot-efi"),
        version: version.map(|l| l.value),
    }
}
