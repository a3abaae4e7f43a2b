//! Two that listen at one port: the second cannot start.

use super::super::reader::Reader;
use super::super::value::Place;
use super::super::{Config, Content};
use super::ssh;
use crate::render::Rendered;
use elea_formats::unit::Unit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Something that listens.
#[derive(Debug, Clone)]
struct Listener {
    /// What it is called.
    who: String,
    at: Option<Place>,
    protocol: &'static str,
    address: Address,
    port: u16,
}

/// Where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    ip: IpAddr,
    /// Whether the address of all of IPv6 is that of IPv4 too.
    both: bool,
    /// The link that it is bound to.
    link: Option<String>,
    /// Whether others may listen there too.
    shared: bool,
}

impl Address {
    const EVERYWHERE: Self = Self {
        ip: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        both: true,
        link: None,
        shared: false,
    };

    fn meets(&self, other: &Self) -> bool {
        let covers = |a: &Self, b: &Self| match a.ip {
            ip if ip == b.ip => true,
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => b.ip.is_ipv4(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => b.ip.is_ipv6() || a.both,
            _ => false,
        };
        let links_part = matches!((&self.link, &other.link), (Some(a), Some(b)) if a != b);
        let both_share = self.shared && other.shared;
        let covered = covers(self, other) || covers(other, self);
        covered && !links_part && !both_share
    }
}

/// A package of Debian's that listens by itself.
struct Server {
    package: &'static str,
    unit: &'static str,
    protocol: &'static str,
    port: u16,
    /// Where it could be told to listen elsewhere.
    settings: &'static str,
}

const fn server(
    package: &'static str,
    unit: &'static str,
    protocol: &'static str,
    port: u16,
    settings: &'static str,
) -> Server {
    Server {
        package,
        unit,
        protocol,
        port,
        settings,
    }
}

/// Those that are often together, as Debian 12 and 13 set them up: on all addresses.
const SERVERS: [Server; 7] = [
    server("apache2", "apache2.service", "TCP", 80, "/etc/apache2"),
    server("bind9", "named.service", "UDP", 53, "/etc/bind"),
    server("caddy", "caddy.service", "TCP", 80, "/etc/caddy"),
    server("dnsmasq", "dnsmasq.service", "UDP", 53, "/etc/dnsmasq.d"),
    server(
        "dropbear",
        "dropbear.service",
        "TCP",
        22,
        "/etc/default/dropbear",
    ),
    server("lighttpd", "lighttpd.service", "TCP", 80, "/etc/lighttpd"),
    server("nginx", "nginx.service", "TCP", 80, "/etc/nginx"),
];

/// Looks for them.
pub(super) fn look(reader: &mut Reader, config: &Config, rendered: &Rendered) {
    let all = listeners(reader, config, rendered);
    for (number, second) in all.iter().enumerate() {
        let first = all[..number].iter().find(|first| {
            (first.protocol, first.port) == (second.protocol, second.port)
                && first.address.meets(&second.address)
        });
        let Some(first) = first else { continue };
        let (protocol, port) = (second.protocol, second.port);
        let what = if first.who == second.who {
            format!("{} listens twice at the {protocol} port {port}", first.who)
        } else {
            let who = format!("{} and {}", first.who, second.who);
            format!("{who} both listen at the {protocol} port {port}")
        };
        let other = first.at.map(|at| (at, "and here"));
        let help =
            "only one can start: give one of them another port, or put it into `services.disable`";
        reader.warn_of_two(second.at, what, "here", other, help);
    }
}

fn listeners(reader: &Reader, config: &Config, rendered: &Rendered) -> Vec<Listener> {
    let mut all = Vec::new();
    if let Some((port, at)) = ssh::port(config) {
        all.push(Listener {
            who: "the ssh server".into(),
            at: Some(at),
            protocol: "TCP",
            address: Address::EVERYWHERE,
            port,
        });
    }
    for server in &SERVERS {
        let listens = config.installs(server.package)
            && !config.stops(server.unit)
            && !config.writes(server.settings);
        if listens {
            all.push(Listener {
                who: format!("`{}`", server.package),
                at: config.place(&format!("packages.install[{}]", server.package)),
                protocol: server.protocol,
                address: Address::EVERYWHERE,
                port: server.port,
            });
        }
    }
    for (name, unit) in &config.units {
        let starts = unit.enable || config.services.enable.contains(name);
        if name.ends_with(".socket") && starts && !config.stops(name) {
            all.extend(sockets(reader, config, rendered, name));
        }
    }
    all
}

/// What a socket listens at.
fn sockets(reader: &Reader, config: &Config, rendered: &Rendered, name: &str) -> Vec<Listener> {
    let key = format!("units.{name:?}");
    let made = rendered.files.values().find(|made| made.key == key);
    let text = match made.map(|made| &made.file.content) {
        Some(Content::Text(text)) => text.clone().into_bytes(),
        Some(Content::Copy(path)) => std::fs::read(path).unwrap_or_default(),
        _ => return Vec::new(),
    };
    let Ok(unit) = Unit::parse(&text) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (setting, protocol) in [("ListenStream", "TCP"), ("ListenDatagram", "UDP")] {
        for text in unit.values("Socket", setting) {
            let Some((ip, port)) = parse(text) else {
                continue;
            };
            let written = config
                .place(&format!("{key}.Socket.{setting}[{text}]"))
                .or_else(|| config.place(&format!("{key}.Socket.{setting}")));
            let line = format!("{setting}={text}");
            let within = || reader.within(config.place(&format!("{key}.text"))?, &line);
            all.push(Listener {
                who: format!("`{name}`"),
                at: written.or_else(within).or_else(|| config.place(&key)),
                protocol,
                address: Address {
                    ip,
                    both: unit.value("Socket", "BindIPv6Only") != Some("ipv6-only"),
                    link: unit.value("Socket", "BindToDevice").map(str::to_owned),
                    shared: unit.is("Socket", "ReusePort", false),
                },
                port,
            });
        }
    }
    all
}

/// An address of `ListenStream=` (systemd.socket(5)), if it is one of the internet: `80`, `192.0.2.1:80`, `[::]:80`.
fn parse(text: &str) -> Option<(IpAddr, u16)> {
    if let Ok(port) = text.parse() {
        return Some((Ipv6Addr::UNSPECIFIED.into(), port));
    }
    let (host, port) = text.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let ip = match host {
        Some(host) => host.split('%').next()?.parse::<Ipv6Addr>().ok()?.into(),
        None => text.rsplit_once(':')?.0.parse::<Ipv4Addr>().ok()?.into(),
    };
    Some((ip, port.split('%').next()?.parse().ok()?))
}
