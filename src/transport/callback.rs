//! The URL by which a target reports back on an attempt.

use std::fmt::Write as _;

use crate::record::DispatchAttempt;

/// Where the gateway takes callbacks, below its base.
pub const CALLBACKS: &str = "/v1/callbacks";

/// `{base}/v1/callbacks/{file_id}/{target}?attempt={n}`, and `&receipt={seal}` where a receipt is asked for: by it a gateway, which
/// holds no plans, knows the right digest again. It shows nothing but whose it is: the token stands elsewhere.
pub(super) fn callback_url(base: &str, attempt: &DispatchAttempt, seal: Option<&str>) -> String {
    let (file_id, target) = (encoded(attempt.file_id.as_str()), encoded(attempt.target.as_str()));
    let base = base.trim_end_matches('/');
    // A seal is of unreserved characters.
    let receipt = seal.map(|seal| format!("&receipt={seal}")).unwrap_or_default();
    format!("{base}{CALLBACKS}/{file_id}/{target}?attempt={}{receipt}", attempt.attempt)
}

/// A path segment: whatever isn't unreserved (RFC 3986, section 2.3) is percent-encoded.
fn encoded(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a text can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::FileId;
    use crate::transport::testing;

    #[test]
    fn a_file_id_of_any_letters_is_one_segment() {
        let mut attempt = testing::attempt(&testing::plan("http://h/"), 2);
        attempt.file_id = FileId::trusted("a?b#c%d~1");
        let url = callback_url("https://consign.example/", &attempt, None);
        assert_eq!(url, "https://consign.example/v1/callbacks/a%3Fb%23c%25d~1/a?attempt=2");
        assert_eq!(callback_url("https://consign.example", &attempt, Some("k.a-_")), format!("{url}&receipt=k.a-_"));
    }
}
