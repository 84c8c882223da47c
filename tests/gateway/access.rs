use std::num::NonZeroU32;

use consign::gateway::{Access, CallerLimits, GatewayError, ROUTES, Role, Token};
use consign::record::{FileManifest, Intervention, Topic};
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;

use crate::world::{Limits, World, held, reply};

fn tokens() -> Access {
    Access::Tokens(vec![Token::of("v", "vera", Role::Viewer), Token::of("o", "oscar", Role::Operator)])
}

#[tokio::test]
async fn an_address_that_others_reach_needs_tokens() {
    let open = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = World::on(Access::Loopback, open).await.ended().await;
    assert!(matches!(refused, Err(GatewayError::Exposed(_))), "{refused:?}");
    let open = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let world = World::on(tokens(), open).await;
    assert_eq!(world.get("/healthz").await.status, 200);
    world.stop().await.unwrap();
}

#[tokio::test]
async fn every_route_asks_for_the_role_that_the_list_names() {
    let world = World::with(tokens()).await;
    for (method, path, role) in ROUTES {
        let path = path.replace("{file_id}", "x").replace("{target}", "t").replace("{partition}/{offset}", "0/0");
        let method: Method = method.parse().unwrap();
        let call = |token| world.call(method.clone(), &path, None, token);
        let (nobody, stranger) = (call(None).await, call(Some("s")).await);
        let (viewer, operator) = (call(Some("v")).await.status, call(Some("o")).await);
        if path.starts_with("/v1/callbacks/") {
            // Only a dispatch's own token opens these.
            for refused in [nobody, stranger, call(Some("o")).await] {
                refused.expect_problem(401, "CG360");
            }
            continue;
        }
        if role.is_none() {
            assert_ne!(nobody.status, 401, "{method} {path}");
        } else {
            nobody.expect_problem(401, "CG310");
            stranger.expect_problem(401, "CG310");
            assert_eq!(nobody.headers["www-authenticate"], "Bearer");
        }
        assert_eq!(viewer == 403, *role == Some(Role::Operator), "{method} {path}: {viewer}");
        assert!(![401, 403, 405].contains(&operator.status.as_u16()), "{method} {path}: {operator:?}");
        assert!(!operator.text.contains("CG307"), "{method} {path} is no route");
    }
}

#[tokio::test]
async fn the_actor_is_the_bearer_whatever_a_header_says() {
    let world = World::with(tokens()).await;
    world.state(&held("inv-1")).await;
    let manifest = json!({"file_id": "inv-2", "schema_version": 1, "file_type": "t", "name": "n"});
    let post = |path: &str, body: &serde_json::Value| {
        let request = world.client.post(format!("{}{path}", world.url)).json(body).bearer_auth("o");
        reply(request.header("x-consign-actor", "ceo"))
    };
    post("/v1/files", &manifest).await.expect(202);
    let ask = json!({"action": "retry", "reason": "why"});
    post("/v1/files/inv-1/dispatches/billing/interventions?wait=1ms", &ask).await.expect(202);
    assert_eq!(world.appended::<FileManifest>(Topic::Manifests)[0].produced_by, "oscar");
    assert_eq!(world.appended::<Intervention>(Topic::Interventions)[0].actor, "oscar");
}

#[tokio::test]
async fn a_page_from_elsewhere_can_not_use_the_loopback_address() {
    let world = World::start().await;
    let request = world.client.get(format!("{}/v1/files", world.url)).header("host", "evil.example");
    reply(request).await.expect_problem(403, "CG312");
    world.get("/v1/files").await.expect(200);
}

#[tokio::test]
async fn a_caller_that_floods_is_asked_to_come_back_and_the_others_are_heard() {
    let tokens = Access::Tokens(vec![
        Token::of("v", "vera", Role::Viewer),
        Token::of("o", "oscar", Role::Operator),
        Token::of("p", "paula", Role::Operator),
    ]);
    let callers = CallerLimits { per_second: NonZeroU32::MIN };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::limited(tokens, listener, Limits { callers, ..Limits::default() }).await;
    let manifest = json!({"file_id": "inv-1", "schema_version": 1, "file_type": "t", "name": "n"});
    let submit = |token| world.call(Method::POST, "/v1/files", Some(&manifest), Some(token));
    let mut taken = 0;
    let refused = loop {
        let reply = submit("o").await;
        if reply.status != 202 {
            break reply;
        }
        taken += 1;
    };
    assert!(taken >= 2, "as many as after a quiet while");
    assert_eq!(refused.headers["retry-after"], "1");
    refused.expect_problem(429, "CG313");
    assert_eq!(world.appended::<FileManifest>(Topic::Manifests).len(), taken);
    submit("p").await.expect(202);
    for _ in 0..5 {
        world.call(Method::GET, "/v1/files", None, Some("o")).await.expect(200);
    }
}
