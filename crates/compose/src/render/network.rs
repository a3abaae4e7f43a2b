//! `[network]`: networkd's files (systemd.network(5), systemd.netdev(5)).

use super::Rendered;
use crate::config::{Config, Link};
use std::fmt::Write as _;

const FOLDER: &str = "/etc/systemd/network";

pub(super) fn render(config: &Config, out: &mut Rendered) {
    let links = &config.network.links;
    for (name, link) in links {
        let key = format!("network.links.{}", crate::config::quoted(name));
        let head = format!("# From [{key}] of the config.\n");
        if let Some(device) = device(name, link) {
            let path = format!("{FOLDER}/50-{name}.netdev");
            out.text(&key, path, format!("{head}{device}"));
        }
        let mut text = format!("{head}\n[Match]\n");
        let is_made = link.vlan.is_some() || link.bridge.is_some() || link.bond.is_some();
        let whole = is_made || (link.mac.is_none() && link.driver.is_none());
        let device = link.name.as_ref().or(whole.then_some(name));
        add(&mut text, "Name", device);
        add(&mut text, "MACAddress", &link.mac);
        add(&mut text, "Driver", &link.driver);
        if link.mtu.is_some() || !link.required {
            text.push_str("\n[Link]\n");
            add(&mut text, "MTUBytes", link.mtu);
            add(
                &mut text,
                "RequiredForOnline",
                (!link.required).then_some("no"),
            );
        }
        let _ = write!(text, "\n[Network]\nDHCP={}\n", link.dhcp);
        add(&mut text, "Address", &link.addresses);
        add(&mut text, "Gateway", &link.gateway);
        add(&mut text, "DNS", &link.dns);
        if !link.domains.is_empty() {
            add(&mut text, "Domains", Some(link.domains.join(" ")));
        }
        // What the others say of this one.
        let is_in = |list: &Option<Vec<String>>| list.iter().flatten().any(|part| part == name);
        let mut part = false;
        for (other, of) in links {
            add(
                &mut text,
                "VLAN",
                (of.on.as_ref() == Some(name)).then_some(other),
            );
            add(&mut text, "Bridge", is_in(&of.bridge).then_some(other));
            add(&mut text, "Bond", is_in(&of.bond).then_some(other));
            part |= is_in(&of.bridge) || is_in(&of.bond);
        }
        add(&mut text, "LinkLocalAddressing", part.then_some("no"));
        for route in &link.routes {
            let _ = write!(text, "\n[Route]\nDestination={}\n", route.destination);
            add(&mut text, "Gateway", &route.gateway);
            add(&mut text, "Metric", route.metric);
        }
        out.text(&key, format!("{FOLDER}/50-{name}.network"), text);
    }
    if !links.is_empty() {
        out.start("network", "systemd-networkd.service");
        let resolved = "systemd-resolved";
        if config.packages.install.iter().any(|name| name == resolved) {
            out.start("network", format!("{resolved}.service"));
        }
    }
}

/// A line for each value. Writing to a string does not fail.
fn add<T: std::fmt::Display>(text: &mut String, name: &str, values: impl IntoIterator<Item = T>) {
    for value in values {
        let _ = writeln!(text, "{name}={value}");
    }
}

/// The file of a link that is made.
fn device(name: &str, link: &Link) -> Option<String> {
    let (kind, more) = if let Some(id) = link.vlan {
        ("vlan", format!("\n[VLAN]\nId={id}\n"))
    } else if link.bridge.is_some() {
        ("bridge", String::new())
    } else {
        ("bond", format!("\n[Bond]\nMode={}\n", link.bond_mode?))
    };
    Some(format!("\n[NetDev]\nName={name}\nKind={kind}\n{more}"))
}
