//! The digest that composefs-rs computes for an OCI image, against its crates.

use crate::program::{Elea, has, skipped};
use elea_testkit::oracle::Oracle;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Layers by GNU tar and umoci, with what tells one reading of them from another. `a` has one layer, `b` a
/// second with whiteouts made by hand, one of them behind what it hides; `c` what umoci makes of changes;
/// `z` the same with zstd layers. `bare` has no `/usr`, `orphan` an entry without its directory.
const LAYOUT: &str = r"
mkdir -p one/usr/bin one/usr/lib/deep one/etc one/run/lock one/boot/EFI one/sysroot/ostree one/opt/old one/var
head -c 9000 /dev/zero > one/usr/bin/tool
ln one/usr/bin/tool one/usr/bin/alias
head -c 9000000 /dev/zero > one/usr/lib/big
head -c 64 /dev/zero > one/etc/64
head -c 65 /dev/zero > one/etc/65
: > one/etc/empty
ln -s tool one/usr/bin/link
mkfifo one/var/pipe
mknod one/var/null c 1 3
mknod one/var/whiteout c 0 0
for file in usr/gone opt/old/x boot/EFI/k sysroot/ostree/s run/lock/r; do echo $file > one/$file; done
cp one/usr/bin/tool one/usr/bin/ping
setcap cap_net_raw+ep one/usr/bin/ping
chmod 4755 one/usr/bin/tool
chown 1000:70000 one/opt
chmod 700 one/run
touch -d '2001-02-03 04:05:06.789' one/usr/lib one/usr
tar --format=pax --xattrs --xattrs-include='*' --numeric-owner -C one -cf one.tar .

mkdir -p two/usr/bin/tool.d two/opt/old two/var
: > two/usr/.wh.gone
echo new > two/opt/old/a
: > two/opt/old/.wh..wh..opq
chmod 711 two/opt
echo z > two/usr/bin/tool.d/z
echo file > two/var/pipe
tar --format=gnu --numeric-owner -C two --exclude=./opt/old \
  -cf two.tar ./usr ./opt ./var
tar --format=gnu --numeric-owner -C two -rf two.tar \
  --no-recursion ./opt/old ./opt/old/a ./opt/old/.wh..wh..opq

umoci init --layout layout
umoci new --image layout:new
umoci raw add-layer --image layout:new --tag a one.tar
umoci raw add-layer --image layout:a --tag b two.tar
umoci unpack --image layout:a bundle
root=bundle/rootfs
rm $root/usr/lib/big
rm -r $root/opt/old $root/usr/lib/deep
mkdir $root/opt/old
echo again > $root/opt/old/again
ln $root/usr/bin/alias $root/usr/bin/third
echo file > $root/usr/lib/deep
umoci repack --image layout:c bundle
skopeo copy -q --dest-decompress oci:layout:c dir:plain
skopeo copy -q --dest-compress --dest-compress-format zstd dir:plain oci:layout:z

files=three/etc/selinux/targeted/contexts/files
mkdir -p $files three/usr/bin three/usr/lib64 three/usr/lib three/var
printf '# SELINUXTYPE=no\nSELINUX=enforcing\nSELINUXTYPE = targeted\n' > three/etc/selinux/config
cat > $files/file_contexts <<'end'
# comment
/.*              system_u:object_r:default_t:s0
/usr(/.*)?       system_u:object_r:usr_t:s0
/usr/bin(/.*)?   system_u:object_r:bin_t:s0
/usr/lib/.*\.so -- system_u:object_r:lib_t:s0
/var/pipe -p     system_u:object_r:pipe_t:s0
/etc/[0-9]{2}    <<none>>
/boot(/.*)?      system_u:object_r:boot_t:s0
end
echo '/usr/bin/link -l system_u:object_r:link_t:s0' > $files/file_contexts.local
echo '/usr/lib64 /usr/lib' > $files/file_contexts.subs_dist
echo so > three/usr/lib64/a.so
ln three/usr/lib64/a.so three/usr/lib/b.txt
ln three/usr/lib64/a.so three/usr/bin/c
tar -C three -cf three.tar .
umoci raw add-layer --image layout:a --tag s three.tar
echo '/usr(?=x) system_u:object_r:ahead_t:s0' > $files/file_contexts.local
tar -C three -cf four.tar .
umoci raw add-layer --image layout:a --tag ahead four.tar
rm $files/file_contexts
tar -C three -cf five.tar .
umoci raw add-layer --image layout:a --tag none five.tar

mkdir -p bare/etc
tar -C bare -cf bare.tar ./etc
umoci raw add-layer --image layout:new --tag bare bare.tar
tar -C one -cf orphan.tar --no-recursion ./usr ./usr/bin/tool
umoci raw add-layer --image layout:new --tag orphan orphan.tar
";

/// The oracle, and the layouts; none if a program is missing.
fn made(elea: &Elea) -> Option<PathBuf> {
    let Some(oracle) = Oracle::program() else {
        skipped("no elea-oracle");
        return None;
    };
    for program in ["umoci", "skopeo", "setcap", "tar"] {
        if !has(program) {
            skipped(&format!("no {program}"));
            return None;
        }
    }
    if !rustix::process::geteuid().is_root() {
        skipped("not root");
        return None;
    }
    let run = Command::new("sh")
        .args(["-ec", LAYOUT])
        .current_dir(elea.path(""))
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    Some(oracle)
}

/// What composefs-rs says of a tag, or why it says nothing.
fn theirs(elea: &Elea, oracle: &Path, tag: &str, what: &str) -> Result<String, String> {
    let repository = elea.path(&format!("repository-{tag}-{what}"));
    let run = Command::new(oracle)
        .args(["oci", &format!("layout:{tag}")])
        .args([repository.as_os_str(), what.as_ref()])
        .current_dir(elea.path(""))
        .output()
        .unwrap();
    if run.status.success() {
        Ok(String::from_utf8(run.stdout).unwrap())
    } else {
        Err(String::from_utf8(run.stderr).unwrap())
    }
}

#[test]
fn composefs_rs_computes_the_same_digests() {
    let elea = Elea::new();
    let Some(oracle) = made(&elea) else { return };
    let mut seen = Vec::new();
    // `s` has an SELinux policy, which gives names of one file different labels.
    for tag in ["a", "b", "c", "z", "s"] {
        for (form, what) in [("oci", ""), ("oci-boot", "boot")] {
            let ours = elea.good(&format!("image digest oci:layout:{tag} --form {form}"));
            assert_eq!(
                Ok(&ours),
                theirs(&elea, &oracle, tag, what).as_ref(),
                "{tag}, {form}"
            );
            seen.push(ours);
        }
    }
    // Compression is no part of it, everything else is.
    assert_eq!(seen[4..6], seen[6..8]);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 8);
    let value = elea.json("image digest oci:layout:a --form oci-boot");
    assert_eq!(value["form"], "oci-boot");
    assert_eq!(value["image"].as_str().unwrap().len(), 128);
    assert!(!elea.store().exists(), "a digest made a store");
}

#[test]
fn what_composefs_rs_refuses_has_no_digest() {
    let elea = Elea::new();
    let Some(oracle) = made(&elea) else { return };
    for (tag, text) in [("bare", "no directory `/usr`"), ("orphan", "usr/bin/tool")] {
        assert!(theirs(&elea, &oracle, tag, "").is_err(), "{tag}");
        elea.bad(
            &format!("image digest oci:layout:{tag} --form oci"),
            1,
            &[text],
        );
    }
    assert!(theirs(&elea, &oracle, "none", "boot").is_err());
    let line = "image digest oci:layout:none --form oci-boot";
    elea.bad(line, 1, &["SELinux policy", "file_contexts` is missing"]);
    // composefs-rs has a second matcher for such expressions, Elea has none.
    assert!(theirs(&elea, &oracle, "ahead", "boot").is_ok());
    let line = "image digest oci:layout:ahead --form oci-boot";
    elea.bad(line, 1, &["SELinux policy", "(?=x)"]);
}

#[test]
fn the_forms_of_composefs_rs_are_of_layers() {
    let elea = Elea::new();
    elea.tree("tree");
    for source in ["dir:tree", "tar:tree", "hello"] {
        let line = format!("image digest {source} --form oci");
        elea.bad(&line, 2, &["oci:, oci-archive: and registry: are read"]);
    }
    elea.bad("image digest oci:nowhere:a --form oci", 1, &["nowhere"]);
    elea.bad(
        "image digest dir:tree --form oci-3",
        2,
        &["`oci-boot`", "`raw`"],
    );
    elea.bad("image digest oci:tree:a", 2, &["does not fit here"]);
    // Nothing else makes them: a store's images have SHA-256 names.
    elea.bad("image import dir:tree --form oci", 2, &["`oci` is no form"]);
}
