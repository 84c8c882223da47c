//! What values take in memory: an upper bound that is the same in every process, whatever the allocator, for JSON and for CEL's
//! values alike.

use serde_json::Value as Json;

/// A number, a boolean, a null, or a text beside its bytes.
pub(crate) const VALUE: usize = 64;
/// A list, beside its items.
pub(crate) const LIST: usize = 128;

/// A text of this many bytes.
pub(crate) const fn of_text(bytes: usize) -> usize {
    VALUE.saturating_add(bytes)
}

/// A map of this many entries, beside their keys and values: tables are reserved in large pieces, however few entries there are.
pub(crate) const fn of_map(entries: usize) -> usize {
    match entries {
        0 => VALUE,
        _ => entries.saturating_mul(64).saturating_add(640),
    }
}

/// A key, which stands in its map, from what it would weigh as a value.
pub(crate) const fn of_key(value: usize) -> usize {
    value.saturating_sub(VALUE - 32)
}

/// A JSON value with all that is in it.
pub(crate) fn of_json(json: &Json) -> usize {
    match json {
        Json::String(text) => of_text(text.len()),
        Json::Array(items) => items.iter().map(of_json).fold(LIST, usize::saturating_add),
        Json::Object(fields) => fields
            .iter()
            .map(|(key, value)| of_key(of_text(key.len())).saturating_add(of_json(value)))
            .fold(of_map(fields.len()), usize::saturating_add),
        _ => VALUE,
    }
}
