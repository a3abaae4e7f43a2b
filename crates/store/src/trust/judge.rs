//! The verdict on a candidate image, as a pure function.

use super::Keys;
use elea_formats::digest::Digest;
use elea_formats::release::Release;
use elea_formats::signature::{self, Claims, PayloadError};
use elea_formats::version;
use std::cmp::Ordering;

/// What is allowed.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The keys that are trusted.
    pub keys: Keys,
    /// `--allow-unsigned`: an image that no trusted key signed is accepted.
    pub allow_unsigned: bool,
    /// `--allow-downgrade`: a lower version or epoch is accepted.
    pub allow_downgrade: bool,
    /// A signature made for another repository is accepted (a mirror under another name).
    pub any_repository: bool,
}

/// A signature as it is stored: the payload's bytes and the signature over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// What is signed; see [`elea_formats::signature`].
    pub payload: Vec<u8>,
    /// ECDSA in DER, or Ed25519.
    pub signature: Vec<u8>,
}

/// What is offered.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Host and name of the repository it was asked from; none for a layout.
    pub repository: Option<&'a str>,
    /// SHA-256 of its OCI manifest.
    pub manifest: Digest,
    /// The signatures that were found with it.
    pub signatures: &'a [Signature],
}

/// The system that runs now, which the candidate would follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its security epoch.
    pub epoch: u64,
}

/// What vouches for the candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A trusted key.
    Signed {
        /// The key's id.
        key: Digest,
        /// What it signed.
        claims: Claims,
    },
    /// Nothing; the policy allows it.
    Unsigned,
}

/// Why a candidate must not be used.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no signature.
    #[error(
        "the image with manifest sha256:{manifest} is not signed; sign it when it is pushed, or accept it as it is with --allow-unsigned"
    )]
    Unsigned {
        /// The candidate's manifest.
        manifest: Digest,
    },
    /// There is no key to check a signature with.
    #[error(
        "the image is signed, but this machine trusts no key; name one with --key or put it into /etc/elea/trust.d"
    )]
    NoKeys,
    /// No signature was made by a trusted key.
    #[error(
        "none of the image's {signatures} signatures was made by one of the {keys} trusted keys; if its signer is to be trusted, put the public key into /etc/elea/trust.d"
    )]
    WrongKey {
        /// How many signatures there are.
        signatures: usize,
        /// How many keys are trusted.
        keys: usize,
    },
    /// A trusted key signed something that is not a claim about an image.
    #[error("a trusted key's signature says nothing usable: {0}")]
    Payload(#[from] PayloadError),
    /// A trusted key signed another manifest.
    #[error(
        "the signature beside manifest sha256:{manifest} is for another, sha256:{signed}; the registry gives a signature that is not this image's"
    )]
    OtherManifest {
        /// The candidate's manifest.
        manifest: Digest,
        /// The one that is signed.
        signed: Digest,
    },
    /// A trusted key signed it for another repository.
    #[error(
        "the image was signed as `{signed}` and is offered as `{asked}`; the name behind the host must be the same"
    )]
    OtherRepository {
        /// What was asked for.
        asked: String,
        /// What the signature says.
        signed: String,
    },
    /// Another system's image.
    #[error("the image is of the system `{offered}`, and this machine runs `{running}`")]
    OtherName {
        /// The image's name.
        offered: String,
        /// The running system's name.
        running: String,
    },
    /// A lower version.
    #[error(
        "version {offered} is lower than {running}, which runs now; if that is meant, say --allow-downgrade"
    )]
    LowerVersion {
        /// The image's version.
        offered: String,
        /// The running version.
        running: String,
    },
    /// A lower security epoch.
    #[error(
        "security epoch {offered} is lower than {running}, which runs now: the image has holes that were closed since; if that is meant, say --allow-downgrade"
    )]
    LowerEpoch {
        /// The image's epoch.
        offered: u64,
        /// The running epoch.
        running: u64,
    },
    /// The release in the image is not the one that was signed.
    #[error("the release in the image is {found}, and {signed} was signed")]
    OtherRelease {
        /// Name, version and epoch in the image.
        found: String,
        /// Name, version and epoch in the signature.
        signed: String,
    },
}

/// Judges a candidate by its signatures, before anything else of it is fetched.
///
/// An unsigned image that is allowed still has to pass [`check_release`] once its release
/// is known; so has one whose signature lacks Elea's members.
pub fn judge(
    candidate: &Candidate<'_>,
    running: Option<&Running>,
    policy: &Policy,
) -> Result<Verdict, Refusal> {
    match find_signature(candidate, policy) {
        Ok(Verdict::Signed { key, claims }) => {
            if let (Some(running), Some(elea)) = (running, &claims.elea) {
                follow(running, &elea.name, &elea.version, elea.epoch, policy)?;
            }
            Ok(Verdict::Signed { key, claims })
        }
        Err(_) if policy.allow_unsigned => Ok(Verdict::Unsigned),
        other => other,
    }
}

/// Checks the release that an image says it holds: against what was signed, and, where the
/// signature does not say, against what is running.
pub fn check_release(
    release: Option<&Release>,
    verdict: &Verdict,
    running: Option<&Running>,
    policy: &Policy,
) -> Result<(), Refusal> {
    if let Verdict::Signed { claims, .. } = verdict
        && let Some(signed) = &claims.elea
    {
        return match release {
            Some(release)
                if (&release.name, &release.version, release.epoch)
                    != (&signed.name, &signed.version, signed.epoch) =>
            {
                Err(Refusal::OtherRelease {
                    found: format!(
                        "{} {} epoch {}",
                        release.name, release.version, release.epoch
                    ),
                    signed: format!("{} {} epoch {}", signed.name, signed.version, signed.epoch),
                })
            }
            _ => Ok(()),
        };
    }
    match (running, release) {
        (Some(running), Some(release)) => follow(
            running,
            &release.name,
            &release.version,
            release.epoch,
            policy,
        ),
        _ => Ok(()),
    }
}

/// The first signature that holds; else the reason of the one that came furthest.
fn find_signature(candidate: &Candidate<'_>, policy: &Policy) -> Result<Verdict, Refusal> {
    if candidate.signatures.is_empty() {
        return Err(Refusal::Unsigned {
            manifest: candidate.manifest,
        });
    }
    if policy.keys.is_empty() {
        return Err(Refusal::NoKeys);
    }
    let mut refusal = Refusal::WrongKey {
        signatures: candidate.signatures.len(),
        keys: policy.keys.iter().count(),
    };
    for Signature { payload, signature } in candidate.signatures {
        let Some(key) = policy.keys.who_signed(payload, signature) else {
            continue;
        };
        match check_claims(candidate, payload, policy) {
            Ok(claims) => {
                return Ok(Verdict::Signed {
                    key: key.id(),
                    claims,
                });
            }
            Err(reason) => refusal = reason,
        }
    }
    Err(refusal)
}

fn check_claims(
    candidate: &Candidate<'_>,
    payload: &[u8],
    policy: &Policy,
) -> Result<Claims, Refusal> {
    let claims = signature::parse(payload)?;
    if claims.manifest != candidate.manifest {
        return Err(Refusal::OtherManifest {
            manifest: candidate.manifest,
            signed: claims.manifest,
        });
    }
    if let Some(asked) = candidate.repository
        && !policy.any_repository
        && !claims.repository.is_empty()
        && name_of(asked) != name_of(&claims.repository)
    {
        return Err(Refusal::OtherRepository {
            asked: asked.to_owned(),
            signed: claims.repository,
        });
    }
    Ok(claims)
}

/// A repository without its host: the same image is served under several host names
/// (`localhost:5000` where it is pushed, something else where it is pulled).
fn name_of(repository: &str) -> &str {
    repository
        .split_once('/')
        .map_or(repository, |(_, name)| name)
}

fn follow(
    running: &Running,
    name: &str,
    version: &str,
    epoch: u64,
    policy: &Policy,
) -> Result<(), Refusal> {
    if name != running.name {
        return Err(Refusal::OtherName {
            offered: name.to_owned(),
            running: running.name.clone(),
        });
    }
    if policy.allow_downgrade {
        return Ok(());
    }
    if epoch < running.epoch {
        return Err(Refusal::LowerEpoch {
            offered: epoch,
            running: running.epoch,
        });
    }
    if version::compare(version, &running.version) == Ordering::Less {
        return Err(Refusal::LowerVersion {
            offered: version.to_owned(),
            running: running.version.clone(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
