//! What the values are in bytes: one byte that names the form, four that check the rest, then postcard.
//! Files and plans are compressed (docs/decisions/0092-files-are-packed.md).

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::lifecycle::File;
use crate::record::murmur2;

/// Names the form of all keys and values. Raise it with any change of a type that is stored, or of the order of its parts:
/// stores of other forms are rebuilt. A test compares what is stored with what this form was when it began.
pub(super) const FORMAT: u8 = 8;

/// A file as a store keeps it: without its plan, which stands beside it while it is open.
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

/// No value comes near it: a plan has 16 MiB at most.
const PLAIN_BYTES: usize = 256 * 1024 * 1024;

pub(super) fn encode_file(file: &File, history_seq: i64) -> Vec<u8> {
    encode_packed(&KeptRef { history_seq, file })
}

pub(super) fn encode_packed<T: Serialize>(value: &T) -> Vec<u8> {
    let plain = postcard::to_stdvec(value).expect("records are of finite, known shapes");
    let mut packed = vec![0; HEAD + SIZE + lz4_flex::block::get_maximum_output_size(plain.len())];
    let size = u32::try_from(plain.len()).expect("no value comes near it");
    packed[HEAD..HEAD + SIZE].copy_from_slice(&size.to_le_bytes());
    let length = lz4_flex::block::compress_into(&plain, &mut packed[HEAD + SIZE..]).expect("the room is the maximum");
    packed.truncate(HEAD + SIZE + length);
    packed.shrink_to_fit();
    seal(packed)
}

pub(super) fn decode_file(bytes: &[u8]) -> Result<Kept, StoreError> {
    let kept: Kept = decode_packed(bytes)?;
    Ok(Kept { file: kept.file.indexed(), ..kept })
}

pub(super) fn decode_packed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    parse(&unpack(unseal(bytes)?)?)
}

/// What a value was before it was compressed.
pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
    let unpacked = bytes.split_first_chunk::<SIZE>().and_then(|(size, packed)| {
        let size = usize::try_from(u32::from_le_bytes(*size)).ok().filter(|size| *size <= PLAIN_BYTES)?;
        lz4_flex::block::decompress(packed, size).ok().filter(|plain| plain.len() == size)
    });
    unpacked.ok_or_else(|| StoreError::corrupt("a value can't be unpacked"))
}

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    seal(postcard::to_io(value, vec![0; HEAD]).expect("records are of finite, known shapes"))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    parse(unseal(bytes)?)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(StoreError::corrupt("a value is longer than it says")),
        Err(e) => Err(StoreError::corrupt(format!("a value can't be read: {e}"))),
    }
}

/// The form and the check in front of what is checked, in bytes.
const HEAD: usize = 5;
/// How long a value was before it was compressed, in bytes.
const SIZE: usize = 4;

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let check = murmur2(&bytes[HEAD..]).to_be_bytes();
    bytes[0] = FORMAT;
    bytes[1..HEAD].copy_from_slice(&check);
    bytes
}

pub(super) fn unseal(bytes: &[u8]) -> Result<&[u8], StoreError> {
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
