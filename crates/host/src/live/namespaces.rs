//! Units that have mounts of their own: a new `/etc` over the old one may not reach them.

use super::state::Live;
use super::units::Units;
use super::{UnitAction, Verb};
use elea_formats::unit::Unit;

/// Settings that give a unit a mount namespace wherever they are not off (`systemd.exec(5)`).
const SWITCHES: &[&str] = &[
    "DynamicUser",
    "PrivateDevices",
    "PrivateIPC",
    "PrivateMounts",
    "PrivateTmp",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectSystem",
];

/// Settings that do so wherever they have a value.
const LISTS: &[&str] = &[
    "BindPaths",
    "BindReadOnlyPaths",
    "ExecPaths",
    "ExtensionDirectories",
    "ExtensionImages",
    "InaccessiblePaths",
    "LoadCredential",
    "LoadCredentialEncrypted",
    "MountFlags",
    "MountImages",
    "NoExecPaths",
    "ProcSubset",
    "ProtectProc",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "RootDirectory",
    "RootImage",
    "SetCredential",
    "SetCredentialEncrypted",
    "TemporaryFileSystem",
];

fn has_own_mounts(unit: &Unit) -> bool {
    // Words such as `strict` and `disconnected` are neither yes nor no, and are on.
    let on = |key: &&str| unit.value("Service", key).is_some() && unit.is("Service", key, true);
    let given = |key: &&str| !unit.values("Service", key).is_empty();
    SWITCHES.iter().any(on) || LISTS.iter().any(given)
}

/// The running services that go on seeing the old `/etc`: they have mounts of their own and nothing
/// is done with them.
pub(super) fn left_behind(units: &Units, live: &Live, actions: &[UnitAction]) -> Vec<String> {
    let renewed = |name: &str| {
        let mine = actions.iter().filter(|action| action.unit == name);
        mine.into_iter()
            .any(|action| !matches!(action.verb, Verb::Skip | Verb::Reload))
    };
    let services = live
        .running()
        .filter(|(name, _)| name.ends_with(".service") && !renewed(name));
    let own =
        services.filter(|(name, _)| units.unit(name).is_some_and(|unit| has_own_mounts(&unit)));
    own.map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_seen_in_the_settings() {
        let has = |line: &str| {
            let text = format!("[Service]\nExecStart=/a\n{line}\n");
            has_own_mounts(&Unit::parse(text.as_bytes()).unwrap())
        };
        for line in [
            "PrivateTmp=yes",
            "PrivateTmp=disconnected",
            "ProtectSystem=strict",
            "ReadOnlyPaths=/x",
            "DynamicUser=1",
        ] {
            assert!(has(line), "{line}");
        }
        for line in [
            "",
            "PrivateTmp=no",
            "ProtectSystem=false",
            "ReadOnlyPaths=/x\nReadOnlyPaths=",
            "User=a",
        ] {
            assert!(!has(line), "{line}");
        }
    }
}
