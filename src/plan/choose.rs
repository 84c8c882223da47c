//! Which targets a file goes to, and with which payload.

use serde_json::{Map, Value as Json};

use super::content::{self, Fetched};
use super::data::parse;
use super::failure;
use crate::record::{Arrival, Failure, TargetName};
use crate::routing::{Document, Evaluator, FileType, Target, code};

/// A target that a route picked.
pub(super) struct Chosen<'d> {
    pub(super) target: &'d TargetName,
    pub(super) definition: &'d Target,
    pub(super) after: &'d [TargetName],
    /// None where its requests carry no body.
    pub(super) payload: Option<&'d str>,
}

/// Validates the file's data, and gives what expressions see of the file: `file`, `attributes`, `data` and
/// `content`.
pub(super) fn environment(
    arrival: &Arrival,
    routing: &Document,
    fetched: Option<Fetched<'_>>,
    version: i32,
) -> Result<Evaluator, Failure> {
    let manifest = &arrival.manifest;
    let Some(file_type) = routing.file_type(&manifest.file_type) else {
        let known: Vec<&str> = routing.file_types().collect();
        let text = format!("there is no file type `{}`; there are: {}", manifest.file_type, known.join(", "));
        return Err(failure(code::FILE_TYPE, text));
    };
    let data = data(manifest.data.as_deref(), file_type, version)?;
    let attributes: Map<String, Json> =
        manifest.attributes.iter().map(|(key, value)| (key.clone(), Json::from(value.as_str()))).collect();
    let content = content::content(file_type.content.as_ref(), fetched)?.unwrap_or(Json::Null);
    let variables =
        [("file", file(arrival)), ("attributes", Json::Object(attributes)), ("data", data), ("content", content)];
    let evaluator = Evaluator::new(variables, routing.tables()).map_err(|why| failure(code::DATA, why))?;
    Ok(if version >= STRICT { evaluator.bounded() } else { evaluator })
}

/// The planner's version from which on `data` and the cost of a file's expressions are bounded.
const STRICT: i32 = 2;

fn data(text: Option<&str>, file_type: &FileType, version: i32) -> Result<Json, Failure> {
    let data = match text {
        Some(text) if version >= STRICT => parse(text).map_err(|why| failure(code::DATA, why))?,
        Some(text) => serde_json::from_str(text).map_err(|error| {
            let text = format!("`data` is no JSON: line {}, column {}", error.line(), error.column());
            failure(code::DATA, text)
        })?,
        None if file_type.schema.is_some() => {
            return Err(failure(code::DATA, "`data` is missing, and the file type has a schema for it"));
        }
        None => Json::Null,
    };
    if let Some(schema) = &file_type.schema {
        schema.check(&data).map_err(|why| failure(code::DATA_SCHEMA, format!("`data` {why}")))?;
    }
    Ok(data)
}

/// The `file` of expressions. Optional fields that the manifest leaves out are absent, so that `has(file.size)` can ask.
fn file(arrival: &Arrival) -> Json {
    let manifest = &arrival.manifest;
    let text = |text: &str| Some(Json::from(text));
    let fields = [
        ("id", text(arrival.file_id.as_str())),
        ("type", text(&manifest.file_type)),
        ("name", text(&manifest.name)),
        ("schema_version", Some(Json::from(manifest.schema_version))),
        ("location", manifest.location.as_deref().map(Json::from)),
        ("size", manifest.size.map(Json::from)),
        ("checksum", manifest.checksum.as_deref().map(Json::from)),
        ("media_type", manifest.media_type.as_deref().map(Json::from)),
        ("produced_by", text(&manifest.produced_by)),
        ("produced_at", text(&manifest.produced_at.to_string())),
    ];
    Json::Object(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

/// The targets whose route matches, in the order of the routes; for a successor, only those it is limited to.
pub(super) fn choose<'d>(
    arrival: &Arrival,
    routing: &'d Document,
    environment: &Evaluator,
) -> Result<Vec<Chosen<'d>>, Failure> {
    let only = arrival.only_targets.as_deref();
    let mut chosen = Vec::new();
    for route in routing.routes() {
        if only.is_some_and(|only| !only.contains(&route.to)) {
            continue;
        }
        let holds = |when| {
            environment
                .holds(when)
                .map_err(|why| failure(code::EVALUATION, format!("the route to `{}`: {why}", route.to)))
        };
        if let Some(when) = &route.when
            && !holds(when)?
        {
            continue;
        }
        let mut payload = None;
        for choice in &route.choices {
            if choice.when.as_ref().map_or(Ok(true), holds)? {
                payload = Some(choice.payload.as_str());
                break;
            }
        }
        if payload.is_none() && !route.choices.is_empty() {
            let text = format!("the route to `{}` matches, but none of its payloads does", route.to);
            return Err(failure(code::PAYLOAD, text));
        }
        let definition = routing.target(route.to.as_str()).expect("loading resolves the target of every route");
        chosen.push(Chosen { target: &route.to, definition, after: &route.after, payload });
    }
    check_choice(arrival, &chosen)?;
    Ok(chosen)
}

fn check_choice(arrival: &Arrival, chosen: &[Chosen<'_>]) -> Result<(), Failure> {
    let lost = arrival.only_targets.iter().flatten().find(|only| !chosen.iter().any(|choice| choice.target == *only));
    if let Some(lost) = lost {
        let text = format!("the file is resubmitted to `{lost}`, which no route picks any more");
        return Err(failure(code::LOST_TARGET, text));
    }
    if chosen.is_empty() {
        let text = format!("no route matches this file of type `{}`", arrival.manifest.file_type);
        return Err(failure(code::NO_ROUTE, text));
    }
    Ok(())
}
