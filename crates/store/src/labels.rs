//! Labels by the `SELinux` policy that an image holds, as composefs-rs gives them to what is booted.
//!
//! Source: `selabel_file(5)`, and composefs-rs 0.9, `crates/composefs-boot/src/selabel.rs`; the
//! expressions are matched by the same library, since a label is part of the digest.

mod policy;

use crate::{Error, Store};
use elea_formats::tree::{Content, ContentRef, DirId, LeafId, Meta, Node, Tree};
use policy::Policy;
use std::collections::HashMap;

/// The attribute that holds a label.
const LABEL: &[u8] = b"security.selinux";
/// The largest file of a policy that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

impl Store {
    /// Gives every file of a tree the label that the policy in it says, and no label where it has no policy.
    /// A name of a file that would get another label than its first name becomes a file of its own.
    pub fn label(&self, tree: &mut Tree) -> Result<(), Error> {
        let Some(policy) = self.policy(tree)? else {
            tree.each_meta(|meta| {
                meta.xattrs.remove(LABEL);
            });
            return Ok(());
        };
        let mut labeller = Labeller {
            policy,
            tree,
            given: HashMap::new(),
        };
        labeller.directory(DirId::ROOT, b"/")
    }

    fn policy(&self, tree: &Tree) -> Result<Option<Policy>, Error> {
        let Some(config) = self.policy_file(tree, "etc/selinux/config")? else {
            return Ok(None);
        };
        let Some(name) = policy::name(&config)? else {
            return Ok(None);
        };
        let folder = format!("etc/selinux/{name}/contexts/files/file_contexts");
        let file = |end: &str| self.policy_file(tree, &format!("{folder}{end}"));
        let Some(first) = file("")? else {
            return Err(policy::refuse(format!("`{folder}` is missing")));
        };
        let mut rules = vec![first];
        for end in [".local", ".homedirs"] {
            rules.extend(file(end)?);
        }
        let mut substitutes = Vec::new();
        for end in [".subs", ".subs_dist"] {
            substitutes.extend(file(end)?);
        }
        Policy::parse(&rules, &substitutes).map(Some)
    }

    /// A file of the policy; links are not followed.
    fn policy_file(&self, tree: &Tree, path: &str) -> Result<Option<String>, Error> {
        let bytes = match tree.get(path.as_bytes()) {
            None => return Ok(None),
            Some(Node::Leaf(id)) => match tree.content(id) {
                Content::Inline(bytes) => bytes.to_vec(),
                Content::Object { digest, .. } => self.read_object(&digest, MAX_FILE)?,
                _ => return Err(policy::refuse(format!("`{path}` is no regular file"))),
            },
            Some(Node::Directory(_)) => {
                return Err(policy::refuse(format!("`{path}` is a directory")));
            }
        };
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| policy::refuse(format!("`{path}` is not UTF-8")))
    }
}

struct Labeller<'t> {
    policy: Policy,
    tree: &'t mut Tree,
    /// The label that a leaf got by its first name.
    given: HashMap<LeafId, Option<Vec<u8>>>,
}

impl Labeller<'_> {
    /// Labels a directory and what is in it; `path` is the one that the policy is asked about.
    fn directory(&mut self, directory: DirId, path: &[u8]) -> Result<(), Error> {
        let label = self.policy.label(path, b'd')?;
        let mut meta = self.tree.meta(directory).to_owned();
        set(&mut meta, label);
        self.tree.set_meta(directory, &meta);
        let entries = self.tree.entries(directory);
        let entries: Vec<_> = entries.map(|(name, node)| (name.to_vec(), node)).collect();
        for (name, node) in entries {
            let mut child = path.to_vec();
            if child.last() != Some(&b'/') {
                child.push(b'/');
            }
            child.extend_from_slice(&name);
            let asked = self.policy.substitute(&child).unwrap_or(&child).to_vec();
            match node {
                Node::Directory(child) => self.directory(child, &asked)?,
                Node::Leaf(id) => self.leaf(directory, &name, id, &asked)?,
            }
        }
        Ok(())
    }

    /// Labels a leaf by one of its names.
    fn leaf(
        &mut self,
        directory: DirId,
        name: &[u8],
        id: LeafId,
        path: &[u8],
    ) -> Result<(), Error> {
        let mut leaf = self.tree.leaf(id).to_owned();
        let label = self.policy.label(path, kind(leaf.content.as_ref()))?;
        set(&mut leaf.meta, label.clone());
        if self.given.get(&id).is_some_and(|given| *given != label) {
            let copy = self.tree.put_leaf(directory, name, &leaf);
            self.given.insert(copy, label);
        } else {
            self.tree.set_leaf_meta(id, &leaf.meta);
            self.given.entry(id).or_insert(label);
        }
        Ok(())
    }
}

fn set(meta: &mut Meta, label: Option<Vec<u8>>) {
    match label {
        Some(label) => meta.xattrs.insert(LABEL.to_vec(), label),
        None => meta.xattrs.remove(LABEL),
    };
}

/// The letter of a type in a policy.
fn kind(content: ContentRef<'_>) -> u8 {
    match content {
        Content::Inline(_) | Content::Object { .. } => b'-',
        Content::Symlink(_) => b'l',
        Content::BlockDevice(_) => b'b',
        Content::CharDevice(_) => b'c',
        Content::Fifo => b'p',
        Content::Socket => b's',
    }
}
