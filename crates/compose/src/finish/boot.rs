//! What a machine boots from the image: kernel, initrd, loader, and the program `elea`.

use super::Job;
use super::tree::Tree;
use crate::initrd::{self, Drivers};
use crate::lock::Error;
use crate::program;
use crate::steps::Kind;
use elea_formats::digest::Sha256;
use elea_formats::tree::{Content, DirId, Leaf, Meta, Node, Tree as Nodes};
use elea_formats::version;
use elea_sys::root::Root;
use std::fmt::Write as _;
use std::path::Path;

const INITRD_STEP: Kind = Kind {
    word: "initrd",
    version: 1,
    most: 4,
};
const LOADER_STEP: Kind = Kind {
    word: "loader",
    version: 1,
    most: 4,
};
/// The name of the one file in the result of such a step.
const RESULT: &[u8] = b"result";

/// Where the loader's package has its program, and where the image has it.
const LOADER_SOURCE: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi";
const LOADER: &str = "usr/lib/elea/boot/systemd-bootx64.efi";
/// A boot loader is never larger, in bytes.
const LOADER_LIMIT: u64 = 16 << 20;

/// The files that a machine boots, by their paths in the image.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) kernel: String,
    pub(super) initrd: String,
    pub(super) loader: &'static str,
}

/// Installs `elea`, and `elea-initrd` for the images that are built on the machine itself.
pub(super) fn programs(job: &Job<'_>, tree: &mut Tree<'_>) -> Result<(), Error> {
    for program in job.programs.both() {
        tree.put_program(job.store, program)?;
    }
    Ok(())
}

/// Puts kernel, initrd and loader where Elea looks for them.
pub(super) fn payload(job: &Job<'_>, tree: &mut Tree<'_>) -> Result<Payload, Error> {
    let release = kernel_release(tree)?;
    let folder = format!("usr/lib/modules/{release}");
    for (from, to) in [
        (format!("boot/vmlinuz-{release}"), "vmlinuz"),
        (format!("boot/config-{release}"), "config"),
        (format!("boot/System.map-{release}"), "System.map"),
    ] {
        tree.copy(&from, &format!("{folder}/{to}"))?;
    }
    let init = &job.programs.initrd;
    let drivers = Drivers {
        usual: job.config.kernel.usual_drivers,
        more: job.config.kernel.drivers.clone(),
    };
    let inputs = serde_json::json!({
        "release": release,
        "init": init.sha256.to_string(),
        "usual": drivers.usual,
        "more": drivers.more,
        "modules": fingerprint(tree.nodes(), &folder).to_string(),
    });
    let made = job.steps.take(INITRD_STEP, &inputs, || {
        match initrd::build(job.store, tree.nodes(), &release, &init.read()?, &drivers) {
            Err(initrd::Error::Missing { names, .. }) => Err(missing(job, &release, names)),
            result => one_file(job, &result?),
        }
    })?;
    let initrd = format!("{folder}/elea-initrd.img");
    tree.put_content(&initrd, result(&made.tree)?)?;
    job.parts.borrow_mut().push(made.part());
    loader(job, tree)?;
    Ok(Payload {
        kernel: format!("{folder}/vmlinuz"),
        initrd,
        loader: LOADER,
    })
}

/// The newest kernel of the tree.
fn kernel_release(tree: &Tree<'_>) -> Result<String, Error> {
    let mut releases: Vec<String> = tree
        .names("usr/lib/modules")
        .into_iter()
        .filter(|release| tree.has(&format!("boot/vmlinuz-{release}")))
        .collect();
    releases.sort_by(|a, b| version::compare(a, b));
    releases.pop().ok_or_else(|| {
        Error::Tree("the packages brought no kernel; name one as [kernel] package".into())
    })
}

fn missing(job: &Job<'_>, release: &str, names: Vec<String>) -> Error {
    let wrong = names.into_iter().map(|name| {
        let what = format!("the kernel {release} has no module `{name}`");
        (format!("kernel.drivers[{name}]"), what, None)
    });
    Error::Config(job.config.errors(wrong.collect()))
}

fn loader(job: &Job<'_>, tree: &mut Tree<'_>) -> Result<(), Error> {
    let inputs = serde_json::json!(job.lock.loader()?.sha256.to_string());
    let made = job.steps.take(LOADER_STEP, &inputs, || {
        let folder = job.work.join("loader-files");
        let mut command = program::program("dpkg-deb");
        command.arg("--extract").arg((job.loader)()?).arg(&folder);
        program::run(command, "dpkg", job.log, job.progress)?;
        let content = Root::open(&folder)?.read(Path::new(LOADER_SOURCE), LOADER_LIMIT)?;
        one_file(job, &content)
    })?;
    tree.put_content(LOADER, result(&made.tree)?)?;
    job.parts.borrow_mut().push(made.part());
    Ok(())
}

/// A tree with these bytes as its one file.
fn one_file(job: &Job<'_>, bytes: &[u8]) -> Result<Nodes, Error> {
    let mut draft = job.store.draft(job.store.empty_tree())?;
    let leaf = Leaf {
        meta: Meta::default(),
        content: draft.content(bytes)?,
    };
    draft.tree.put_leaf(DirId::ROOT, RESULT, &leaf);
    Ok(draft.finish())
}

/// The content of [`one_file`].
fn result(made: &Nodes) -> Result<Content, Error> {
    match made.child(DirId::ROOT, RESULT) {
        Some(Node::Leaf(id)) => Ok(made.content(id).to_owned()),
        _ => Err(Error::Tree(
            "the kept result of a step is damaged; run `elea store fsck`".into(),
        )),
    }
}

/// What tells a folder's files, and the modules of a kernel with them, from others.
pub(super) fn fingerprint(tree: &Nodes, folder: &str) -> Sha256 {
    let mut text = String::new();
    if let Ok(Some(id)) = tree.folder(folder.as_bytes()) {
        describe(tree, id, &mut text);
    }
    Sha256::of(text.as_bytes())
}

fn describe(tree: &Nodes, folder: DirId, text: &mut String) {
    for (name, node) in tree.entries(folder) {
        // Writing to a string does not fail.
        let _ = write!(text, "{} ", name.escape_ascii());
        match node {
            Node::Directory(id) => {
                text.push_str("{\n");
                describe(tree, id, text);
                text.push_str("}\n");
            }
            Node::Leaf(id) => {
                let _ = match tree.content(id) {
                    Content::Object { digest, .. } => writeln!(text, "object {digest}"),
                    Content::Inline(bytes) => writeln!(text, "bytes {}", bytes.escape_ascii()),
                    Content::Symlink(to) => writeln!(text, "link {}", to.escape_ascii()),
                    _ => writeln!(text, "other"),
                };
            }
        }
    }
}
