//! What the values are in bytes: one byte that names the form, four that check the rest, then postcard, or a body as it is.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::lifecycle::File;
use crate::record::murmur2;

/// Names the form of all keys and values. Raise it with any change of a type that is stored, or of the order of its parts:
/// stores of other forms are rebuilt. A test compares what is stored with what this form was when it began.
pub(super) const FORMAT: u8 = 6;

/// A file as a store keeps it: without the bodies of its requests, which stand beside it while it is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Sequence number of its newest history record; 0 before the first.
    pub history_seq: i64,
    /// The file.
    pub file: File,
}

#[derive(Serialize)]
struct KeptRef<'a> {
    history_seq: i64,
    file: &'a File,
}

pub(super) fn encode_file(file: &File, history_seq: i64) -> Vec<u8> {
    encode(&KeptRef { history_seq, file })
}

pub(super) fn decode_file(bytes: &[u8]) -> Result<Kept, StoreError> {
    let kept: Kept = decode(bytes)?;
    Ok(Kept { file: kept.file.indexed(), ..kept })
}

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    seal(postcard::to_io(value, vec![0; HEAD]).expect("records are of finite, known shapes"))
}

pub(super) fn encode_body(body: &[u8]) -> Vec<u8> {
    seal([&[0; HEAD], body].concat())
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    match postcard::take_from_bytes(unseal(bytes)?) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(StoreError::corrupt("a value is longer than it says")),
        Err(e) => Err(StoreError::corrupt(format!("a value can't be read: {e}"))),
    }
}

pub(super) fn decode_body(bytes: &[u8]) -> Result<&[u8], StoreError> {
    unseal(bytes)
}

/// The form and the check in front of what is checked, in bytes.
const HEAD: usize = 5;

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let check = murmur2(&bytes[HEAD..]).to_be_bytes();
    bytes[0] = FORMAT;
    bytes[1..HEAD].copy_from_slice(&check);
    bytes
}

fn unseal(bytes: &[u8]) -> Result<&[u8], StoreError> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Err(StoreError::corrupt("a value is too short"));
    };
    if head[0] != FORMAT {
        return Err(StoreError::corrupt(format!("a value has the form {}, not {FORMAT}", head[0])));
    }
    if head[1..] != murmur2(rest).to_be_bytes() {
        return Err(StoreError::corrupt("a value isn't what was written"));
    }
    Ok(rest)
}
