//! `[state]`: the service that looks at the versions of what is kept, where there are any.

use super::Rendered;
use super::units::FOLDER;
use crate::config::Config;

const SERVICE: &str = "elea-state.service";
/// Before all services that do not ask for another order; what is kept is mounted by the initrd.
const TEXT: &str = "# From [state] of the config.

[Unit]
Description=Elea: snapshots of data that this release changes
DefaultDependencies=no
ConditionPathExists=/run/elea/booted
After=local-fs.target
Before=sysinit.target
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/elea agent state
TimeoutStartSec=infinity

[Install]
WantedBy=sysinit.target
";

pub(super) fn render(config: &Config, out: &mut Rendered) {
    if config
        .state
        .kept()
        .any(|(_, kept, _)| kept.version.is_some())
    {
        out.text("state", format!("{FOLDER}/{SERVICE}"), TEXT.to_owned());
        out.start("state", SERVICE);
    }
}
