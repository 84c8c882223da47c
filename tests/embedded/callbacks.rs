//! A target reports by callback, over the gateway's HTTP API, and the engine judges it.

use consign::record::{OutcomeKind, State, Status, Topic};
use serde_json::{Value, json};

use crate::world::{self, World};

/// Where to report and with which token, as a request said it.
struct Way {
    url: String,
    token: String,
}

fn way(world: &World, key: &str) -> Way {
    let request = world.journal.of_key(key).pop().expect("it was sent");
    let header = |name: &str| request.headers[name].clone();
    Way { url: header("consign-callback-url"), token: header("consign-ack-token") }
}

async fn post(url: &str, token: Option<&str>, body: impl Into<String>) -> (u16, Value) {
    let mut request = reqwest::Client::new().post(url).body(body.into());
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.expect("the gateway answers");
    (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
}

async fn report(way: &Way, outcome: &str) -> u16 {
    post(&way.url, Some(&way.token), json!({ "outcome": outcome }).to_string()).await.0
}

/// A file whose target has accepted it and says nothing more.
async fn awaiting(world: &World, file_id: &str) -> Way {
    world.submit(&world::manifest(file_id, "deed")).await;
    world.until(file_id, |s| s.dispatches.iter().any(|d| d.status == Status::Awaiting)).await;
    way(world, &format!("{file_id}/silent"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_reports_by_callback_completes_the_file() {
    let world = World::start().await;
    world.submit(&world::manifest("contract-1", "contract")).await;
    let state = world.settled("contract-1").await;
    assert_eq!(state.state, State::Completed, "{state:#?}");
    assert_eq!(state.dispatches[0].last_outcome.as_ref().unwrap().kind, OutcomeKind::Succeeded);
    assert_eq!(world.requests("contract-1/notary"), 1);
    let heard: Vec<_> = world.heard("contract-1/notary", 2).await;
    assert_eq!(heard, [("IN_PROGRESS".to_owned(), 200), ("SUCCEEDED".to_owned(), 200)]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_report_stands_repeats_are_fine_and_contradictions_are_told() {
    let world = World::start().await;
    let way = awaiting(&world, "deed-1").await;
    assert_eq!(report(&way, "ACCEPTED").await, 200);
    assert_eq!(report(&way, "SUCCEEDED").await, 200);
    assert_eq!(report(&way, "SUCCEEDED").await, 200);
    assert_eq!(report(&way, "DUPLICATE").await, 200);
    assert_eq!(report(&way, "REJECTED").await, 409);
    assert_eq!(report(&way, "IN_PROGRESS").await, 410);
    let state = world.settled("deed-1").await;
    assert_eq!(state.state, State::Completed);
    // An answer is given on what is decided; that the view has heard of it comes a moment later.
    world.history("deed-1", |text| text.contains("settled_otherwise") && text.contains("already_settled")).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_reports_at_once_one_stands_and_the_other_hears_it() {
    let world = World::start().await;
    for n in 0..5 {
        let way = awaiting(&world, &format!("deed-{n}")).await;
        let (yes, no) = tokio::join!(report(&way, "SUCCEEDED"), report(&way, "REJECTED"));
        let state = world.settled(&format!("deed-{n}")).await;
        let expected = if state.state == State::Completed { (200, 409) } else { (409, 200) };
        assert_eq!((yes, no), expected);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_the_deadline_decided_is_recorded_and_told_so() {
    let world = World::start().await;
    world.submit(&world::manifest("lease-1", "lease")).await;
    assert_eq!(world.settled("lease-1").await.state, State::Failed);
    let way = way(&world, "lease-1/hasty");
    for outcome in ["SUCCEEDED", "REJECTED", "IN_PROGRESS"] {
        assert_eq!(report(&way, outcome).await, 410);
    }
    world.history("lease-1", |text| text.contains("\"callback\"")).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definite_no_fails_the_file_and_a_later_try_is_asked_for() {
    let world = World::start().await;
    let way = awaiting(&world, "deed-1").await;
    assert_eq!(report(&way, "RETRY_LATER").await, 200);
    world.until("deed-1", |s| s.dispatches[0].attempts == 2 && s.dispatches[0].status == Status::Awaiting).await;
    assert_eq!(world.requests("deed-1/silent"), 2);
    // The first attempt is over: what is said of it comes too late.
    assert_eq!(report(&way, "IN_PROGRESS").await, 410);
    let second = self::way(&world, "deed-1/silent");
    assert!(second.url.ends_with("attempt=2"));
    assert_eq!(second.token, way.token);
    assert_eq!(report(&second, "REJECTED").await, 200);
    assert_eq!(world.settled("deed-1").await.state, State::Failed);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_is_none_or_not_believed_leaves_no_trace() {
    let world = World::start().await;
    let way = awaiting(&world, "deed-1").await;
    let other = awaiting(&world, "deed-2").await;
    let before = world.cluster.dump(Topic::Outcomes).len();
    let good = r#"{"outcome":"SUCCEEDED"}"#;
    let long = format!(r#"{{"outcome":"SUCCEEDED","reason":"{}"}}"#, "x".repeat(70_000));
    let reason = format!(r#"{{"outcome":"SUCCEEDED","reason":"{}"}}"#, "x".repeat(5_000));
    let no_attempt = way.url.replace("attempt=1", "attempt=7");
    let nobody = way.url.replace("deed-1", "deed-9");
    let token = Some(way.token.as_str());
    for (url, token, body, status, code) in [
        (&way.url, None, good, 401, "CG360"),
        (&way.url, Some("k1.AAAA"), good, 401, "CG360"),
        (&way.url, Some(other.token.as_str()), good, 401, "CG360"),
        (&nobody, token, good, 401, "CG360"),
        (&way.url, token, "SUCCEEDED", 422, "CG361"),
        (&way.url, token, r#"{"outcome":"DONE"}"#, 422, "CG361"),
        (&way.url, token, r#"{"outcome":"SUCCEEDED","more":1}"#, 422, "CG361"),
        (&way.url, token, r#"{"outcome":"SUCCEEDED","received_digest":"sha256:abc"}"#, 422, "CG361"),
        (&way.url, token, r#"{"outcome":"SUCCEEDED","received_size":-1}"#, 422, "CG361"),
        (&way.url, token, &reason, 422, "CG361"),
        (&way.url, token, &long, 413, "CG305"),
        (&no_attempt, token, good, 422, "CG361"),
    ] {
        let (heard, problem) = post(url, token, body).await;
        assert_eq!((heard, problem["code"].as_str()), (status, Some(code)), "{body:.60}: {problem}");
        assert!(!problem.to_string().contains("DONE"), "nothing of a body is repeated");
    }
    assert_eq!(world.cluster.dump(Topic::Outcomes).len(), before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_receiver_has_a_key_its_signature_is_asked_for() {
    let world = World::start().await;
    world.secret("signed-key", "whsec_AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=");
    world.submit(&world::manifest("bond-1", "bond")).await;
    world.until("bond-1", |s| s.dispatches.iter().any(|d| d.status == Status::Awaiting)).await;
    let way = way(&world, "bond-1/signed");
    // Whatever is in force by now: the file was planned by a document that names the key.
    world.apply_without("verify_with: signed-key");
    let body = r#"{"outcome":"SUCCEEDED","idempotency_key":"bond-1/signed"}"#;
    assert_eq!(post(&way.url, Some(&way.token), body).await.0, 401);
    let key = consign::transport::Secret::new(b"whsec_AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=".to_vec());
    let now = consign::transport::wall_clock()();
    let of_another = r#"{"outcome":"SUCCEEDED","idempotency_key":"bond-2/signed"}"#;
    for (signed_at, body, expected) in
        [(now.plus_millis(-400_000), body, 401), (now, of_another, 401), (now, body, 200)]
    {
        let headers = consign::transport::sign::headers("report-1", signed_at, body.as_bytes(), [&key]).unwrap();
        let mut request = reqwest::Client::new().post(&way.url).bearer_auth(&way.token).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        assert_eq!(request.send().await.unwrap().status().as_u16(), expected, "{body}");
    }
    assert_eq!(world.settled("bond-1").await.state, State::Completed);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_counts_with_the_digest_of_what_arrived_alone() {
    let world = World::start().await;
    world.submit(&world::manifest("receipt-1", "receipt")).await;
    let is = |state: &consign::record::FileState, target: &str, status| {
        state.dispatches.iter().any(|d| d.target.as_str() == target && d.status == status)
    };
    // A 200 without a receipt is UNKNOWN: sent again where that is safe, and for a person elsewhere.
    world
        .until("receipt-1", |s| {
            is(s, "receipted", Status::Succeeded)
                && is(s, "receipted-hold", Status::Held)
                && is(s, "receipted-acks", Status::Succeeded)
        })
        .await;
    let requests = ["receipted", "receipted-hold", "receipted-acks"].map(|t| world.requests(&format!("receipt-1/{t}")));
    assert_eq!(requests, [2, 1, 1]);
    let sent = &world.journal.of_key("receipt-1/receipted")[0].body_sha256;
    let proof = format!("\"received_digest\":\"sha256:{sent}\"");
    world.history("receipt-1", |text| text.contains("receipt_missing") && text.contains(&proof)).await;

    world.submit(&world::manifest("proof-1", "proof")).await;
    world.until("proof-1", |s| is(s, "receipted-callback", Status::Awaiting)).await;
    let way = way(&world, "proof-1/receipted-callback");
    assert_eq!(report(&way, "SUCCEEDED").await, 422);
    world.history("proof-1", |text| text.contains("receipt_missing")).await;
    let other = json!({"outcome": "SUCCEEDED", "received_digest": format!("sha256:{}", "0".repeat(64))}).to_string();
    let (status, problem) = post(&way.url, Some(&way.token), other).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("CG361")), "{problem}");
    world.history("proof-1", |text| text.contains("receipt_differs")).await;
    world.until("proof-1", |s| is(s, "receipted-callback", Status::Awaiting)).await;
    let sent = &world.journal.of_key("proof-1/receipted-callback")[0].body_sha256;
    let proof = json!({"outcome": "SUCCEEDED", "received_digest": format!("sha256:{sent}")}).to_string();
    assert_eq!(post(&way.url, Some(&way.token), proof).await.0, 200);
    assert_eq!(world.settled("proof-1").await.state, State::Completed);
    world.stop().await;
}
