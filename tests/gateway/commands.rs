//! The client commands against a gateway: what they print is what the committed schemas say, and how they end.

use std::io::Write as _;
use std::sync::Arc;

use consign::cli::exit::Exit;
use consign::gateway::Access;
use consign::record::{FileManifest, HistoryEvent, Intervention, Judgement, State, Topic};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::answer::check;
use crate::world::{Ran, World, accept, event, file, held};

fn manifest_file(file_id: &str, name: &str) -> tempfile::NamedTempFile {
    let mut manifest = tempfile::NamedTempFile::new().unwrap();
    write!(
        manifest,
        r#"{{"file_id": "{file_id}", "schema_version": 1, "file_type": "t", "name": "{name}", "data": {{"a": 1.10}}}}"#
    )
    .unwrap();
    manifest
}

/// Judges every intervention that reaches the log, as an engine would, until the world ends.
fn judge(world: &Arc<World>, judgement: Judgement, code: Option<&'static str>) -> tokio::task::JoinHandle<()> {
    let world = Arc::clone(world);
    tokio::spawn(async move {
        let mut judged = 0;
        loop {
            let asked: Vec<Intervention> = world.appended(Topic::Interventions);
            for asked in asked.into_iter().skip(judged) {
                judged += 1;
                let mut after = held(asked.file_id.as_str());
                after.version = 3 + i64::try_from(judged).unwrap();
                let judged = HistoryEvent {
                    intervention: Some(asked.clone()),
                    code: code.map(str::to_owned),
                    ..event(after.version, judgement)
                };
                world.event(asked.file_id.as_str(), after.version - 3, judged);
                world.state(&after).await;
            }
            tokio::task::yield_now().await;
        }
    })
}

#[tokio::test]
async fn submit_says_where_the_file_stands() {
    let world = Arc::new(World::start().await);
    let manifest = manifest_file("inv-1", "a.pdf");
    let path = manifest.path().to_str().unwrap();
    let ran = world.cli(&["submit", path, "--output", "json"]).await;
    assert_eq!(ran.exit, Exit::Unfinished, "{ran:?}");
    let submitted = check("submit", &ran.out);
    assert_eq!((&submitted["files"][0]["file_id"], &submitted["files"][0]["file"]), (&"inv-1".into(), &Value::Null));
    let submitted: FileManifest = world.appended(Topic::Manifests).remove(0);
    assert_eq!(submitted.data.as_deref(), Some(r#"{"a": 1.10}"#));
    accept(&world, &submitted, State::Completed);
    let ran = world.cli(&["submit", path, "--wait", "60s", "--output", "json"]).await;
    assert_eq!((ran.exit, &check("submit", &ran.out)["files"][0]["file"]["state"]), (Exit::Ok, &"COMPLETED".into()));
    assert!(world.cli(&["submit", path]).await.out.starts_with("inv-1: COMPLETED"));
}

/// A gateway that answers one request after the other with these.
async fn answering(answers: Vec<(&'static str, Value)>) -> (String, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut answered = 0;
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 16 * 1024];
            assert!(stream.read(&mut asked).await.unwrap() > 0);
            let body = body.to_string();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
            answered += 1;
        }
        answered
    });
    (url, serving)
}

#[tokio::test]
async fn submit_comes_again_where_it_was_too_much() {
    let problem = |code: &str| serde_json::json!({"type": "t", "title": "t", "status": 429, "detail": "1 a second", "code": code});
    let done = serde_json::to_value(file("inv-1", State::Completed, 4)).unwrap();
    let (url, serving) = answering(vec![("429 Too Many Requests", problem("CG313")), ("200 OK", done)]).await;
    let manifest = manifest_file("inv-1", "a.pdf");
    let ran = crate::world::run(&["submit", manifest.path().to_str().unwrap(), "--wait", "60s", "--url", &url]).await;
    assert_eq!((ran.exit, serving.await.unwrap()), (Exit::Ok, 2), "{ran:?}");
}

#[tokio::test]
async fn submit_waits_for_a_gateway_that_is_only_beginning() {
    let problem = |code: &str| serde_json::json!({"type": "t", "title": "t", "status": 503, "detail": "12 records to read", "code": code});
    let done = serde_json::to_value(file("inv-1", State::Completed, 4)).unwrap();
    let manifest = manifest_file("inv-1", "a.pdf");
    let path = manifest.path().to_str().unwrap();
    let beginning = ("503 Service Unavailable", problem("CG340"));
    let (url, served) = answering(vec![beginning.clone(), beginning.clone(), ("200 OK", done)]).await;
    let ran = crate::world::run(&["submit", path, "--wait", "60s", "--url", &url, "--output", "json"]).await;
    assert_eq!((ran.exit, served.await.unwrap()), (Exit::Ok, 3), "{ran:?}");
    // Without a wait it is told at once, and so is what may have done something.
    for (answer, wait) in [(beginning, "0s"), (("503 Service Unavailable", problem("CG341")), "60s")] {
        let code = answer.1["code"].as_str().unwrap().to_owned();
        let (url, served) = answering(vec![answer]).await;
        let ran = crate::world::run(&["submit", path, "--wait", wait, "--url", &url]).await;
        assert_eq!((ran.exit, served.await.unwrap()), (Exit::Unreachable, 1), "{ran:?}");
        assert!(ran.err.contains(&code), "{ran:?}");
    }
}

#[tokio::test]
async fn submit_of_several_ends_with_the_worst() {
    let world = Arc::new(World::start().await);
    world.state(&file("done", State::Completed, 1)).await;
    let (good, taken) = (manifest_file("new", "a.pdf"), manifest_file("done", "b.pdf"));
    let paths = [good.path(), taken.path()].map(|p| p.to_str().unwrap());
    let ran = world.cli(&["submit", paths[0], paths[1], "/nowhere.json", "--output", "json"]).await;
    assert_eq!(ran.exit, Exit::Usage, "a file that can't be read");
    let files = check("submit", &ran.out)["files"].clone();
    assert_eq!(files[0]["failure"], Value::Null);
    assert_eq!(files[1]["failure"]["code"], "CG330");
    assert_eq!(files[2]["failure"]["exit"], 2);
    assert_eq!(world.cli(&["submit", paths[1]]).await.exit, Exit::No, "taken by other content");
}

#[tokio::test]
async fn submit_waits_for_several_at_once() {
    let world = Arc::new(World::start().await);
    let manifests = [manifest_file("a", "n"), manifest_file("b", "n")];
    let paths = manifests.each_ref().map(|m| m.path().to_str().unwrap());
    let engine = async {
        while world.cluster.dump(Topic::Manifests).len() < 2 {
            tokio::task::yield_now().await;
        }
        for manifest in world.appended::<FileManifest>(Topic::Manifests) {
            let state = if manifest.file_id.as_str() == "a" { State::Completed } else { State::Failed };
            accept(&world, &manifest, state);
        }
    };
    let words = ["submit", paths[0], paths[1], "--wait", "60s"];
    let (ran, ()) = tokio::join!(world.cli(&words), engine);
    assert_eq!(ran.exit, Exit::No, "{ran:?}");
    assert!(ran.out.contains("a: COMPLETED") && ran.out.contains("b: FAILED"), "{}", ran.out);
}

#[tokio::test]
async fn status_ends_by_where_the_file_stands() {
    let world = World::start().await;
    for (id, state, exit) in [
        ("a", State::Completed, Exit::Ok),
        ("b", State::Failed, Exit::No),
        ("c", State::Distributing, Exit::Unfinished),
    ] {
        world.state(&file(id, state, 1)).await;
        let ran = world.cli(&["status", id, "--output", "json"]).await;
        assert_eq!(ran.exit, exit);
        check("status", &ran.out);
    }
    let Ran { exit, out, err } = world.cli(&["status", "nothing", "--output", "json"]).await;
    assert_eq!((exit, out.as_str()), (Exit::NotFound, ""));
    assert_eq!(check("failure", &err)["code"], "CG320");
}

#[tokio::test]
async fn watch_follows_the_file_to_its_end() {
    let world = World::start().await;
    world.state(&file("inv-1", State::Received, 1)).await;
    let engine = async {
        // Each version is seen before the next is written: the view keeps only the newest.
        for (version, state) in [(2, State::Validated), (3, State::Distributing), (4, State::Completed)] {
            world.state(&file("inv-1", state, version)).await;
        }
    };
    let words = ["status", "inv-1", "--watch", "--output", "json"];
    let (ran, ()) = tokio::join!(world.cli(&words), engine);
    assert_eq!(ran.exit, Exit::Ok);
    let versions: Vec<i64> = ran.out.lines().map(|line| check("status", line)["version"].as_i64().unwrap()).collect();
    assert!(versions.is_sorted() && versions.last() == Some(&4), "{versions:?}");
}

/// Listens where somebody listened just before.
async fn bound(address: std::net::SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_outlasts_a_gateway_that_restarts_and_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let world = World::on(Access::Loopback, listener).await;
    world.state(&file("inv-1", State::Distributing, 3)).await;
    let url = format!("http://{address}");
    let words = ["status", "inv-1", "--watch", "--url", &url];
    let watched = tokio::time::timeout(crate::world::PATIENCE, crate::world::run(&words));
    let restarted = async {
        // Once its first call is answered, it waits for what is new.
        while !world.get("/metrics").await.text.contains("route=\"/v1/files/{file_id}\"") {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        world.stop().await.unwrap();
        // Whoever asks meanwhile is cut off, once at least.
        let nobody = bound(address).await;
        drop(nobody.accept().await.unwrap());
        drop(nobody);
        let world = World::on(Access::Loopback, bound(address).await).await;
        world.state(&file("inv-1", State::Completed, 4)).await;
        world
    };
    let (ran, _world) = tokio::join!(watched, restarted);
    let ran = ran.expect("it ends with the file");
    assert_eq!(ran.exit, Exit::Ok, "{} {}", ran.out, ran.err);
    assert!(ran.out.contains("COMPLETED"), "{}", ran.out);
    assert!(ran.err.contains("CG405") && ran.err.contains("asking again"), "{}", ran.err);
}

#[tokio::test]
async fn ls_and_history_print_what_the_schemas_say() {
    let world = World::start().await;
    for id in ["a", "b", "c"] {
        world.state(&held(id)).await;
    }
    let ran = world.cli(&["ls", "--held", "--limit", "2", "--output", "json"]).await;
    let list = check("ls", &ran.out);
    assert_eq!((ran.exit, list["files"].as_array().unwrap().len()), (Exit::Ok, 2));
    let rest = world.cli(&["ls", "--held", "--after", list["next"].as_str().unwrap(), "--output", "json"]).await;
    assert_eq!(check("ls", &rest.out)["files"][0]["file_id"], "c");
    let text = world.cli(&["ls", "--target", "billing"]).await.out;
    assert!(text.contains("billing HELD"), "{text}");
    assert_eq!(world.cli(&["ls", "--state", "DONE"]).await.exit, Exit::Usage);

    world.event("a", 1, event(2, Judgement::Late));
    let manifest = manifest_file("h", "n");
    world.cli(&["submit", manifest.path().to_str().unwrap()]).await;
    accept(&world, &world.appended(Topic::Manifests)[0], State::Received);
    for id in ["a", "h"] {
        let ran = world.cli(&["history", id, "--output", "json"]).await;
        assert_eq!(ran.exit, Exit::Ok);
        check("history", &ran.out);
    }
    assert!(world.cli(&["history", "h"]).await.out.contains("accepted from local"));
}

#[tokio::test]
async fn intervene_asks_with_the_version_that_it_showed_and_prints_the_judgement() {
    let world = Arc::new(World::start().await);
    world.state(&held("inv-1")).await;
    let engine = judge(&world, Judgement::Applied, None);
    let confirm = ["intervene", "inv-1", "billing", "confirm", "--reason", "seen", "--wait", "30s"];
    let ran = world.cli(&confirm).await;
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
    assert!(ran.out.contains("billing: HELD") && ran.out.contains("\napplied\n"), "{}", ran.out);
    let asked: Vec<Intervention> = world.appended(Topic::Interventions);
    assert_eq!(asked[0].seen_version, Some(3), "the dispatch's version");
    let ran =
        world.cli(&["intervene", "inv-1", "cancel", "--reason", "r", "--seen-version", "2", "--output", "json"]).await;
    assert_eq!((ran.exit, &check("intervene", &ran.out)["judgement"]), (Exit::Ok, &"applied".into()));
    assert_eq!(world.appended::<Intervention>(Topic::Interventions)[1].seen_version, Some(2));
    let ran = world.cli(&["resubmit", "inv-1", "--reason", "repaired", "--output", "json"]).await;
    assert_eq!((ran.exit, &check("resubmit", &ran.out)["successor"]), (Exit::Ok, &"inv-1~1".into()));
    engine.abort();
}

#[tokio::test]
async fn a_refused_intervention_ends_with_1_and_one_not_judged_with_5() {
    let world = Arc::new(World::start().await);
    world.state(&held("inv-1")).await;
    let ask = ["intervene", "inv-1", "billing", "retry", "--reason", "r"];
    let short = [ask.as_slice(), &["--wait", "1ms", "--output", "json"]].concat();
    let ran = world.cli(&short).await;
    assert_eq!((ran.exit, &check("intervene", &ran.out)["judgement"]), (Exit::Unfinished, &Value::Null));
    let engine = judge(&world, Judgement::Refused, Some("stale"));
    let ran = world.cli(&[ask.as_slice(), &["--wait", "30s"]].concat()).await;
    assert_eq!(ran.exit, Exit::No);
    assert!(ran.out.contains("refused: the history says more (stale). Nothing changed"), "{}", ran.out);
    engine.abort();
    let ran = world.cli(&["intervene", "inv-1", "ledger", "retry", "--reason", "r"]).await;
    assert_eq!(ran.exit, Exit::NotFound);
    assert!(ran.err.contains("its targets: billing"), "{}", ran.err);
    assert_eq!(world.cli(&["intervene", "inv-1", "billing", "--reason", "r"]).await.exit, Exit::Usage);
}

#[tokio::test]
async fn targets_and_dead_letters_print_what_the_schemas_say() {
    let world = World::start().await;
    world.state(&held("inv-1")).await;
    let ran = world.cli(&["targets", "pause", "--all", "--reason", "storm", "--output", "json"]).await;
    assert_eq!((ran.exit, &check("targets-change", &ran.out)["changes"][0]["changed"]), (Exit::Ok, &true.into()));
    let ran = world.cli(&["targets", "ls", "--output", "json"]).await;
    assert_eq!(check("targets-ls", &ran.out)["targets"][0]["pauses"][0]["reason"], "storm");
    let text = world.cli(&["targets", "ls"]).await.out;
    assert!(text.contains("billing: PAUSED") && text.contains("by operator local: storm"), "{text}");
    let ran = world.cli(&["targets", "resume", "billing", "--reason", "over"]).await;
    assert!(ran.out.starts_with("changed; billing: running"), "{}", ran.out);

    let from = [("consign-reason", "undecodable"), ("consign-topic", "consign.manifests")];
    world.dead_letter(Some(b"x"), Some(b"junk"), &from);
    check("dead-letters-ls", &world.cli(&["dead-letters", "ls", "--output", "json"]).await.out);
    check("dead-letters-show", &world.cli(&["dead-letters", "show", "0/0", "--output", "json"]).await.out);
    let text = world.cli(&["dead-letters", "show", "0/0"]).await.out;
    assert!(text.contains("undecodable") && text.contains("value: junk"), "{text}");
    let ran = world.cli(&["dead-letters", "reinject", "0/0", "--reason", "mended", "--output", "json"]).await;
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
    check("dead-letters-reinject", &ran.out);
    assert_eq!(world.cli(&["dead-letters", "show", "0/9"]).await.exit, Exit::NotFound);
    assert_eq!(world.cli(&["dead-letters", "show", "nine"]).await.exit, Exit::Usage);
}
