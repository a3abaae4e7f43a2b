//! The composefs crate as a program, so that Elea's tests can ask it without linking it.
//!
//! `elea-oracle write` turns a dump (composefs-dump(5)) on its input into a version 1 image
//! (`write-v0`, `write-v2`: the other versions), `elea-oracle read` turns an image into a dump;
//! `write-sha512` and `read-sha512` do so with objects named by SHA-512.
//! `elea-oracle serve` does the same for many, one after the other, without a start for each.
//! `elea-oracle check FOLDER` checks a repository, whose algorithm it reads in it, and tells how many objects
//! and images it has; `elea-oracle mount FOLDER IMAGE TARGET` mounts one of them.
//! `elea-oracle oci LAYOUT:TAG FOLDER` imports an OCI image
//! into a new repository at the folder and prints the image's SHA-512 digest; with `boot` behind it,
//! that of the image made ready for booting; with `dump`, `boot-dump`, the tree that it is of.
//!
//! For measurements, each a whole job: `elea-oracle digest FOLDER` prints the digest of a directory and
//! writes nothing; `elea-oracle import FOLDER REPOSITORY` and `elea-oracle pull IMAGE REPOSITORY`
//! (`docker://HOST/NAME:TAG`, without TLS) make a directory or an OCI image an image of a repository, durably.

mod store;

use composefs::dumpfile::{dumpfile_to_validated_filesystem, write_dumpfile};
use composefs::erofs::format::FormatVersion;
use composefs::erofs::reader::erofs_to_filesystem;
use composefs::erofs::writer::mkfs_erofs_versioned;
use composefs::fsverity::{Algorithm, FsVerityHashValue, Sha256HashValue, Sha512HashValue};
use composefs::mount::MountOptions;
use composefs::repository::{Repository, RepositoryConfig};
use composefs_boot::BootOps as _;
use composefs_oci::image::create_filesystem;
use composefs_oci::{OciTransformOptions, PullOptions};
use std::error::Error;
use std::io::{BufRead, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;

fn check<H: FsVerityHashValue>(folder: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let current = std::fs::File::open(".")?;
    let repository = Repository::<H>::open_path(&current, folder)?;
    let found = tokio::runtime::Builder::new_current_thread()
        .build()?
        .block_on(repository.fsck())
        .map_err(|e| format!("{e:#}"))?;
    if let Some(error) = found.errors.first() {
        return Err(error.to_string().into());
    }
    let (objects, images) = (found.objects_checked(), found.images_checked);
    Ok(format!("{objects} objects, {images} images\n").into_bytes())
}

/// Whether a repository names its objects by SHA-512.
fn is_sha512(folder: &str) -> std::io::Result<bool> {
    let meta = std::fs::read_to_string(format!("{folder}/meta.json"))?;
    Ok(meta.contains("fsverity-sha512"))
}

fn mount<H: FsVerityHashValue>(
    folder: &str,
    image: &str,
    target: &str,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let current = std::fs::File::open(".")?;
    let repository = Repository::<H>::open_path(&current, folder)?;
    let mounted = repository.mount_at(image, target, &MountOptions::default());
    mounted.map_err(|e| format!("{e:#}"))?;
    Ok(Vec::new())
}

fn oci(layout: &str, folder: &str, what: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let config = RepositoryConfig::new(Algorithm::for_hash::<Sha512HashValue>()).set_insecure();
    let current = std::fs::File::open(".")?;
    let (repository, _) = Repository::<Sha512HashValue>::init_path(&current, folder, config)
        .map_err(|e| format!("{e:#}"))?;
    let repository = Arc::new(repository);
    let from = format!("oci:{layout}");
    let pulled = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(composefs_oci::pull(
            &repository,
            &from,
            None,
            PullOptions::default(),
        ))
        .map_err(|e| format!("{e:#}"))?;
    let verity = Some(&pulled.config_verity);
    let options = OciTransformOptions::default();
    let mut tree = create_filesystem(&repository, &pulled.config_digest, verity, &options)
        .map_err(|e| format!("{e:#}"))?;
    if what.starts_with("boot") {
        tree.transform_for_boot(&repository)
            .map_err(|e| format!("{e:#}"))?;
    }
    if what.ends_with("dump") {
        let mut out = Vec::new();
        write_dumpfile(&mut out, &tree).map_err(|e| format!("{e:#}"))?;
        return Ok(out);
    }
    let digest = tree.compute_image_id(FormatVersion::V1).to_hex();
    Ok(format!("{digest}\n").into_bytes())
}

fn answer(verb: &str, input: Vec<u8>) -> Result<Vec<u8>, Box<dyn Error>> {
    let version = match verb {
        "write" => FormatVersion::V1,
        "write-v0" => FormatVersion::V0,
        "write-v2" => FormatVersion::V2,
        "write-sha512" => return write::<Sha512HashValue>(input, FormatVersion::V1),
        "read" => return read::<Sha256HashValue>(&input),
        "read-sha512" => return read::<Sha512HashValue>(&input),
        other => {
            return Err(format!(
                "`{other}` is none of `write`, `write-v0`, `write-v2`, `write-sha512`, `read`, `read-sha512`"
            )
            .into());
        }
    };
    write::<Sha256HashValue>(input, version)
}

fn write<H: FsVerityHashValue>(
    dump: Vec<u8>,
    version: FormatVersion,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let text = String::from_utf8(dump)?;
    let tree = dumpfile_to_validated_filesystem::<H>(&text).map_err(|e| format!("{e:#}"))?;
    Ok(mkfs_erofs_versioned(&tree, version).into_vec())
}

fn read<H: FsVerityHashValue>(image: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let tree = erofs_to_filesystem::<H>(image).map_err(|e| format!("{e:#}"))?;
    let mut out = Vec::new();
    write_dumpfile(&mut out, &tree).map_err(|e| format!("{e:#}"))?;
    Ok(out)
}

/// Questions `VERB LENGTH` and so many bytes, until the input ends; answers `ok LENGTH` or
/// `no LENGTH` and so many bytes: the result, or why there is none.
fn serve() -> Result<(), Box<dyn Error>> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    // A panic of the crate is an answer too.
    std::panic::set_hook(Box::new(|_| {}));
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        let (verb, length) = line.trim_end().split_once(' ').ok_or("no length")?;
        let mut bytes = vec![0; length.parse()?];
        input.read_exact(&mut bytes)?;
        let answer = std::panic::catch_unwind(|| answer(verb, bytes).map_err(|e| e.to_string()))
            .unwrap_or_else(|_| Err("panicked".to_owned()));
        let (word, bytes) = match answer {
            Ok(bytes) => ("ok", bytes),
            Err(error) => ("no", error.into_bytes()),
        };
        writeln!(output, "{word} {}", bytes.len())?;
        output.write_all(&bytes)?;
        output.flush()?;
        line.clear();
    }
    Ok(())
}

fn run(verb: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let argument = |place| std::env::args().nth(place).unwrap_or_default();
    match verb {
        "check" if is_sha512(&argument(2))? => check::<Sha512HashValue>(&argument(2)),
        "check" => check::<Sha256HashValue>(&argument(2)),
        "mount" if is_sha512(&argument(2))? => {
            mount::<Sha512HashValue>(&argument(2), &argument(3), &argument(4))
        }
        "mount" => mount::<Sha256HashValue>(&argument(2), &argument(3), &argument(4)),
        "oci" => oci(&argument(2), &argument(3), &argument(4)),
        "digest" => store::digest(&argument(2)),
        "import" => store::import(&argument(2), &argument(3)),
        "pull" => store::pull(&argument(2), &argument(3)),
        "serve" => serve().map(|()| Vec::new()),
        verb => {
            let mut input = Vec::new();
            std::io::stdin().read_to_end(&mut input)?;
            answer(verb, input)
        }
    }
}

fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_default();
    let done = run(&verb).and_then(|out| Ok(std::io::stdout().write_all(&out)?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("elea-oracle: {error}");
            ExitCode::FAILURE
        }
    }
}
