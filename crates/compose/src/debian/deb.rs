//! What a package says of itself, without `dpkg-deb`: a hundred and more packages are asked in every build.
//!
//! Source: deb(5).

use crate::program;
use elea_sys::At as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const MAGIC: &[u8; 8] = b"!<arch>\n";
/// The name of the one member of which the control files are, as Debian packs them.
const MEMBER: &[u8; 16] = b"control.tar.xz  ";
/// Bytes of a member's header.
const HEADER: usize = 60;
/// The control files of a package are never larger, unpacked and all together, nor is what comes before them.
const LIMIT: u64 = 64 << 20;

/// The text of a package's control file.
pub(super) fn control(path: &Path, log: &Path) -> Result<String, program::ProgramError> {
    let file = File::open(path).at("open", path)?;
    match read(io::BufReader::new(file)) {
        Ok(Some(text)) => Ok(text),
        // It is packed in another way, or damaged: dpkg knows all ways, and says what is wrong.
        Ok(None) | Err(_) => by_dpkg(path, log),
    }
}

fn by_dpkg(path: &Path, log: &Path) -> Result<String, program::ProgramError> {
    let mut command = program::program("dpkg-deb");
    command.arg("--field").arg(path);
    let control = program::run(command, "dpkg", log, &elea_sys::progress::Silent)?;
    Ok(String::from_utf8_lossy(&control).into_owned())
}

/// The control file of a package whose control files are packed by xz.
fn read(mut package: impl Read) -> io::Result<Option<String>> {
    let mut magic = [0; MAGIC.len()];
    package.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Ok(None);
    }
    loop {
        let mut header = [0; HEADER];
        package.read_exact(&mut header)?;
        let size = std::str::from_utf8(&header[48..58]).ok();
        let size: u64 = match size.and_then(|text| text.trim_end().parse().ok()) {
            Some(size) if size <= LIMIT => size,
            _ => return Ok(None),
        };
        if header.starts_with(b"data.tar") {
            return Ok(None);
        }
        let is_control = header.starts_with(MEMBER);
        let mut member = package.by_ref().take(size.next_multiple_of(2));
        if is_control {
            let unpacked = liblzma::read::XzDecoder::new_multi_decoder(member.take(size));
            return in_tar(unpacked.take(LIMIT));
        }
        io::copy(&mut member, &mut io::sink())?;
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
        let (folder, log) = (dir.path().join("p"), dir.path().join("log"));
        fs::create_dir_all(folder.join("DEBIAN")).unwrap();
        fs::write(folder.join("DEBIAN/control"), CONTROL).unwrap();
        fs::write(folder.join("DEBIAN/md5sums"), "").unwrap();
        fs::write(folder.join("file"), "content").unwrap();
        for kind in ["xz", "gzip", "none"] {
            let path = dir.path().join(kind);
            let made = Command::new("dpkg-deb")
                .args(["--root-owner-group", "-Z", kind, "--build"])
                .args([&folder, &path])
                .output();
            if !made.is_ok_and(|made| made.status.success()) {
                println!("skipped: no dpkg-deb");
                return;
            }
            let native = read(File::open(&path).unwrap()).unwrap();
            assert_eq!(native.is_some(), kind == "xz", "{kind}");
            let text = control(&path, &log).unwrap();
            assert_eq!(text, by_dpkg(&path, &log).unwrap(), "{kind}");
            assert_eq!(text.trim_end(), CONTROL.trim_end(), "{kind}");
        }
        // What is damaged is told by dpkg.
        let whole = fs::read(dir.path().join("xz")).unwrap();
        for end in [0, 7, 70, 140, 200] {
            assert!(read(&whole[..end]).is_err(), "{end}");
            let path = dir.path().join("cut");
            fs::write(&path, &whole[..end]).unwrap();
            let error = control(&path, &log).unwrap_err().to_string();
            assert!(error.contains("dpkg-deb failed"), "{error}");
        }
    }
}
