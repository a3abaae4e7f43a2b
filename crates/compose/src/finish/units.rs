//! Elea's own units, from `crates/compose/units`.

use super::tree::Tree;
use elea_sys::PathError;

/// Name and text of each.
const UNITS: &[(&str, &str)] = &[];

/// Installs them.
pub(super) fn install(tree: &Tree) -> Result<(), PathError> {
    for (name, text) in UNITS {
        tree.put(&format!("usr/lib/systemd/system/{name}"), text.as_bytes())?;
    }
    Ok(())
}

/// Those that are to start: all that say where they belong.
pub(super) fn enabled() -> impl Iterator<Item = &'static str> {
    UNITS
        .iter()
        .filter(|(name, text)| text.contains("\n[Install]") && !name.contains('/'))
        .map(|(name, _)| *name)
}
