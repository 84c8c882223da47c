//! One spelling for one value: JSON with sorted keys and no white space, and digests over it.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};
use sha2::{Digest, Sha256};

/// Compact JSON in which the keys of every object are sorted by their UTF-8 bytes.
///
/// Two values that are equal have the same bytes, whatever order a map kept its keys in.
pub fn canonical_json(value: &(impl Serialize + ?Sized)) -> String {
    Canonical::default().write(value)
}

/// The same without the fields that are null, at any depth, so that an optional field that a later version adds changes no
/// digest; and without these fields of the value itself.
pub fn canonical_record(record: &(impl Serialize + ?Sized), left_out: &'static [&'static str]) -> String {
    Canonical { leaves_out_nulls: true, left_out, ..Canonical::default() }.write(record)
}

/// `sha256:` and 64 hex digits.
pub fn sha256_digest(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(71);
    out.push_str("sha256:");
    for byte in Sha256::digest(bytes) {
        out.extend([byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)])));
    }
    out
}

/// Writes JSON as it is serialized, into room of its own: what an object holds is put in order when it ends.
#[derive(Default)]
struct Canonical {
    out: Vec<u8>,
    /// The objects that are being written: where each begins, and the number of its first field.
    open: Vec<(usize, usize)>,
    /// The fields of those objects.
    fields: Vec<Field>,
    /// Where an object is put in order.
    ordered: Vec<u8>,
    leaves_out_nulls: bool,
    left_out: &'static [&'static str],
}

/// Where a field of an object stands: its key with quotation marks from `start`, the value from behind the colon.
#[derive(Clone, Copy)]
struct Field {
    start: usize,
    value: usize,
    end: usize,
}

impl Field {
    /// The key as it is spelled in JSON, without quotation marks.
    fn key(self, out: &[u8]) -> &[u8] {
        &out[self.start + 1..self.value - 2]
    }
}

impl Canonical {
    fn write(mut self, value: &(impl Serialize + ?Sized)) -> String {
        let mut serializer = Serializer::with_formatter(io::sink(), &mut self);
        value.serialize(&mut serializer).expect("what is planned and recorded has text keys and can be JSON");
        String::from_utf8(self.out).expect("JSON is text")
    }

    fn is_left_out(&self, field: Field) -> bool {
        let is_null = self.leaves_out_nulls && &self.out[field.value..field.end] == b"null";
        is_null || (self.open.len() == 1 && self.left_out.iter().any(|name| name.as_bytes() == field.key(&self.out)))
    }

    fn end_field(&mut self) {
        let end = self.out.len();
        let field = self.fields.last_mut().expect("a value belongs to a field");
        field.end = end;
        let field = *field;
        if self.is_left_out(field) {
            self.out.truncate(field.start);
            self.fields.pop();
        }
    }

    fn end_object(&mut self) {
        let (start, first) = self.open.pop().expect("it began");
        let Self { out, fields, ordered, .. } = self;
        fields[first..].sort_by(|one, other| compare(one.key(out), other.key(out)));
        ordered.clear();
        ordered.push(b'{');
        for (nth, field) in fields.drain(first..).enumerate() {
            if nth > 0 {
                ordered.push(b',');
            }
            ordered.extend_from_slice(&out[field.start..field.end]);
        }
        ordered.push(b'}');
        out.truncate(start);
        out.extend_from_slice(ordered);
    }
}

/// Keys in the order of their UTF-8 bytes, which escaped ones don't show.
fn compare(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    if one.contains(&b'\\') || other.contains(&b'\\') { plain(one).cmp(&plain(other)) } else { one.cmp(other) }
}

fn plain(key: &[u8]) -> String {
    serde_json::from_slice(&[b"\"", key, b"\""].concat()).expect("it was written as JSON")
}

/// What is written as [`CompactFormatter`] does it, but for the room that it is written to.
macro_rules! plainly {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        fn $method<W: ?Sized + io::Write>(&mut self, _: &mut W, $($argument: $type),*) -> io::Result<()> {
            CompactFormatter.$method(&mut self.out, $($argument),*)
        }
    )*};
}

impl Formatter for &mut Canonical {
    plainly! {
        write_null();
        write_bool(value: bool);
        write_i8(value: i8);
        write_i16(value: i16);
        write_i32(value: i32);
        write_i64(value: i64);
        write_i128(value: i128);
        write_u8(value: u8);
        write_u16(value: u16);
        write_u32(value: u32);
        write_u64(value: u64);
        write_u128(value: u128);
        write_f32(value: f32);
        write_f64(value: f64);
        write_number_str(value: &str);
        begin_string();
        end_string();
        write_string_fragment(fragment: &str);
        write_char_escape(escape: CharEscape);
        write_byte_array(value: &[u8]);
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        write_raw_fragment(fragment: &str);
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.open.push((self.out.len(), self.fields.len()));
        Ok(())
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W, _first: bool) -> io::Result<()> {
        let start = self.out.len();
        self.fields.push(Field { start, value: start, end: start });
        Ok(())
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.out.push(b':');
        let value = self.out.len();
        self.fields.last_mut().expect("a value has a key").value = value;
        Ok(())
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.end_field();
        Ok(())
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        Canonical::end_object(self);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    /// A map with these keys in this order.
    struct Ones<'a>(&'a [&'a str]);

    impl Serialize for Ones<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().map(|key| (key, 1)))
        }
    }

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let value: Json = serde_json::from_str(r#"{ "b": [ {"z": 1, "a": "\u00e9\n"} ], "a": 1.5 }"#).unwrap();
        assert_eq!(canonical_json(&value), "{\"a\":1.5,\"b\":[{\"a\":\"é\\n\",\"z\":1}]}");
    }

    #[test]
    fn keys_are_sorted_as_they_are_and_not_as_they_are_escaped() {
        let keys = ["", "\u{1}", " ", "\"", "!", "#", "A", "\\", "]", "a", "a!", "aa", "é", "\u{1f600}"];
        let mut sorted = keys;
        sorted.sort_unstable();
        let as_written: Vec<String> = sorted.iter().map(|key| format!("{}:1", json!(key))).collect();
        assert_eq!(canonical_json(&Ones(&keys)), format!("{{{}}}", as_written.join(",")));
        sorted.reverse();
        assert_eq!(canonical_json(&Ones(&sorted)), format!("{{{}}}", as_written.join(",")));
    }

    #[test]
    fn a_record_has_neither_nulls_nor_what_is_left_out_of_itself() {
        let value = json!({
            "z": null, "y": {"n": null, "x": [null, {"n": null}], "left": 1}, "left": {"a": null}, "a": "null", "e": {},
        });
        assert_eq!(canonical_record(&value, &["left"]), r#"{"a":"null","e":{},"y":{"left":1,"x":[null,{}]}}"#);
        assert_eq!(canonical_json(&json!({"b": null, "a": [null]})), r#"{"a":[null],"b":null}"#);
    }

    #[test]
    fn what_is_no_object_is_written_too() {
        assert_eq!(canonical_json(&json!([1, -2, 1.0, "a\u{0}", true, null])), r#"[1,-2,1.0,"a\u0000",true,null]"#);
        assert_eq!(canonical_json("text"), r#""text""#);
    }

    #[test]
    fn a_digest_names_its_algorithm() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256_digest(b""), empty);
    }
}
