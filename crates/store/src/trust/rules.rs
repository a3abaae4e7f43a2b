//! Who must have signed an image, by where it comes from (`docs/formats/trust.md`).

mod file;

pub use file::{Known, RulesError, parse};

use super::{Keys, Places, TrustError};
use elea_formats::oci::reference::{Prefix, Reference};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where a `trust.toml` is looked for, in this order: below the system's root, and below that of
/// the running image. The first that there is decides alone.
const FILES: [&str; 2] = ["etc/elea/trust.toml", "usr/lib/elea/trust.toml"];

/// What decides about images, for every place that they may come from.
#[derive(Debug, Clone)]
pub struct Rules {
    rules: Vec<Rule>,
    default: Rule,
}

/// What decides about the images of one place.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What it is called in messages: "the rule `registry.example/os` in /etc/elea/trust.toml".
    pub name: String,
    /// What must be there.
    pub demand: Demand,
    /// Where it holds; none for the default.
    scope: Option<Scope>,
}

/// What a rule asks for.
#[derive(Debug, Clone)]
pub enum Demand {
    /// Nothing.
    Accept,
    /// Nothing helps.
    Reject,
    /// Signatures.
    Signed(Signers),
}

/// Who must have signed.
#[derive(Debug, Clone)]
pub struct Signers {
    /// Their keys.
    pub keys: Keys,
    /// How many different ones of them.
    pub threshold: usize,
    /// What the signature calls the rule's prefix, if it is not the host and name that were asked for.
    pub signed_as: Option<Prefix>,
}

/// The places that a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Registry(Prefix),
    /// Layouts at and below a folder.
    Layout(PathBuf),
    /// Archives at and below a path.
    Archive(PathBuf),
}

impl Rules {
    /// One signature by one of these keys, wherever an image comes from.
    pub fn of_keys(keys: Keys) -> Self {
        Self {
            rules: Vec::new(),
            default: Rule {
                name: "trust.d".into(),
                demand: Demand::Signed(Signers {
                    keys,
                    threshold: 1,
                    signed_as: None,
                }),
                scope: None,
            },
        }
    }

    /// The rules of a system: its `trust.toml`, or else its keys alone. `files` are public keys that
    /// are trusted besides.
    pub fn of_system(places: &Places, files: &[PathBuf]) -> Result<Self, TrustError> {
        let mut trust_d = Keys::load(&places.folders(), &[])?;
        let named = Keys::load(&[], files)?;
        for (root, file) in [&places.root, &places.image].into_iter().zip(FILES) {
            let path = root.join(file);
            match fs::symlink_metadata(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                // A link that leads nowhere is somebody's mistake, not the absence of a file.
                _ => return Self::load(&path, root, &trust_d, &named),
            }
        }
        trust_d.extend(&named);
        Ok(Self::of_keys(trust_d))
    }

    fn load(path: &Path, root: &Path, trust_d: &Keys, named: &Keys) -> Result<Self, TrustError> {
        let text = super::read(path, file::LIMIT)?;
        let folder = path.parent().unwrap_or(root);
        let file = |name: &Path| {
            let path = match name.strip_prefix("/") {
                Ok(inside) => root.join(inside),
                Err(_) => folder.join(name),
            };
            Keys::load(&[], std::slice::from_ref(&path)).map_err(|e| e.to_string())
        };
        let known = Known {
            trust_d,
            named,
            file: &file,
        };
        // Beginning at `/`, since that is what the system calls it.
        let shown = Path::new("/").join(path.strip_prefix(root).unwrap_or(path));
        Ok(parse(&shown, &text, &known)?)
    }

    /// The rule for a reference. A layout's path must be absolute, and one that is not a place to
    /// fetch from gets the default.
    pub fn find(&self, reference: &Reference) -> &Rule {
        let covering = self.rules.iter().filter_map(|rule| {
            let length = rule.scope.as_ref()?.covers(reference)?;
            Some((length, rule))
        });
        covering
            .max_by_key(|(length, _)| *length)
            .map_or(&self.default, |(_, rule)| rule)
    }
}

impl Rule {
    /// Whether a signature that names `signed` (host and name, or nothing) is one for `reference`.
    pub(super) fn is_for(&self, reference: &Reference, signed: &str) -> bool {
        let renamed = match &self.demand {
            Demand::Signed(signers) => signers.signed_as.as_ref(),
            Demand::Accept | Demand::Reject => None,
        };
        let asked = match reference {
            Reference::Registry(location) => Some(location),
            _ => None,
        };
        match (renamed, asked) {
            (None, None) => true,
            // The same image is served under several host names: `localhost:5000` where it is
            // pushed, something else where it is pulled.
            (None, Some(asked)) => signed.is_empty() || name_of(signed) == asked.name,
            (Some(to), asked) => {
                let Ok(signed) = signed.parse::<Prefix>() else {
                    return false;
                };
                match (&self.scope, asked) {
                    (Some(Scope::Registry(from)), Some(asked)) => {
                        from.replace(to, &Prefix::of(asked)) == Some(signed)
                    }
                    _ => to.covers(&signed),
                }
            }
        }
    }
}

impl Scope {
    /// How long it is, if it covers a reference.
    fn covers(&self, reference: &Reference) -> Option<usize> {
        match (self, reference) {
            (Self::Registry(prefix), Reference::Registry(location)) => prefix
                .covers(&Prefix::of(location))
                .then(|| prefix.length()),
            (Self::Layout(folder), Reference::Layout { path, .. })
            | (Self::Archive(folder), Reference::Archive(path)) => path
                .starts_with(folder)
                .then(|| folder.components().count()),
            _ => None,
        }
    }
}

/// A repository without its host.
fn name_of(repository: &str) -> &str {
    repository
        .split_once('/')
        .map_or(repository, |(_, name)| name)
}

#[cfg(test)]
mod tests;
