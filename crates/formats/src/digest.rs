//! Digests and their text form.

use std::fmt;
use std::str::FromStr;

/// A SHA-2 hash of so many bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha<const N: usize>([u8; N]);

/// A plain SHA-256: what OCI names blobs and Debian names files by.
pub type Sha256 = Sha<32>;

/// A plain SHA-512.
pub type Sha512 = Sha<64>;

/// A hash that fs-verity and composefs know. A store, and a tree, have one and never a mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Algorithm {
    /// What Elea's own stores and every machine have.
    #[default]
    Sha256,
    /// What composefs-rs's own repositories have.
    Sha512,
}

/// The name of an object or an image: its fs-verity digest. The length of its text says of which
/// algorithm it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Digest {
    /// Of 64 digits.
    Sha256(Sha256),
    /// Of 128 digits.
    Sha512(Sha512),
}

/// A text that is not so many lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a SHA-{} digest: {} lower-case hexadecimal digits are needed",
    .bytes * 8,
    .bytes * 2
)]
pub struct DigestError {
    text: String,
    bytes: usize,
}

/// A name of no algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no algorithm that this version knows: use `sha256` or `sha512`")]
pub struct UnknownAlgorithm(String);

impl Algorithm {
    /// All that there are.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// Its number: `FS_VERITY_HASH_ALG_…` of `linux/fsverity.h`, also in overlayfs's metacopy attribute.
    pub const fn number(self) -> u8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }

    /// Its name in `meta.json` and on the command line: `sha256`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many bytes a digest has.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The plain hash of some bytes.
    pub(crate) fn hash(self, data: &[u8]) -> Digest {
        match self {
            Self::Sha256 => Sha256::of(data).into(),
            Self::Sha512 => Sha512::of(data).into(),
        }
    }

    /// Zeros, in the place of a digest that is not known yet.
    pub const fn zeros(self) -> Digest {
        match self {
            Self::Sha256 => Digest::Sha256(Sha([0; 32])),
            Self::Sha512 => Digest::Sha512(Sha([0; 64])),
        }
    }

    /// The digest of these raw bytes; none unless they are as many as it has.
    pub fn digest(self, bytes: &[u8]) -> Option<Digest> {
        match self {
            Self::Sha256 => Some(Sha256::new(bytes.try_into().ok()?).into()),
            Self::Sha512 => Some(Sha512::new(bytes.try_into().ok()?).into()),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|known| known.name() == s)
            .ok_or_else(|| UnknownAlgorithm(s.chars().take(80).collect()))
    }
}

impl Sha256 {
    /// The plain SHA-256 of `data` (what OCI and Debian call a digest, not fs-verity's).
    pub fn of(data: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(data).into())
    }
}

impl Sha512 {
    /// The plain SHA-512 of `data`.
    pub fn of(data: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha512::digest(data).into())
    }
}

impl Digest {
    /// Of which algorithm it is.
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The raw bytes: 32 or 64.
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(hash) => hash.as_bytes(),
            Self::Sha512(hash) => hash.as_bytes(),
        }
    }

    /// The first 64 bits: good for telling most digests apart.
    pub fn start(&self) -> u64 {
        crate::table::read_u64(self.as_bytes(), 0)
    }

    /// The path of an object of this name below an `objects` folder: `ab/cdef…`.
    pub fn object_path(&self) -> String {
        let mut path = self.to_string();
        path.insert(2, '/');
        path
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl From<Sha256> for Digest {
    fn from(hash: Sha256) -> Self {
        Self::Sha256(hash)
    }
}

impl From<Sha512> for Digest {
    fn from(hash: Sha512) -> Self {
        Self::Sha512(hash)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(hash) => hash.fmt(f),
            Self::Sha512(hash) => hash.fmt(f),
        }
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if s.len() == 2 * Algorithm::Sha512.bytes() {
            return s.parse().map(Self::Sha512);
        }
        s.parse().map(Self::Sha256)
    }
}

impl<const N: usize> Sha<N> {
    /// Wraps raw bytes.
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

/// The digits of names.
const HEX: &[u8; 16] = b"0123456789abcdef";

impl<const N: usize> fmt::Display for Sha<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // At once, not digit by digit: names of objects are made by the ten thousand.
        let mut digits = [[0; 2]; N];
        for (into, byte) in digits.iter_mut().zip(self.0) {
            *into = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
        }
        f.write_str(std::str::from_utf8(digits.as_flattened()).map_err(|_| fmt::Error)?)
    }
}

impl<const N: usize> fmt::Debug for Sha<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha{}({self})", N * 8)
    }
}

impl<const N: usize> FromStr for Sha<N> {
    type Err = DigestError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let error = || DigestError {
            text: s.chars().take(80).collect(),
            bytes: N,
        };
        if s.len() != 2 * N || !s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(error());
        }
        let mut bytes = [0; N];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&s[2 * i..2 * i + 2], 16).map_err(|_| error())?;
        }
        Ok(Self(bytes))
    }
}

/// Both are their text in documents.
macro_rules! as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(Sha256);
as_text!(Digest);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_rejects_other_texts() {
        let hash = Sha256::of(b"");
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hash.to_string(), text);
        assert_eq!(text.parse(), Ok(hash));
        let digest = Digest::from(hash);
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(digest.object_path(), format!("e3/{}", &text[2..]));
        for bad in [
            "",
            "e3",
            &text[1..],
            &text.to_uppercase(),
            &text.replace('e', "g"),
        ] {
            assert!(bad.parse::<Sha256>().is_err(), "{bad}");
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        let long = Digest::from(Sha512::of(b""));
        let text = long.to_string();
        assert!(text.starts_with("cf83e1357eefb8bd") && text.len() == 128);
        assert_eq!(text.parse(), Ok(long));
        assert_eq!(long.object_path(), format!("cf/{}", &text[2..]));
        let error = text.parse::<Sha256>().unwrap_err().to_string();
        assert!(error.contains("SHA-256") && error.contains("64"), "{error}");
        let error = text[1..].parse::<Sha512>().unwrap_err().to_string();
        assert!(
            error.contains("SHA-512") && error.contains("128"),
            "{error}"
        );
        assert!(text.to_uppercase().parse::<Digest>().is_err());
    }

    #[test]
    fn an_algorithm_has_digests_of_its_own_length_alone() {
        for algorithm in Algorithm::ALL {
            let digest = algorithm.hash(b"x");
            assert_eq!(digest.algorithm(), algorithm);
            assert_eq!(digest.as_bytes().len(), algorithm.bytes());
            assert_eq!(algorithm.digest(digest.as_bytes()), Some(digest));
            assert_eq!(algorithm.digest(&digest.as_bytes()[1..]), None);
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
            let json = serde_json::to_string(&digest).unwrap();
            assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        }
        assert!("sha1".parse::<Algorithm>().is_err());
    }
}
