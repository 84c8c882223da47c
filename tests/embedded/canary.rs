//! No secret gets out: a run in which targets repeat everything that they are shown, searched in all that it leaves.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use consign::record::Topic;

use crate::logged::Lines;
use crate::world::{self, ACK_KEY, World};

const PASSWORD: &str = "canary-password-5f1c";
const BEARER: &str = "canary-bearer-90aa";
const CLIENT: &str = "canary-client-c3f8";
/// What the issuer of tokens gives for it.
const TOKEN: &str = "canary-token-1d77";
const SIGNING: &str = "whsec_Y2FuYXJ5LXNpZ25pbmcta2V5LTdkMzItYWJjZA==";
const ED25519: &str = "whsk_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2E=";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_anything_that_a_run_leaves() {
    let lines = Lines::catch();
    let world = World::start().await;
    for (name, value) in [
        ("echo-password", PASSWORD),
        ("echo-bearer", BEARER),
        ("echo-client", CLIENT),
        ("echo-key", SIGNING),
        ("echo-key.previous", ED25519),
    ] {
        world.secret(name, value);
    }
    world.submit(&world::manifest("echo-1", "echo")).await;
    let state = world.settled("echo-1").await;
    let mut tokens = Vec::new();
    for target in ["echo-basic", "echo-bearer", "echo-oauth2", "echo-webhook"] {
        let request = world.journal.of_key(&format!("echo-1/{target}")).pop().expect("it was sent");
        let shown = request.headers.get("authorization").cloned().unwrap_or_default();
        tokens.extend(request.headers.get("consign-ack-token").cloned());
        match target {
            "echo-basic" => assert_eq!(shown, format!("Basic {}", STANDARD.encode(format!("consign:{PASSWORD}")))),
            "echo-bearer" => assert_eq!(shown, format!("Bearer {BEARER}")),
            "echo-oauth2" => assert_eq!(shown, format!("Bearer {TOKEN}")),
            _ => assert_eq!(request.headers["webhook-signature"].split(' ').count(), 2),
        }
    }
    assert_eq!(tokens.len(), 1);
    let mut outputs = vec![("file-state".to_owned(), format!("{state:?}").into_bytes())];
    for topic in Topic::ALL {
        for record in world.cluster.dump(topic) {
            outputs.push((format!("{topic:?}"), format!("{record:?}").into_bytes()));
            outputs.push((format!("{topic:?}"), record.value.unwrap_or_default()));
        }
    }
    let history = world.history("echo-1", |text| text.contains("[redacted]")).await;
    outputs.push(("history".into(), history.into_bytes()));
    for path in ["/metrics", "/v1/files", "/v1/files/echo-1", "/v1/targets", "/v1/dead-letters"] {
        let text = reqwest::get(format!("{}{path}", world.url())).await.unwrap().text().await.unwrap();
        outputs.push((path.to_owned(), text.into_bytes()));
    }
    // What is refused repeats nothing of what it was shown.
    let callback = format!("{}/v1/callbacks/echo-1/echo-webhook?attempt=1", world.url());
    let body = format!(r#"{{"outcome": "{PASSWORD}", "reason": "{TOKEN}"}}"#);
    for token in [BEARER, tokens[0].as_str()] {
        let refused =
            reqwest::Client::new().post(&callback).bearer_auth(token).body(body.clone()).send().await.unwrap();
        assert!(refused.status().is_client_error());
        outputs.push(("a refusal".to_owned(), refused.text().await.unwrap().into_bytes()));
    }
    world.stop().await;
    let logged = lines.text();
    assert!(String::from_utf8_lossy(&logged).contains("exchange ended"), "the log was caught");
    outputs.push(("log".into(), logged));
    let basic = STANDARD.encode(format!("consign:{PASSWORD}"));
    let client = STANDARD.encode(format!("consign:{CLIENT}"));
    let mut secrets = vec![PASSWORD, BEARER, CLIENT, TOKEN, ACK_KEY, SIGNING, ED25519];
    secrets.extend([basic.as_str(), client.as_str(), tokens[0].as_str()]);
    let keys = [SIGNING, ED25519].map(|key| STANDARD.decode(key.split_once('_').unwrap().1).unwrap());
    let keys = keys.each_ref().map(|key| std::str::from_utf8(key).unwrap());
    secrets.extend(keys);
    for (place, bytes) in &outputs {
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {place}: {}", String::from_utf8_lossy(bytes));
        }
    }
}
