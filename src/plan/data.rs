//! A manifest's `data`, read once: every key of an object once, and no more values than planning can bear.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Number, Value as Json};

use crate::routing::weight;

/// Most values that `data` may hold: texts, numbers, booleans, nulls, lists and objects, at every depth.
pub const MAX_VALUES: usize = 200_000;

/// What these values may take in memory, in bytes: an object of one short field takes some hundred.
pub const MAX_WEIGHT: usize = 24 * 1024 * 1024;

const TWICE: &str = "a key is there twice";

/// Why a text is refused, and where.
pub(super) struct Refused {
    fault: Fault,
    /// Its line, from 1 on.
    pub(super) line: usize,
    /// Its column, from 1 on.
    pub(super) column: usize,
}

enum Fault {
    Syntax,
    Twice,
    Values,
    Weight,
}

impl Refused {
    /// What is wrong, where it is no fault of syntax.
    pub(super) fn what(&self) -> Option<String> {
        match self.fault {
            Fault::Syntax => None,
            Fault::Twice => Some(TWICE.to_owned()),
            Fault::Values => Some(format!("more than {MAX_VALUES} values")),
            Fault::Weight => Some(format!("its values take more than {MAX_WEIGHT} bytes of memory")),
        }
    }
}

/// Reads `data`. The error says what is wrong and where, without any of it.
pub(super) fn parse(text: &str) -> Result<Json, String> {
    strict(text).map_err(|refused| {
        let what = refused.what().map_or_else(|| "`data` is no JSON".to_owned(), |what| format!("`data`: {what}"));
        format!("{what}: line {}, column {}", refused.line, refused.column)
    })
}

/// Reads a JSON text whose objects have every key once, and that has no more than [`MAX_VALUES`], of [`MAX_WEIGHT`].
pub(super) fn strict(text: &str) -> Result<Json, Refused> {
    let (left, weight) = (Cell::new(MAX_VALUES), Cell::new(MAX_WEIGHT));
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed = Strict { left: &left, weight: &weight }.deserialize(&mut deserializer);
    parsed.and_then(|json| deserializer.end().map(|()| json)).map_err(|error| {
        let fault = match error.classify() {
            // Only what is refused below is no fault of syntax.
            Category::Data if left.get() == 0 => Fault::Values,
            Category::Data if weight.get() == 0 => Fault::Weight,
            Category::Data => Fault::Twice,
            _ => Fault::Syntax,
        };
        Refused { fault, line: error.line(), column: error.column() }
    })
}

#[derive(Clone, Copy)]
struct Strict<'c> {
    /// Values that may follow.
    left: &'c Cell<usize>,
    /// What they may weigh.
    weight: &'c Cell<usize>,
}

impl Strict<'_> {
    fn weigh<E: serde::de::Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.weight.get().saturating_sub(bytes);
        self.weight.set(left);
        if left == 0 { Err(E::custom("too much memory")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        match self.left.get() {
            0 => return Err(D::Error::custom("too many values")),
            left => self.left.set(left - 1),
        }
        self.weigh(weight::VALUE)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Json, E> {
        self.weigh(value.len())?;
        Ok(Json::from(value))
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Json, E> {
        self.weigh(value.len())?;
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        self.weigh(weight::LIST)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(TWICE));
            }
            let of_table = weight::of_map(map.len() + 1) - if map.is_empty() { 0 } else { weight::of_map(map.len()) };
            self.weigh(of_table.saturating_add(key.len()))?;
            let value = entries.next_value_seed(self)?;
            map.insert(key, value);
        }
        Ok(Json::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_has_its_keys_once_is_read_as_it_is() {
        for text in [
            "null",
            "true",
            "-0",
            "18446744073709551615",
            "-9223372036854775808",
            "0.1",
            "1e2",
            r#""ü\u0000\ud83d\ude00""#,
            "[]",
            r#"{"a": [1, {"b": {"a": null}}], "": ""}"#,
        ] {
            assert_eq!(parse(text).unwrap(), serde_json::from_str::<Json>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused_at_every_depth() {
        for text in [
            r#"{"secret": 1, "secret": 1}"#,
            r#"[{"a": {"secret": 1, "b": 2, "secret": 3}}]"#,
            r#"{"a": 1, "\u0061": 2}"#,
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.contains("twice") && error.contains("line 1, column") && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn values_are_counted() {
        let list = |count: usize| format!("[{}1]", "1,".repeat(count - 2));
        assert!(parse(&list(MAX_VALUES)).is_ok());
        assert!(parse(&list(MAX_VALUES + 1)).unwrap_err().contains("more than 200000 values"));
    }

    #[test]
    fn memory_is_counted() {
        let list = |item: &str, count: usize| format!("[{}{item}]", format!("{item},").repeat(count - 1));
        assert!(parse(&list("{\"id\":1}", 25_000)).is_ok());
        let error = parse(&list("{\"id\":1}", 40_000)).unwrap_err();
        assert!(error.contains("its values take more than") && error.contains("line 1, column"), "{error}");
    }
}
