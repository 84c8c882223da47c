//! Standard Webhooks 1.0.0: signatures that show a receiver who sent a request, and when.
//!
//! Signed is `{webhook-id}.{webhook-timestamp}.{body}`, the body as the bytes that are sent. A secret `whsec_…` (or plain
//! base64) signs with HMAC-SHA256 (`v1`), a secret `whsk_…` with ed25519 (`v1a`). During a rotation a request has the
//! signatures of both values, apart by a space.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sha2::{Digest, Sha256};
use standardwebhooks::Webhook;

use super::hex::hex;
use super::secrets::{Secret, SecretError, Secrets};
use crate::record::Timestamp;

/// Prefix of a symmetric secret.
const SYMMETRIC: &str = "whsec_";
/// Prefix of a secret ed25519 key.
const ASYMMETRIC: &str = "whsk_";
/// Prefix of a public ed25519 key.
const PUBLIC: &str = "whpk_";
/// What a symmetric secret must have, in bytes.
const SYMMETRIC_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Bytes of an ed25519 seed.
const SEED_BYTES: usize = 32;

/// The `webhook-id` of a dispatch: `dlv_` and the first 32 hexadecimal digits of the SHA-256 of its key. It is the same for
/// every attempt. The key itself won't do: it may hold a dot, which ends an id in what is signed.
pub fn webhook_id(idempotency_key: &str) -> String {
    format!("dlv_{}", hex(&Sha256::digest(idempotency_key)[..16]))
}

/// What signs requests.
pub struct Signer(Scheme);

enum Scheme {
    Symmetric(Webhook),
    Asymmetric(Ed25519KeyPair),
}

/// Why a secret signs nothing. It never holds any part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// It is neither form.
    #[error("the secret is neither whsec_ with base64 of 24 to 64 bytes nor whsk_ with base64 of an ed25519 key")]
    Secret,
    /// The body can't be signed.
    #[error("a body that is signed is UTF-8")]
    Body,
}

impl Signer {
    /// Takes a secret in its text form: `whsec_` and base64 of 24 to 64 bytes, or `whsk_` and base64 of an ed25519 seed (32
    /// bytes) or of seed and public key (64 bytes).
    pub fn new(secret: &Secret) -> Result<Self, SignError> {
        let text = secret.text().ok_or(SignError::Secret)?;
        if let Some(key) = text.strip_prefix(ASYMMETRIC) {
            let key = zeroize::Zeroizing::new(STANDARD.decode(key).map_err(|_| SignError::Secret)?);
            let pair = match key.len() {
                SEED_BYTES => Ed25519KeyPair::from_seed_unchecked(&key),
                64 => Ed25519KeyPair::from_seed_and_public_key(&key[..SEED_BYTES], &key[SEED_BYTES..]),
                _ => return Err(SignError::Secret),
            };
            return pair.map(|pair| Self(Scheme::Asymmetric(pair))).map_err(|_| SignError::Secret);
        }
        let bytes = STANDARD.decode(text.strip_prefix(SYMMETRIC).unwrap_or(text)).map_err(|_| SignError::Secret)?;
        if !SYMMETRIC_BYTES.contains(&bytes.len()) {
            return Err(SignError::Secret);
        }
        Webhook::from_bytes(bytes).map(|webhook| Self(Scheme::Symmetric(webhook))).map_err(|_| SignError::Secret)
    }

    /// One item of `webhook-signature`. `seconds` is what stands in `webhook-timestamp`.
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> Result<String, SignError> {
        match &self.0 {
            Scheme::Symmetric(webhook) => webhook.sign(id, seconds, body).map_err(|_| SignError::Body),
            Scheme::Asymmetric(pair) => {
                let mut signed = format!("{id}.{seconds}.").into_bytes();
                signed.extend_from_slice(body);
                Ok(format!("v1a,{}", STANDARD.encode(pair.sign(&signed))))
            }
        }
    }

    /// The key that verifies what this signs, for a receiver; none for a symmetric secret, which both sides share.
    pub fn public_key(&self) -> Option<String> {
        match &self.0 {
            Scheme::Symmetric(_) => None,
            Scheme::Asymmetric(pair) => Some(format!("{PUBLIC}{}", STANDARD.encode(pair.public_key()))),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Scheme::Symmetric(_) => "Signer(v1)",
            Scheme::Asymmetric(_) => "Signer(v1a)",
        })
    }
}

/// The three headers of a signed request, by name.
pub fn headers<'s>(
    idempotency_key: &str,
    at: Timestamp,
    body: &[u8],
    secrets: impl IntoIterator<Item = &'s Secret>,
) -> Result<[(&'static str, String); 3], SignError> {
    let (id, seconds) = (webhook_id(idempotency_key), at.0.div_euclid(1000));
    let mut items = Vec::new();
    for secret in secrets {
        items.push(Signer::new(secret)?.sign(&id, seconds, body)?);
    }
    Ok([("webhook-id", id), ("webhook-timestamp", seconds.to_string()), ("webhook-signature", items.join(" "))])
}

/// How far the time of a signed report may be off, in seconds.
const TOLERANCE_SECONDS: u64 = 300;

/// Whether one of the signatures is by one of the keys over these very bytes, at a time within five minutes of `now`. A key is
/// a symmetric secret (`whsec_…`) or a public ed25519 key (`whpk_…`). Versions that aren't known are passed over.
pub fn verify<'s>(
    (id, seconds, signatures): (&str, &str, &str),
    body: &[u8],
    now: Timestamp,
    keys: impl IntoIterator<Item = &'s Secret>,
) -> bool {
    let Ok(time) = seconds.parse::<i64>() else { return false };
    if now.0.div_euclid(1000).abs_diff(time) > TOLERANCE_SECONDS || id.contains('.') {
        return false;
    }
    keys.into_iter().any(|key| signatures.split(' ').any(|item| verifies(key, item, (id, time), body)))
}

/// Whether a report is signed by the keys of this name: the three headers `webhook-id`, `webhook-timestamp` and
/// `webhook-signature`, over its body. Reads the keys where they are; the error says why they can't be had.
pub fn verify_named(
    (secrets, name): (&Secrets, &str),
    signed: [Option<&str>; 3],
    body: &[u8],
    now: Timestamp,
) -> Result<bool, SecretError> {
    let [Some(id), Some(seconds), Some(signatures)] = signed else { return Ok(false) };
    Ok(verify((id, seconds, signatures), body, now, secrets.read(name)?.all()))
}

fn verifies(key: &Secret, item: &str, (id, seconds): (&str, i64), body: &[u8]) -> bool {
    let Some(text) = key.text() else { return false };
    if let Some(public) = text.strip_prefix(PUBLIC) {
        let Some(Ok(signature)) = item.strip_prefix("v1a,").map(|signature| STANDARD.decode(signature)) else {
            return false;
        };
        let Ok(public) = STANDARD.decode(public) else { return false };
        let mut signed = format!("{id}.{seconds}.").into_bytes();
        signed.extend_from_slice(body);
        let public = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public);
        return public.verify(&signed, &signature).is_ok();
    }
    let expected = Signer::new(key).ok().filter(|signer| matches!(signer.0, Scheme::Symmetric(_)));
    let expected = expected.and_then(|signer| signer.sign(id, seconds, body).ok());
    expected.is_some_and(|expected| bool::from(subtle::ConstantTimeEq::ct_eq(expected.as_bytes(), item.as_bytes())))
}

#[cfg(test)]
#[path = "sign_tests.rs"]
mod tests;
