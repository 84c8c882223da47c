//! The commands that answer before anything is sent, as the binary runs them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value as Json;

use crate::answer::check;

fn consign(args: &[&str]) -> Output {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Command::new(env!("CARGO_BIN_EXE_consign")).args(args).current_dir(root).output().unwrap()
}

fn exit(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

const ROUTING: [&str; 2] = ["--routing", "config/routing.yaml"];

fn with_routing<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [args, &ROUTING].concat()
}

/// A command's answer as JSON, which fits the command's schema.
#[track_caller]
fn answer(command: &str, output: &Output) -> Json {
    check(command, &text(output))
}

#[test]
fn plan_shows_every_target_with_its_reason() {
    let output = consign(&with_routing(&["plan", "config/examples/04-one-to-many.json", "--at", "1767225600000"]));
    assert_eq!(exit(&output), 0);
    let shown = text(&output);
    assert!(
        shown.contains("to billing: `file.type in ['invoice', 'statement', 'order']`; payload announcement"),
        "{shown}"
    );
    assert!(shown.contains("not to crm: `file.type == 'contact'` doesn't hold"), "{shown}");
    let output = consign(&with_routing(&["plan", "config/examples/04-one-to-many.json", "--output", "json"]));
    let json = answer("plan", &output);
    assert_eq!(json["dispatches"].as_array().unwrap().len(), 3);
    assert_eq!(json["not_chosen"].as_array().unwrap().len(), 6);
    let output = consign(&with_routing(&["plan", "config/examples/10-validation-failure.json"]));
    assert_eq!(exit(&output), 1);
    assert!(text(&output).contains("fails validation: CG123"));
    assert_eq!(exit(&consign(&["plan", "nowhere.json", "--routing", "nowhere.yaml"])), 2);
}

#[test]
fn simulate_takes_a_record_in_the_transaction_as_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let document = "file_types: {entry: {}}\npayloads: {all: {body: {id: \"=file.id\"}}}\ntargets:\n  \
        books: {owner: team-b, kafka: {topic: books.in, in_transaction: true}, confirmed_by: transport}\n\
        routes:\n  - {to: books, payload: all}\n";
    fs::write(path("routing.yaml"), document).unwrap();
    let manifest = r#"{"file_id": "e-1", "schema_version": 1, "file_type": "entry", "name": "e"}"#;
    fs::write(path("e.json"), manifest).unwrap();
    let simulate = |script: &[&str]| {
        let (file, routing) = (path("e.json"), path("routing.yaml"));
        let fixed = ["simulate", &file, "--routing", &routing, "--output", "json"];
        consign(&[&fixed[..], script].concat())
    };
    let output = simulate(&["--script", "books: ok"]);
    let json = answer("simulate", &output);
    assert_eq!((exit(&output), json["end"]["what"].as_str().unwrap()), (0, "COMPLETED"));
    assert_eq!(json["attempts"].as_array().unwrap().len(), 1);
    // Nothing leaves the fate of such a record unknown, so nobody will have to decide about that.
    let bounds = answer("simulate", &simulate(&[]));
    let because: Vec<&str> =
        bounds["person"].as_array().unwrap().iter().map(|p| p["because"].as_str().unwrap()).collect();
    assert_eq!(because, ["budget_spent", "file_overdue"]);
    let refused = simulate(&["--script", "books: timeout"]);
    assert_eq!(exit(&refused), 2);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is there with its attempt"));
}

#[test]
fn simulate_ends_as_the_file_does() {
    let simulate = |example: &str, script: &str| {
        let path = format!("config/examples/{example}.json");
        consign(&with_routing(&["simulate", &path, "--script", script, "--output", "json"]))
    };
    for (example, script, code, end) in [
        ("01-one-to-one", "billing: ok", 0, "COMPLETED"),
        ("08-rejected-and-resubmitted", "partner: 422", 1, "FAILED"),
        ("09-held-and-confirmed", "legacy: timeout", 5, "person"),
    ] {
        let output = simulate(example, script);
        let json = answer("simulate", &output);
        assert_eq!((exit(&output), json["end"]["what"].as_str().unwrap()), (code, end), "{example}");
    }
    assert_eq!(exit(&simulate("01-one-to-one", "elsewhere: ok")), 2);
    assert_eq!(exit(&simulate("01-one-to-one", "billing: maybe")), 2);
    let output = consign(&with_routing(&["simulate", "config/examples/01-one-to-one.json", "--output", "json"]));
    let json = answer("simulate", &output);
    assert_eq!((exit(&output), json["most_requests"]["billing"]["by_itself"].as_i64()), (0, Some(8)));
}

#[test]
fn diff_ends_with_no_where_the_change_is_breaking() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = fs::read_to_string("config/routing.yaml").unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for sub in ["schemas", "tables"] {
        fs::create_dir_all(folder.path().join("examples").join(sub)).unwrap();
        for entry in fs::read_dir(format!("config/examples/{sub}")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join("examples").join(sub).join(entry.file_name())).unwrap();
        }
    }
    let same = write("same.yaml", &shipped.replace("owner: team-crm", "owner: team-sales"));
    let output = consign(&["routing", "diff", "config/routing.yaml", &same]);
    assert_eq!(exit(&output), 0);
    assert!(text(&output).contains("owner: team-crm → team-sales") && text(&output).ends_with("not breaking\n"));
    let other = write("other.yaml", &shipped.replace("amount: \"=data.amount\"", "amount: \"=data.amount * 2\""));
    let history = write(
        "history.jsonl",
        "{\"file_id\": \"a\", \"schema_version\": 2, \"file_type\": \"invoice\", \
        \"name\": \"a\", \"data\": {\"account_id\": \"A-100\", \"amount\": 1}}\n{\"file_id\": \"b\", \"schema_version\": 1, \
        \"file_type\": \"note\", \"name\": \"b\"}\n",
    );
    let output =
        consign(&["routing", "diff", "config/routing.yaml", &other, "--history", &history, "--output", "json"]);
    assert_eq!(exit(&output), 1);
    let json = answer("routing-diff", &output);
    assert_eq!((json["breaking"].as_bool(), json["answers"]["routing"].as_bool()), (Some(true), Some(true)));
    assert_eq!(json["answers"]["retry_semantics"].as_bool(), Some(false));
    assert_eq!(json["history"]["files"].as_i64(), Some(2));
    assert_eq!(json["history"]["changed"][0]["changed"][0].as_str(), Some("billing"));
    let output = consign(&["routing", "diff", "config/routing.yaml", &other, "--history", "consign.outcomes"]);
    assert_eq!(exit(&output), 2);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("consign.outcomes is no file that is there, and the topic of arrivals is `consign.arrivals`"),
        "{told}"
    );
    let faulty = write("faulty.yaml", "targets: {}");
    assert_eq!(exit(&consign(&["routing", "diff", "config/routing.yaml", &faulty])), 2);
}

/// A document that reads the bytes of its files, an order that announces some, and the bytes; gives their paths.
fn with_content(folder: &std::path::Path) -> [String; 3] {
    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text).unwrap();
        folder.join(name).to_str().unwrap().to_owned()
    };
    let document = "file_types: {order: {content: {format: csv, attempts: 3, schedule: [1s]}}}\n\
        payloads: {p: {body: {lines: '=size(content)'}}}\n\
        targets: {a: {owner: o, http: {url: 'http://a.invalid'}, confirmed_by: {response: status == 200}}}\n\
        routes: [{to: a, payload: p}]\n";
    let order = "{\"file_id\": \"o-1\", \"schema_version\": 1, \"file_type\": \"order\", \"name\": \"o-1\", \
        \"location\": \"https://files.invalid/o-1\", \"size\": 5}\n";
    [write("content.yaml", document), write("order.json", order), write("order.csv", "id\n7\n")]
}

#[test]
fn simulate_shows_the_fetch_with_its_attempts() {
    let folder = tempfile::tempdir().unwrap();
    let [routing, order, bytes] = with_content(folder.path());
    let simulate =
        |more: &[&str]| consign(&[&["simulate", &order, "--routing", &routing, "--output", "json"], more].concat());
    let output = simulate(&["--content", &bytes, "--script", "~file: 503 retry-after 7s, ok; a: ok"]);
    let json = answer("simulate", &output);
    assert_eq!((exit(&output), json["end"]["what"].as_str()), (0, Some("COMPLETED")));
    assert_eq!((json["requests"]["~file"].as_i64(), json["requests"]["a"].as_i64()), (Some(2), Some(1)));
    assert_eq!(json["end"]["at"].as_i64().unwrap() - json["began"].as_i64().unwrap(), 7_000);
    assert_eq!(json["steps"][0]["target"].as_str(), Some("~file"));
    assert!(json["file"]["content_digest"].as_str().is_some());
    let output = simulate(&["--content", &bytes]);
    let json = answer("simulate", &output);
    assert_eq!((exit(&output), json["most_requests"]["~file"]["by_itself"].as_i64()), (0, Some(3)));
    // Without the bytes nobody knows the plan; a fetch that fails needs none.
    let output = simulate(&["--script", "a: ok"]);
    assert_eq!(exit(&output), 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--content FILE"), "{output:?}");
    assert_eq!(exit(&simulate(&[])), 2);
    let output = simulate(&["--script", "~file: 404"]);
    let json = answer("simulate", &output);
    assert_eq!((exit(&output), json["end"]["failure"]["code"].as_str()), (1, Some("CG150")));
    let others = folder.path().join("others.csv");
    fs::write(&others, "id\n70\n").unwrap();
    let output = simulate(&["--content", others.to_str().unwrap()]);
    assert_eq!((exit(&output), answer("simulate", &output)["failure"]["code"].as_str()), (1, Some("CG150")));
    assert_eq!(exit(&simulate(&["--content", &bytes, "--script", "~file: 200 then rejected"])), 2);
}

#[test]
fn a_history_whose_bytes_are_not_there_is_not_provable() {
    let folder = tempfile::tempdir().unwrap();
    let [routing, order, _] = with_content(folder.path());
    let other = folder.path().join("other.yaml");
    fs::write(&other, fs::read_to_string(&routing).unwrap().replace("size(content)", "size(content) + 1")).unwrap();
    let diff = |new: &str, more: &[&str]| {
        let paths = [&["routing", "diff", &routing, new, "--history", &order], more].concat();
        consign(&paths)
    };
    let output = diff(other.to_str().unwrap(), &["--output", "json"]);
    let json = answer("routing-diff", &output);
    assert_eq!(json["history"]["changed"].as_array().map(Vec::len), Some(0));
    assert_eq!(json["history"]["not_provable"][0]["file_id"].as_str(), Some("o-1"));
    let shown = text(&diff(other.to_str().unwrap(), &[]));
    assert!(shown.contains("o-1: not provable: the file's bytes aren't recorded"), "{shown}");
}
