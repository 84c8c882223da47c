//! JSON Schemas: of a file's data, and of payloads.

use std::fmt;

use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value as Json;

use super::weight;

/// From what a value weighs on, in bytes, not all of its faults are looked for.
const LARGE: usize = 1024 * 1024;

/// A JSON Schema, ready to be asked. Patterns run in linear time; nothing is fetched.
pub struct Schema {
    file: String,
    json: Json,
    validator: Validator,
    has_alternatives: bool,
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
        let has_alternatives = has_alternatives(&json);
        Ok(Self { file: file.to_owned(), json, validator, has_alternatives })
    }

    /// The file it was read from, by the document's name for it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The schema itself.
    pub(super) fn json(&self) -> &Json {
        &self.json
    }

    /// Whether a value fits. The error names the place in the value, the rule and the place of the rule, but no values: of several the
    /// first by place. Every fault takes some hundred bytes, so that of a large value only the first is looked for that the rules come to;
    /// where they are alternatives, which look for all faults of each, none is.
    pub fn check(&self, value: &Json) -> Result<(), String> {
        if weight::of_json(value) <= LARGE {
            let first = self.validator.iter_errors(value).map(|error| fault(&error)).min();
            return first.map_or(Ok(()), |first| Err(self.said(&first)));
        }
        if self.validator.is_valid(value) {
            return Ok(());
        }
        if self.has_alternatives {
            return Err(format!("is too large to say where it doesn't fit {}", self.file));
        }
        self.validator.validate(value).map_err(|error| self.said(&fault(&error)))
    }

    fn said(&self, (place, rule, text): &(String, String, String)) -> String {
        let place = if place.is_empty() { "the root" } else { place };
        format!("at {place}: {text} (rule {rule} of {})", self.file)
    }
}

/// Where a value doesn't fit, by which rule, and how.
fn fault(error: &ValidationError<'_>) -> (String, String, String) {
    (error.instance_path().to_string(), error.schema_path().to_string(), error.masked().to_string())
}

/// Whether a value may fit one of several schemas.
fn has_alternatives(json: &Json) -> bool {
    match json {
        Json::Object(fields) => {
            fields.iter().any(|(key, field)| ["anyOf", "oneOf"].contains(&key.as_str()) || has_alternatives(field))
        }
        Json::Array(items) => items.iter().any(has_alternatives),
        _ => false,
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
