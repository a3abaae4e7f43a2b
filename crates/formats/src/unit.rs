//! Units of systemd: their text with its drop-ins, their names, and what a change of one means.
//!
//! The text follows `systemd.syntax(7)` and what systemd's own reader does where the manual is
//! silent: continued lines, comments within them, values that are laid one over another, and
//! an empty value that takes back all before it. [`Unit::compare`] says what a running unit
//! needs to become another version of itself.

mod compare;
mod name;
mod parse;

pub use compare::Difference;
pub use name::{Kind, Name, NameError, escape, escape_path, unescape, unescape_path};
pub use parse::{Error, MAX_SETTINGS, MAX_TEXT};

use std::collections::BTreeMap;

/// A unit file, with drop-ins laid over it.
///
/// A setting keeps every value that it was given since it was last empty, in order: a list
/// wants them all, a single value the last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit {
    sections: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    settings: usize,
}

impl Unit {
    /// Reads a unit file.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let mut unit = Self::default();
        unit.lay(text)?;
        Ok(unit)
    }

    /// Lays a drop-in over what is there. On an error the unit is as far as it was read.
    pub fn lay(&mut self, text: &[u8]) -> Result<(), Error> {
        parse::lay(text, |section, key, value| {
            let settings = self.sections.entry(section.into()).or_default();
            if value.is_empty() {
                // Kept as a setting without values: `Sockets=` is not the same as none.
                settings.insert(key.into(), Vec::new());
                return Ok(());
            }
            self.settings += 1;
            if self.settings > MAX_SETTINGS {
                return Err(Error::TooMany);
            }
            settings
                .entry(key.into())
                .or_default()
                .push(value.to_owned());
            Ok(())
        })
    }

    /// All values of a setting, in order.
    pub fn values(&self, section: &str, key: &str) -> &[String] {
        self.sections
            .get(section)
            .and_then(|settings| settings.get(key))
            .map_or(&[], Vec::as_slice)
    }

    /// The value that counts where there may be one.
    pub fn value(&self, section: &str, key: &str) -> Option<&str> {
        self.values(section, key).last().map(String::as_str)
    }

    /// A yes or no, as `parse_boolean` of systemd reads it; `default` where there is none, or
    /// something else.
    pub fn is(&self, section: &str, key: &str, default: bool) -> bool {
        let value = self.value(section, key).map(str::to_ascii_lowercase);
        match value.as_deref() {
            Some("1" | "yes" | "y" | "true" | "t" | "on") => true,
            Some("0" | "no" | "n" | "false" | "f" | "off") => false,
            _ => default,
        }
    }

    /// The words of a setting that lists names (`After=`, `Sockets=`), in order.
    pub fn words(&self, section: &str, key: &str) -> impl Iterator<Item = &str> {
        self.values(section, key)
            .iter()
            .flat_map(|value| value.split_ascii_whitespace())
    }

    /// Whether it has a section.
    pub fn has(&self, section: &str) -> bool {
        self.sections.contains_key(section)
    }
}

#[cfg(test)]
mod tests;
