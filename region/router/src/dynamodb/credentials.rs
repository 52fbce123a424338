//! Keys that requests are signed with, and how their secrets are kept.
//!
//! Always true: a secret lies in the region's metadata only sealed (AES-256-GCM, with the access key as
//! associated data) under the region key, which is in a file of every node's configuration and nowhere
//! else; a sealed secret opens for its own access key only.

use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// Who has keys.
pub trait Credentials: Send + Sync {
    /// The secret of an access key that is valid now.
    fn secret(&self, access_key: &str) -> Option<String>;
}

/// Bytes of a region key.
pub const REGION_KEY_BYTES: usize = 32;
/// First byte of a sealed secret.
const VERSION: u8 = 1;

/// Seals secrets, and proves to a node of its region that one has it.
#[derive(Clone)]
pub struct RegionKey(Arc<Keys>);

struct Keys {
    seal: LessSafeKey,
    proof: hmac::Key,
}

/// Keeps proofs apart from everything else that is made of a region key.
const PROOF: &[u8] = b"tombolo region key proof";

/// A region key or a sealed secret that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The file holds something else.
    #[error("a region key has 64 hexadecimal digits; `tombolo certs region-key` makes one")]
    NoKey,
    /// No random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

impl std::fmt::Debug for RegionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegionKey(..)")
    }
}

impl RegionKey {
    /// From the text of its file: 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<RegionKey, SealError> {
        let text = text.trim();
        if text.len() != 2 * REGION_KEY_BYTES || !text.is_ascii() {
            return Err(SealError::NoKey);
        }
        let bytes: Option<Vec<u8>> = (0..REGION_KEY_BYTES)
            .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok())
            .collect();
        let bytes = bytes.ok_or(SealError::NoKey)?;
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| SealError::NoKey)?;
        let proof = digest(&SHA256, &[PROOF, &bytes].concat());
        let proof = hmac::Key::new(hmac::HMAC_SHA256, proof.as_ref());
        Ok(RegionKey(Arc::new(Keys { seal: LessSafeKey::new(key), proof })))
    }

    /// A secret as it is stored: version, nonce, ciphertext and tag.
    pub fn seal(&self, access_key: &str, secret: &str) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        // Random nonces are safe for far more secrets (2^32) than a region has.
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::NoRandom)?;
        let mut text = secret.as_bytes().to_vec();
        let associated = Aad::from(access_key.as_bytes());
        self.0
            .seal
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), associated, &mut text)
            .map_err(|_| SealError::NoRandom)?;
        Ok([&[VERSION][..], &nonce, &text].concat())
    }

    /// Shows, without giving the key away, that whoever wrote this text has it.
    pub fn prove(&self, text: &str) -> String {
        let tag = hmac::sign(&self.0.proof, text.as_bytes());
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether this is [`Self::prove`]'s answer for the text; compared in constant time.
    pub fn proves(&self, text: &str, proof: &str) -> bool {
        if proof.len() != 64 || !proof.is_ascii() {
            return false;
        }
        let bytes: Option<Vec<u8>> =
            (0..32).map(|at| u8::from_str_radix(&proof[2 * at..2 * at + 2], 16).ok()).collect();
        bytes.is_some_and(|tag| hmac::verify(&self.0.proof, text.as_bytes(), &tag).is_ok())
    }

    /// The secret, if it was sealed with this key for this access key.
    pub fn open(&self, access_key: &str, sealed: &[u8]) -> Option<String> {
        let (version, rest) = sealed.split_first()?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
        if *version != VERSION {
            return None;
        }
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened =
            self.0.seal.open_in_place(nonce, Aad::from(access_key.as_bytes()), &mut text).ok()?;
        String::from_utf8(opened.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_for_its_own_key_only() {
        let key = RegionKey::parse(&"0f".repeat(32)).unwrap();
        let sealed = key.seal("AKID", "secret").unwrap();
        assert_eq!(key.open("AKID", &sealed).as_deref(), Some("secret"));
        assert_ne!(sealed, key.seal("AKID", "secret").unwrap(), "never the same bytes twice");
        assert_eq!(key.open("OTHER", &sealed), None);
        assert_eq!(RegionKey::parse(&"0e".repeat(32)).unwrap().open("AKID", &sealed), None);
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(key.open("AKID", &damaged), None, "byte {at}");
            assert_eq!(key.open("AKID", &sealed[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn a_proof_is_of_one_text_and_one_key() {
        let key = RegionKey::parse(&"0f".repeat(32)).unwrap();
        let proof = key.prove("a");
        assert!(key.proves("a", &proof) && !key.proves("b", &proof) && !key.proves("a", ""));
        assert!(!RegionKey::parse(&"0e".repeat(32)).unwrap().proves("a", &proof));
    }

    #[test]
    fn a_region_key_is_64_digits() {
        for bad in ["", "0f", &"0g".repeat(32), &"é".repeat(32)] {
            assert_eq!(RegionKey::parse(bad).unwrap_err(), SealError::NoKey, "{bad}");
        }
        assert!(RegionKey::parse(&format!("{}\n", "0F".repeat(32))).is_ok());
    }
}
