//! Whose apt and dpkg are run: the machine's, or those of a tree of tools.

use super::program;
use crate::lock::Options;
use std::path::PathBuf;
use std::process::Command;

/// How a machine reaches other ones, which it may say in its environment.
const PROXIES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// Where apt's and dpkg's programs are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tools {
    /// The program `elea`, and the tree in the form of a home's profile; none are the machine's own.
    tree: Option<(PathBuf, PathBuf)>,
}

impl Tools {
    pub(crate) fn of(options: &Options) -> Self {
        let tree = options.tools.clone();
        Self {
            tree: tree.map(|tree| (options.elea.clone(), tree)),
        }
    }

    /// A program of theirs, with the clean environment. One of a tree sees that as the system, read-only, and else the
    /// machine as it is: the work and the network.
    pub(crate) fn program(&self, name: &str) -> Command {
        let Some((elea, tree)) = &self.tree else {
            return program(name);
        };
        let mut command = program(elea);
        command.args(["home", "exec", "--profile"]).arg(tree);
        command.arg("--").arg(name);
        command.envs(
            PROXIES
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        );
        command
    }

    /// Where a file of theirs is.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        match &self.tree {
            None => path.into(),
            Some((_, tree)) => tree.join("tree").join(path.trim_start_matches('/')),
        }
    }
}
