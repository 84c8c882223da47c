//! Wire artefacts and configuration: what is committed is what the code embeds, and nothing in it goes without a word.

use std::collections::BTreeSet;

use consign::config::{Config, DEFAULT};
use consign::record::Topic;
use serde_json::Value as Json;

use super::repository::{fenced, none, read, texts, words_after};

#[test]
fn the_schemas_are_those_that_the_topics_embed() {
    let mut embedded = BTreeSet::new();
    for topic in Topic::ALL {
        let Some(schema) = topic.schema() else { continue };
        let path = format!("schemas/{}.avsc", topic.base_name());
        assert_eq!(read(&path), schema, "{path} is not what the topic embeds");
        if let Err(why) = apache_avro::Schema::parse_str(schema) {
            panic!("{path} is no Avro schema: {why}");
        }
        embedded.insert(path);
    }
    // Below are older versions.
    let newest = texts("schemas", ".avsc").into_iter().map(|text| text.path).filter(|p| p.matches('/').count() == 1);
    let committed: BTreeSet<String> = newest.collect();
    assert_eq!(committed, embedded, "schemas without a topic, or topics without a schema");
}

#[test]
fn every_field_of_every_schema_is_explained() {
    let mut wrong = Vec::new();
    for text in texts("schemas", ".avsc") {
        let schema: Json = serde_json::from_str(&text.content).unwrap_or_else(|e| panic!("{}: {e}", text.path));
        unexplained(&schema, &text.path, &mut wrong);
    }
    none(&wrong, "records, enums and fields without a `doc`");
}

fn unexplained(schema: &Json, place: &str, wrong: &mut Vec<String>) {
    let has_doc = |json: &Json| json["doc"].as_str().is_some_and(|doc| !doc.trim().is_empty());
    match schema {
        Json::Array(branches) => branches.iter().for_each(|branch| unexplained(branch, place, wrong)),
        Json::Object(object) => {
            let is_named = matches!(object.get("type").and_then(Json::as_str), Some("record" | "enum"));
            if is_named && !has_doc(schema) {
                wrong.push(format!("{place}: {}", object["name"]));
            }
            for field in object.get("fields").and_then(Json::as_array).into_iter().flatten() {
                let below = format!("{place}.{}", field["name"].as_str().unwrap_or("?"));
                if !has_doc(field) {
                    wrong.push(below.clone());
                }
                unexplained(&field["type"], &below, wrong);
            }
            for inner in ["type", "items", "values"].iter().filter_map(|key| object.get(*key)) {
                unexplained(inner, place, wrong);
            }
        }
        _ => {}
    }
}

/// Symbols have no docs of their own: that of their enum names each.
fn unexplained_symbols(of: &Json, place: &str, wrong: &mut Vec<String>) {
    let doc = of["doc"].as_str().unwrap_or_default();
    let words: BTreeSet<&str> = doc.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let symbols = of["symbols"].as_array().into_iter().flatten().filter_map(Json::as_str);
    wrong.extend(symbols.filter(|symbol| !words.contains(symbol)).map(|symbol| format!("{place}: {symbol}")));
}

/// What a doc may be beside the words of its field's name: it has to say something.
const EMPTY_WORDS: [&str; 16] =
    ["the", "a", "an", "of", "it", "its", "is", "set", "for", "from", "to", "in", "where", "when", "what", "this"];

/// Docs of fields that say no more than the field's name does, and symbols that no doc names.
fn saying_nothing(schema: &Json, place: &str, wrong: &mut Vec<String>) {
    match schema {
        Json::Array(branches) => branches.iter().for_each(|branch| saying_nothing(branch, place, wrong)),
        Json::Object(object) => {
            if object.get("type").and_then(Json::as_str) == Some("enum") {
                unexplained_symbols(schema, place, wrong);
            }
            for field in object.get("fields").and_then(Json::as_array).into_iter().flatten() {
                let (name, doc) = (field["name"].as_str().unwrap_or("?"), field["doc"].as_str().unwrap_or_default());
                let lower = doc.to_lowercase();
                let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
                let news =
                    words.filter(|word| !EMPTY_WORDS.contains(word) && !name.split('_').any(|part| part == *word));
                if news.count() < 2 {
                    wrong.push(format!("{place}.{name}: {doc}"));
                }
                saying_nothing(&field["type"], &format!("{place}.{name}"), wrong);
            }
            for inner in ["type", "items", "values"].iter().filter_map(|key| object.get(*key)) {
                saying_nothing(inner, place, wrong);
            }
        }
        _ => {}
    }
}

#[test]
fn docs_say_more_than_names() {
    let mut wrong = Vec::new();
    for text in texts("schemas", ".avsc").into_iter().filter(|text| text.path.matches('/').count() == 1) {
        let schema: Json = serde_json::from_str(&text.content).unwrap_or_else(|e| panic!("{}: {e}", text.path));
        saying_nothing(&schema, &text.path, &mut wrong);
    }
    none(&wrong, "docs of fields that say no more than their names, and symbols that no doc names");
    let schema = serde_json::json!({"fields": [
        {"name": "file_id", "doc": "The file.", "type": "string"},
        {"name": "e", "doc": "Whether it stands.", "type":
            {"type": "enum", "name": "E", "doc": "UP: it is up.", "symbols": ["UP", "DOWN"]}},
    ]});
    saying_nothing(&schema, "x", &mut wrong);
    assert_eq!(wrong, ["x.file_id: The file.", "x.e: DOWN"]);
}

#[test]
fn a_field_without_a_doc_is_found() {
    let mut wrong = Vec::new();
    let schema = serde_json::json!({"type": "record", "name": "R", "doc": "d", "fields": [
        {"name": "a", "doc": "d", "type": ["null", {"type": "record", "name": "S", "doc": "d", "fields": [
            {"name": "b", "type": "int"},
        ]}]},
    ]});
    unexplained(&schema, "x", &mut wrong);
    assert_eq!(wrong, ["x.a.b"]);
}

/// The names of the schemas that tests check a command's answer against: first arguments of the checks.
fn schemas_checked(code: &str) -> BTreeSet<String> {
    let code: String = code.split_whitespace().collect();
    ["check(\"", "json(\"", "answer(\""]
        .into_iter()
        .flat_map(|call| code.match_indices(call).map(|(at, _)| at + call.len()).collect::<Vec<_>>())
        .filter_map(|at| code[at..].split('"').next().map(str::to_owned))
        .collect()
}

#[test]
fn every_schema_of_an_answer_is_checked_against_what_a_command_printed() {
    let suites = ["tests/cli", "tests/cluster", "tests/gateway", "tests/predict"];
    let code: String = suites.into_iter().flat_map(|suite| texts(suite, ".rs")).map(|text| text.content).collect();
    let checked = schemas_checked(&code);
    let committed: Vec<String> = texts("docs/api/output", ".schema.json").into_iter().map(|text| text.path).collect();
    let name = |path: &String| path.trim_start_matches("docs/api/output/").trim_end_matches(".schema.json").to_owned();
    let unchecked: Vec<String> = committed.iter().filter(|path| !checked.contains(&name(path))).cloned().collect();
    none(&unchecked, "schemas that no test holds against what a command printed");
}

#[test]
fn a_check_is_found_wherever_the_line_breaks() {
    let found = schemas_checked("check(\"a\", &out); dev.json(\n    \"b-c\",\n &[]); // check(name, text)");
    assert_eq!(found, BTreeSet::from(["a", "b-c"].map(str::to_owned)));
}

#[test]
fn the_default_configuration_loads_and_explains_every_key() {
    Config::load(None, []).expect("the defaults are a configuration");
    assert_eq!(read("config/consign.toml"), DEFAULT);
    let mut wrong = Vec::new();
    let mut before = "";
    for (at, line) in DEFAULT.lines().enumerate() {
        let is_key = line.contains('=') && !line.starts_with('#');
        if (is_key || line.starts_with("[kafka.client]")) && !before.starts_with('#') && !before.is_empty() {
            wrong.push(format!("config/consign.toml:{}: {line}", at + 1));
        }
        before = line;
    }
    none(&wrong, "keys without a comment above them");
}

#[test]
fn configurations_that_are_shown_load() {
    let mut count = 0;
    for text in texts("", ".md") {
        for block in fenced(&text.content, "toml") {
            Config::load(Some(&block), []).unwrap_or_else(|e| panic!("{}: {e}\n{block}", text.path));
            count += 1;
        }
    }
    assert!(count > 0, "the documentation shows configurations");
}

/// `CONSIGN_…` variables that the commands read themselves or set for others, and those of tests.
const OTHER_VARIABLES: [&str; 6] = [
    "CONSIGN_CONFIG",
    "CONSIGN_URL",
    "CONSIGN_TOKEN",
    "CONSIGN_WRITE_GENERATED",
    // What `certify --effects` gives its command.
    "CONSIGN_KEY",
    "CONSIGN_WEBHOOK_ID",
];

#[test]
fn every_variable_that_is_mentioned_sets_a_key() {
    let defaults: toml::Table = DEFAULT.parse().expect("the defaults are TOML");
    let known: BTreeSet<String> = defaults
        .iter()
        .filter_map(|(section, keys)| Some((section, keys.as_table()?)))
        .flat_map(|(section, keys)| keys.keys().map(move |key| format!("CONSIGN_{section}_{key}").to_uppercase()))
        .chain(OTHER_VARIABLES.map(str::to_owned))
        .collect();
    let mut wrong = Vec::new();
    for text in texts("", ".md").into_iter().chain(texts("", ".yml")).chain(texts("", "Dockerfile")) {
        for variable in words_after(&text.content, "CONSIGN_", |c| c.is_ascii_uppercase() || c == '_') {
            if !known.contains(&variable) && variable != "CONSIGN_" {
                wrong.push(format!("{}: {variable}", text.path));
            }
        }
    }
    none(&wrong, "variables that set nothing");
}

#[test]
fn the_client_whose_leader_hints_are_left_out_is_the_one_that_was_read() {
    let lock = read("Cargo.lock");
    let version = lock.split("name = \"rdkafka-sys\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    assert_eq!(
        version,
        Some("4.10.0+2.12.1"),
        "another librdkafka: read docs/decisions/0088-no-leader-hints.md, look whether `rd_kafka_metadata_update_op` still \
         has the faults, still has that name and signature, and name the new version here"
    );
}
