//! Takes out of an answer what a request held of secrets, in whatever form the target repeats them.

use crate::transport::Answer;
use crate::transport::secrets::Secret;

/// What stands where a target repeated a secret.
const REDACTED: &str = "[redacted]";
/// Shortest secret that is looked for: a shorter one would take apart what is harmless.
const MIN_REDACTED: usize = 4;

/// Redacts body and headers. It comes before anything is cut off, but for the body beyond what is read: where that ends in the
/// middle of a secret, the half of it goes too.
pub(super) fn redact(secrets: &[Secret], answer: &mut Answer) {
    for secret in secrets.iter().map(Secret::bytes).filter(|secret| secret.len() >= MIN_REDACTED) {
        answer.body = without(&answer.body, secret, answer.truncated);
        for value in answer.headers.values_mut() {
            *value = String::from_utf8_lossy(&without(value.as_bytes(), secret, false)).into_owned();
        }
    }
}

/// Replaces every occurrence of `secret`, plain or escaped as JSON and URLs do it.
fn without(bytes: &[u8], secret: &[u8], is_cut: bool) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match found(&bytes[at..], secret) {
            Found::Whole(length) => {
                kept.extend_from_slice(REDACTED.as_bytes());
                at += length;
            }
            Found::Begun if is_cut => {
                kept.extend_from_slice(REDACTED.as_bytes());
                break;
            }
            Found::Begun | Found::Nothing => {
                kept.push(bytes[at]);
                at += 1;
            }
        }
    }
    kept
}

#[derive(Debug, PartialEq)]
enum Found {
    /// The secret, in that many bytes.
    Whole(usize),
    /// The bytes end before the secret does.
    Begun,
    Nothing,
}

/// Whether bytes begin with a secret.
fn found(bytes: &[u8], secret: &[u8]) -> Found {
    if bytes.starts_with(secret) {
        return Found::Whole(secret.len());
    }
    let (mut at, mut matched) = (0, 0);
    while matched < secret.len() {
        let rest = &bytes[at..];
        // An escape may itself be cut in two.
        if rest.is_empty() || is_half_an_escape(rest) {
            return if matched >= MIN_REDACTED { Found::Begun } else { Found::Nothing };
        }
        let mut buffer = [0; 4];
        let escaped = unescaped(rest, &mut buffer).filter(|(_, text)| secret[matched..].starts_with(text));
        if let Some((length, text)) = escaped {
            at += length;
            matched += text.len();
        } else if rest[0] == secret[matched] {
            at += 1;
            matched += 1;
        } else {
            return Found::Nothing;
        }
    }
    Found::Whole(at)
}

/// The character that an escape at the beginning stands for, and the escape's length: `\/`, `\n`, `\u002B`, `%2B`.
fn unescaped<'b>(bytes: &[u8], buffer: &'b mut [u8; 4]) -> Option<(usize, &'b [u8])> {
    let hex = |digits: &[u8]| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    match bytes {
        [b'\\', b'u', digits @ ..] => {
            let character = char::from_u32(hex(digits.get(..4)?)?)?;
            Some((6, character.encode_utf8(buffer).as_bytes()))
        }
        [b'\\', letter, ..] => {
            buffer[0] = match letter {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 8,
                b'f' => 12,
                other => *other,
            };
            Some((2, &buffer[..1]))
        }
        [b'%', first, second, ..] => {
            buffer[0] = u8::try_from(hex(&[*first, *second])?).ok()?;
            Some((3, &buffer[..1]))
        }
        _ => None,
    }
}

fn is_half_an_escape(bytes: &[u8]) -> bool {
    match bytes {
        [b'\\'] => true,
        [b'\\', b'u', digits @ ..] => digits.len() < 4,
        [b'%', digits @ ..] => digits.len() < 2,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a/b+c\"d\\é";

    fn plain(bytes: &[u8], is_cut: bool) -> String {
        String::from_utf8(without(bytes, SECRET.as_bytes(), is_cut)).expect("text")
    }

    #[test]
    fn a_secret_goes_in_every_form() {
        for form in [
            SECRET,
            r#"a/b+c\"d\\é"#,
            r#"a\/b+c\"d\\\u00e9"#,
            r#"a\/b\u002Bc\"d\\é"#,
            r"\u0061\u002f\u0062\u002b\u0063\u0022\u0064\u005C\u00E9",
            "a%2Fb%2bc%22d%5C%C3%A9",
        ] {
            assert_eq!(plain(format!("<{form}{form}>").as_bytes(), false), "<[redacted][redacted]>", "{form}");
        }
        assert_eq!(plain(b"a/b+c nothing \\u00 % \\", false), "a/b+c nothing \\u00 % \\");
    }

    #[test]
    fn half_a_secret_at_the_end_of_a_cut_body_goes_too() {
        for half in ["a/b+", r"a\/b+", r"a/b\u002Bc\u00", "a%2Fb+c%"] {
            assert_eq!(plain(format!("x {half}").as_bytes(), true), "x [redacted]", "{half}");
            assert_eq!(plain(format!("x {half}").as_bytes(), false), format!("x {half}"));
        }
        assert_eq!(plain(b"x a/b", true), "x a/b", "what is shorter is harmless");
    }
}
