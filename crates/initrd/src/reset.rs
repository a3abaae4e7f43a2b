//! A factory reset that was asked for: what is the machine's own gets out of the way, and the
//! running system removes it.

use crate::console;
use crate::error::Error;
use elea_formats::state::Reset;
use elea_sys::{At as _, durable};
use std::fs;
use std::path::Path;

/// The request, below `/elea/state`.
const REQUEST: &str = "reset.json";
/// It is never larger, in bytes.
const LARGEST: u64 = 64 << 10;

/// Carries it out, if there is one; `elea` is `/elea` of the physical root. Cut short at any
/// point it goes on at the next boot.
pub(crate) fn carry_out(elea: &Path, boot: &str) -> Result<(), Error> {
    let state = elea.join("state");
    let request = state.join(REQUEST);
    match fs::metadata(&request) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Ok(meta) if meta.len() > LARGEST => {
            return Err(Error::Kept {
                path: request,
                why: "it is no request of a reset; remove it".into(),
            });
        }
        meta => meta.at("look at", &request)?,
    };
    let reset = Reset::parse(&fs::read(&request).at("read", &request)?)?;
    console::note("factory reset: what was the machine's own goes");
    let mut away = reset
        .names
        .iter()
        .map(|name| state.join(name))
        .collect::<Vec<_>>();
    let generations = elea.join("generations");
    for entry in fs::read_dir(&generations).at("list", &generations)? {
        let path = entry.at("list", &generations)?.path();
        away.extend(["etc", "etc.new"].map(|name| path.join(name)));
    }
    for (number, path) in away.iter().enumerate() {
        // A second attempt finds other names taken by the first.
        let gone = state.join(format!(".gone-{boot}-{number}"));
        match fs::rename(path, &gone) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            renamed => renamed.at("rename", path)?,
        }
    }
    durable::sync_filesystem(&state)?;
    fs::remove_file(&request).at("remove", &request)?;
    durable::sync_folder(&state)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_formats::state::RESET_SCHEMA;

    #[test]
    fn what_is_named_goes_and_a_second_boot_ends_what_the_first_began() {
        let dir = tempfile::tempdir().unwrap();
        let elea = dir.path();
        for folder in [
            "state/var/lib",
            "state/home/ada",
            "state/ssh",
            "generations/3/etc/upper",
        ] {
            fs::create_dir_all(elea.join(folder)).unwrap();
        }
        fs::write(elea.join("generations/3/manifest.json"), "{}").unwrap();
        let ask = |names: &[&str]| {
            let reset = Reset {
                schema: RESET_SCHEMA.into(),
                names: names.iter().map(|name| (*name).to_owned()).collect(),
                time: String::new(),
            };
            fs::write(
                elea.join("state/reset.json"),
                serde_json::to_vec(&reset).unwrap(),
            )
            .unwrap();
        };
        carry_out(elea, "none").unwrap();
        assert!(elea.join("state/var").exists());
        for wrong in ["../x", "sealing", ".", ""] {
            ask(&[wrong]);
            assert!(carry_out(elea, "wrong").is_err(), "{wrong}");
        }
        // Cut short after the first name: the request is still there.
        ask(&["var", "machine-id", "ssh"]);
        fs::rename(elea.join("state/var"), elea.join("state/.gone-one-0")).unwrap();
        carry_out(elea, "two").unwrap();
        for gone in [
            "state/var",
            "state/ssh",
            "generations/3/etc",
            "state/reset.json",
        ] {
            assert!(!elea.join(gone).exists(), "{gone}");
        }
        for stays in [
            "state/home/ada",
            "generations/3/manifest.json",
            "state/.gone-one-0",
        ] {
            assert!(elea.join(stays).exists(), "{stays}");
        }
    }
}
