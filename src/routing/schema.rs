//! JSON Schemas: of a file's data, and of payloads.

use std::fmt;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value as Json;

/// A JSON Schema, ready to be asked. Patterns run in linear time; nothing is fetched.
pub struct Schema {
    file: String,
    json: Json,
    validator: Validator,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({})", self.file)
    }
}

impl Schema {
    /// Reads a schema. The error says what is wrong with it.
    pub(super) fn read(file: &str, text: &str) -> Result<Self, String> {
        let json: Json = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
        if let Some(reference) = remote_reference(&json) {
            return Err(format!("`$ref: {reference}` is outside the schema, and nothing is fetched"));
        }
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex())
            .build(&json)
            .map_err(|error| format!("it is no JSON Schema: {}", error.masked()))?;
        Ok(Self { file: file.to_owned(), json, validator })
    }

    /// The file it was read from, by the document's name for it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The schema itself.
    pub(super) fn json(&self) -> &Json {
        &self.json
    }

    /// Whether a value fits. The error names the place in the value, the rule and the place of the rule, but no values:
    /// of several the first by place.
    pub fn check(&self, value: &Json) -> Result<(), String> {
        let first = self
            .validator
            .iter_errors(value)
            .map(|error| {
                let place = error.instance_path().to_string();
                let rule = error.schema_path().to_string();
                (place, rule, error.masked().to_string())
            })
            .min();
        match first {
            None => Ok(()),
            Some((place, rule, text)) => {
                let place = if place.is_empty() { "the root" } else { &place };
                Err(format!("at {place}: {text} (rule {rule} of {})", self.file))
            }
        }
    }
}

/// A `$ref` that doesn't stay in the schema.
fn remote_reference(json: &Json) -> Option<&str> {
    match json {
        Json::Object(fields) => fields.iter().find_map(|(key, field)| match field {
            Json::String(target) if key == "$ref" || key == "$dynamicRef" => {
                (!target.starts_with('#')).then_some(target.as_str())
            }
            _ => remote_reference(field),
        }),
        Json::Array(items) => items.iter().find_map(remote_reference),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_does_not_fit_is_said_with_place_and_rule_and_without_the_value() {
        let schema = Schema::read("a.json", r#"{"properties": {"amount": {"type": "number"}}, "required": ["id"]}"#);
        let schema = schema.unwrap();
        assert_eq!(schema.check(&json!({"id": 1, "amount": 2})), Ok(()));
        let error = schema.check(&json!({"id": 1, "amount": "secret"})).unwrap_err();
        assert!(error.starts_with("at /amount: ") && error.contains("/properties/amount/type"), "{error}");
        assert!(!error.contains("secret"), "{error}");
        assert!(schema.check(&json!({})).unwrap_err().starts_with("at the root: "));
    }

    #[test]
    fn nothing_is_fetched_and_no_nonsense_taken() {
        for text in
            [r#"{"$ref": "https://schemas.example/x.json"}"#, r#"{"type": "nonsense"}"#, "{", r#"{"pattern": "("}"#]
        {
            assert!(Schema::read("a.json", text).is_err(), "{text}");
        }
        assert!(Schema::read("a.json", r##"{"$ref": "#/$defs/x", "$defs": {"x": {"type": "string"}}}"##).is_ok());
    }
}
