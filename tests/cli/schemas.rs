//! What each command prints with `--output json` is what its committed schema says.

use std::collections::BTreeSet;

use crate::binary::{Dev, check, closed_address, consign};
use crate::help::leaves;

#[test]
fn every_command_has_a_schema_and_every_schema_a_command() {
    let wanted: BTreeSet<String> = leaves()
        .into_iter()
        .map(|(path, _)| match path.join("-").as_str() {
            "targets-pause" | "targets-resume" => "targets-change".to_owned(),
            name => name.to_owned(),
        })
        .chain(["failure".to_owned()])
        .collect();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api/output");
    let there: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace(".schema.json", ""))
        .collect();
    assert_eq!(there, wanted, "schemas without a command, or commands without a schema");
}

#[test]
fn commands_that_need_nobody() {
    let machine = check("machine", &consign(&["machine", "--output", "json"]).out);
    assert_eq!(machine["tables"].as_array().unwrap().len(), 12);
    let of_documents = check("routing-schema", &consign(&["routing", "schema", "--output", "json"]).out);
    assert_eq!(of_documents["type"], "object", "{of_documents:#}");
    let completions = check("completions", &consign(&["completions", "bash", "--output", "json"]).out);
    assert_eq!(completions["shell"], "bash");
    let good = consign(&["routing", "check", "config/routing.yaml", "--output", "json"]);
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(check("routing-check", &good.out)["digest"].as_str().unwrap().starts_with("sha256:"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faulty.yaml");
    std::fs::write(&path, "file_types: {a: {}}\ntargts: {}\nroutes: []\n").unwrap();
    let faulty = consign(&["routing", "check", path.to_str().unwrap(), "--output", "json"]);
    assert_eq!(faulty.code, Some(1), "{faulty:?}");
    let faulty = check("routing-check", &faulty.out);
    assert!(faulty["errors"].as_array().unwrap().iter().any(|e| e["line"] == 2), "{faulty:#}");
}

#[test]
fn commands_at_a_gateway() {
    let dev = Dev::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("claim.json");
    let claim = r#"{"file_id": "claim-1", "schema_version": 2, "file_type": "claim", "name": "claim",
                    "data": {"account_id": "A-100", "amount": 7}}"#;
    std::fs::write(&path, claim).unwrap();
    let (code, submitted) = dev.json("submit", &["submit", path.to_str().unwrap(), "--wait", "60s"]);
    assert_eq!((code, submitted["files"][0]["file"]["state"].as_str()), (Some(1), Some("FAILED")), "{submitted:#}");
    let (code, judged) =
        dev.json("resubmit", &["resubmit", "claim-1", "--reason", "the account is open", "--wait", "30s"]);
    assert_eq!((code, judged["successor"].as_str()), (Some(0), Some("claim-1~1")), "{judged:#}");
    let (code, ended) = dev.json("explain", &["explain", "claim-1"]);
    assert_eq!((code, ended["state"].as_str(), &ended["next"]), (Some(0), Some("FAILED"), &serde_json::Value::Null));
    dev.held("payment-1");
    assert_eq!(dev.json("status", &["status", "payment-1"]).0, Some(5));
    let (code, open) = dev.json("explain", &["explain", "payment-1"]);
    assert_eq!((code, open["dispatches"][0]["held_because"].as_str()), (Some(0), Some("fate_unknown")), "{open:#}");
    assert_eq!(dev.json("ls", &["ls", "--held"]).1["files"][0]["file_id"], "payment-1");
    assert_eq!(dev.json("history", &["history", "payment-1"]).1["file_id"], "payment-1");
    let confirm = ["intervene", "payment-1", "legacy", "confirm", "--reason", "in their list", "--wait", "30s"];
    assert_eq!(dev.json("intervene", &confirm).1["judgement"], "applied");
    for verb in ["pause", "resume"] {
        let (_, change) = dev.json("targets-change", &["targets", verb, "legacy", "--reason", "a test"]);
        assert_eq!(change["changes"][0]["changed"], true);
    }
    dev.json("targets-ls", &["targets", "ls"]);
    dev.json("dead-letters-ls", &["dead-letters", "ls"]);
    let nothing = dev.run(&["dead-letters", "show", "0/99", "--output", "json"]);
    assert_eq!((nothing.code, check("failure", &nothing.err)["code"].as_str()), (Some(4), Some("CG322")));
}

#[test]
fn failures_are_json_too() {
    let nobody = format!("http://{}", closed_address());
    for (arguments, exit, code) in [
        (&["status", "x", "--url", &nobody][..], 3, "CG405"),
        (&["topics", "check", "--kafka", "127.0.0.1:1"], 3, "CG403"),
        (&["schemas", "check", "--registry", "http://127.0.0.1:1"], 3, "CG404"),
        (&["routing", "apply", "/nowhere.yaml"], 2, "CG409"),
        (&["run", "--config", "/nowhere.toml"], 2, "CG400"),
    ] {
        let ran = consign(&[arguments, &["--output", "json"]].concat());
        assert_eq!(ran.code, Some(exit), "{ran:?}");
        assert!(ran.out.is_empty(), "{ran:?}");
        assert_eq!(check("failure", &ran.err)["code"], code, "{arguments:?}");
    }
}
