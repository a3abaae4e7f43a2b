//! The forms in which composefs-rs digests OCI images: for images that others sealed.
//!
//! Source: composefs-rs 0.9, `crates/composefs/src/generic_tree.rs` (`transform_for_oci`) and
//! `crates/composefs-boot/src/integration.rs` (`transform_for_boot`).

use super::CAPABILITY;
use crate::tree::{DirId, Meta, Node, Tree};

/// What a tree lacks to have such a form; composefs-rs refuses it, too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoOciForm {
    /// A directory that gives others their metadata, or must be there.
    #[error("it has no directory `/{0}`, and without one composefs-rs has no digest for it")]
    Directory(&'static str),
    /// Something else stands where a directory may be.
    #[error("its `/{0}` is not a directory, and so composefs-rs has no digest for it")]
    NotDirectory(&'static str),
}

/// Brings a tree into the form `oci`: the root's metadata is that of `/usr`, `/run` is empty and has
/// its time, and of the attributes `security.capability` alone is kept.
pub fn oci(tree: &mut Tree) -> Result<(), NoOciForm> {
    let usr = usr(tree)?;
    tree.set_meta(DirId::ROOT, &usr);
    match tree.child(DirId::ROOT, b"run") {
        None => {}
        Some(Node::Directory(_)) => empty(tree, "run")?,
        Some(Node::Leaf(_)) => return Err(NoOciForm::NotDirectory("run")),
    }
    tree.each_meta(|meta| meta.xattrs.retain(|name, _| name == CAPABILITY));
    Ok(())
}

/// Makes the form `oci-boot` of the form `oci`: `/boot` and `/sysroot` are empty and have the time of
/// `/usr`. The labels that a policy in the image gives are
/// not given here.
pub fn bootable(tree: &mut Tree) -> Result<(), NoOciForm> {
    empty(tree, "boot")?;
    empty(tree, "sysroot")
}

fn usr(tree: &Tree) -> Result<Meta, NoOciForm> {
    top(tree, "usr").map(|usr| tree.meta(usr).to_owned())
}

/// A directory at the top.
fn top(tree: &Tree, name: &'static str) -> Result<DirId, NoOciForm> {
    match tree.child(DirId::ROOT, name.as_bytes()) {
        Some(Node::Directory(id)) => Ok(id),
        Some(Node::Leaf(_)) => Err(NoOciForm::NotDirectory(name)),
        None => Err(NoOciForm::Directory(name)),
    }
}

/// Empties a directory at the top, and gives it the time of `/usr`.
fn empty(tree: &mut Tree, name: &'static str) -> Result<(), NoOciForm> {
    let mtime = usr(tree)?.mtime;
    let id = top(tree, name)?;
    let meta = tree.meta(id).to_owned();
    tree.set_meta(id, &Meta { mtime, ..meta });
    tree.clear(id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump;

    fn tree(text: &str) -> Tree {
        dump::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn metadata_comes_from_usr_and_what_is_not_content_goes() {
        let mut found = tree(
            "\
/ 0 40700 2 7 7 0 1.0 - - - user.a=b
/boot 0 40755 2 0 0 0 2.0 - - -
/boot/x 0 100644 1 0 0 0 2.0 - - -
/f 0 100644 1 0 0 0 2.0 - - - security.capability=c security.selinux=l user.a=b
/run 0 40700 2 1 1 0 2.0 - - -
/run/x 0 100644 1 0 0 0 2.0 - - -
/sysroot 0 40755 2 0 0 0 2.0 - - -
/usr 0 40555 2 3 4 0 5.000000006 - - - user.a=b security.capability=d
",
        );
        oci(&mut found).unwrap();
        let plain = "\
/ 0 40555 5 3 4 0 5.6 - - - security.capability=d
/boot 0 40755 2 0 0 0 2.0 - - -
/boot/x 0 100644 1 0 0 0 2.0 - - -
/f 0 100644 1 0 0 0 2.0 - - - security.capability=c
/run 0 40700 2 1 1 0 5.6 - - -
/sysroot 0 40755 2 0 0 0 2.0 - - -
/usr 0 40555 2 3 4 0 5.6 - - - security.capability=d
";
        assert_eq!(dump::encode(&found), dump::encode(&tree(plain)));
        bootable(&mut found).unwrap();
        let boot = plain
            .replace("/boot 0 40755 2 0 0 0 2.0", "/boot 0 40755 2 0 0 0 5.6")
            .replace("/boot/x 0 100644 1 0 0 0 2.0 - - -\n", "")
            .replace(
                "/sysroot 0 40755 2 0 0 0 2.0",
                "/sysroot 0 40755 2 0 0 0 5.6",
            );
        assert_eq!(dump::encode(&found), dump::encode(&tree(&boot)));
    }

    #[test]
    fn what_composefs_rs_refuses_is_refused() {
        let root = "/ 0 40755 2 0 0 0 0.0 - - -\n";
        let usr = "/usr 0 40755 2 0 0 0 0.0 - - -\n";
        let of = |lines: &str| tree(&format!("{root}{lines}"));
        assert_eq!(oci(&mut of("")), Err(NoOciForm::Directory("usr")));
        assert_eq!(
            oci(&mut of("/usr 1 120777 1 0 0 0 0.0 x - -\n")),
            Err(NoOciForm::NotDirectory("usr"))
        );
        let run = format!("/run 1 120777 1 0 0 0 0.0 x - -\n{usr}");
        assert_eq!(oci(&mut of(&run)), Err(NoOciForm::NotDirectory("run")));
        assert_eq!(oci(&mut of(usr)), Ok(()));
        assert_eq!(bootable(&mut of(usr)), Err(NoOciForm::Directory("boot")));
    }
}
