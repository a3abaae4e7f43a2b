//! The verdict on a candidate image, as a pure function.

use super::{Demand, Rule, Rules, Signers};
use elea_formats::digest::Sha256;
use elea_formats::oci::reference::Reference;
use elea_formats::release::Release;
use elea_formats::signature::{self, Claims, PayloadError};
use elea_formats::version;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// What is allowed.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Who must have signed.
    pub rules: Rules,
    /// `--allow-unsigned`: an image whose rule asks for signatures is accepted without them.
    pub allow_unsigned: bool,
    /// `--allow-downgrade`: a lower version or epoch is accepted.
    pub allow_downgrade: bool,
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
    /// Where it comes from; the path of a layout or archive is absolute.
    pub reference: &'a Reference,
    /// SHA-256 of its OCI manifest.
    pub manifest: Sha256,
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
    /// Trusted keys.
    Signed {
        /// The ids of those that signed, at least as many as the rule asks for.
        keys: Vec<Sha256>,
        /// What they signed.
        claims: Box<Claims>,
        /// What asked for it: a rule's name.
        rule: String,
    },
    /// Nothing; that is allowed.
    Unsigned {
        /// What allows it.
        rule: String,
    },
}

impl Verdict {
    /// The ids of the keys that vouch for it.
    pub fn keys(&self) -> &[Sha256] {
        match self {
            Self::Signed { keys, .. } => keys,
            Self::Unsigned { .. } => &[],
        }
    }

    /// What decided.
    pub fn rule(&self) -> &str {
        match self {
            Self::Signed { rule, .. } | Self::Unsigned { rule } => rule,
        }
    }
}

/// Why a candidate must not be used.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Nothing is taken from there.
    #[error(
        "{rule} rejects {reference}; if it is to be trusted, write a rule for it (docs/formats/trust.md)"
    )]
    Rejected {
        /// What was asked for.
        reference: String,
        /// What rejects it.
        rule: String,
    },
    /// There is no signature.
    #[error(
        "the image with manifest sha256:{manifest} is not signed, and {rule} wants a signature; sign it when it is pushed, or accept it as it is with --allow-unsigned"
    )]
    Unsigned {
        /// The candidate's manifest.
        manifest: Sha256,
        /// What asks for signatures.
        rule: String,
    },
    /// There are not enough keys to check signatures with.
    #[error(
        "the image is signed, but this machine trusts no key for it, or too few ({rule}); name one with --key or put it into /etc/elea/trust.d"
    )]
    NoKeys {
        /// What asks for them.
        rule: String,
    },
    /// No signature was made by a trusted key.
    #[error(
        "none of the image's {signatures} signatures was made by one of the {keys} keys of {rule}; if its signer is to be trusted, add the public key there"
    )]
    WrongKey {
        /// How many signatures there are.
        signatures: usize,
        /// How many keys are trusted.
        keys: usize,
        /// Whose keys they are.
        rule: String,
    },
    /// Fewer keys signed than the rule asks for.
    #[error("{found} of the keys of {rule} signed the image, and {threshold} must have")]
    TooFew {
        /// How many different keys signed the same.
        found: usize,
        /// How many must have.
        threshold: usize,
        /// What asks for them.
        rule: String,
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
        manifest: Sha256,
        /// The one that is signed.
        signed: Sha256,
    },
    /// A trusted key signed it for another repository.
    #[error(
        "the image was signed as `{signed}` and is offered as {asked}; {rule} has no `signed_as` that makes this right"
    )]
    OtherRepository {
        /// What was asked for.
        asked: String,
        /// What the signature says.
        signed: String,
        /// What decides.
        rule: String,
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
    let rule = policy.rules.find(candidate.reference);
    let unsigned = |rule: &str| Verdict::Unsigned { rule: rule.into() };
    let signers = match &rule.demand {
        Demand::Reject => {
            return Err(Refusal::Rejected {
                reference: candidate.reference.to_string(),
                rule: rule.name.clone(),
            });
        }
        Demand::Accept => return Ok(unsigned(&rule.name)),
        Demand::Signed(signers) => signers,
    };
    match signed(candidate, rule, signers) {
        Err(_) if policy.allow_unsigned => Ok(unsigned("--allow-unsigned")),
        Ok(Verdict::Signed { keys, claims, rule }) => {
            if let (Some(running), Some(elea)) = (running, &claims.elea) {
                follow(running, &elea.name, &elea.version, elea.epoch, policy)?;
            }
            Ok(Verdict::Signed { keys, claims, rule })
        }
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

/// Counts the different keys that vouch for the candidate; else the reason of the signature
/// that came furthest.
fn signed(candidate: &Candidate<'_>, rule: &Rule, signers: &Signers) -> Result<Verdict, Refusal> {
    let Signers {
        keys, threshold, ..
    } = signers;
    let name = || rule.name.clone();
    if candidate.signatures.is_empty() {
        return Err(Refusal::Unsigned {
            manifest: candidate.manifest,
            rule: name(),
        });
    }
    let known = keys.iter().count();
    if known < *threshold {
        return Err(Refusal::NoKeys { rule: name() });
    }
    let mut refusal = Refusal::WrongKey {
        signatures: candidate.signatures.len(),
        keys: known,
        rule: name(),
    };
    let mut holding: Vec<(Sha256, Claims)> = Vec::new();
    for Signature { payload, signature } in candidate.signatures {
        let Some(key) = keys.who_signed(payload, signature) else {
            continue;
        };
        match check_claims(candidate, payload, rule) {
            Ok(claims) => holding.push((key.id(), claims)),
            Err(reason) => refusal = reason,
        }
    }
    // What says more comes first; what says nothing of Elea vouches for the manifest all the
    // same, and so for what the image says of itself.
    holding.sort_by_key(|(_, claims)| claims.elea.is_none());
    let mut most = 0;
    for (_, claims) in &holding {
        let agree = |other: &Claims| other.elea.is_none() || other.elea == claims.elea;
        let together = holding.iter().filter(|(_, other)| agree(other));
        let keys: BTreeSet<Sha256> = together.map(|(key, _)| *key).collect();
        if keys.len() >= *threshold {
            return Ok(Verdict::Signed {
                keys: keys.into_iter().collect(),
                claims: Box::new(claims.clone()),
                rule: name(),
            });
        }
        most = most.max(keys.len());
    }
    if most == 0 {
        return Err(refusal);
    }
    Err(Refusal::TooFew {
        found: most,
        threshold: *threshold,
        rule: name(),
    })
}

fn check_claims(candidate: &Candidate<'_>, payload: &[u8], rule: &Rule) -> Result<Claims, Refusal> {
    let claims = signature::parse(payload)?;
    if claims.manifest != candidate.manifest {
        return Err(Refusal::OtherManifest {
            manifest: candidate.manifest,
            signed: claims.manifest,
        });
    }
    if !rule.is_for(candidate.reference, &claims.repository) {
        return Err(Refusal::OtherRepository {
            asked: candidate.reference.to_string(),
            signed: claims.repository,
            rule: rule.name.clone(),
        });
    }
    Ok(claims)
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
