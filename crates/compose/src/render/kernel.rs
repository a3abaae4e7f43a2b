//! `[sysctl]`, and the modules of `[kernel]`.

use super::Rendered;
use crate::config::{Config, Setting};
use std::fmt::Write as _;

/// The numbers that the kernel knows for true and false.
pub(crate) fn plain(setting: &Setting) -> String {
    match setting {
        Setting::Boolean(value) => u8::from(*value).to_string(),
        other => other.to_string(),
    }
}

pub(super) fn render(config: &Config, out: &mut Rendered) {
    if !config.sysctl.is_empty() {
        let mut text = String::from("# From [sysctl] of the config.\n");
        for (name, setting) in &config.sysctl {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name} = {}", plain(setting));
        }
        // After most of what packages bring, and before an administrator's 99.
        out.text("sysctl", "/etc/sysctl.d/60-elea.conf", text);
    }
    let kernel = &config.kernel;
    if !kernel.modules.is_empty() {
        let lines = kernel.modules.join("\n");
        let text = format!("# From kernel.modules of the config.\n{lines}\n");
        out.text("kernel.modules", "/etc/modules-load.d/60-elea.conf", text);
    }
    if !kernel.blacklist.is_empty() || !kernel.options.is_empty() {
        let mut text = String::from("# From [kernel] of the config.\n");
        for module in &kernel.blacklist {
            let _ = writeln!(text, "blacklist {module}");
        }
        for (module, parameters) in &kernel.options {
            let _ = write!(text, "options {module}");
            for (name, setting) in parameters {
                let _ = write!(text, " {name}={}", plain(setting));
            }
            text.push('\n');
        }
        let key = if kernel.blacklist.is_empty() {
            "kernel.options"
        } else {
            "kernel.blacklist"
        };
        out.text(key, "/etc/modprobe.d/60-elea.conf", text);
    }
}
