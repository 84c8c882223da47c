//! The verified bytes of a file as expressions see them: `content`.
//!
//! What a few bytes can swell to is bounded: a long name of a column stands in every row.

use serde_json::{Map, Value as Json};

use super::data::strict;
use super::failure;
use crate::record::{Arrival, FILE_TARGET, Failure, Fetch, Outcome};
use crate::routing::{ContentRule, DataFormat, Document, code, sha256_digest, weight};

/// Most rows of CSV, lines of NDJSON.
pub const MAX_ROWS: usize = 10_000;
/// Most columns of CSV.
pub const MAX_COLUMNS: usize = 256;
/// What names and values may take together once every row has its names, in bytes.
pub const MAX_SWOLLEN: usize = 4 * 1024 * 1024;
/// What the values of `content` may take in memory, in bytes: a map of one short field takes some hundred, whatever it says.
pub const MAX_CONTENT_WEIGHT: usize = 16 * 1024 * 1024;
/// How deeply JSON may nest.
pub const MAX_DEPTH: usize = 64;
/// How far a back-off may exceed its schedule, in percent.
const JITTER_PERCENT: i32 = 20;
/// How far two clocks of the group may be apart, in milliseconds.
const CLOCK_SKEW_MS: i64 = 5_000;

/// What was fetched of a file, and found to be what was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched<'a> {
    /// `sha256:` and hex.
    pub digest: &'a str,
    /// The bytes; `None` where they aren't there, or were only checked.
    pub bytes: Option<&'a [u8]>,
}

/// How the bytes of an announced file are fetched before it is planned; `None` where its type doesn't ask for them. The error is
/// why the file fails validation: there is no place to fetch from.
pub fn fetch_of(arrival: &Arrival, routing: &Document) -> Result<Option<Fetch>, Failure> {
    let manifest = &arrival.manifest;
    let Some(rule) = routing.content_rule(&manifest.file_type) else { return Ok(None) };
    if manifest.location.is_none() {
        let text = format!("files of type `{}` are fetched, and the manifest has no location", manifest.file_type);
        return Err(failure(code::CONTENT_MISSING, text));
    }
    let ContentRule { format, max_size, attempts, schedule_ms, within_ms } = rule.clone();
    Ok(Some(Fetch {
        max_size,
        keep: format.is_some(),
        attempts,
        schedule_ms,
        jitter_percent: JITTER_PERCENT,
        request_ms: within_ms,
        max_clock_skew_ms: CLOCK_SKEW_MS,
        file_deadline: super::file_deadline(arrival, routing),
    }))
}

/// What a successful report of a fetch says of a file's bytes. The engine believes no report that contradicts the manifest, or
/// itself: the error is why.
pub fn fetched<'a>(arrival: &Arrival, outcome: &'a Outcome) -> Result<Fetched<'a>, Failure> {
    let wrong = |text: String| Err(failure(code::CONTENT_MISSING, text));
    debug_assert_eq!(outcome.target.as_str(), FILE_TARGET);
    let Some(digest) = outcome.received_digest.as_deref() else {
        return wrong("the report of its bytes has no digest".to_owned());
    };
    let bytes = outcome.content.as_ref().map(|content| &content.0[..]);
    if let Some(expected) = arrival.manifest.checksum.as_deref().filter(|expected| *expected != digest) {
        return wrong(format!("its bytes: expected {expected}, found {digest}"));
    }
    if bytes.is_some_and(|bytes| sha256_digest(bytes) != digest) {
        return wrong("the bytes that were reported are others than their digest says".to_owned());
    }
    Ok(Fetched { digest, bytes })
}

/// The `content` of expressions; `None` where the file's type has none.
pub(super) fn content(rule: Option<&ContentRule>, fetched: Option<Fetched<'_>>) -> Result<Option<Json>, Failure> {
    let Some(format) = rule.and_then(|rule| rule.format) else { return Ok(None) };
    let Some(bytes) = fetched.and_then(|fetched| fetched.bytes) else {
        return Err(failure(code::CONTENT_MISSING, "the routing document reads its bytes, and they aren't there"));
    };
    read(format, bytes)
        .map(Some)
        .map_err(|why| failure(code::CONTENT, format!("its bytes are no {}: {why}", name(format))))
}

fn name(format: DataFormat) -> &'static str {
    match format {
        DataFormat::Json => "JSON",
        DataFormat::Ndjson => "NDJSON",
        DataFormat::Csv => "CSV",
    }
}

/// Counts what rows take in memory while they are read.
#[derive(Default)]
struct Weight(usize);

impl Weight {
    fn add(&mut self, row: &Json) -> Result<(), String> {
        self.0 = self.0.saturating_add(weight::of_json(row));
        if self.0 > MAX_CONTENT_WEIGHT {
            return Err(format!("its values take more than {MAX_CONTENT_WEIGHT} bytes of memory"));
        }
        Ok(())
    }
}

fn read(format: DataFormat, bytes: &[u8]) -> Result<Json, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| format!("byte {} is no UTF-8", e.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match format {
        DataFormat::Json => json(text, 1).and_then(|json| Weight::default().add(&json).map(|()| json)),
        DataFormat::Ndjson => ndjson(text),
        DataFormat::Csv => csv(text),
    }
}

fn json(text: &str, first_line: usize) -> Result<Json, String> {
    let json = strict(text).map_err(|refused| {
        let what = refused.what().map_or_else(String::new, |what| what + ": ");
        format!("{what}line {}, column {}", refused.line + first_line - 1, refused.column)
    })?;
    if depth(&json) > MAX_DEPTH {
        return Err(format!("it nests more than {MAX_DEPTH} deep"));
    }
    Ok(json)
}

/// Never deeper than serde's own limit, so that it may recurse.
fn depth(json: &Json) -> usize {
    match json {
        Json::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Json::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn ndjson(text: &str) -> Result<Json, String> {
    let (mut items, mut weight) = (Vec::new(), Weight::default());
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        if items.len() == MAX_ROWS {
            return Err(format!("it has more than {MAX_ROWS} lines"));
        }
        let item = json(line, at + 1)?;
        weight.add(&item)?;
        items.push(item);
    }
    Ok(Json::Array(items))
}

fn csv(text: &str) -> Result<Json, String> {
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let wrong = |e: &csv::Error| {
        let line = e.position().map_or(1, csv::Position::line);
        match e.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("line {line} has {len} columns, the first has {expected_len}")
            }
            _ => format!("line {line} can't be read"),
        }
    };
    let names: Vec<String> = reader.headers().map_err(|e| wrong(&e))?.iter().map(str::to_owned).collect();
    if names.len() > MAX_COLUMNS {
        return Err(format!("it has {} columns, more than {MAX_COLUMNS}", names.len()));
    }
    let mut sorted = names.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) || names.iter().any(String::is_empty) {
        return Err("a column has no name, or two have one".to_owned());
    }
    let (mut swollen, mut weight) = (0, Weight::default());
    let mut rows = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|e| wrong(&e))?;
        if rows.len() == MAX_ROWS {
            return Err(format!("it has more than {MAX_ROWS} rows"));
        }
        let fields: Map<String, Json> =
            names.iter().zip(&row).map(|(name, value)| (name.clone(), Json::from(value))).collect();
        swollen += fields.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum::<usize>();
        if swollen > MAX_SWOLLEN {
            return Err(format!("its rows with their names take more than {MAX_SWOLLEN} bytes"));
        }
        let row = Json::Object(fields);
        weight.add(&row)?;
        rows.push(row);
    }
    Ok(Json::Array(rows))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_three_formats_are_read() {
        for (format, text, expected) in [
            (DataFormat::Json, "\u{feff}{\"a\": [1, 2.5]}", json!({"a": [1, 2.5]})),
            (DataFormat::Ndjson, "{\"a\":1}\n\n[2]\r\n", json!([{"a": 1}, [2]])),
            (DataFormat::Ndjson, "", json!([])),
            (
                DataFormat::Csv,
                "id,name\n1,\"a, b\"\n2,\n",
                json!([{"id": "1", "name": "a, b"}, {"id": "2", "name": ""}]),
            ),
            (DataFormat::Csv, "id\n", json!([])),
            (DataFormat::Csv, "", json!([])),
        ] {
            assert_eq!(read(format, text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_content_says_where() {
        for (format, bytes, says) in [
            (DataFormat::Json, &b"{\"a\":"[..], "line 1, column 5"),
            (DataFormat::Json, b"\xff", "byte 0 is no UTF-8"),
            (DataFormat::Json, b"1 2", "line 1, column 3"),
            (DataFormat::Json, b"1e400", "line 1"),
            (DataFormat::Json, b"NaN", "line 1, column 1"),
            (DataFormat::Json, br#""\ud800""#, "line 1"),
            (DataFormat::Json, br#"{"a": 1, "a": 1}"#, "a key is there twice: line 1"),
            (DataFormat::Ndjson, b"{}\n{]\n", "line 2, column 2"),
            (DataFormat::Ndjson, b"{}\n[{\"a\": 1, \"a\": 2}]\n", "twice: line 2"),
            (DataFormat::Csv, b"a,b\n1\n", "line 2 has 1 columns, the first has 2"),
            (DataFormat::Csv, b"a,a\n", "a column has no name, or two have one"),
            (DataFormat::Csv, b"a,,c\n", "a column has no name, or two have one"),
        ] {
            let why = read(format, bytes).unwrap_err();
            assert!(why.contains(says), "{}: {why}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn bombs_are_refused_before_they_go_off() {
        let limit = usize::try_from(crate::routing::MAX_READ_CONTENT).unwrap();
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        let very_deep = "[".repeat(limit);
        let name = "n".repeat(limit / 2);
        // A name of half the file in each of the rows that the other half has room for.
        let wide = format!("{name}\n{}", "1\n".repeat(limit / 4 - 1));
        let columns = (0..=MAX_COLUMNS).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let rows = "1\n".repeat(MAX_ROWS + 2);
        let columns_of = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let cells = format!("{}\n{}", columns_of(MAX_COLUMNS), (",".repeat(MAX_COLUMNS - 1) + "\n").repeat(1_000));
        for (format, text) in [
            (DataFormat::Json, deep.as_str()),
            (DataFormat::Json, &very_deep),
            (DataFormat::Csv, &wide),
            (DataFormat::Csv, &columns),
            (DataFormat::Csv, &rows),
            (DataFormat::Csv, &cells),
            (DataFormat::Ndjson, &rows),
        ] {
            assert!(text.len() <= limit && read(format, text.as_bytes()).is_err(), "{format:?}");
        }
    }
}
