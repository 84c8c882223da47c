//! Callbacks: what a target hears, and what of it is recorded.

use std::num::NonZeroU32;
use std::time::Duration;

use consign::gateway::{Access, CallbackLimits};
use consign::log::memory::{Fault, FaultPoint};
use consign::record::{
    DispatchState, FileState, LastOutcome, Outcome, OutcomeKind, SettledBy, State, Status, Timestamp, Topic,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::{PATIENCE, Reply, World, dispatch, file};

const TOKEN: &str = "token of inv-1/billing";

/// Where a dispatch stands before a report.
#[derive(Clone, Copy)]
enum Before {
    Open(Status, Option<OutcomeKind>),
    Settled(Status, SettledBy, OutcomeKind),
}

use Before::{Open, Settled};

impl Before {
    fn state(self) -> FileState {
        let mut file = file("inv-1", State::Distributing, 3);
        for target in ["billing", "ledger", "signed", "receipted"] {
            file.dispatches.push(self.dispatch(target));
        }
        file
    }

    fn dispatch(self, target: &str) -> DispatchState {
        let (status, settled_by, kind) = match self {
            Open(status, kind) => (status, None, kind),
            Settled(status, by, kind) => (status, Some(by), Some(kind)),
        };
        let last = |kind| LastOutcome { kind, code: "c".into(), at: Timestamp(0), attempt: Some(2) };
        DispatchState { attempts: 2, settled_by, last_outcome: kind.map(last), ..dispatch(target, status) }
    }
}

/// What a target says about attempt 2, where the dispatch stands, and what it hears; `""` is no problem. Then, whether the report
/// is recorded.
const ANSWERS: &[(Before, &str, u16, &str, bool)] = &[
    // What it says of an attempt that is open.
    (Open(Status::InFlight, None), "ACCEPTED", 200, "", true),
    (Open(Status::Awaiting, Some(OutcomeKind::Accepted)), "ACCEPTED", 200, "", true),
    (Open(Status::Awaiting, Some(OutcomeKind::Accepted)), "IN_PROGRESS", 200, "", true),
    (Open(Status::Awaiting, Some(OutcomeKind::Accepted)), "RETRY_LATER", 200, "", true),
    // Of one that has ended.
    (Open(Status::BackingOff, Some(OutcomeKind::Retryable)), "RETRY_LATER", 200, "", true),
    (Open(Status::BackingOff, Some(OutcomeKind::Unknown)), "RETRY_LATER", 410, "CG363", true),
    (Open(Status::Held, Some(OutcomeKind::Unknown)), "IN_PROGRESS", 410, "CG363", true),
    // What it said before.
    (Settled(Status::Succeeded, SettledBy::Target, OutcomeKind::Succeeded), "SUCCEEDED", 200, "", false),
    (Settled(Status::Succeeded, SettledBy::Target, OutcomeKind::Succeeded), "DUPLICATE", 200, "", false),
    (Settled(Status::Failed, SettledBy::Target, OutcomeKind::Rejected), "REJECTED", 200, "", false),
    // The opposite of what it said.
    (Settled(Status::Succeeded, SettledBy::Target, OutcomeKind::Succeeded), "REJECTED", 409, "CG362", true),
    (Settled(Status::Failed, SettledBy::Target, OutcomeKind::Rejected), "SUCCEEDED", 409, "CG362", true),
    (Settled(Status::Failed, SettledBy::Target, OutcomeKind::Unknown), "DUPLICATE", 409, "CG362", true),
    // After the budget was spent and the plan said `fail`: it never said no.
    (Settled(Status::Failed, SettledBy::Target, OutcomeKind::Retryable), "REJECTED", 410, "CG363", true),
    (Settled(Status::Failed, SettledBy::Target, OutcomeKind::Unknown), "REJECTED", 410, "CG363", true),
    // After something else decided.
    (Settled(Status::Succeeded, SettledBy::Operator, OutcomeKind::Unknown), "SUCCEEDED", 410, "CG363", true),
    (Settled(Status::Failed, SettledBy::Operator, OutcomeKind::Unknown), "SUCCEEDED", 410, "CG363", true),
    (Settled(Status::Failed, SettledBy::Deadline, OutcomeKind::Accepted), "REJECTED", 410, "CG363", true),
    // What settles nothing, of what is settled.
    (Settled(Status::Succeeded, SettledBy::Target, OutcomeKind::Succeeded), "IN_PROGRESS", 410, "CG363", true),
    (Settled(Status::Failed, SettledBy::Target, OutcomeKind::Rejected), "RETRY_LATER", 410, "CG363", true),
];

async fn report(world: &World, path: &str, body: &Value, token: Option<&str>) -> Reply {
    world.call(Method::POST, &format!("/v1/callbacks/inv-1/{path}"), Some(body), token).await
}

fn recorded(world: &World) -> Vec<Outcome> {
    world.appended(Topic::Outcomes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_target_hears_is_by_where_its_dispatch_stands() {
    for (before, said, status, code, is_recorded) in ANSWERS {
        let world = World::start().await;
        world.state(&before.state()).await;
        let reply = report(&world, "billing?attempt=2", &json!({ "outcome": said }), Some(TOKEN)).await;
        let body = reply.expect(*status);
        assert_eq!(body["code"].as_str().unwrap_or_default(), *code, "{said}: {body}");
        assert_eq!(recorded(&world).len(), usize::from(*is_recorded), "{said}: {body}");
        if *is_recorded {
            assert_eq!(recorded(&world)[0].attempt, Some(2));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_report_is_answered_by_what_the_engine_makes_of_it() {
    for (made, status) in [
        (Settled(Status::Succeeded, SettledBy::Target, OutcomeKind::Succeeded), 200),
        (Settled(Status::Failed, SettledBy::Target, OutcomeKind::Rejected), 409),
        (Settled(Status::Failed, SettledBy::Deadline, OutcomeKind::Accepted), 410),
    ] {
        let world = World::start().await;
        world.state(&Open(Status::Awaiting, None).state()).await;
        let body = json!({"outcome": "SUCCEEDED"});
        let engine = async {
            while recorded(&world).is_empty() {
                tokio::task::yield_now().await;
            }
            world.state(&FileState { version: 4, ..made.state() }).await;
        };
        let (reply, ()) = tokio::join!(report(&world, "billing?attempt=2", &body, Some(TOKEN)), engine);
        reply.expect(status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_nobody_has_judged_yet_is_said_to_be_recorded() {
    let limits = CallbackLimits { judged_within: Duration::from_millis(1), ..CallbackLimits::default() };
    let world = World::limited(Access::Loopback, TcpListener::bind("127.0.0.1:0").await.unwrap(), limits).await;
    world.state(&Open(Status::Awaiting, None).state()).await;
    for (said, status) in [("SUCCEEDED", 202), ("REJECTED", 202), ("IN_PROGRESS", 200)] {
        let reply = report(&world, "billing?attempt=2", &json!({ "outcome": said }), Some(TOKEN)).await;
        let body = reply.expect(status);
        assert_eq!(body["status"].is_null(), status == 202, "{said}: {body}");
    }
    assert_eq!(recorded(&world).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_report_is_told_so_and_leaves_no_trace() {
    let world = World::start().await;
    world.state(&Open(Status::Awaiting, None).state()).await;
    let said = |more: Value| {
        let mut report = json!({"outcome": "SUCCEEDED"});
        report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        report
    };
    let long = "x".repeat(70_000);
    for (path, body, token, status, code) in [
        ("billing", said(json!({})), None, 401, "CG360"),
        ("billing", said(json!({})), Some("token of inv-2/billing"), 401, "CG360"),
        ("billing", said(json!({"idempotency_key": "inv-2/billing"})), Some(TOKEN), 422, "CG361"),
        ("billing?attempt=2", said(json!({"attempt": 1})), Some(TOKEN), 422, "CG361"),
        ("billing?attempt=3", said(json!({})), Some(TOKEN), 422, "CG361"),
        ("billing?attempt=0", said(json!({})), Some(TOKEN), 422, "CG361"),
        ("billing", json!({"outcome": "DONE"}), Some(TOKEN), 422, "CG361"),
        ("billing", said(json!({ "reason": long })), Some(TOKEN), 413, "CG305"),
        ("billing?at=2", said(json!({})), Some(TOKEN), 400, "CG304"),
    ] {
        let reply = report(&world, path, &body, token).await;
        reply.expect_problem(status, code);
        assert_eq!(recorded(&world).len(), 0, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_isnt_confirmed_by_callback_hears_it_at_once_and_its_report_is_recorded() {
    let world = World::start().await;
    world.state(&Open(Status::Awaiting, None).state()).await;
    let body = json!({"outcome": "SUCCEEDED"});
    let reply = report(&world, "ledger?attempt=2", &body, Some("token of inv-1/ledger"));
    // The engine says nothing here, so a wait for it would be the longest there is.
    let reply = tokio::time::timeout(PATIENCE, reply).await.expect("it isn't waited for");
    reply.expect_problem(422, "CG361");
    assert_eq!(recorded(&world).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_is_for_its_own_dispatch_and_attempt_alone() {
    let world = World::start().await;
    world.state(&Open(Status::Awaiting, None).state()).await;
    let key = "inv-1/signed";
    for (body, id, status) in [
        (json!({"outcome": "IN_PROGRESS", "idempotency_key": key, "attempt": 2}), "fits", 200),
        (json!({"outcome": "IN_PROGRESS", "idempotency_key": key, "attempt": 2}), "doesn't", 401),
        // Signed by the same receiver, for another of its dispatches, or for one that isn't said.
        (json!({"outcome": "IN_PROGRESS", "idempotency_key": "inv-2/signed", "attempt": 2}), "fits", 401),
        (json!({"outcome": "SUCCEEDED"}), "fits", 401),
        // For another attempt.
        (json!({"outcome": "RETRY_LATER", "idempotency_key": key, "attempt": 1}), "fits", 401),
        (json!({"outcome": "RETRY_LATER", "idempotency_key": key}), "fits", 401),
    ] {
        let url = format!("{}/v1/callbacks/inv-1/signed?attempt=2", world.url);
        let request = world.client.post(url).bearer_auth("token of inv-1/signed").json(&body);
        let request =
            request.header("webhook-id", id).header("webhook-timestamp", "1").header("webhook-signature", "s");
        let reply = crate::world::reply(request).await;
        assert_eq!(reply.status.as_u16(), status, "{body}: {}", reply.text);
    }
    assert_eq!(recorded(&world).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_floods_is_asked_to_come_back_and_the_others_are_heard() {
    let limits = CallbackLimits { per_second: NonZeroU32::new(1).unwrap(), ..CallbackLimits::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::limited(Access::Loopback, listener, limits).await;
    world.state(&Open(Status::Awaiting, None).state()).await;
    let body = json!({"outcome": "IN_PROGRESS"});
    // At two at once and one a second, some of these are too many, whatever a slow machine adds.
    let flood = (0..200).map(|_| report(&world, "billing?attempt=2", &body, Some(TOKEN)));
    let mut statuses = Vec::new();
    for reply in flood {
        let reply = reply.await;
        if reply.status == 429 {
            reply.expect_problem(429, "CG364");
            assert_eq!(reply.headers["retry-after"], "5");
        }
        statuses.push(reply.status.as_u16());
    }
    assert!(statuses.contains(&200) && statuses.contains(&429));
    let other = report(&world, "ledger?attempt=2", &body, Some("token of inv-1/ledger")).await;
    other.expect_problem(422, "CG361");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_checked_is_not_believed() {
    let world = World::start().await;
    let mut awaiting = file("inv-1", State::Distributing, 3);
    awaiting.dispatches = vec![dispatch("billing", Status::Awaiting)];
    world.state(&awaiting).await;
    // The view can't read on: the key by which the receiver signs may have come meanwhile.
    world.cluster.faults(Box::new(|point| match point {
        FaultPoint::Read { .. } => Fault::Away,
        _ => Fault::NONE,
    }));
    while world.view.freshness().trouble.is_none() {
        tokio::task::yield_now().await;
    }
    let report = json!({"outcome": "SUCCEEDED"});
    let token = Some("token of inv-1/billing");
    let reply = world.call(Method::POST, "/v1/callbacks/inv-1/billing", Some(&report), token).await;
    reply.expect_problem(503, "CG340");
    assert_eq!(world.cluster.dump_uncommitted(Topic::Outcomes).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_that_names_no_receipt_is_told_so_and_recorded() {
    let world = World::start().await;
    world.state(&Open(Status::Awaiting, None).state()).await;
    let token = Some("token of inv-1/receipted");
    for said in ["SUCCEEDED", "DUPLICATE"] {
        let reply = report(&world, "receipted?attempt=2", &json!({ "outcome": said }), token).await;
        assert_eq!(reply.expect(422)["code"], "CG361");
    }
    report(&world, "receipted?attempt=2", &json!({"outcome": "IN_PROGRESS"}), token).await.expect(200);
    assert_eq!(recorded(&world).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_with_another_receipt_is_told_so_at_once_and_recorded_wherever_the_dispatch_stands() {
    let [right, wrong] = ['a', 'b'].map(|digit| format!("sha256:{}", digit.to_string().repeat(64)));
    let token = Some("token of inv-1/receipted");
    let path = format!("receipted?attempt=2&receipt=seal-of-inv-1-receipted-{right}");
    let succeeded = Settled(Status::Succeeded, SettledBy::Target, OutcomeKind::Succeeded);
    for before in [Open(Status::Awaiting, None), Open(Status::Held, None), succeeded] {
        let world = World::start().await;
        world.state(&before.state()).await;
        for said in ["SUCCEEDED", "DUPLICATE"] {
            let body = json!({"outcome": said, "received_digest": wrong});
            // The engine says nothing here, so a wait for it would be the longest there is.
            let reply = tokio::time::timeout(PATIENCE, report(&world, &path, &body, token)).await.expect("no wait");
            reply.expect_problem(422, "CG361");
            assert!(reply.text.contains("something else") && !reply.text.contains(&right), "{}", reply.text);
        }
        assert_eq!(recorded(&world).len(), 2);
        assert_eq!(recorded(&world)[0].received_digest.as_ref(), Some(&wrong));
        // What settles nothing as a success needs no receipt, whatever it names.
        let body = json!({"outcome": "IN_PROGRESS", "received_digest": wrong});
        assert_ne!(report(&world, &path, &body, token).await.status, 422);
    }
    // With the right one it is judged like any other.
    let world = World::start().await;
    world.state(&succeeded.state()).await;
    let body = json!({"outcome": "SUCCEEDED", "received_digest": right});
    report(&world, &path, &body, token).await.expect(200);
    assert_eq!(recorded(&world).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_the_url_cannot_tell_is_left_to_the_engine() {
    let world = World::start().await;
    world.state(&Open(Status::Awaiting, None).state()).await;
    let body = json!({"outcome": "SUCCEEDED", "received_digest": format!("sha256:{}", "b".repeat(64))});
    let reply = report(&world, "receipted?attempt=2", &body, Some("token of inv-1/receipted"));
    let engine = async {
        while recorded(&world).is_empty() {
            tokio::task::yield_now().await;
        }
        let made = Settled(Status::Succeeded, SettledBy::Target, OutcomeKind::Succeeded);
        world.state(&FileState { version: 4, ..made.state() }).await;
    };
    let (reply, ()) = tokio::join!(reply, engine);
    reply.expect(200);
}
