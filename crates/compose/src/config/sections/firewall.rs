//! `[firewall]`: what may come in from the network.

use super::super::reader::{Fields, Reader};
use super::super::value::Value;
use super::super::{Packages, check};
use super::values;
use serde::{Serialize, Serializer};

/// `[firewall]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Firewall {
    /// What happens to everything else: `drop` or `accept`.
    pub policy: &'static str,
    /// Open TCP ports.
    pub tcp: Ports,
    /// Open UDP ports.
    pub udp: Ports,
    /// Whether others may see that the machine is there.
    pub allow_ping: bool,
    /// Links from which everything may come.
    pub trusted: Vec<String>,
    /// What is open to some alone.
    pub from: Vec<From>,
    /// Further rules, as nft(8) reads them.
    pub rules: Option<String>,
}

/// An item of `from`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct From {
    /// An address or a network.
    pub source: String,
    /// TCP ports that are open to it.
    pub tcp: Ports,
    /// UDP ports that are open to it; with neither, all.
    pub udp: Ports,
}

/// Ports: ranges from the first to the last, in order and apart from one another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports(pub Vec<(u16, u16)>);

impl Ports {
    /// Each as it is written: `80`, `80-90`.
    pub fn texts(&self) -> Vec<String> {
        let text = |(first, last): &(u16, u16)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        };
        self.0.iter().map(text).collect()
    }

    fn add(&mut self, range: (u16, u16)) {
        self.0.push(range);
        self.0.sort_unstable();
        let mut apart: Vec<(u16, u16)> = Vec::new();
        for (first, last) in self.0.drain(..) {
            match apart.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                _ => apart.push((first, last)),
            }
        }
        self.0 = apart;
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.texts())
    }
}

/// What `policy` knows.
pub(crate) const POLICIES: &[&str] = &["drop", "accept"];

/// Reads `[firewall]`; none if there is no such table.
pub(super) fn read(reader: &mut Reader, top: &mut Fields, packages: &Packages) -> Option<Firewall> {
    let mut fields = reader.table(top, "firewall");
    let f = &mut fields;
    let at = f.at;
    let policy = reader.word(f, "policy", POLICIES);
    let tcp = ports(reader, f, "tcp");
    let udp = ports(reader, f, "udp");
    let ping = reader.boolean(f, "allow_ping");
    let link: fn(&str) -> bool = |text| {
        let name = text.strip_suffix('*').unwrap_or(text);
        super::network::link_name(name)
    };
    let rule = "a link's name, perhaps with `*` at its end";
    let trusted = reader.checked_list(f, "trusted", link, rule);
    let mut from = Vec::new();
    for mut fields in reader.list_of_tables(f, "from") {
        let source: fn(&str) -> bool = |text| check::address(text) || check::prefixed(text);
        let rule = "an address or a network: 10.0.0.0/8";
        let source = reader.checked(&mut fields, "source", source, rule);
        let source = reader.needed(source, &fields, "source", "\"10.0.0.0/8\"");
        let tcp = ports(reader, &mut fields, "tcp");
        let udp = ports(reader, &mut fields, "udp");
        reader.finish(&fields);
        let source = source.map(|l| l.value);
        from.extend(source.map(|source| From { source, tcp, udp }));
    }
    let rule = "text as nft(8) reads it, without control characters";
    let rules = reader.checked(f, "rules", check::text, rule);
    reader.finish(&fields);
    let at = at?;
    if !packages.install.iter().any(|name| name == "nftables") {
        let help = "add \"nftables\" to packages.install".to_owned();
        let what = "`firewall` needs the package `nftables`";
        reader.problem(Some(at), what, "asked for here", Some(help));
    }
    Some(Firewall {
        policy: policy.unwrap_or("drop"),
        tcp,
        udp,
        allow_ping: ping.unwrap_or(true),
        trusted: values(trusted),
        from,
        rules: rules.map(|l| l.value),
    })
}

/// A list of ports, as numbers or as texts with one port or a range.
fn ports(reader: &mut Reader, fields: &mut Fields, key: &'static str) -> Ports {
    let mut out = Ports::default();
    let Some(node) = fields.take(key) else {
        return out;
    };
    let name = fields.full(key);
    let Value::List(list) = node.value else {
        reader.wrong_type(&name, "a list of ports", &node);
        return out;
    };
    for item in list {
        let text = match &item.value {
            Value::Text(text) => text.clone(),
            Value::Integer(Some(number)) => number.to_string(),
            _ => {
                reader.wrong_type(&format!("{name}[]"), "a port", &item);
                continue;
            }
        };
        let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => out.add((first, last)),
            _ => {
                let shown: String = text.chars().take(80).collect();
                let what = format!("`{}` cannot be in `{name}`", shown.escape_debug());
                let rule = "a port from 1 to 65535, or a range such as \"80-90\"";
                reader.problem(Some(item.at), what, rule, None);
            }
        }
    }
    out
}
