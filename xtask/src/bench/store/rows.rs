//! The rows of the table, and the goals.

/// What a goal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Seconds by the clock.
    Wall,
    /// Bytes that were fetched.
    Fetched,
}

/// A goal: ours as a part of a peer's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Goal {
    pub(super) of: Of,
    /// Which peer; the fastest if none is named.
    pub(super) peer: Option<&'static str>,
    /// Ours may be so many times theirs.
    pub(super) most: f64,
}

/// Some work that everyone does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// What it is called on the command line.
    pub(super) name: &'static str,
    /// What it is called in the table.
    pub(super) work: &'static str,
    pub(super) goals: &'static [Goal],
    /// How it is measured.
    pub(super) how: &'static str,
}

/// What we are called in the table.
pub(super) const OURS: &str = "`elea`";
/// What the composefs crate is called in the table.
pub(super) const CRATE: &str = "composefs crate 0.9.4";

const fn fastest(most: f64) -> Goal {
    Goal {
        of: Of::Wall,
        peer: None,
        most,
    }
}

/// All rows, in the order of the table.
pub(super) const ALL: &[Row] = &[
    Row {
        name: "import",
        work: "import a directory",
        goals: &[fastest(0.5)],
        how: "Into an empty store, the directory in the page cache. `elea` and the crate make an image of it too, `cp` finds no equal files and checks nothing, \
              `nix-store` keeps neither owners nor modes nor attributes. `ostree` has a bare repository.",
    },
    Row {
        name: "again",
        work: "import again, nothing changed",
        goals: &[fastest(0.1)],
        how: "The same directory into the same store, its files more than a minute old. In brackets: `cp -au` looks at times and sizes alone, \
              knows nothing of contents, and does not count as a peer.",
    },
    Row {
        name: "changed",
        work: "import again, 1 % of the files changed",
        goals: &[fastest(0.15)],
        how: "Every hundredth file got a byte more just before: in each round others.",
    },
    Row {
        name: "digest",
        work: "digest of a directory",
        goals: &[fastest(0.5)],
        how: "The digest that its image would have; nothing is written.",
    },
    Row {
        name: "pull",
        work: "OCI pull, cold",
        goals: &[fastest(0.5)],
        how: "Release 1.0 of `examples/hello`, pushed by `elea image push`, from a `docker-registry` on loopback into an empty store, and unpacked. \
              `elea` checks its signature too. \"One layer\": the same release as one gzip layer, made by `umoci raw add-layer`, as a build with other tools ends.",
    },
    Row {
        name: "next",
        work: "OCI pull of the next release",
        goals: &[
            Goal {
                of: Of::Fetched,
                peer: None,
                most: 0.2,
            },
            fastest(0.3),
        ],
        how: "Release 2.0 (a package, a file and a service more) into what has 1.0; bytes by the registry's access log. `umoci` unpacks the whole image anew. \
              The other peers profit from the layers that `elea image push` cuts; \"one layer\" is what they fetch where nobody does. podman of Debian 13 finds the chunks of large files in the tables that `elea` writes, and fetches as little.",
    },
    Row {
        name: "fsck",
        work: "check every byte",
        goals: &[
            Goal {
                of: Of::Wall,
                peer: Some("`ostree fsck`"),
                most: 0.5,
            },
            Goal {
                of: Of::Wall,
                peer: Some("`sha256sum`, all processors"),
                most: 1.2,
            },
        ],
        how: "A store with the directory, the page cache dropped before. `sha256sum` reads the objects of `elea`'s store, one process for each processor.",
    },
    Row {
        name: "gc",
        work: "delete 9 of 10 images",
        goals: &[fastest(0.1)],
        how: "A store of ten images with 20,000 files of 1 KB each, no two equal: 200,000 objects. Names are taken away before; the collection is measured, \
              and a `sync -f` after it. A copy of the store in each round.",
    },
    Row {
        name: "read-cold",
        work: "mount and read all, cold",
        goals: &[fastest(1.05)],
        how: "`elea image mount`, then every file by `cat`; the plain directory on the same ext4 has nothing to mount. The page cache dropped before. \
              This kernel has no fs-verity, so what is read here is not checked; on a machine each block is.",
    },
    Row {
        name: "read-warm",
        work: "mount and read all, warm",
        goals: &[fastest(1.05)],
        how: "The same once more, everything in the page cache, mounted anew.",
    },
];

/// A row by its name.
pub(super) fn row(name: &str) -> Option<&'static Row> {
    ALL.iter().find(|row| row.name == name)
}
