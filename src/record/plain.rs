//! Avro binary by the shape of a Rust type, without looking at a schema.
//!
//! Avro's binary form holds no names and no types: the fields of a record follow each other in the order of the schema. Our
//! records are the twins of their schemas, field by field in the same order, so the type alone says what comes next. What
//! is not that simple has no place here: of unions only `["null", X]`, of enums only those without values, in the order of
//! the schema. A test walks every schema and holds its bytes against those of the Avro library.
//! [Decision 64](../../docs/decisions/0064-avro-by-shape.md) says what it gains.

use std::fmt::Display;

use serde::de::value::U32Deserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};
use serde::ser::{self, Serialize};

/// Why a value has no such bytes, or bytes are no such value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct PlainError(String);

impl ser::Error for PlainError {
    fn custom<T: Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

impl de::Error for PlainError {
    fn custom<T: Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

fn wrong<T>(text: &str) -> Result<T, PlainError> {
    Err(PlainError(text.to_owned()))
}

/// Appends a value.
pub(super) fn write<T: Serialize>(out: &mut Vec<u8>, value: &T) -> Result<(), PlainError> {
    value.serialize(&mut Writer(out))
}

/// Reads a value from the beginning of some bytes; gives how many follow it.
pub(super) fn read<'de, T: de::Deserialize<'de>>(bytes: &'de [u8]) -> Result<(T, usize), PlainError> {
    let mut reader = Reader { left: bytes };
    let value = T::deserialize(&mut reader)?;
    Ok((value, reader.left.len()))
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn long(&mut self, number: i64) {
        let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
        while rest >= 0x80 {
            self.0.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        self.0.push(rest.to_le_bytes()[0]);
    }

    fn length(&mut self, length: usize) {
        self.long(i64::try_from(length).expect("no value has 2^63 parts"));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Begins an array or a map of so many entries, in one block.
    fn block(&mut self, length: Option<usize>) -> Result<Block<'_>, PlainError> {
        let Some(length) = length else { return wrong("the number of entries is known before the first") };
        if length > 0 {
            self.length(length);
        }
        Ok(Block(Writer(self.0)))
    }
}

macro_rules! no_such_type {
    ($($method:ident($($type:ty),*) -> $result:ty,)+) => {
        $(fn $method(self $(, _: $type)*) -> Result<$result, PlainError> {
            wrong(concat!("no record has a field for ", stringify!($method)))
        })+
    };
}

type Impossible = ser::Impossible<(), PlainError>;

impl<'a> ser::Serializer for &'a mut Writer<'_> {
    type Ok = ();
    type Error = PlainError;
    type SerializeSeq = Block<'a>;
    type SerializeMap = Block<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeTuple = Impossible;
    type SerializeTupleStruct = Impossible;
    type SerializeTupleVariant = Impossible;
    type SerializeStructVariant = Impossible;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<(), PlainError> {
        self.0.push(u8::from(value));
        Ok(())
    }

    fn serialize_i32(self, value: i32) -> Result<(), PlainError> {
        self.long(i64::from(value));
        Ok(())
    }

    fn serialize_i64(self, value: i64) -> Result<(), PlainError> {
        self.long(value);
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), PlainError> {
        self.bytes(value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), PlainError> {
        self.bytes(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), PlainError> {
        self.long(0);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), PlainError> {
        self.long(1);
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Result<(), PlainError> {
        self.long(i64::from(index));
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), PlainError> {
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Block<'a>, PlainError> {
        self.block(length)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Block<'a>, PlainError> {
        self.block(length)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, PlainError> {
        Ok(Fields(Writer(self.0)))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), PlainError> {
        wrong("an enum of a record has no values")
    }

    no_such_type! {
        serialize_i8(i8) -> (),
        serialize_i16(i16) -> (),
        serialize_u8(u8) -> (),
        serialize_u16(u16) -> (),
        serialize_u32(u32) -> (),
        serialize_u64(u64) -> (),
        serialize_f32(f32) -> (),
        serialize_f64(f64) -> (),
        serialize_char(char) -> (),
        serialize_unit() -> (),
        serialize_unit_struct(&'static str) -> (),
        serialize_tuple(usize) -> Impossible,
        serialize_tuple_struct(&'static str, usize) -> Impossible,
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Impossible,
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Impossible,
    }
}

/// An array or a map in the making: one block, and the empty one that ends it.
struct Block<'a>(Writer<'a>);

impl ser::SerializeSeq for Block<'_> {
    type Ok = ();
    type Error = PlainError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PlainError> {
        value.serialize(&mut self.0)
    }

    fn end(mut self) -> Result<(), PlainError> {
        self.0.long(0);
        Ok(())
    }
}

impl ser::SerializeMap for Block<'_> {
    type Ok = ();
    type Error = PlainError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), PlainError> {
        key.serialize(&mut self.0)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PlainError> {
        value.serialize(&mut self.0)
    }

    fn end(mut self) -> Result<(), PlainError> {
        self.0.long(0);
        Ok(())
    }
}

/// A record in the making.
struct Fields<'a>(Writer<'a>);

impl ser::SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = PlainError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), PlainError> {
        value.serialize(&mut self.0)
    }

    fn end(self) -> Result<(), PlainError> {
        Ok(())
    }
}

struct Reader<'de> {
    left: &'de [u8],
}

impl<'de> Reader<'de> {
    fn byte(&mut self) -> Result<u8, PlainError> {
        let Some((byte, rest)) = self.left.split_first() else { return wrong("the bytes end in the midst of a value") };
        self.left = rest;
        Ok(*byte)
    }

    fn long(&mut self) -> Result<i64, PlainError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        wrong("a number has more than 64 bits")
    }

    fn bytes(&mut self) -> Result<&'de [u8], PlainError> {
        let length = self.long()?;
        match usize::try_from(length).ok().and_then(|length| self.left.split_at_checked(length)) {
            Some((bytes, rest)) => {
                self.left = rest;
                Ok(bytes)
            }
            None => wrong("a text or a body is longer than the bytes that are left"),
        }
    }

    fn text(&mut self) -> Result<&'de str, PlainError> {
        std::str::from_utf8(self.bytes()?).map_err(|e| PlainError(e.to_string()))
    }
}

macro_rules! not_asked_for {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, PlainError> {
            wrong(concat!("no record has a field for ", stringify!($method)))
        })+
    };
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = PlainError;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PlainError> {
        match self.byte()? {
            0 => visitor.visit_bool(false),
            1 => visitor.visit_bool(true),
            _ => wrong("a boolean is neither 0 nor 1"),
        }
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PlainError> {
        let Ok(number) = i32::try_from(self.long()?) else { return wrong("an int has more than 32 bits") };
        visitor.visit_i32(number)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PlainError> {
        visitor.visit_i64(self.long()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PlainError> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PlainError> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PlainError> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PlainError> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PlainError> {
        match self.long()? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            _ => wrong("a union of null and something has no third branch"),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &str, visitor: V) -> Result<V::Value, PlainError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PlainError> {
        visitor.visit_seq(Blocks { reader: self, left: 0, ended: false })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PlainError> {
        visitor.visit_map(Blocks { reader: self, left: 0, ended: false })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PlainError> {
        visitor.visit_seq(InOrder { reader: self, left: fields.len() })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PlainError> {
        let index = u32::try_from(self.long()?).ok().filter(|index| (*index as usize) < variants.len());
        let Some(index) = index else { return wrong("an enum has no such symbol") };
        let variant: U32Deserializer<PlainError> = index.into_deserializer();
        visitor.visit_enum(variant)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &str, _: V) -> Result<V::Value, PlainError> {
        wrong("no record has a field for nothing")
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, PlainError> {
        wrong("no record has a field for a tuple")
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &str, _: usize, _: V) -> Result<V::Value, PlainError> {
        wrong("no record has a field for a tuple")
    }

    not_asked_for! {
        deserialize_any deserialize_i8 deserialize_i16 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_f32 deserialize_f64 deserialize_char deserialize_unit deserialize_identifier deserialize_ignored_any
    }
}

/// The fields of a record, one after the other.
struct InOrder<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for InOrder<'_, 'de> {
    type Error = PlainError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, PlainError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The entries of an array or a map: blocks of them, until an empty one.
struct Blocks<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: u64,
    ended: bool,
}

impl Blocks<'_, '_> {
    /// Whether an entry follows.
    fn go_on(&mut self) -> Result<bool, PlainError> {
        if self.left == 0 && !self.ended {
            let count = self.reader.long()?;
            if count < 0 {
                // The block says how many bytes it has, for readers that pass over it.
                self.reader.long()?;
            }
            self.left = count.unsigned_abs();
            self.ended = self.left == 0;
            // Every entry of ours takes at least a byte.
            if self.left > self.reader.left.len() as u64 {
                return wrong("an array or a map has more entries than bytes are left");
            }
        }
        Ok(!self.ended)
    }
}

impl<'de> de::SeqAccess<'de> for Blocks<'_, 'de> {
    type Error = PlainError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, PlainError> {
        if !self.go_on()? {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> de::MapAccess<'de> for Blocks<'_, 'de> {
    type Error = PlainError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, PlainError> {
        if !self.go_on()? {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, PlainError> {
        seed.deserialize(&mut *self.reader)
    }
}

#[cfg(test)]
mod tests;
