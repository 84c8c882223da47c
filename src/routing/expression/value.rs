//! Between JSON and CEL's values.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::objects::{Key, Opaque};
use cel::{ExecutionError, Value};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::{Map, Number, Value as Json};

use crate::routing::table::Table;

/// The name of the function that reads tables.
pub(super) const LOOKUP: &str = "lookup";

/// The CEL value of a JSON value.
pub(super) fn from_json(json: &Json) -> Result<Value, String> {
    cel::to_value(Cel(json)).map_err(|error| format!("this JSON has no CEL value: {error}"))
}

/// JSON on its way into CEL. CEL's own conversion makes every positive integer a uint, which `+ 1` doesn't take.
struct Cel<'a>(&'a Json);

impl Serialize for Cel<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Number(number) => match as_int(number) {
                Some(int) => serializer.serialize_i64(int),
                None => serializer.serialize_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => serializer.serialize_str(text),
            Json::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Cel(item))?;
                }
                list.end()
            }
            Json::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, field) in fields {
                    map.serialize_entry(key, &Cel(field))?;
                }
                map.end()
            }
        }
    }
}

/// The integer that a number is, whatever its spelling (`1`, `1.0`, `1e0`); none if it has a fraction or doesn't fit.
fn as_int(number: &Number) -> Option<i64> {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    number.as_i64().or_else(|| {
        let double = number.as_f64().filter(|_| !number.is_u64())?;
        #[allow(clippy::cast_possible_truncation)]
        let int = double as i64;
        (double.fract() == 0.0 && (-TWO_TO_63..TWO_TO_63).contains(&double)).then_some(int)
    })
}

/// The JSON value of a CEL value; the error names the kind of value that has none.
pub(super) fn to_json(value: &Value) -> Result<Json, String> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(int) => Json::from(*int),
        Value::UInt(uint) => Json::from(*uint),
        Value::Float(double) => Number::from_f64(*double).map(Json::Number).ok_or("this number is not finite")?,
        Value::String(text) => Json::String(text.as_str().to_owned()),
        Value::List(items) => Json::Array(items.iter().map(to_json).collect::<Result<_, _>>()?),
        Value::Map(map) => {
            let mut fields = Map::new();
            for (key, field) in map.map.iter() {
                let Key::String(key) = key else { return Err("a JSON object has only texts as keys".to_owned()) };
                fields.insert(key.as_str().to_owned(), to_json(field)?);
            }
            Json::Object(fields)
        }
        other => return Err(format!("{} has no JSON form", type_name(other))),
    })
}

/// What a value is called in messages.
pub(super) const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Int(_) => "an int",
        Value::UInt(_) => "a uint",
        Value::Float(_) => "a double",
        Value::String(_) => "a text",
        Value::Bytes(_) => "a value of bytes",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
        _ => "a value of this type",
    }
}

/// The items that a comprehension goes through: a list's items, a map's keys in order.
pub(super) fn items(range: Value) -> Result<Arc<Vec<Value>>, ExecutionError> {
    match range {
        Value::List(items) => Ok(items),
        Value::Map(map) => {
            let mut keys: Vec<&Key> = map.map.keys().collect();
            keys.sort();
            Ok(Arc::new(keys.into_iter().map(Value::from).collect()))
        }
        other => Err(ExecutionError::UnexpectedType { got: other.type_of().to_string(), want: "list".to_owned() }),
    }
}

/// What a sum weighs: its texts in bytes, eight for any other value.
pub(super) fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.iter().map(weight).fold(8, usize::saturating_add),
        Value::Map(map) => map.map.values().map(weight).fold(8, usize::saturating_add),
        _ => 8,
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Omit;

impl Opaque for Omit {
    fn runtime_type_name(&self) -> &'static str {
        "omit"
    }
}

/// `omit()`.
pub(super) fn omit() -> Value {
    Value::Opaque(Arc::new(Omit))
}

/// Whether a value is that of `omit()`.
pub(super) fn is_omit(value: &Value) -> bool {
    matches!(value, Value::Opaque(opaque) if opaque.downcast_ref::<Omit>().is_some())
}

/// `lookup(table, key)`: the row of that key as a map of texts by column. A key that isn't there gives a row without
/// columns, so that `has(lookup(…).column)` can ask.
pub(super) fn lookup(tables: &BTreeMap<String, Table>, table: &str, key: &Value) -> Result<Value, ExecutionError> {
    let table =
        tables.get(table).ok_or_else(|| ExecutionError::function_error(LOOKUP, format!("finds no table `{table}`")))?;
    let key = match key {
        Value::String(text) => text.as_str().to_owned(),
        Value::Int(int) => int.to_string(),
        Value::UInt(uint) => uint.to_string(),
        other => {
            let text = format!("takes a text or an integer as key, not {}", type_name(other));
            return Err(ExecutionError::function_error(LOOKUP, text));
        }
    };
    let empty = BTreeMap::new();
    let row = table.row(&key).unwrap_or(&empty);
    cel::to_value(row).map_err(|error| ExecutionError::function_error(LOOKUP, error))
}
