//! Between JSON and CEL's values.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelType, CelUInt, Kind,
};
use cel::common::value::{CowVal, Val};
use cel::objects::Opaque;
use cel::{ExecutionError, Value};
use serde_json::{Map, Number, Value as Json};

use super::cost::Room;
use super::shared;
use crate::routing::table::Table;
use crate::routing::weight;

/// The name of the function that reads tables.
pub(super) const LOOKUP: &str = "lookup";

/// The CEL value of a JSON value, which is taken apart on the way. CEL's own conversion makes every positive integer a uint, which
/// `+ 1` doesn't take.
pub(super) fn from_json(json: Json) -> Box<dyn Val> {
    match json {
        Json::Null => Box::new(CelNull),
        Json::Bool(value) => Box::new(CelBool::from(value)),
        Json::Number(number) => match as_int(&number) {
            Some(int) => Box::new(CelInt::from(int)),
            None => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Json::String(text) => shared::text(text),
        Json::Array(items) => shared::list(items.into_iter().map(from_json).collect()),
        Json::Object(fields) => {
            shared::map(fields.into_iter().map(|(key, field)| (CelMapKey::from(key), from_json(field))))
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

/// The JSON value of a CEL value, as far as there is `room` for it; the error names the kind of value that has none, or says that
/// there is no room. What a list or a map shares in CEL is there as often in JSON as it is named: a short expression can
/// make very much of little.
pub(super) fn to_json(value: &dyn Val, room: &Room<'_>) -> Result<Json, String> {
    room.take(weight::VALUE)?;
    Ok(match value.get_type().kind() {
        Kind::NullType => Json::Null,
        Kind::Boolean => value.downcast_ref::<CelBool>().map_or(Json::Null, |value| Json::Bool(*value.inner())),
        Kind::Int => value.downcast_ref::<CelInt>().map_or(Json::Null, |int| Json::from(*int.inner())),
        Kind::UInt => value.downcast_ref::<CelUInt>().map_or(Json::Null, |uint| Json::from(*uint.inner())),
        Kind::Double => value
            .downcast_ref::<CelDouble>()
            .and_then(|double| Number::from_f64(*double.inner()))
            .map(Json::Number)
            .ok_or("this number is not finite")?,
        Kind::String => {
            let text = value.downcast_ref::<CelString>().map(CelString::inner).unwrap_or_default();
            room.take_text(text)?;
            Json::String(text.to_owned())
        }
        Kind::Type => Json::from(value.downcast_ref::<CelType>().map(CelType::name).unwrap_or_default()),
        Kind::List => {
            let items = value.downcast_ref::<CelList>().map(CelList::inner).unwrap_or_default();
            room.take(weight::LIST)?;
            Json::Array(items.iter().map(|item| to_json(item.as_ref(), room)).collect::<Result<_, _>>()?)
        }
        Kind::Map => {
            let mut entries = Vec::new();
            if let Some(map) = value.downcast_ref::<CelMap>() {
                room.take(weight::of_map(map.inner().len()))?;
                entries.extend(map.inner().iter());
            }
            // In order, so that the first that has no JSON is the same one everywhere.
            entries.sort_unstable_by_key(|(key, _)| *key);
            let mut fields = Map::new();
            for (key, field) in entries {
                let CelMapKey::String(key) = key else { return Err("a JSON object has only texts as keys".to_owned()) };
                room.take_text(key.inner())?;
                fields.insert(key.inner().to_owned(), to_json(field.as_ref(), room)?);
            }
            Json::Object(fields)
        }
        _ => return Err(format!("{} has no JSON form", type_name(value))),
    })
}

/// What a value is called in messages.
pub(super) fn type_name(value: &dyn Val) -> &'static str {
    type_name_of(&stand_in(value))
}

/// What a value is called in messages.
pub(super) const fn type_name_of(value: &Value) -> &'static str {
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

/// A value of the same type: errors carry values, and no large one is copied for a message that names its type alone.
pub(super) fn stand_in(value: &dyn Val) -> Value {
    match value.get_type().kind() {
        Kind::NullType => Value::Null,
        Kind::Boolean => Value::Bool(false),
        Kind::Int => Value::Int(0),
        Kind::UInt => Value::UInt(0),
        Kind::Double => Value::Float(0.0),
        Kind::String | Kind::Type => Value::String(Arc::default()),
        Kind::Bytes => Value::Bytes(Arc::default()),
        Kind::List => Value::List(Arc::default()),
        Kind::Map => Value::Map(cel::objects::Map { map: Arc::default() }),
        _ => omit(),
    }
}

/// The items that a comprehension goes through: a list as it is, a map's keys in order.
pub(super) fn items<'c, 'v>(range: CowVal<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> {
    if range.downcast_ref::<CelList>().is_some() {
        return Ok(range);
    }
    let Some(map) = range.downcast_ref::<CelMap>() else {
        return Err(ExecutionError::UnexpectedType {
            got: range.get_type().name().to_owned(),
            want: "list".to_owned(),
        });
    };
    let mut keys: Vec<&CelMapKey<'_>> = map.inner().keys().collect();
    keys.sort();
    let keys = keys.into_iter().filter_map(|key| shared::share(key.inner())).collect();
    Ok(CowVal::Owned(shared::list(keys)))
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
pub(super) fn is_omit(value: &dyn Val) -> bool {
    value.get_type().kind() == Kind::Opaque && Value::try_from(value).is_ok_and(|value| is_omitted(&value))
}

/// Whether a value is that of `omit()`.
pub(super) fn is_omitted(value: &Value) -> bool {
    matches!(value, Value::Opaque(opaque) if opaque.downcast_ref::<Omit>().is_some())
}

/// What has been written of a leaf, on its way out of the evaluation.
#[derive(Debug, PartialEq, Eq)]
struct Written(Json);

impl Opaque for Written {
    fn runtime_type_name(&self) -> &'static str {
        "written"
    }
}

/// JSON as a value.
pub(super) fn written(json: Json) -> Value {
    Value::Opaque(Arc::new(Written(json)))
}

/// The JSON that a value is.
pub(super) fn into_written(value: Value) -> Option<Json> {
    let Value::Opaque(opaque) = value else { return None };
    let any: Arc<dyn Any + Send + Sync> = opaque;
    any.downcast::<Written>().ok().and_then(Arc::into_inner).map(|written| written.0)
}

/// The key of `lookup(table, key)` as it stands in the table.
pub(super) fn table_key(key: &dyn Val) -> Result<String, ExecutionError> {
    if let Some(text) = key.downcast_ref::<CelString>() {
        return Ok(text.inner().to_owned());
    }
    let int = key.downcast_ref::<CelInt>().map(|int| int.inner().to_string());
    int.or_else(|| key.downcast_ref::<CelUInt>().map(|uint| uint.inner().to_string())).ok_or_else(|| {
        let text = format!("takes a text or an integer as key, not {}", type_name(key));
        ExecutionError::function_error(LOOKUP, text)
    })
}

/// The row of a key, if there is one.
pub(super) fn row<'t>(
    tables: &'t BTreeMap<String, Table>,
    table: &str,
    key: &str,
) -> Result<Option<&'t BTreeMap<String, String>>, ExecutionError> {
    let known = tables.get(table);
    let known = known.ok_or_else(|| ExecutionError::function_error(LOOKUP, format!("finds no table `{table}`")))?;
    Ok(known.row(key))
}

/// What the map of a row takes in memory.
pub(super) fn weight_of_row(row: &BTreeMap<String, String>) -> usize {
    row.iter()
        .map(|(column, value)| weight::of_text(column.len()).saturating_add(weight::of_text(value.len())))
        .fold(weight::of_map(row.len()), usize::saturating_add)
}

/// A row as a map of texts by column. A key that isn't there gives a row without columns, so that `has(lookup(…).column)` can ask.
pub(super) fn row_map(row: Option<&BTreeMap<String, String>>) -> Box<dyn Val> {
    let cells = row.into_iter().flatten();
    shared::map(cells.map(|(column, value)| (CelMapKey::from(column.clone()), shared::text(value.clone()))))
}
