//! The commands that work on a cluster itself, as they are typed: what they print is what their schemas say, and how
//! they end.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use consign::record::Topic;
use serde_json::Value;

use crate::answer::check;

/// What a command did.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A prefix of one test's own on the servers that the environment names.
struct Place {
    folder: tempfile::TempDir,
    prefix: String,
}

impl Place {
    fn new(test: &str) -> Self {
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let place =
            Self { folder: tempfile::tempdir().unwrap(), prefix: format!("{test}-{}-{nanos}.", std::process::id()) };
        place.write("consign.toml", &place.configuration(3));
        place
    }

    fn configuration(&self, home_partitions: i32) -> String {
        format!(
            "[kafka]\nprefix = \"{}\"\n[topics]\nhome_partitions = {home_partitions}\nreplication = 1\n\
             [gateway]\nlisten = \"127.0.0.1:0\"\n",
            self.prefix
        )
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consign"));
        command.args(arguments).current_dir(self.folder.path()).env("CONSIGN_CONFIG", "consign.toml");
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Runs a command with `--output json`, whose answer must be of the schema and whose exit code must be this.
    #[track_caller]
    fn json(&self, schema: &str, code: i32, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--output", "json"]].concat());
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
        check(schema, &ran.out)
    }
}

/// Checks the exit code, and that standard error says each of these.
#[track_caller]
fn says(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    for word in words {
        assert!(ran.err.contains(word), "`{word}` is not in: {}", ran.err);
    }
}

fn length(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}

const ROUTING: &str = "file_types: {note: {}}\npayloads: {all: {body: {id: '=file.id'}}}\n\
    targets: {post: {owner: me, http: {url: 'http://127.0.0.1:1/'}, confirmed_by: {response: 'status == 200'}}}\n\
    routes: [{to: post, payload: all}]\n";

const NOTE: &str = r#"{"file_id": "note-1", "schema_version": 1, "file_type": "note", "name": "n"}"#;

#[test]
fn an_installation_is_set_up_with_what_is_typed() {
    let place = Place::new("set-up");
    place.write("routing.yaml", ROUTING);
    nothing_is_there_yet(&place);
    let registered = place.json("schemas-register", 0, &["schemas", "register"]);
    assert!(registered["subjects"].as_array().unwrap().iter().all(|s| s["already_there"] == false), "{registered:#}");
    let again = place.json("schemas-register", 0, &["schemas", "register"]);
    assert!(again["subjects"].as_array().unwrap().iter().all(|s| s["already_there"] == true), "{again:#}");
    assert_eq!(length(&place.json("schemas-check", 0, &["schemas", "check"])["differences"]), 0);

    let planned = place.json("topics-apply", 0, &["topics", "apply", "--dry-run"]);
    let done = place.json("topics-apply", 0, &["topics", "apply"]);
    assert_eq!(
        (length(&planned["mended"]), &planned["mended"]),
        (12, &done["mended"]),
        "a dry run says what will be done"
    );
    assert_eq!(length(&place.json("topics-apply", 0, &["topics", "apply"])["mended"]), 0);
    assert_eq!(length(&place.json("topics-check", 0, &["topics", "check"])["differences"]), 0);

    what_readers_look_up_must_be_registered(&place, &again);
    says(&place.run(&["run"]), 2, &["CG402", "no routing document is in force", "consign routing apply FILE"]);
    place.write("note.json", NOTE);
    for command in ["plan", "simulate"] {
        let refused = place.run(&[command, "note.json"]);
        says(&refused, 4, &["CG402", "no routing document is in force", "consign routing apply FILE"]);
    }
    let first =
        place.json("routing-apply", 0, &["routing", "apply", "routing.yaml", "--actor", "ann", "--reason", "first"]);
    assert_eq!(first["replaced"], Value::Null);
    let again = place.json("routing-apply", 0, &["routing", "apply", "routing.yaml"]);
    assert_eq!(again["replaced"], first["digest"]);
    what_is_foretold_is_by_the_document_in_force(&place);
    offsets_are_repaired(&place);
    it_runs_and_ends_when_told(&place);
}

/// A document whose records would name a schema that isn't there, or another one, doesn't come into force.
fn what_readers_look_up_must_be_registered(place: &Place, registered: &Value) {
    let subject = format!("{}attempts-value", place.prefix);
    let found = registered["subjects"].as_array().unwrap().iter().find(|s| s["subject"] == subject);
    let id = found.unwrap_or_else(|| panic!("{subject} is not in {registered:#}"))["id"].as_u64().unwrap();
    place.write("attempts.avsc", Topic::Attempts.schema().unwrap());
    place.write("other.avsc", r#"{"type": "record", "name": "Other", "fields": [{"name": "id", "type": "string"}]}"#);
    for (schema, subject, version, says_id, word) in [
        ("attempts.avsc", subject.clone(), 1, id + 1, format!("has the id {id}, not {}", id + 1)),
        ("attempts.avsc", subject.clone(), 9, id, format!("has no version 9 of {subject}")),
        ("attempts.avsc", format!("{subject}/none"), 1, id, format!("has no version 1 of {subject}/none")),
        ("other.avsc", subject.clone(), 1, id, "is another schema than the file says".to_owned()),
    ] {
        let avro = format!("avro: {{schema: {schema}, subject: '{subject}', version: {version}, id: {says_id}}}");
        place.write("avro.yaml", &ROUTING.replace("all: {body", &format!("all: {{format: avro, {avro}, body")));
        says(&place.run(&["routing", "apply", "avro.yaml"]), 2, &["CG411", "payload `all`", &word]);
    }
}

fn nothing_is_there_yet(place: &Place) {
    let missing = place.json("topics-check", 1, &["topics", "check"]);
    // Eleven topics, and the number of home partitions.
    assert_eq!(length(&missing["differences"]), 12, "{missing:#}");
    assert!(missing["differences"].as_array().unwrap().iter().all(|d| d["to_do"] == "consign topics apply"));
    assert_eq!(length(&place.json("schemas-check", 1, &["schemas", "check"])["differences"]), 10);
    says(&place.run(&["topics", "apply"]), 2, &["CG407", "consign schemas register"]);
    says(&place.run(&["routing", "apply", "routing.yaml"]), 2, &["CG407", "consign schemas register"]);
    says(&place.run(&["run"]), 2, &["CG401", "is missing; to do: consign topics apply"]);
    says(&place.run(&["offsets", "repair"]), 2, &["CG406", "consign topics apply"]);
    assert_eq!(length(&place.json("topics-check", 1, &["topics", "check"])["differences"]), 12, "nothing was created");
}

fn offsets_are_repaired(place: &Place) {
    let planned = place.json("offsets-repair", 1, &["offsets", "repair", "--dry-run"]);
    let done = place.json("offsets-repair", 0, &["offsets", "repair"]);
    assert_eq!((length(&planned["repaired"]), &planned["repaired"]), (12, &done["repaired"]));
    assert_eq!(length(&place.json("offsets-repair", 0, &["offsets", "repair", "--dry-run"])["repaired"]), 0);
}

fn what_is_foretold_is_by_the_document_in_force(place: &Place) {
    for command in ["plan", "simulate"] {
        let asked = [command, "note.json", "--at", "1767225600000"];
        let in_force = place.json(command, 0, &asked);
        assert_eq!(in_force, place.json(command, 0, &[&asked[..], &["--routing", "routing.yaml"]].concat()));
        assert_eq!(in_force["file_id"], "note-1");
    }
    let planned = place.json("plan", 0, &["plan", "note.json"]);
    assert_eq!(planned["dispatches"][0]["target"], "post", "{planned:#}");
    says(&place.run(&["plan", "--verify", "note-1"]), 4, &["CG320", "no file note-1 is known"]);
}

/// Its plan is recorded when it is accepted, and can be made again from then on.
fn a_recorded_plan_is_made_again(place: &Place, url: &str) {
    // It is taken in once the gateway, which has just begun, knows the files; its target can't be reached: the wait ends
    // without an end of the file.
    let until = Instant::now() + Duration::from_mins(1);
    let submitted = loop {
        let submitted = place.run(&["submit", "note.json", "--url", url, "--wait", "2s"]);
        if submitted.code != Some(3) || Instant::now() > until {
            break submitted;
        }
    };
    assert_eq!(submitted.code, Some(5), "{submitted:?}");
    let again = place.json("plan", 0, &["plan", "--verify", "note-1"]);
    assert_eq!((&again["verdict"], &again["file_id"]), (&"equal".into(), &"note-1".into()));
    let arrivals = format!("{}arrivals", place.prefix);
    let diff = ["routing", "diff", "routing.yaml", "routing.yaml", "--history", &arrivals];
    let history = &place.json("routing-diff", 0, &diff)["history"];
    assert_eq!((&history["files"], length(&history["changed"])), (&1.into(), 0), "{history}");
}

/// A process that is ended at once where a test fails.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is no trouble.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn it_runs_and_ends_when_told(place: &Place) {
    let child = place.command(&["run", "--output", "json"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = Running(child.unwrap());
    let line = BufReader::new(child.0.stdout.take().unwrap()).lines().next().expect("it says where it serves").unwrap();
    let serving = check("run", &line);
    let url = serving["gateway"].as_str().unwrap();
    assert_eq!(place.json("ls", 0, &["ls", "--url", url])["files"], Value::Array(Vec::new()));
    a_recorded_plan_is_made_again(place, url);
    let taken = url.rsplit_once('/').unwrap().1;
    says(&place.run(&["run", "--instance", "other", "--listen", taken]), 3, &["CG408", taken, "--listen"]);
    assert!(Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status().unwrap().success());
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    for _ in 0..3 {
        it_ends_as_soon_as_it_answers(place, taken);
    }
}

fn it_ends_as_soon_as_it_answers(place: &Place, address: &str) {
    let command = &mut place.command(&["run", "--listen", address]);
    let mut child = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    while TcpStream::connect(address).is_err() {
        assert_eq!(child.0.try_wait().unwrap(), None, "it ended before it answered");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status().unwrap().success());
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
}

#[test]
fn another_number_of_home_partitions_is_named_line_by_line() {
    let place = Place::new("homes");
    assert_eq!(place.run(&["schemas", "register"]).code, Some(0));
    assert_eq!(place.run(&["topics", "apply"]).code, Some(0));
    place.write("consign.toml", &place.configuration(5));
    let found = place.json("topics-check", 1, &["topics", "check"]);
    let kinds = |kind: &str| found["differences"].as_array().unwrap().iter().filter(|d| d["kind"] == kind).count();
    assert_eq!((kinds("partitions"), kinds("home_partitions")), (10, 1), "{found:#}");
    let text = place.run(&["topics", "check"]);
    let line = "controls has 3 home_partitions, not 5; to do: set topics.home_partitions to the number in controls";
    assert_eq!(text.out.lines().filter(|l| l.starts_with(line)).count(), 1, "{}", text.out);
    let planned = place.json("topics-apply", 1, &["topics", "apply", "--dry-run"]);
    assert_eq!((length(&planned["mended"]), &planned["left"]), (0, &found["differences"]));
    let ran = place.run(&["topics", "apply"]);
    says(&ran, 2, &["CG401", "nothing was changed", "manifests has 3 partitions, not 5", line]);
    says(&place.run(&["run"]), 2, &["CG401", line]);
}

#[test]
fn the_demo_runs_on_a_broker() {
    let place = Place::new("demo");
    let (kafka, registry) = (std::env::var("KAFKA_BOOTSTRAP").unwrap(), std::env::var("SCHEMA_REGISTRY_URL").unwrap());
    let demo = place.json("demo", 0, &["demo", "--kafka", &kafka, "--registry", &registry]);
    assert_eq!(demo["as_expected"], true);
}

#[test]
fn a_server_that_is_no_broker_is_waited_for_with_a_word_and_not_for_ever() {
    let place = Place::new("no-broker");
    let url = std::env::var("SCHEMA_REGISTRY_URL").unwrap();
    let no_broker = url.trim_start_matches("http://").trim_end_matches('/').split('/').next().unwrap();
    let ran = place.run(&["topics", "check", "--kafka", no_broker]);
    says(
        &ran,
        3,
        &["consign: still waiting for the broker", "CG403", no_broker, "accepts connections", "[kafka.client]"],
    );
}
