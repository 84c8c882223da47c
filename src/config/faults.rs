//! What is wrong with a configuration file, and where: line and column, and the key that was probably meant.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::ConfigError;

/// Keys of tables in lists, which the defaults leave empty.
const OF_LISTS: [(&str, &[&str]); 2] =
    [("gateway.tokens", &["token_sha256", "actor", "role"]), ("acks.keys", &["id", "secret_env", "secret_file"])];
/// Tables that take any key, and the keys of the tables in them.
const OPEN: [(&str, &[&str]); 7] = [
    ("content.s3", &[]),
    ("content.gcs", &[]),
    ("content.azure", &[]),
    ("kafka.client", &[]),
    ("secrets.files", &[]),
    ("secrets.variables", &[]),
    ("egress.targets", &["allow_cidrs", "allow_http"]),
];

/// Tables that take any table of any keys.
const OPEN_BELOW: [&str; 1] = ["clusters"];

/// The file can't be parsed.
pub(super) fn no_toml(file: &str, error: &toml::de::Error) -> ConfigError {
    let place = error.span().map(|span| position(file, span.start)).unwrap_or_default();
    ConfigError(format!("{place}it is no TOML: {}", error.message()))
}

/// Every key of a file that the defaults don't have, each with its place.
pub(super) fn unknown_keys(file: &str, defaults: &toml::Table) -> Result<(), ConfigError> {
    let Ok(document) = DeTable::parse(file) else { return Ok(()) };
    let mut unknown = Vec::new();
    look(document.get_ref(), defaults, "", file, &mut unknown);
    if unknown.is_empty() { Ok(()) } else { Err(ConfigError(unknown.join("\n"))) }
}

fn look(table: &DeTable<'_>, defaults: &toml::Table, path: &str, file: &str, unknown: &mut Vec<String>) {
    for (key, value) in table {
        let name: &str = key.get_ref();
        let full = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let Some(default) = defaults.get(name) else {
            unknown.push(unknown_key(file, key.span(), &full, name, defaults.keys().map(String::as_str)));
            continue;
        };
        if OPEN_BELOW.contains(&full.as_str()) {
            continue;
        }
        if let Some((_, known)) = OPEN.iter().find(|(path, _)| *path == full) {
            look_below(value.get_ref(), known, &full, file, unknown);
            continue;
        }
        match (value.get_ref(), default) {
            (DeValue::Table(below), toml::Value::Table(defaults)) => look(below, defaults, &full, file, unknown),
            (DeValue::Array(items), _) => {
                let known = OF_LISTS.iter().find(|(path, _)| *path == full).map_or(&[][..], |(_, keys)| keys);
                let tables = items.iter().filter_map(|item| item.get_ref().as_table());
                for key in tables.flat_map(DeTable::keys).filter(|key| !known.contains(&&**key.get_ref())) {
                    let name: &str = key.get_ref();
                    let full = format!("{full}.{name}");
                    unknown.push(unknown_key(file, key.span(), &full, name, known.iter().copied()));
                }
            }
            _ => {}
        }
    }
}

/// Looks at the tables in a table that takes any key.
fn look_below(open: &DeValue<'_>, known: &[&str], path: &str, file: &str, unknown: &mut Vec<String>) {
    for (name, below) in open.as_table().into_iter().flatten() {
        let keys = below.get_ref().as_table().into_iter().flat_map(DeTable::keys);
        for key in keys.filter(|key| !known.contains(&&**key.get_ref())) {
            let full = format!("{path}.{}.{}", name.get_ref(), key.get_ref());
            unknown.push(unknown_key(file, key.span(), &full, key.get_ref(), known.iter().copied()));
        }
    }
}

fn unknown_key<'k>(
    file: &str,
    span: Range<usize>,
    full: &str,
    name: &str,
    known: impl Iterator<Item = &'k str>,
) -> String {
    let meant = nearest(name, known).map(|key| format!(" (`{key}`?)")).unwrap_or_default();
    format!("{}there is no key `{full}`{meant}", position(file, span.start))
}

/// A value that a key doesn't take: names the key, and where the value came from.
pub(super) fn wrong_value(
    error: &toml::de::Error,
    file: Option<&str>,
    variables: &BTreeMap<String, String>,
) -> ConfigError {
    let why = error.message();
    let whole = error.to_string();
    let path = whole.rsplit_once("in `").and_then(|(_, rest)| rest.split_once('`')).map(|(path, _)| path.to_owned());
    let Some(path) = path else { return ConfigError(whole.trim().to_owned()) };
    let place = match (variables.get(&path), file) {
        (Some(variable), _) => format!("{variable}: "),
        (None, Some(file)) => place_of(file, &path).unwrap_or_default(),
        (None, None) => String::new(),
    };
    ConfigError(format!("{place}{path}: {why}"))
}

fn place_of(file: &str, path: &str) -> Option<String> {
    let document = DeTable::parse(file).ok()?;
    let mut table = document.get_ref();
    let mut place = None;
    for part in path.split('.') {
        let (key, value) = table.iter().find(|(key, _)| &**key.get_ref() == part)?;
        place = Some(position(file, key.span().start));
        match value.get_ref().as_table() {
            Some(below) => table = below,
            None => break,
        }
    }
    place
}

/// `line L, column C: ` of a byte.
fn position(file: &str, at: usize) -> String {
    let before = file.get(..at).unwrap_or(file);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: ")
}

/// The word that was probably meant.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let close = known.map(|key| (strsim::damerau_levenshtein(name, key), key)).filter(|(far, _)| *far <= 2);
    close.min().map(|(_, key)| key)
}
