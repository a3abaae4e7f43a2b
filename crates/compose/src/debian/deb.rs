//! What is in a package, without `dpkg-deb`: a hundred and more packages are asked in every build, and a machine of another
//! distribution has none.
//!
//! Source: deb(5).

use crate::lock::Error;
use elea_sys::At as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const MAGIC: &[u8; 8] = b"!<arch>\n";
/// Bytes of a member's header.
const HEADER: usize = 60;
/// The control files of a package are never larger, unpacked and all together.
const LIMIT: u64 = 64 << 20;
/// The files of a package are never larger, unpacked and all together.
const DATA: u64 = 64 << 30;

/// The text of a package's control file.
pub(crate) fn control(path: &Path) -> Result<String, Error> {
    let damaged = |why: String| Error::Deb {
        path: path.to_owned(),
        why,
    };
    let file = io::BufReader::new(File::open(path).at("open", path)?);
    let text = member(file, "control.tar").and_then(|tar| in_tar(tar.take(LIMIT)));
    match text {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(damaged("it has no control file".into())),
        Err(e) => Err(damaged(e.to_string())),
    }
}

/// The files of a package, as a tar file.
pub(crate) fn data(package: impl Read + 'static) -> io::Result<impl Read> {
    Ok(member(package, "data.tar")?.take(DATA))
}

/// A member, unpacked: what follows in its name says how it is packed.
fn member(mut package: impl Read + 'static, begin: &str) -> io::Result<Box<dyn Read>> {
    let mut magic = [0; MAGIC.len()];
    package.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Err(io::Error::other("it is no package of Debian"));
    }
    loop {
        let mut header = [0; HEADER];
        package.read_exact(&mut header)?;
        let text = String::from_utf8_lossy(&header);
        let size = text
            .get(48..58)
            .and_then(|text| text.trim_end().parse().ok());
        let size: u64 = size.ok_or_else(|| io::Error::other("a member of it has no size"))?;
        let name = text.get(..16).unwrap_or_default().trim_end();
        // Some writers of archives end names with a slash.
        let name = name.strip_suffix('/').unwrap_or(name);
        let Some(packing) = name.strip_prefix(begin) else {
            let skipped = size.next_multiple_of(2);
            let mut rest = package.by_ref().take(skipped);
            if io::copy(&mut rest, &mut io::sink())? != skipped {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            continue;
        };
        let member = package.take(size);
        return Ok(match packing {
            "" => Box::new(member),
            ".gz" => Box::new(flate2::read::MultiGzDecoder::new(member)),
            ".xz" => Box::new(liblzma::read::XzDecoder::new_multi_decoder(member)),
            ".zst" => Box::new(zstd::Decoder::new(member)?),
            other => {
                let why = format!("it is packed in a way that is not known: {other}");
                return Err(io::Error::other(why));
            }
        });
    }
}

fn in_tar(tar: impl Read) -> io::Result<Option<String>> {
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let name = entry.path_bytes();
        if matches!(&*name, b"./control" | b"control") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Command;

    const CONTROL: &str = "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: x <x@localhost>\nDescription: a\n b\n .\n c\n";

    #[test]
    fn a_package_says_what_dpkg_says_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("p");
        fs::create_dir_all(folder.join("DEBIAN")).unwrap();
        fs::write(folder.join("DEBIAN/control"), CONTROL).unwrap();
        fs::write(folder.join("DEBIAN/md5sums"), "").unwrap();
        fs::write(folder.join("file"), "content").unwrap();
        for kind in ["xz", "gzip", "zstd", "none"] {
            let path = dir.path().join(kind);
            let made = Command::new("dpkg-deb")
                .args(["--root-owner-group", "--uniform-compression", "-Z", kind])
                .arg("--build")
                .args([&folder, &path])
                .output();
            if !made.is_ok_and(|made| made.status.success()) {
                println!("skipped: no dpkg-deb");
                return;
            }
            let ask = |what: &str| {
                let said = Command::new("dpkg-deb").arg(what).arg(&path).output();
                said.unwrap().stdout
            };
            let text = control(&path).unwrap();
            let theirs = String::from_utf8(ask("--field")).unwrap();
            assert_eq!(text.trim_end(), theirs.trim_end(), "{kind}");
            assert_eq!(text.trim_end(), CONTROL.trim_end(), "{kind}");
            let mut files = Vec::new();
            let mut tar = data(File::open(&path).unwrap()).unwrap();
            tar.read_to_end(&mut files).unwrap();
            assert!(files == ask("--fsys-tarfile"), "{kind}");
        }
        let whole = fs::read(dir.path().join("xz")).unwrap();
        for end in [0, 7, 70, 140, 200] {
            let path = dir.path().join("cut");
            fs::write(&path, &whole[..end]).unwrap();
            let error = control(&path).unwrap_err().to_string();
            assert!(
                error.contains("cut") && error.contains("damaged"),
                "{error}"
            );
        }
    }
}
