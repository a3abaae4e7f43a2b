//! Digests and their text form.

use std::fmt;
use std::str::FromStr;

/// A SHA-2 digest of so many bytes: the name of an object, an image or a blob, by context.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha<const N: usize>([u8; N]);

/// A SHA-256 digest: what Elea's stores, OCI and Debian name things by.
pub type Digest = Sha<32>;

/// A SHA-512 digest: what composefs-rs's own repositories name things by.
pub type Digest512 = Sha<64>;

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

impl Digest {
    /// The plain SHA-256 of `data` (what OCI and Debian call a digest, not fs-verity's).
    pub fn sha256(data: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(data).into())
    }
}

impl Digest512 {
    /// The plain SHA-512 of `data`.
    pub fn sha512(data: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha512::digest(data).into())
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

    /// The path of an object of this name below an `objects` folder: `ab/cdef…`.
    pub fn object_path(&self) -> String {
        let hex = self.to_string();
        format!("{}/{}", &hex[..2], &hex[2..])
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl<const N: usize> fmt::Display for Sha<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Sha<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
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

impl<const N: usize> serde::Serialize for Sha<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> serde::Deserialize<'de> for Sha<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_rejects_other_texts() {
        let digest = Digest::sha256(b"");
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse::<Digest>(), Ok(digest));
        assert_eq!(digest.object_path(), format!("e3/{}", &text[2..]));
        for bad in [
            "",
            "e3",
            &text[1..],
            &text.to_uppercase(),
            &text.replace('e', "g"),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        let long = Digest512::sha512(b"");
        let text = long.to_string();
        assert!(text.starts_with("cf83e1357eefb8bd") && text.len() == 128);
        assert_eq!(text.parse::<Digest512>(), Ok(long));
        let error = text.parse::<Digest>().unwrap_err().to_string();
        assert!(error.contains("SHA-256") && error.contains("64"), "{error}");
        let error = text[1..].parse::<Digest512>().unwrap_err().to_string();
        assert!(
            error.contains("SHA-512") && error.contains("128"),
            "{error}"
        );
    }
}
