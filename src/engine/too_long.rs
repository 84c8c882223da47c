//! Records that are longer than their topic takes. The brokers measure what is compressed, so a producer can put one on
//! an inbox that the engine could neither forward nor dead-letter as it is.

use super::intake::{Unfit, reason};
use crate::log::{Append, Headers, Record, headers_bytes, max_record_bytes};
use crate::record::header;
use crate::routing::sha256_digest;

/// What is kept of a key in bytes, where a letter is cut.
const KEY_BYTES: usize = 64 * 1024;

/// What is kept of the original headers in bytes, where a letter is cut.
const HEADERS_BYTES: usize = 64 * 1024;

/// An input that its topic wouldn't take uncompressed is never decoded.
pub(super) fn check(record: &Record) -> Result<(), Unfit> {
    let (bytes, max) = (record.bytes(), max_record_bytes(record.at.topic));
    if bytes <= max {
        return Ok(());
    }
    Err(Unfit::Dead(reason::TOO_LONG, format!("the record has {bytes} bytes uncompressed, more than {max}")))
}

/// A stray carries where it first stood, and with that may be too long to go home.
pub(super) fn check_forwarded(append: &Append) -> Result<(), Unfit> {
    if append.fits() {
        return Ok(());
    }
    Err(Unfit::Dead(reason::TOO_LONG, format!("with {} bytes it can't be forwarded home", append.bytes())))
}

/// A dead letter as it is if it fits; else cut, under the reason `too_long`, with what it was before in its headers.
pub(super) fn cut_to_fit(mut letter: Append, reason: &'static str) -> (Append, &'static str) {
    if letter.fits() {
        return (letter, reason);
    }
    // What the letter says of itself comes before the headers that the record brought.
    let (mut headers, brought): (Headers, Headers) = {
        let own = letter.headers.iter().position(|(name, _)| name == header::OFFSET).map_or(0, |at| at + 1);
        let brought = letter.headers.split_off(own);
        (letter.headers, brought)
    };
    if let Some((_, why)) = headers.iter_mut().find(|(name, _)| name == header::REASON) {
        *why = reason::TOO_LONG.into();
    }
    let mut cut = Vec::new();
    if letter.key.len() > KEY_BYTES {
        letter.key.truncate(KEY_BYTES);
        cut.push("key");
    }
    let mut room = HEADERS_BYTES;
    let count = brought.len();
    let kept: Headers = brought
        .into_iter()
        .filter(|one| {
            let bytes = headers_bytes(&vec![one.clone()]);
            let fits = bytes <= room;
            room -= if fits { bytes } else { 0 };
            fits
        })
        .collect();
    if kept.len() < count {
        cut.push("headers");
    }
    if let Some(value) = &letter.value {
        headers.push((header::FULL_BYTES.into(), value.len().to_string().into_bytes()));
        headers.push((header::FULL_SHA256.into(), sha256_digest(value).into_bytes()));
    }
    // Room for all three words: how much of the value stays must not depend on whether it is cut.
    headers.push((header::CUT.into(), b"key,headers,value".to_vec()));
    headers.extend(kept);
    letter.headers = headers;
    let over = letter.bytes().saturating_sub(max_record_bytes(letter.topic));
    if let Some(value) = letter.value.as_mut().filter(|_| over > 0) {
        value.truncate(value.len().saturating_sub(over));
        cut.push("value");
    }
    if let Some((_, words)) = letter.headers.iter_mut().find(|(name, _)| name == header::CUT) {
        *words = cut.join(",").into_bytes();
    }
    (letter, reason::TOO_LONG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::TopicPartition;
    use crate::plan;
    use crate::record::{Timestamp, Topic};

    fn letter(key: usize, value: usize, header: usize) -> Append {
        let own = [header::REASON, header::DETAIL, header::TOPIC, header::PARTITION, header::OFFSET];
        let mut headers: Headers = own.map(|name| (name.to_owned(), b"undecodable".to_vec())).into();
        headers.push(("small".into(), b"1".to_vec()));
        headers.push(("large".into(), vec![7; header]));
        let (key, value) = (vec![b'k'; key], Some(vec![b'v'; value]));
        Append { topic: Topic::DeadLetters, partition: None, key, value, headers }
    }

    fn text<'a>(letter: &'a Append, name: &str) -> Option<&'a str> {
        letter.headers.iter().find(|(n, _)| n == name).map(|(_, v)| std::str::from_utf8(v).unwrap())
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let whole = letter(10, 1_000_000, 10);
        assert_eq!(cut_to_fit(whole.clone(), reason::UNDECODABLE), (whole, reason::UNDECODABLE));
    }

    #[test]
    fn whichever_part_is_too_long_the_letter_fits_and_says_what_it_was() {
        for (key, value, header, cut) in [
            (10, 8 << 20, 10, "value"),
            (8 << 20, 10, 10, "key"),
            (10, 10, 8 << 20, "headers"),
            (8 << 20, 8 << 20, 8 << 20, "key,headers,value"),
        ] {
            let (letter, why) = cut_to_fit(letter(key, value, header), reason::UNDECODABLE);
            assert!(letter.fits());
            assert_eq!((why, text(&letter, header::REASON)), (reason::TOO_LONG, Some(reason::TOO_LONG)));
            assert_eq!(text(&letter, header::CUT), Some(cut));
            assert_eq!(text(&letter, header::FULL_BYTES), Some(value.to_string().as_str()));
            let digest = sha256_digest(&vec![b'v'; value]);
            assert_eq!(text(&letter, header::FULL_SHA256), Some(digest.as_str()));
            assert_eq!(text(&letter, "small"), Some("1"));
            assert!(value < 1_000 || letter.value.unwrap().len() > 1_500_000, "as much as fits is kept");
        }
    }

    #[test]
    fn the_largest_legal_manifest_is_not_too_long() {
        let largest = plan::MAX_DATA
            + plan::MAX_NAME
            + plan::MAX_LOCATION
            + plan::MAX_ATTRIBUTES * (plan::MAX_ATTRIBUTE + plan::MAX_ATTRIBUTE / 4)
            + (64 << 10);
        let at = TopicPartition { topic: Topic::Manifests, partition: 0 };
        let value = Some(vec![0; largest]);
        let record = Record { at, offset: 0, timestamp: Timestamp(0), key: None, value, headers: Headers::new() };
        assert!(check(&record).is_ok());
    }
}
