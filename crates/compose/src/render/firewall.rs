//! `[firewall]`: a ruleset of nft(8).

use super::Rendered;
use crate::config::{Config, Firewall, Ports};
use std::fmt::Write as _;

pub(super) fn render(config: &Config, out: &mut Rendered) {
    if let Some(firewall) = &config.firewall {
        out.content(
            "firewall",
            "/etc/nftables.conf",
            crate::config::Content::Text(ruleset(firewall)),
            0o755,
        );
        out.start("firewall", "nftables.service");
    }
}

/// What must get through for IPv6 to work at all (RFC 4890, 4.4.1), whatever else is closed.
const NEIGHBOURS: &str = "nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert, packet-too-big, time-exceeded, parameter-problem, destination-unreachable, mld-listener-query";

/// Its table alone is made anew: those of others, podman's for one, stay.
fn ruleset(firewall: &Firewall) -> String {
    let mut rules = String::new();
    let mut rule = |text: String| {
        // Writing to a string does not fail.
        let _ = writeln!(rules, "\t\t{text}");
    };
    rule("ct state vmap { established : accept, related : accept, invalid : drop }".into());
    rule("iifname \"lo\" accept".into());
    for link in firewall.trusted.iter().filter(|link| *link != "lo") {
        rule(format!("iifname \"{link}\" accept"));
    }
    rule(format!("icmpv6 type {{ {NEIGHBOURS} }} accept"));
    rule("icmp type { destination-unreachable, time-exceeded, parameter-problem } accept".into());
    // Answers of a DHCPv6 server come from another address than the question went to.
    rule("ip6 saddr fe80::/10 udp dport 546 accept".into());
    if firewall.allow_ping {
        rule("icmp type echo-request accept".into());
        rule("icmpv6 type echo-request accept".into());
    }
    for (protocol, ports) in [("tcp", &firewall.tcp), ("udp", &firewall.udp)] {
        if let Some(set) = set(ports) {
            rule(format!("{protocol} dport {set} accept"));
        }
    }
    for from in &firewall.from {
        let family = if from.source.contains(':') {
            "ip6"
        } else {
            "ip"
        };
        let who = format!("{family} saddr {}", from.source);
        let (tcp, udp) = (set(&from.tcp), set(&from.udp));
        if tcp.is_none() && udp.is_none() {
            rule(format!("{who} accept"));
        }
        for (protocol, set) in [("tcp", tcp), ("udp", udp)] {
            if let Some(set) = set {
                rule(format!("{who} {protocol} dport {set} accept"));
            }
        }
    }
    let policy = firewall.policy;
    let mut text = format!(
        "#!/usr/sbin/nft -f
# From [firewall] of the config.

table inet elea
delete table inet elea

table inet elea {{
\tchain input {{
\t\ttype filter hook input priority filter; policy {policy};
{rules}\t}}
}}
"
    );
    if let Some(more) = &firewall.rules {
        let _ = write!(text, "\n{}\n", more.trim_end());
    }
    text
}

fn set(ports: &Ports) -> Option<String> {
    let texts = ports.texts();
    (!texts.is_empty()).then(|| format!("{{ {} }}", texts.join(", ")))
}
