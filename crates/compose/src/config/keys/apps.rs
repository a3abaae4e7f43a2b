//! The keys of apps and boxes.

use super::super::sections::apps::HOMES;
use super::Kind::{Boolean, Text, Texts, Word};
use super::{Section, key};

pub(super) const APPS: Section = Section {
    name: "apps",
    each: Some("NAME"),
    doc: "Apps: images that run confined. They are read, checked and shown, with a warning: nothing acts on them yet.",
    keys: &[
        key(
            "source",
            Text,
            "",
            "`flatpak:NAME`, `snap:NAME`, `appimage:FILE` or `registry:HOST/NAME:TAG`",
        ),
        key("channel", Text, "none", "what it follows there: `stable`"),
        key(
            "hold",
            Boolean,
            "false",
            "whether it stays at the revision that it has",
        ),
        key(
            "permissions",
            Texts,
            "[]",
            "what it may do: `network`, `files`, `device`, `socket` or `bus`, perhaps with which: `files:~/Documents`",
        ),
    ],
};

pub(super) const BOXES: Section = Section {
    name: "boxes",
    each: Some("NAME"),
    doc: "Boxes: mutable environments made from images. They are read, checked and shown, with a warning: nothing acts on them yet.",
    keys: &[
        key(
            "image",
            Text,
            "",
            "`registry:HOST/NAME:TAG`, or a name in the store",
        ),
        key("user", Text, "none", "whose it is; without it everybody's"),
        key(
            "home",
            Word(HOMES),
            "shared",
            "whether the home in it is the user's, or its own",
        ),
        key(
            "init",
            Boolean,
            "false",
            "whether it runs an init with services",
        ),
        key("packages", Texts, "[]", "what is installed in it"),
    ],
};
