//! Whether the lock beside a config is one, and fits it.

use super::Purpose;
use crate::config::{Config, Found};
use crate::lock::{self, Lock};

/// Looks at the lock; returns it if it fits.
pub(super) fn look(config: &Config, purpose: Purpose<'_>, found: &mut Vec<Found>) -> Option<Lock> {
    let loaded = match lock::load(config) {
        Ok(loaded) => loaded,
        Err(e) => {
            let what = e.to_string();
            found.push(Found {
                is_error: true,
                what,
                ..Found::default()
            });
            return None;
        }
    };
    let Some(loaded) = loaded.filter(|loaded| loaded.own) else {
        if purpose.locked {
            let path = lock::path_of(config);
            let path = path.display();
            found.push(Found {
                is_error: true,
                what: format!("there is no lock {path}, and `--locked` allows no resolving"),
                help: Some("make one with `elea lock`".into()),
                ..Found::default()
            });
        }
        return None;
    };
    if lock::request(config) == loaded.lock.request {
        return Some(loaded.lock);
    }
    if purpose.locked || !purpose.resolves {
        let differs = differences(config, &loaded.lock).into_iter();
        found.extend(differs.map(|(keys, what)| Found {
            is_error: purpose.locked,
            keys: keys.into_iter().collect(),
            what: format!("the lock does not fit the config: {what}"),
            label: "asked for here".into(),
            help: Some("`elea lock` resolves what is new, and keeps the rest".into()),
            ..Found::default()
        }));
    }
    None
}

/// What a config asks of archives and its lock is not an answer to.
fn differences(config: &Config, lock: &Lock) -> Vec<(Option<String>, String)> {
    let mut all = Vec::new();
    let mut other = |key: &str, wanted: &str, has: &str| {
        if wanted != has {
            all.push((
                Some(key.to_owned()),
                format!("it is of {has}, not {wanted}"),
            ));
        }
    };
    let (base, loader) = (&config.base, &config.loader);
    other("base.architecture", &base.architecture, &lock.architecture);
    if let Some(archive) = lock.archives.first() {
        other("base.suite", &base.suite, &archive.suite);
    }
    if let Some(locked) = &lock.loader {
        other("loader.package", &loader.package, &locked.name);
        if let Some(version) = &loader.version {
            other("loader.version", version, &locked.version);
        }
    }
    let has = |name: &str| lock.packages.iter().any(|package| package.name == name);
    let wanted = config.packages.install.iter();
    let wanted = wanted.map(|name| (format!("packages.install[{name}]"), name));
    let kernel = ("kernel.package".to_owned(), &config.kernel.package);
    for (key, name) in wanted.chain([kernel]) {
        if !has(name) {
            all.push((Some(key), format!("it has no package `{name}`")));
        }
    }
    if all.is_empty() {
        let what = "packages were taken out, or `recommends`, `components` or the loader's suite was changed";
        all.push((None, what.into()));
    }
    all
}
