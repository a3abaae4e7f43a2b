//! The rules of the form `os-1` by name: which one evens out what differs between two trees.

use super::{ACCESS_ACL, CAPABILITY, DEFAULT_ACL, EMPTIED};
use crate::tree::components;
use std::fmt;

/// A rule of the form `os-1`; `docs/formats/tree-forms.md` has them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The root's metadata.
    Root,
    /// The directories that are there and empty.
    Emptied,
    /// Times in whole seconds.
    Times,
    /// The mode of symbolic links.
    LinkModes,
    /// Modes of twelve bits.
    Modes,
    /// Sockets are left out.
    Sockets,
    /// Attributes that are kept.
    Attributes,
    /// Capabilities of revision 3 with root's id.
    Capabilities,
    /// ACLs that say no more than the mode.
    Acls,
    /// What is in the image and what is an object.
    Inline,
}

/// A property that a rule can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property<'a> {
    /// That something is there, and of what type.
    Type,
    /// The mode; whether it is a symbolic link's.
    Mode {
        /// Whether it is a symbolic link's.
        link: bool,
    },
    /// The time.
    Time,
    /// An attribute, by its name.
    Attribute(&'a [u8]),
    /// Whether content is in the image.
    Place,
    /// The names that an inode has.
    Names,
    /// Anything else: owner, content.
    Other,
}

impl Rule {
    /// The rule that decides about a property at a path, where the form evens it out at all.
    /// None is for what no rule touches.
    pub fn about(path: &[u8], property: Property<'_>) -> Option<Self> {
        let Some(top) = components(path).next() else {
            return Some(Self::Root);
        };
        if EMPTIED.iter().any(|(name, _)| *name == top) {
            return Some(Self::Emptied);
        }
        match property {
            Property::Type => Some(Self::Sockets),
            Property::Mode { link: true } => Some(Self::LinkModes),
            Property::Mode { link: false } => Some(Self::Modes),
            Property::Time => Some(Self::Times),
            Property::Attribute(CAPABILITY) => Some(Self::Capabilities),
            Property::Attribute(ACCESS_ACL | DEFAULT_ACL) => Some(Self::Acls),
            Property::Attribute(_) => Some(Self::Attributes),
            Property::Place => Some(Self::Inline),
            // One of the names stood where the form has nothing.
            Property::Names => Some(Self::Emptied),
            Property::Other => None,
        }
    }

    /// What it says, for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Root => "the root is 0755, owner and group 0, from 1970, without attributes",
            Self::Emptied => "/boot, /dev, /proc, /run, /sys and /tmp are there and empty",
            Self::Times => "times are whole seconds between 1970 and 2242",
            Self::LinkModes => "symbolic links have the mode 0777",
            Self::Modes => "modes have twelve bits",
            Self::Sockets => "sockets are left out",
            Self::Attributes => "attributes that not every road carries are left out",
            Self::Capabilities => "capabilities of revision 3 whose root id is 0 become revision 2",
            Self::Acls => "ACLs that say no more than the mode are left out",
            Self::Inline => "files of up to 64 bytes are in the image, larger ones are objects",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
