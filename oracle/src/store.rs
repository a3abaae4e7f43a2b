//! Whole jobs on a repository with SHA-256, as measurements need them: what was written is durable at the end.

use composefs::erofs::format::FormatVersion;
use composefs::fs::read_filesystem;
use composefs::fsverity::{Algorithm, FsVerityHashValue as _, Sha256HashValue};
use composefs::generic_tree::OciTransformOptions;
use composefs::repository::{Repository, RepositoryConfig};
use composefs::tree::FileSystem;
use composefs_oci::PullOptions;
use composefs_oci::image::create_filesystem;
use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

type Hash = Sha256HashValue;
type Answer = Result<Vec<u8>, Box<dyn Error>>;

/// The digest of a directory.
pub(crate) fn digest(folder: &str) -> Answer {
    let digest = read(folder, None)?.compute_image_id(FormatVersion::V1);
    Ok(format!("{}\n", digest.to_hex()).into_bytes())
}

/// A directory as an image of a repository, which is made if it is absent.
pub(crate) fn import(folder: &str, repository: &str) -> Answer {
    let repository = open(repository)?;
    let tree = read(folder, Some(Arc::clone(&repository)))?;
    commit(&repository, &tree)
}

/// An OCI image as an image of a repository, which is made if it is absent.
pub(crate) fn pull(image: &str, repository: &str) -> Answer {
    let repository = open(repository)?;
    let mut options = PullOptions::default();
    let proxy = options.img_proxy_config.get_or_insert_default();
    proxy.insecure_skip_tls_verification = Some(true);
    let pulled = runtime()?
        .block_on(composefs_oci::pull(&repository, image, None, options))
        .map_err(|e| format!("{e:#}"))?;
    let verity = Some(&pulled.config_verity);
    let options = OciTransformOptions::default();
    let tree = create_filesystem(&repository, &pulled.config_digest, verity, &options)
        .map_err(|e| format!("{e:#}"))?;
    commit(&repository, &tree)
}

fn open(repository: &str) -> Result<Arc<Repository<Hash>>, Box<dyn Error>> {
    let config = RepositoryConfig::new(Algorithm::for_hash::<Hash>()).set_insecure();
    let opened = Repository::ensure_path(File::open(".")?, repository, config);
    let (repository, _) = opened.map_err(|e| format!("{e:#}"))?;
    Ok(Arc::new(repository))
}

fn read(
    folder: &str,
    repository: Option<Arc<Repository<Hash>>>,
) -> Result<FileSystem<Hash>, Box<dyn Error>> {
    let current = File::open(".")?.into();
    let tree = runtime()?.block_on(read_filesystem(
        current,
        Path::new(folder).to_owned(),
        repository,
    ));
    Ok(tree.map_err(|e| format!("{e:#}"))?)
}

fn commit(repository: &Repository<Hash>, tree: &FileSystem<Hash>) -> Answer {
    let digest = tree
        .commit_image_version(repository, FormatVersion::V1, Some("x"))
        .map_err(|e| format!("{e:#}"))?;
    repository.sync().map_err(|e| format!("{e:#}"))?;
    Ok(format!("{}\n", digest.to_hex()).into_bytes())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}
