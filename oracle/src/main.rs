//! The composefs crate as a program, so that Elea's tests can ask it without linking it.
//!
//! `elea-oracle write` turns a dump (composefs-dump(5)) on its input into a version 1 image,
//! `elea-oracle read` turns an image into a dump. `elea-oracle check FOLDER` checks a repository
//! and tells how many objects and images it has.

use composefs::dumpfile::{dumpfile_to_validated_filesystem, write_dumpfile};
use composefs::erofs::format::FormatVersion;
use composefs::erofs::reader::erofs_to_filesystem;
use composefs::erofs::writer::mkfs_erofs_versioned;
use composefs::fsverity::Sha256HashValue;
use composefs::repository::Repository;
use std::error::Error;
use std::io::{Read, Write};
use std::process::ExitCode;

fn check(folder: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let current = std::fs::File::open(".")?;
    let repository = Repository::<Sha256HashValue>::open_path(&current, folder)?;
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

fn run(verb: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    if verb == "check" {
        return check(&std::env::args().nth(2).unwrap_or_default());
    }
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    match verb {
        "write" => {
            let text = String::from_utf8(input)?;
            let tree = dumpfile_to_validated_filesystem::<Sha256HashValue>(&text)
                .map_err(|e| format!("{e:#}"))?;
            Ok(mkfs_erofs_versioned(&tree, FormatVersion::V1).into_vec())
        }
        "read" => {
            let tree =
                erofs_to_filesystem::<Sha256HashValue>(&input).map_err(|e| format!("{e:#}"))?;
            let mut out = Vec::new();
            write_dumpfile(&mut out, &tree).map_err(|e| format!("{e:#}"))?;
            Ok(out)
        }
        other => Err(format!("`{other}` is none of `write`, `read` and `check`").into()),
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
