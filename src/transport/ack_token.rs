//! Ack tokens: what a target returns with its confirmation to show that it received the request.
//!
//! A token is `<key id>.<HMAC-SHA256 of the dispatch key, in URL-safe base64 without padding>`. It is the same for every
//! attempt of a dispatch. The first key signs; all verify, so that a key can be replaced while confirmations are open.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::record::TokenCheck;

/// Shortest secret that is taken, in bytes.
const MIN_SECRET_BYTES: usize = 16;

/// Why keys can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AckKeyError {
    /// There is no key to sign with.
    #[error("there is no ack key")]
    NoKey,
    /// The id of a key is no header value that can be told from the rest of the token.
    #[error("ack key id `{0}` is not 1 to 64 characters of [A-Za-z0-9_-]")]
    IllegalId(String),
    /// Two keys have one id.
    #[error("ack key id `{0}` is there twice")]
    Twice(String),
    /// The secret of a key can be guessed.
    #[error("the secret of ack key `{0}` is shorter than {MIN_SECRET_BYTES} bytes")]
    ShortSecret(String),
}

/// The keys that sign and verify ack tokens.
#[derive(Clone)]
pub struct AckTokens {
    keys: Vec<(String, Hmac<Sha256>)>,
}

impl AckTokens {
    /// Takes (key id, secret) pairs: the first signs, all verify. An id is 1 to 64 characters of `[A-Za-z0-9_-]`, a
    /// secret at least 16 bytes.
    pub fn new(keys: Vec<(String, Vec<u8>)>) -> Result<Self, AckKeyError> {
        let mut prepared: Vec<(String, Hmac<Sha256>)> = Vec::with_capacity(keys.len());
        for (id, secret) in keys {
            let legal =
                (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
            if !legal {
                return Err(AckKeyError::IllegalId(id));
            }
            if prepared.iter().any(|(other, _)| *other == id) {
                return Err(AckKeyError::Twice(id));
            }
            if secret.len() < MIN_SECRET_BYTES {
                return Err(AckKeyError::ShortSecret(id));
            }
            let mac = Hmac::new_from_slice(&secret).expect("HMAC takes secrets of every length");
            prepared.push((id, mac));
        }
        if prepared.is_empty() { Err(AckKeyError::NoKey) } else { Ok(Self { keys: prepared }) }
    }

    /// The token of a dispatch, under the first key.
    pub fn issue(&self, dispatch_key: &str) -> String {
        let (id, mac) = self.keys.first().expect("new() takes at least one key");
        let tag = mac.clone().chain_update(dispatch_key).finalize().into_bytes();
        format!("{id}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// By what a digest is known again as that which a dispatch's receipt must name: what a callback URL carries of it. It tells
    /// nobody which digest that is, and nobody else can make one.
    pub fn seal(&self, dispatch_key: &str, digest: &str) -> String {
        self.issue(&sealed(dispatch_key, digest))
    }

    /// Whether a digest is the one that was sealed for a dispatch. `None` where the seal can't tell: there is none, or it is by a
    /// key that isn't known.
    pub fn is_sealed(&self, dispatch_key: &str, digest: &str, seal: Option<&str>) -> Option<bool> {
        let (id, _) = seal?.split_once('.')?;
        self.keys.iter().find(|(known, _)| known == id)?;
        Some(self.check(&sealed(dispatch_key, digest), seal) == TokenCheck::Ok)
    }

    /// Compares a token with what a dispatch's must be, in a time that doesn't depend on where they differ.
    pub fn check(&self, dispatch_key: &str, token: Option<&str>) -> TokenCheck {
        let Some(token) = token else { return TokenCheck::Absent };
        let Some((id, tag)) = token.split_once('.') else { return TokenCheck::Wrong };
        let Some((_, mac)) = self.keys.iter().find(|(known, _)| known == id) else { return TokenCheck::Wrong };
        let Ok(tag) = URL_SAFE_NO_PAD.decode(tag) else { return TokenCheck::Wrong };
        match mac.clone().chain_update(dispatch_key).verify_slice(&tag) {
            Ok(()) => TokenCheck::Ok,
            Err(_) => TokenCheck::Wrong,
        }
    }
}

/// What a seal is the HMAC of. No key of a dispatch holds a space, so that no seal is a token.
fn sealed(dispatch_key: &str, digest: &str) -> String {
    format!("{dispatch_key} {digest}")
}

impl fmt::Debug for AckTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, byte: u8) -> (String, Vec<u8>) {
        (id.to_owned(), vec![byte; 32])
    }

    #[test]
    fn a_token_is_the_hmac_of_the_key_in_url_safe_base64() {
        // HMAC-SHA256 of `f/t` under 32 bytes 0x0b, computed by another implementation.
        let tokens = AckTokens::new(vec![key("k1", 0x0b)]).expect("legal");
        assert_eq!(tokens.issue("f/t"), "k1.HtiL57ed6yq7o54xq66Jq4zj4q5bSXhodx-X1-I1Gew");
    }

    #[test]
    fn the_first_key_signs_and_all_verify() {
        let old = AckTokens::new(vec![key("old", 1)]).expect("legal");
        let both = AckTokens::new(vec![key("new", 2), key("old", 1)]).expect("legal");
        let token = old.issue("f/t");
        assert_eq!(both.check("f/t", Some(&token)), TokenCheck::Ok);
        assert!(both.issue("f/t").starts_with("new."));
        assert_eq!(old.check("f/t", Some(&both.issue("f/t"))), TokenCheck::Wrong);
    }

    #[test]
    fn what_is_not_the_token_of_this_dispatch_is_wrong() {
        let tokens = AckTokens::new(vec![key("k", 1)]).expect("legal");
        let token = tokens.issue("f/t");
        assert_eq!(tokens.check("f/t", None), TokenCheck::Absent);
        let tag = token.strip_prefix("k.").expect("the key id");
        let swapped = if tag.starts_with('A') { 'B' } else { 'A' };
        let damaged = format!("k.{swapped}{}", &tag[1..]);
        for wrong in ["", ".", "k", "k.", tag, "k.!!", &token[..token.len() - 2], &format!("{token}A"), &damaged] {
            assert_eq!(tokens.check("f/t", Some(wrong)), TokenCheck::Wrong, "`{wrong}`");
        }
        assert_eq!(tokens.check("f/other", Some(&token)), TokenCheck::Wrong);
    }

    #[test]
    fn a_seal_knows_its_digest_and_is_no_token() {
        let old = AckTokens::new(vec![key("old", 1)]).expect("legal");
        let both = AckTokens::new(vec![key("new", 2), key("old", 1)]).expect("legal");
        let seal = old.seal("f/t", "sha256:a");
        let told = |dispatch: &str, digest: &str, seal: &str| both.is_sealed(dispatch, digest, Some(seal));
        assert_eq!(told("f/t", "sha256:a", &seal), Some(true), "the old key is still listed");
        assert_eq!(told("f/t", "sha256:b", &seal), Some(false));
        assert_eq!(told("f/other", "sha256:a", &seal), Some(false));
        assert_eq!(told("f/t", "sha256:a", &old.issue("f/t")), Some(false), "a token seals nothing");
        assert_eq!(both.check("f/t", Some(&seal)), TokenCheck::Wrong, "a seal is no token");
        for unknown in ["", "old", &both.seal("f/t", "sha256:a")] {
            assert_eq!(old.is_sealed("f/t", "sha256:a", Some(unknown)), None, "`{unknown}` can't be told");
        }
        assert_eq!(old.is_sealed("f/t", "sha256:a", None), None);
        assert!(!seal.contains("sha256"));
    }

    #[test]
    fn keys_that_would_not_protect_are_refused() {
        assert_eq!(AckTokens::new(vec![]).err(), Some(AckKeyError::NoKey));
        assert_eq!(AckTokens::new(vec![key("a.b", 1)]).err(), Some(AckKeyError::IllegalId("a.b".into())));
        assert_eq!(AckTokens::new(vec![key("", 1)]).err(), Some(AckKeyError::IllegalId(String::new())));
        assert_eq!(AckTokens::new(vec![key("a", 1), key("a", 2)]).err(), Some(AckKeyError::Twice("a".into())));
        let short = vec![("a".to_owned(), b"short".to_vec())];
        assert_eq!(AckTokens::new(short).err(), Some(AckKeyError::ShortSecret("a".into())));
    }

    #[test]
    fn secrets_are_not_printed() {
        let tokens = AckTokens::new(vec![("id".into(), b"a secret of some length".to_vec())]).expect("legal");
        assert_eq!(format!("{tokens:?}"), r#"["id"]"#);
    }
}
