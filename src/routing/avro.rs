//! Avro payloads: a registered schema, named by subject, version and id, and bytes in the framing of Confluent.

use apache_avro::Schema as Avro;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::Value as Json;

use super::Document;

/// What a document says of a schema that is registered: planning believes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The payload that is written with it.
    pub payload: String,
    /// The file with the schema.
    pub file: String,
    /// The subject.
    pub subject: String,
    /// The version of the subject, from 1 on.
    pub version: i32,
    /// The id of the schema.
    pub id: u32,
    /// The schema, as JSON text.
    pub schema: String,
}

impl Document {
    /// The schemas of all payloads in Avro, in the order of the payloads' names.
    pub fn registrations(&self) -> Vec<Registration> {
        let avro = self.payloads.iter().filter_map(|(name, payload)| Some((name, payload.avro.as_ref()?)));
        avro.map(|(name, schema)| Registration {
            payload: name.clone(),
            file: schema.file.clone(),
            subject: schema.subject.clone(),
            version: schema.version,
            id: schema.id,
            schema: schema.json.to_string(),
        })
        .collect()
    }
}

/// A schema as it is registered. The document says its id, so that planning asks nobody.
#[derive(Debug)]
pub(crate) struct AvroSchema {
    file: String,
    pub(super) subject: String,
    pub(super) version: i32,
    pub(super) id: u32,
    pub(super) json: Json,
    schema: Avro,
}

impl PartialEq for AvroSchema {
    /// Two are one where they are registered as one and say the same.
    fn eq(&self, other: &Self) -> bool {
        (&self.subject, self.version, self.id, &self.json) == (&other.subject, other.version, other.id, &other.json)
    }
}

/// Why a schema can't be used.
pub(super) fn read(text: &str) -> Result<(Json, Avro), String> {
    let json: Json = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    if has_map(&json) {
        return Err(
            "its `map` has no order, so that two processes would give other bytes: take an array of records".into()
        );
    }
    let schema = Avro::parse_str(text).map_err(|error| format!("it is no Avro schema: {error}"))?;
    GenericDatumWriter::builder(&schema).build().map_err(|error| format!("it is not whole: {error}"))?;
    Ok((json, schema))
}

fn has_map(schema: &Json) -> bool {
    match schema {
        Json::Object(fields) => {
            fields.get("type").is_some_and(|kind| kind == "map")
                || fields.iter().any(|(name, field)| !["default", "doc"].contains(&name.as_str()) && has_map(field))
        }
        Json::Array(items) => items.iter().any(has_map),
        _ => false,
    }
}

impl AvroSchema {
    pub(super) fn new(file: &str, (json, schema): (Json, Avro), (subject, version, id): (String, i32, u32)) -> Self {
        Self { file: file.to_owned(), subject, version, id, json, schema }
    }

    /// The framed bytes of a value: a zero byte, the schema's id, and the value in Avro. The error names no values.
    pub(crate) fn encode(&self, json: &Json) -> Result<Vec<u8>, String> {
        if let (Avro::Record(record), Json::Object(fields)) = (&self.schema, json) {
            let missing = |name: &str| !fields.contains_key(name);
            let mut needed = record.fields.iter().filter(|field| field.default.is_none());
            if let Some(field) = needed.find(|field| missing(&field.name)) {
                return Err(format!("at /{}: it is missing (rule of {})", field.name, self.file));
            }
        }
        let unfit = || format!("doesn't fit the Avro schema {}", self.file);
        let value = Value::try_from(json.clone()).map_err(|_| unfit())?;
        let value = value.resolve(&self.schema).map_err(|_| unfit())?;
        let kept = Json::try_from(value.clone()).map_err(|_| unfit())?;
        if let Some(place) = lost(json, &kept) {
            return Err(format!("at {place}: the Avro schema {} has no place for it", self.file));
        }
        let writer = GenericDatumWriter::builder(&self.schema).build().map_err(|_| unfit())?;
        let datum = writer.write_value_to_vec(value).map_err(|_| unfit())?;
        let mut bytes = Vec::with_capacity(5 + datum.len());
        bytes.push(0);
        bytes.extend_from_slice(&self.id.to_be_bytes());
        bytes.extend_from_slice(&datum);
        Ok(bytes)
    }
}

/// The first place of a value that isn't in what is kept of it.
fn lost(json: &Json, kept: &Json) -> Option<String> {
    match (json, kept) {
        (Json::Object(fields), Json::Object(kept)) => fields.iter().find_map(|(name, field)| match kept.get(name) {
            None => Some(format!("/{name}")),
            Some(kept) => lost(field, kept).map(|below| format!("/{name}{below}")),
        }),
        (Json::Array(items), Json::Array(kept)) => items
            .iter()
            .zip(kept)
            .enumerate()
            .find_map(|(i, (item, kept))| lost(item, kept).map(|below| format!("/{i}{below}"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(text: &str) -> AvroSchema {
        AvroSchema::new("a.avsc", read(text).unwrap(), ("a-value".into(), 1, 258))
    }

    const ENTRY: &str = r#"{"type": "record", "name": "Entry", "fields": [
        {"name": "id", "type": "string"},
        {"name": "amount", "type": "double"},
        {"name": "count", "type": "long", "default": 1},
        {"name": "note", "type": ["null", "string"], "default": null},
        {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
            {"name": "sku", "type": "string"}]}}, "default": []},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["IN", "OUT"]}, "default": "IN"}]}"#;

    #[test]
    fn bytes_are_framed_and_in_the_order_of_the_schema() {
        let bytes =
            schema(ENTRY).encode(&json!({"note": "n", "amount": 2, "id": "ab", "lines": [{"sku": "s"}]})).unwrap();
        let mut expected = vec![0, 0, 0, 1, 2, 4, b'a', b'b'];
        expected.extend_from_slice(&2_f64.to_le_bytes());
        expected.extend_from_slice(&[2, 2, 2, b'n', 2, 2, b's', 0, 0]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_does_not_fit_is_said_without_values() {
        for (value, said) in [
            (json!({"id": "secret"}), "at /amount: it is missing"),
            (json!({"id": "secret", "amount": "secret"}), "doesn't fit the Avro schema a.avsc"),
            (json!({"id": "x", "amount": 1, "secret-less": 1}), "at /secret-less: "),
            (json!({"id": "x", "amount": 1, "lines": [{"sku": "s", "more": 1}]}), "at /lines/0/more: "),
            (json!({"id": "x", "amount": 1, "kind": "secret"}), "doesn't fit"),
            (json!({"id": "x", "amount": 1, "count": 1.5}), "doesn't fit"),
            (json!([1]), "doesn't fit"),
        ] {
            let error = schema(ENTRY).encode(&value).unwrap_err();
            assert!(error.contains(said) && !error.contains("secret\""), "{value}: {error}");
        }
    }

    #[test]
    fn schemas_without_an_order_or_a_meaning_are_refused() {
        for text in [
            "{",
            r#"{"type": "nonsense"}"#,
            r#"{"type": "map", "values": "int"}"#,
            r#"{"type": "record", "name": "R", "fields": [{"name": "m", "type": {"type": "map", "values": "int"}}]}"#,
            r#"{"type": "record", "name": "R", "fields": [{"name": "m", "type": "Elsewhere"}]}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
