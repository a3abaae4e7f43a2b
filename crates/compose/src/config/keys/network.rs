//! The keys of the network.

use super::super::sections::firewall::POLICIES;
use super::super::sections::network::{BOND_MODES, DHCP};
use super::{Boolean, Number, Ports, Section, Tables, Text, Texts, Word, key};

pub(super) const LINKS: Section = Section {
    name: "network.links",
    each: Some("NAME"),
    doc: "The links of the machine, set up by networkd, which starts then. A device is looked for by what of `name`, `mac` and `driver` is given; without any of them by NAME. A VLAN, a bridge or a bond is made with the name NAME; the links that it is on or has as its parts need entries of their own.",
    keys: &[
        key(
            "name",
            Text,
            "none",
            "names of devices, with wildcards: `en*`",
        ),
        key("mac", Text, "none", "the device's hardware address"),
        key("driver", Text, "none", "the device's driver"),
        key(
            "dhcp",
            Word(DHCP),
            "\"no\"",
            "whether addresses come by DHCP",
        ),
        key(
            "addresses",
            Texts,
            "[]",
            "addresses with the lengths of their prefixes: `192.0.2.5/24`",
        ),
        key("gateway", Texts, "[]", "where everything else goes"),
        key(
            "dns",
            Texts,
            "[]",
            "name servers; needs the package `systemd-resolved`",
        ),
        key(
            "domains",
            Texts,
            "[]",
            "search domains; behind `~` those that its name servers are asked for",
        ),
        key(
            "mtu",
            Number(68, 65_535),
            "the device's",
            "the largest packet, in bytes",
        ),
        key(
            "required",
            Boolean,
            "true",
            "whether the machine is not online without it",
        ),
        key(
            "vlan",
            Number(1, 4094),
            "none",
            "it is the VLAN with this number",
        ),
        key("on", Text, "none", "the link that the VLAN is on"),
        key("bridge", Texts, "none", "it is a bridge of these links"),
        key("bond", Texts, "none", "it is a bond of these links"),
        key(
            "bond_mode",
            Word(BOND_MODES),
            "\"active-backup\"",
            "how the bond works",
        ),
        key(
            "routes",
            Tables(&[
                key(
                    "destination",
                    Text,
                    "",
                    "where it leads to: `198.51.100.0/24`",
                ),
                key("gateway", Text, "none", "by which machine"),
                key(
                    "metric",
                    Number(0, u32::MAX as u64),
                    "none",
                    "the lower, the rather",
                ),
            ]),
            "[]",
            "further routes",
        ),
    ],
};

pub(super) const FIREWALL: Section = Section {
    name: "firewall",
    each: None,
    doc: "What may come in from the network, if there is such a table: `/etc/nftables.conf` and `nftables.service`; needs the package `nftables`. Answers come in always, and what IPv6 needs. What the machine itself sends or passes on is not looked at, and tables of others (podman's) stay.",
    keys: &[
        key(
            "policy",
            Word(POLICIES),
            "drop",
            "what happens to everything that nothing lets in",
        ),
        key(
            "tcp",
            Ports,
            "none",
            "open TCP ports: numbers, and ranges as `\"80-90\"`",
        ),
        key("udp", Ports, "none", "open UDP ports"),
        key("allow_ping", Boolean, "true", "whether it answers pings"),
        key(
            "trusted",
            Texts,
            "none",
            "links from which everything may come, besides `lo`; `*` may stand at the end",
        ),
        key(
            "from",
            Tables(&[
                key("source", Text, "", "an address or a network"),
                key("tcp", Ports, "none", "TCP ports that are open to it"),
                key(
                    "udp",
                    Ports,
                    "none",
                    "UDP ports that are open to it; with neither, all is",
                ),
            ]),
            "none",
            "what is open to some alone",
        ),
        key(
            "rules",
            Text,
            "none",
            "more text for nft(8); `table inet elea { chain input { … } }` adds to what is there",
        ),
    ],
};
