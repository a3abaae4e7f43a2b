//! Keys: ECDSA on P-256 with SHA-256, and Ed25519.
//!
//! Public keys are `SubjectPublicKeyInfo` (RFC 5280, RFC 8410), private keys PKCS#8
//! (RFC 5958), both in PEM: what `openssl genpkey`, `openssl pkey -pubout` and
//! `cosign public-key` write. cosign's own private keys are behind a password.

use super::{pem, sealed};
use elea_formats::digest::Sha256;
use elea_sys::{At as _, PathError};
use ring::rand::SystemRandom;
use ring::signature::{
    self, ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, UnparsedPublicKey,
};
use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const PUBLIC: &str = "PUBLIC KEY";
const PRIVATE: &str = "PRIVATE KEY";
/// `SubjectPublicKeyInfo` of an uncompressed point on P-256, before its 65 bytes.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// `SubjectPublicKeyInfo` of an Ed25519 key, before its 32 bytes.
const ED25519_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A way to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256, signatures in DER: cosign's own.
    EcdsaP256,
    /// Ed25519 over the message itself.
    Ed25519,
}

/// Why a key could not be read, made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No PEM block, or a malformed one.
    #[error("there is no PEM key in it")]
    NoPem,
    /// A block of another kind.
    #[error("it holds a `{found}`, and a `{expected}` is needed")]
    Label {
        /// The label that was found.
        found: String,
        /// The label that was needed.
        expected: &'static str,
    },
    /// A key of another algorithm, or a malformed one.
    #[error("only ECDSA P-256 and Ed25519 keys are read")]
    Unsupported,
    /// A key behind a password that is not the right one.
    #[error("the password does not open it")]
    Password,
    /// A key behind a password that nobody gave.
    #[error(
        "it is behind a password, and there is none: set $COSIGN_PASSWORD, or run it on a terminal"
    )]
    NoPassword,
    /// A key behind a password that was put there in a way that is not known.
    #[error("{0} cannot be read: is it a key that cosign made?")]
    Sealed(&'static str),
    /// The system gave no random numbers.
    #[error("the system gave no random numbers for a key or signature")]
    Random,
    /// The file could not be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The file does not hold a private key.
    #[error("{} cannot be used to sign: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<KeyError>,
    },
}

/// A key that verifies.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

/// A key that signs.
pub struct PrivateKey {
    pair: Pair,
    pkcs8: Vec<u8>,
}

enum Pair {
    EcdsaP256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl PublicKey {
    /// Reads every public key of a PEM text; at least one must be there.
    pub fn parse_pem(text: &str) -> Result<Vec<Self>, KeyError> {
        let blocks = pem::parse(text).ok_or(KeyError::NoPem)?;
        if blocks.is_empty() {
            return Err(KeyError::NoPem);
        }
        blocks
            .into_iter()
            .map(|(label, der)| {
                if label == PUBLIC {
                    Self::parse_der(&der)
                } else {
                    Err(KeyError::Label {
                        found: label,
                        expected: PUBLIC,
                    })
                }
            })
            .collect()
    }

    fn parse_der(der: &[u8]) -> Result<Self, KeyError> {
        let (algorithm, bytes) = if let Some(point) = der.strip_prefix(&P256_PREFIX) {
            (Algorithm::EcdsaP256, point)
        } else if let Some(key) = der.strip_prefix(&ED25519_PREFIX) {
            (Algorithm::Ed25519, key)
        } else {
            return Err(KeyError::Unsupported);
        };
        let right = match algorithm {
            Algorithm::EcdsaP256 => bytes.len() == 65 && bytes[0] == 4,
            Algorithm::Ed25519 => bytes.len() == 32,
        };
        if !right {
            return Err(KeyError::Unsupported);
        }
        Ok(Self {
            algorithm,
            bytes: bytes.to_vec(),
        })
    }

    fn to_der(&self) -> Vec<u8> {
        let prefix = match self.algorithm {
            Algorithm::EcdsaP256 => &P256_PREFIX[..],
            Algorithm::Ed25519 => &ED25519_PREFIX[..],
        };
        [prefix, &self.bytes].concat()
    }

    /// The key as a PEM text.
    pub fn to_pem(&self) -> String {
        pem::encode(PUBLIC, &self.to_der())
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key's name for people and logs: SHA-256 of its DER form.
    pub fn id(&self) -> Sha256 {
        Sha256::of(&self.to_der())
    }

    /// Whether this key made `signature` over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn signature::VerificationAlgorithm = match self.algorithm {
            Algorithm::EcdsaP256 => &ECDSA_P256_SHA256_ASN1,
            Algorithm::Ed25519 => &ED25519,
        };
        UnparsedPublicKey::new(algorithm, &self.bytes)
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?}, {})", self.algorithm, self.id())
    }
}

impl PrivateKey {
    /// A new key.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let pkcs8 = match algorithm {
            Algorithm::EcdsaP256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            }
            Algorithm::Ed25519 => Ed25519KeyPair::generate_pkcs8(&random),
        }
        .map_err(|_| KeyError::Random)?;
        Self::parse_der(pkcs8.as_ref())
    }

    /// Reads the one private key of a PEM text. `ask` gives the password, if it is behind one.
    pub fn parse_pem(text: &str, ask: impl FnOnce() -> Option<String>) -> Result<Self, KeyError> {
        let (label, bytes) = pem::parse(text)
            .and_then(|blocks| blocks.into_iter().next())
            .ok_or(KeyError::NoPem)?;
        match label.as_str() {
            PRIVATE => Self::parse_der(&bytes),
            sealed::LABEL | sealed::OLD_LABEL => {
                let password = ask().ok_or(KeyError::NoPassword)?;
                Self::parse_der(&sealed::open(&bytes, &password)?)
            }
            _ => Err(KeyError::Label {
                found: label,
                expected: PRIVATE,
            }),
        }
    }

    fn parse_der(der: &[u8]) -> Result<Self, KeyError> {
        let pair = if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            Pair::Ed25519(pair)
        } else {
            let random = SystemRandom::new();
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &random)
                .map(Pair::EcdsaP256)
                .map_err(|_| KeyError::Unsupported)?
        };
        Ok(Self {
            pair,
            pkcs8: der.to_vec(),
        })
    }

    /// Reads a key file. `ask` gives the password, if it is behind one.
    pub fn load(path: &Path, ask: impl FnOnce() -> Option<String>) -> Result<Self, KeyError> {
        Self::parse_pem(&super::read(path, super::MAX_FILE)?, ask).map_err(|source| {
            KeyError::File {
                path: path.to_owned(),
                source: Box::new(source),
            }
        })
    }

    /// Writes a new key file that only its owner may read, behind a password if there is one (as
    /// cosign's are); an existing file is never replaced.
    pub fn save(&self, path: &Path, password: Option<&str>) -> Result<(), KeyError> {
        let text = match password {
            None => self.to_pem(),
            Some(password) => pem::encode(sealed::LABEL, &sealed::seal(&self.pkcs8, password)?),
        };
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .at("create", path)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .at("write", path)?;
        Ok(())
    }

    /// The key as a PEM text.
    pub fn to_pem(&self) -> String {
        pem::encode(PRIVATE, &self.pkcs8)
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> PublicKey {
        let (algorithm, bytes) = match &self.pair {
            Pair::EcdsaP256(pair) => (Algorithm::EcdsaP256, pair.public_key().as_ref()),
            Pair::Ed25519(pair) => (Algorithm::Ed25519, pair.public_key().as_ref()),
        };
        PublicKey {
            algorithm,
            bytes: bytes.to_vec(),
        }
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.pair {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::EcdsaP256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyError::Random),
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public().id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn keys_sign_and_survive_their_text_form() {
        for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
            let key = PrivateKey::generate(algorithm).unwrap();
            let again = PrivateKey::parse_pem(&key.to_pem(), || None).unwrap();
            let public = PublicKey::parse_pem(&key.public().to_pem())
                .unwrap()
                .remove(0);
            assert_eq!(public, again.public());
            let signature = again.sign(b"message").unwrap();
            assert!(public.verify(b"message", &signature));
            assert!(!public.verify(b"massage", &signature));
            assert!(!public.verify(b"message", &signature[1..]));
        }
    }

    /// Runs openssl in a folder; none if there is no such program.
    fn openssl(dir: &Path, arguments: &[&str]) -> Option<bool> {
        let out = Command::new("openssl")
            .args(arguments)
            .current_dir(dir)
            .output()
            .ok()?;
        Some(out.status.success())
    }

    #[test]
    fn openssl_agrees_about_keys_and_signatures() {
        let dir = tempfile::tempdir().unwrap();
        if openssl(dir.path(), &["version"]).is_none() {
            eprintln!("skipped: no openssl");
            return;
        }
        let run = |arguments: &[&str]| openssl(dir.path(), arguments).unwrap();
        for kind in [
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..],
            &["-algorithm", "ed25519"],
        ] {
            let made = [&["genpkey", "-out", "key.pem"], kind].concat();
            assert!(run(&made));
            assert!(run(&[
                "pkey", "-in", "key.pem", "-pubout", "-out", "key.pub"
            ]));
            let key = PrivateKey::load(&dir.path().join("key.pem"), || None).unwrap();
            let theirs = std::fs::read_to_string(dir.path().join("key.pub")).unwrap();
            assert_eq!(key.public().to_pem(), theirs);
            std::fs::write(dir.path().join("message"), b"hello").unwrap();
            std::fs::write(dir.path().join("signature"), key.sign(b"hello").unwrap()).unwrap();
            let ecdsa = key.public().algorithm() == Algorithm::EcdsaP256;
            let verify = if ecdsa {
                &[
                    "dgst",
                    "-sha256",
                    "-verify",
                    "key.pub",
                    "-signature",
                    "signature",
                    "message",
                ][..]
            } else {
                &[
                    "pkeyutl",
                    "-verify",
                    "-pubin",
                    "-inkey",
                    "key.pub",
                    "-rawin",
                    "-in",
                    "message",
                    "-sigfile",
                    "signature",
                ]
            };
            assert!(run(verify), "{kind:?}");
            let sign = if ecdsa {
                &[
                    "dgst", "-sha256", "-sign", "key.pem", "-out", "theirs", "message",
                ][..]
            } else {
                &[
                    "pkeyutl", "-sign", "-inkey", "key.pem", "-rawin", "-in", "message", "-out",
                    "theirs",
                ]
            };
            assert!(run(sign));
            let signature = std::fs::read(dir.path().join("theirs")).unwrap();
            assert!(key.public().verify(b"hello", &signature), "{kind:?}");
        }
    }

    #[test]
    fn other_keys_are_refused_and_files_are_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let rsa = pem::encode(PUBLIC, &[0x30, 0x82, 1, 2]);
        assert!(matches!(
            PublicKey::parse_pem(&rsa),
            Err(KeyError::Unsupported)
        ));
        let cut = pem::encode(PUBLIC, &[&P256_PREFIX[..], &[4; 64]].concat());
        assert!(matches!(
            PublicKey::parse_pem(&cut),
            Err(KeyError::Unsupported)
        ));
        let open = "-----BEGIN PUBLIC KEY-----\nAAAA\n";
        assert!(matches!(PublicKey::parse_pem(open), Err(KeyError::NoPem)));
        let other = pem::encode("ENCRYPTED PRIVATE KEY", b"x");
        let error = PrivateKey::parse_pem(&other, || None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("`ENCRYPTED PRIVATE KEY`"), "{error}");
        let encrypted = pem::encode(sealed::LABEL, b"x");
        let error = PrivateKey::parse_pem(&encrypted, || None).unwrap_err();
        assert!(error.to_string().contains("COSIGN_PASSWORD"), "{error}");
        let path = dir.path().join("key");
        let key = PrivateKey::generate(Algorithm::Ed25519).unwrap();
        key.save(&path, None).unwrap();
        assert!(key.save(&path, None).is_err());
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{key:?}").contains("PRIVATE KEY-"));
    }
}
