//! `[network.links.NAME]`: how networkd sets up the machine's links.

use super::super::reader::{Fields, Located, Reader};
use super::super::value::Place;
use super::super::{Packages, check};
use super::values;
use serde::Serialize;
use std::collections::BTreeMap;

/// `[network]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Links by name.
    pub links: BTreeMap<String, Link>,
}

/// `[network.links.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The names of the devices that are meant, with wildcards; of a link that is made, its own.
    pub name: Option<String>,
    /// The hardware address of the device.
    pub mac: Option<String>,
    /// The driver of the device.
    pub driver: Option<String>,
    /// Whether addresses come by DHCP: `yes`, `no`, `ipv4`, `ipv6`.
    pub dhcp: &'static str,
    /// Addresses with the lengths of their prefixes.
    pub addresses: Vec<String>,
    /// Where everything else goes.
    pub gateway: Vec<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Search domains; with `~` those that its name servers are asked for.
    pub domains: Vec<String>,
    /// The largest packet, in bytes.
    pub mtu: Option<u64>,
    /// Whether the machine is not online without it.
    pub required: bool,
    /// It is a VLAN with this number.
    pub vlan: Option<u64>,
    /// The link that the VLAN is on.
    pub on: Option<String>,
    /// It is a bridge of these links.
    pub bridge: Option<Vec<String>>,
    /// It is a bond of these links.
    pub bond: Option<Vec<String>>,
    /// How the bond works.
    pub bond_mode: Option<&'static str>,
    /// Further routes.
    pub routes: Vec<Route>,
}

/// An item of `routes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Where it leads to.
    pub destination: String,
    /// By which machine.
    pub gateway: Option<String>,
    /// The lower, the rather.
    pub metric: Option<u64>,
}

/// What `dhcp` knows.
pub(crate) const DHCP: &[&str] = &["yes", "no", "ipv4", "ipv6"];
/// What `bond_mode` knows (systemd.netdev(5)).
pub(crate) const BOND_MODES: &[&str] = &[
    "balance-rr",
    "active-backup",
    "balance-xor",
    "broadcast",
    "802.3ad",
    "balance-tlb",
    "balance-alb",
];

/// Links that one link names, and where.
type Named = Vec<(String, Located<String>)>;

/// Reads `[network]`.
pub(super) fn read(reader: &mut Reader, top: &mut Fields, packages: &Packages) -> Network {
    let mut fields = reader.table(top, "network");
    let mut links = BTreeMap::new();
    let mut named = Named::new();
    for (name, mut fields) in reader.tables(&mut fields, "links") {
        let link = link(reader, &mut fields, &name, &mut named);
        let asks = !link.dns.is_empty() || !link.domains.is_empty();
        if asks && !packages.install.iter().any(|p| p == "systemd-resolved") {
            reader.problem(
                fields.at,
                format!(
                    "`{}` has name servers or domains, and nothing that asks them",
                    fields.name
                ),
                "networkd leaves them to systemd-resolved",
                Some("add \"systemd-resolved\" to packages.install".into()),
            );
        }
        reader.finish(&fields);
        let rule = "a link's name: letters, digits and `._-`, at most 15";
        if let Some(name) = reader.check("network.links", name, link_name, rule) {
            links.insert(name.value, link);
        }
    }
    reader.finish(&fields);
    joined(reader, &links, named);
    Network { links }
}

/// Every link that another one names must be there, and be a part of one alone.
fn joined(reader: &mut Reader, links: &BTreeMap<String, Link>, named: Named) {
    let mut members: BTreeMap<String, Place> = BTreeMap::new();
    for (of, link) in named {
        let Some(known) = links.get(&link.value) else {
            let what = format!("there is no link `{}`", link.value);
            let help = format!("add [network.links.{}]", link.value);
            reader.problem(Some(link.at), what, "named here", Some(help));
            continue;
        };
        let is_vlan = links.get(&of).is_some_and(|link| link.vlan.is_some());
        if of == link.value {
            let what = format!("`{of}` is a part of itself");
            reader.problem(Some(link.at), what, "here", None);
        } else if is_vlan {
            continue;
        } else if !known.addresses.is_empty() || known.dhcp != "no" {
            let what = format!(
                "`{}` is a part of `{of}` and has addresses of its own",
                link.value
            );
            let help = format!("give them to `{of}`");
            reader.problem(Some(link.at), what, "a part", Some(help));
        }
        if let Some(first) = members.insert(link.value.clone(), link.at) {
            let what = format!("`{}` is a part of two links", link.value);
            reader.problem_of_two(link.at, what, "and here", first, "here");
        }
    }
}

fn link(reader: &mut Reader, f: &mut Fields, name: &Located<String>, named: &mut Named) -> Link {
    let glob: fn(&str) -> bool = |text| {
        let good = |c: char| c.is_ascii_alphanumeric() || "._-*?[]! ".contains(c);
        !text.is_empty() && text.len() <= 255 && text.chars().all(good)
    };
    let device = reader.checked(f, "name", glob, "names of devices, with wildcards");
    let mac: fn(&str) -> bool = |text| {
        let pair = |pair: &str| pair.len() == 2 && pair.chars().all(|c| c.is_ascii_hexdigit());
        text.split(':').count() == 6 && text.split(':').all(pair)
    };
    let mac = reader.checked(f, "mac", mac, "six pairs of hexadecimal digits");
    let driver = reader.checked(f, "driver", glob, "a driver's name, with wildcards");
    let dhcp = reader.word(f, "dhcp", DHCP).unwrap_or("no");
    let rule = "an address with the length of its prefix: 192.0.2.5/24";
    let addresses = reader.checked_list(f, "addresses", check::prefixed, rule);
    let rule = "an address such as 192.0.2.1";
    let gateway = reader.checked_list(f, "gateway", check::address, rule);
    let dns = reader.checked_list(f, "dns", check::address, rule);
    let domain: fn(&str) -> bool = |text| {
        let name = text.strip_prefix('~').unwrap_or(text);
        text == "~." || (name.len() <= 253 && name.split('.').all(check::label))
    };
    let domains = reader.checked_list(f, "domains", domain, "a domain, perhaps behind `~`");
    let mtu = reader.number(f, "mtu", 68..=65_535).map(|n| n.value);
    let required = reader.boolean(f, "required").unwrap_or(true);
    let vlan = reader.number(f, "vlan", 1..=4094).map(|n| n.value);
    let rule = "a link's name";
    let on = reader.checked(f, "on", link_name, rule);
    let bridge = reader.checked_list(f, "bridge", link_name, rule);
    let bridge = f.was_there("bridge").then_some(bridge);
    let bond = reader.checked_list(f, "bond", link_name, rule);
    let bond = f.was_there("bond").then_some(bond);
    let mode = reader.word(f, "bond_mode", BOND_MODES);
    let kinds = usize::from(vlan.is_some()) + usize::from(bridge.is_some());
    let kinds = kinds + usize::from(bond.is_some());
    let wrong = if kinds > 1 {
        Some("is more than one of VLAN, bridge and bond")
    } else if vlan.is_some() != on.is_some() {
        Some("needs both `vlan` and `on` to be a VLAN")
    } else if mode.is_some() && bond.is_none() {
        Some("has a `bond_mode` and is no bond")
    } else if kinds == 1 && (device.is_some() || mac.is_some() || driver.is_some()) {
        Some("is made, so there is no device to look for")
    } else {
        None
    };
    if let Some(wrong) = wrong {
        reader.problem(
            Some(name.at),
            format!("`{}` {wrong}", f.name),
            "this link",
            None,
        );
    }
    let parts = bridge.iter().chain(&bond).flatten().chain(&on);
    named.extend(parts.map(|part| (name.value.clone(), part.clone())));
    let text = |located: Option<Located<String>>| located.map(|l| l.value);
    Link {
        name: text(device),
        mac: text(mac),
        driver: text(driver),
        dhcp,
        addresses: values(addresses),
        gateway: values(gateway),
        dns: values(dns),
        domains: values(domains),
        mtu,
        required,
        vlan,
        on: text(on),
        bridge: bridge.map(values),
        bond_mode: bond.is_some().then_some(mode.unwrap_or("active-backup")),
        bond: bond.map(values),
        routes: routes(reader, f),
    }
}

fn routes(reader: &mut Reader, f: &mut Fields) -> Vec<Route> {
    let mut out = Vec::new();
    for mut fields in reader.list_of_tables(f, "routes") {
        let rule = "an address with the length of its prefix: 198.51.100.0/24";
        let to = reader.checked(&mut fields, "destination", check::prefixed, rule);
        let to = reader.needed(to, &fields, "destination", "\"198.51.100.0/24\"");
        let gateway = reader.checked(&mut fields, "gateway", check::address, "an address");
        let metric = reader.number(&mut fields, "metric", 0..=u64::from(u32::MAX));
        reader.finish(&fields);
        out.extend(to.map(|to| Route {
            destination: to.value,
            gateway: gateway.map(|l| l.value),
            metric: metric.map(|n| n.value),
        }));
    }
    out
}

/// A link's name, as the kernel takes it.
pub(super) fn link_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !matches!(text, "" | "." | "..") && text.len() <= 15 && text.chars().all(good)
}
