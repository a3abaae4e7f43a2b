//! Private keys behind a password, as cosign keeps them.
//!
//! Sources: cosign `pkg/cosign/keys.go` (the PEM labels, PKCS#8 inside) and
//! go-securesystemslib `encrypted/encrypted.go` (JSON with scrypt's parameters and secretbox).

use super::KeyError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

/// What cosign writes.
pub(super) const LABEL: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// What cosign before 2.0 wrote.
pub(super) const OLD_LABEL: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// What cosign makes: 64 MiB and a fraction of a second.
const COST: Cost = Cost {
    n: 1 << 16,
    r: 8,
    p: 1,
};
/// The most that a file may ask for: 128 MiB.
const MOST: u64 = 1 << 17;

#[derive(Serialize, Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Cost,
    salt: String,
}

/// scrypt's cost (RFC 7914, section 2).
#[derive(Serialize, Deserialize)]
struct Cost {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// The bytes that a password opens.
pub(super) fn open(sealed: &[u8], password: &str) -> Result<Vec<u8>, KeyError> {
    let sealed: Sealed = serde_json::from_slice(sealed).map_err(|_| malformed("its JSON"))?;
    if sealed.kdf.name != "scrypt" || sealed.cipher.name != "nacl/secretbox" {
        return Err(malformed("its method, which is not scrypt and secretbox"));
    }
    let decode = |text: &str, what| STANDARD.decode(text).map_err(|_| malformed(what));
    let salt = decode(&sealed.kdf.salt, "its salt")?;
    let nonce = decode(&sealed.cipher.nonce, "its nonce")?;
    let nonce: [u8; 24] = nonce.try_into().map_err(|_| malformed("its nonce"))?;
    let ciphertext = decode(&sealed.ciphertext, "its content")?;
    cipher(password, &salt, &sealed.kdf.params)?
        .decrypt(&Nonce::from(nonce), ciphertext.as_slice())
        .map_err(|_| KeyError::Password)
}

/// The bytes behind a password.
pub(super) fn seal(plain: &[u8], password: &str) -> Result<Vec<u8>, KeyError> {
    let (mut salt, mut nonce) = ([0; 32], [0; 24]);
    let random = SystemRandom::new();
    random.fill(&mut salt).map_err(|_| KeyError::Random)?;
    random.fill(&mut nonce).map_err(|_| KeyError::Random)?;
    let ciphertext = cipher(password, &salt, &COST)?
        .encrypt(&Nonce::from(nonce), plain)
        .map_err(|_| malformed("its content"))?;
    let sealed = Sealed {
        kdf: Kdf {
            name: "scrypt".into(),
            params: COST,
            salt: STANDARD.encode(salt),
        },
        cipher: Cipher {
            name: "nacl/secretbox".into(),
            nonce: STANDARD.encode(nonce),
        },
        ciphertext: STANDARD.encode(ciphertext),
    };
    serde_json::to_vec(&sealed).map_err(|_| malformed("its JSON"))
}

fn cipher(password: &str, salt: &[u8], cost: &Cost) -> Result<XSalsa20Poly1305, KeyError> {
    let bounded = cost.n.is_power_of_two() && cost.n <= MOST && cost.r == 8 && cost.p == 1;
    let params = u8::try_from(cost.n.trailing_zeros())
        .ok()
        .filter(|_| bounded)
        .and_then(|log_n| scrypt::Params::new(log_n, cost.r, cost.p).ok())
        .ok_or(malformed("scrypt's parameters, which cosign never writes"))?;
    let mut key = [0; 32];
    scrypt::scrypt(password.as_bytes(), salt, &params, &mut key)
        .map_err(|_| malformed("scrypt's parameters"))?;
    Ok(XSalsa20Poly1305::new(&key.into()))
}

fn malformed(part: &'static str) -> KeyError {
    KeyError::Sealed(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_opens_it_and_another_does_not() {
        let sealed = seal(b"plain", "secret").unwrap();
        assert_eq!(open(&sealed, "secret").unwrap(), b"plain");
        for wrong in ["", "Secret", "secret "] {
            assert!(
                matches!(open(&sealed, wrong), Err(KeyError::Password)),
                "{wrong}"
            );
        }
        assert_ne!(seal(b"plain", "secret").unwrap(), sealed);
    }

    #[test]
    fn hostile_files_cost_nothing() {
        let whole = String::from_utf8(seal(b"plain", "").unwrap()).unwrap();
        let cost = r#""N":65536,"r":8,"p":1"#;
        for (from, to, reason) in [
            (cost, r#""N":1073741824,"r":8,"p":1"#, "parameters"),
            (cost, r#""N":65536,"r":4000000,"p":1"#, "parameters"),
            (cost, r#""N":65536,"r":8,"p":1000000"#, "parameters"),
            (cost, r#""N":65537,"r":8,"p":1"#, "parameters"),
            (cost, r#""N":0,"r":8,"p":1"#, "parameters"),
            (cost, r#""N":-1,"r":8,"p":1"#, "JSON"),
            ("nacl/secretbox", "rot13", "method"),
            ("scrypt", "none", "method"),
            (r#""nonce":""#, r#""nonce":"AA"#, "nonce"),
            (r#""salt":""#, r#""salt":"?"#, "salt"),
            (r#""ciphertext":""#, r#""ciphertext":"?"#, "content"),
            ("{", "[", "JSON"),
        ] {
            assert!(whole.contains(from), "{from}");
            let error = open(whole.replacen(from, to, 1).as_bytes(), "").unwrap_err();
            assert!(error.to_string().contains(reason), "{to}: {error}");
        }
    }
}
