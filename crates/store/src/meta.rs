//! `meta.json`: what says that a folder is a store, of which version, with which features.
//!
//! Source: composefs-rs, "Repository metadata" of its repository format. A store is a
//! composefs repository, so other tools mount and check it; see `docs/formats/store.md`.

use crate::Error;
use elea_formats::digest::Algorithm;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The name of the file.
pub(crate) const NAME: &str = "meta.json";
/// The largest one that is read, in bytes.
pub(crate) const MAX: u64 = 64 << 10;

const VERSION: u64 = 1;
/// fs-verity with a hash and blocks of 2¹² bytes.
const fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Sha256 => "fsverity-sha256-12",
        Algorithm::Sha512 => "fsverity-sha512-12",
    }
}
/// Images are of version 1: programs that write another one must not write here.
const V1_EROFS: &str = "v1_erofs";
/// Manifests, references and leases stand beside the images: programs that do not know them
/// must not collect here.
const ELEA: &str = "elea_1";

#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    version: u64,
    algorithm: String,
    #[serde(default)]
    features: Features,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    erofs_formats: Option<ErofsFormats>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Features {
    compatible: Vec<String>,
    read_only_compatible: Vec<String>,
    incompatible: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ErofsFormats {
    default: u64,
}

/// The file of a new store.
pub(crate) fn encode(algorithm: Algorithm) -> String {
    let meta = Meta {
        version: VERSION,
        algorithm: name(algorithm).into(),
        features: Features {
            read_only_compatible: vec![V1_EROFS.into(), ELEA.into()],
            ..Features::default()
        },
        erofs_formats: Some(ErofsFormats { default: 1 }),
    };
    // A value of plain strings and numbers always has a JSON form.
    serde_json::to_string_pretty(&meta).unwrap_or_default() + "\n"
}

/// Whether the store may be used: its algorithm and the features that allow reading alone and are not known,
/// or why it may not be used at all.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<(Algorithm, Vec<String>), Error> {
    let refuse = |what: String| {
        Err(Error::Meta {
            path: path.to_owned(),
            what,
        })
    };
    let meta: Meta = match serde_json::from_slice(bytes) {
        Ok(meta) => meta,
        Err(e) => return refuse(format!("its meta.json is not valid: {e}")),
    };
    if meta.version != VERSION {
        let found = meta.version;
        return refuse(format!(
            "it has version {found}, and this elea knows {VERSION}; use a newer one"
        ));
    }
    let known = |algorithm: &Algorithm| name(*algorithm) == meta.algorithm;
    let Some(algorithm) = Algorithm::ALL.into_iter().find(known) else {
        let (found, names) = (meta.algorithm, Algorithm::ALL.map(name).join(" and "));
        return refuse(format!(
            "its objects are named by {found}, and this elea knows {names} alone; name another folder"
        ));
    };
    if !meta.features.incompatible.is_empty() {
        return refuse(format!(
            "it has the features {}, which this elea does not know; use a newer one",
            meta.features.incompatible.join(", ")
        ));
    }
    let known = [V1_EROFS, ELEA];
    let mut unknown = meta.features.read_only_compatible;
    unknown.retain(|feature| !known.contains(&feature.as_str()));
    Ok((algorithm, unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_one_is_usable_and_others_are_told_apart() {
        let path = Path::new("/s");
        for algorithm in Algorithm::ALL {
            let new = encode(algorithm);
            assert!(new.contains(&format!("\"fsverity-{algorithm}-12\"")));
            assert_eq!(parse(path, new.as_bytes()).unwrap(), (algorithm, vec![]));
        }
        let new = encode(Algorithm::Sha256);
        let refused = |text: &str| parse(path, text.as_bytes()).unwrap_err().to_string();
        for (text, reason) in [
            (new.replace("\"version\": 1", "\"version\": 2"), "version 2"),
            (new.replace("sha256-12", "sha512-16"), "sha512-16"),
            (
                new.replace("\"incompatible\": []", "\"incompatible\": [\"packs\"]"),
                "features packs",
            ),
            (new.replace('{', "["), "not valid"),
        ] {
            assert!(text != new, "{reason}");
            assert!(refused(&text).contains(reason), "{}", refused(&text));
        }
        let newer = new.replace("elea_1", "elea_2");
        assert_eq!(parse(path, newer.as_bytes()).unwrap().1, ["elea_2"]);
    }
}
