//! What `cargo xtask bench apply` boots: the physical root of a machine in memory, in a folder.
//!
//! `machine STORE IMAGE FOLDER` lays out below FOLDER what `elea vm` puts into an initramfs
//! (`docs/formats/initrd.md`, "A machine in memory"), and prints the kernel's command line. Objects are hard links where
//! they can be.

#![expect(clippy::print_stdout, reason = "its answer")]

use elea_formats::cmdline::CommandLine;
use elea_formats::generation::MEMORY_ARGUMENT;
use elea_host::install::Bootable;
use elea_store::Store;
use std::error::Error;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [store, name, folder] = &words[..] else {
        return Err("a store, an image and a folder are needed: STORE IMAGE FOLDER".into());
    };
    let store = Store::open(Path::new(store))?;
    let image = store.resolve(name)?;
    let top = Path::new(folder).join("elea");
    let made = |name: &str| -> std::io::Result<_> {
        let path = top.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&top))?;
        Ok(path)
    };
    for folder in ["state", "boot/loader/entries", "store/refs", "store/images"] {
        fs::create_dir_all(top.join(folder))?;
    }
    for name in [
        "meta.json".to_owned(),
        format!("manifests/{image}/image.json"),
    ] {
        fs::copy(store.path().join(&name), made(&format!("store/{name}"))?)?;
    }
    for digest in store.objects_of(&image)?.keys() {
        let (from, to) = (
            store.object_path(digest),
            made(&format!("store/objects/{}", digest.object_path()))?,
        );
        if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to)?;
        }
    }
    let link = format!("../objects/{}", image.object_path());
    symlink(link, made(&format!("store/images/{image}"))?)?;
    let mut generation =
        Bootable::load(&store, &image)?.generation("none", &[], "2026-01-01T00:00:00Z".into())?;
    let line = CommandLine::parse(&generation.options);
    let words = line.arguments().iter().map(|word| match word.key.as_str() {
        "root" => MEMORY_ARGUMENT.to_owned(),
        _ => word.to_string(),
    });
    generation.options = words.collect::<Vec<_>>().join(" ");
    let text = serde_json::to_vec_pretty(&generation)?;
    fs::write(made("generations/1/manifest.json")?, text)?;
    println!("{}", generation.options);
    Ok(())
}
