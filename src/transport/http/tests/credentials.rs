//! Credentials: shown as the plan says, fetched when they are needed, and kept out of every report.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::record::{Auth, AuthKind};

/// A directory of secrets.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(secrets: &[(&str, &str)]) -> Self {
        let mounted = Self(tempfile::tempdir().expect("a directory"));
        secrets.iter().for_each(|(name, value)| mounted.put(name, value));
        mounted
    }

    fn put(&self, name: &str, value: &str) {
        std::fs::write(self.0.path().join(name), value).expect("written");
    }

    fn rig(&self) -> Rig {
        let directory = self.0.path().to_owned();
        Rig::over(&[], wall_clock(), |parts| parts.secrets.directory = Some(directory))
    }
}

fn auth(kind: AuthKind) -> Auth {
    let user = (kind != AuthKind::Bearer).then(|| "consign".to_owned());
    Auth { kind, secret: "s".into(), user, token_url: None, scope: None, audience: None }
}

fn with_auth(url: &str, auth: Auth) -> PlannedDispatch {
    let mut plan = plan(url);
    plan.request.auth = Some(auth);
    plan
}

fn ok() -> Act {
    Act::Answer(response("200 OK", "", "ok"))
}

fn unauthorized() -> Act {
    Act::Answer(response("401 Unauthorized", "", "no"))
}

fn token(token: &str, expires_in: u32) -> Act {
    let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{expires_in}}}"#);
    Act::Answer(response("200 OK", "content-type: application/json\r\n", &body))
}

/// What `authorization` was in each request.
async fn shown(peer: &Peer, count: usize) -> Vec<String> {
    let requests = peer.requests(count).await;
    requests.iter().map(|request| header(request, "authorization").unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_user_and_a_token_are_shown_as_their_schemes_say() {
    let mounted = Mounted::new(&[("s", "p:ss\n")]);
    let peer = Peer::start([ok(), ok()]).await;
    let mut rig = mounted.rig();
    for kind in [AuthKind::Basic, AuthKind::Bearer] {
        let outcome = rig.exchange(&with_auth(&peer.url(), auth(kind))).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Succeeded, "http_200"), "{:?}", outcome.detail);
    }
    assert_eq!(shown(&peer, 2).await, [format!("Basic {}", STANDARD.encode("consign:p:ss")), "Bearer p:ss".into()]);
}

#[tokio::test]
async fn a_secret_that_is_replaced_is_in_force_with_the_next_request() {
    let mounted = Mounted::new(&[("s", "old")]);
    let peer = Peer::start([ok(), ok()]).await;
    let (mut rig, plan) = (mounted.rig(), with_auth(&peer.url(), auth(AuthKind::Bearer)));
    rig.exchange(&plan).await;
    mounted.put("s", "new");
    rig.exchange(&plan).await;
    assert_eq!(shown(&peer, 2).await, ["Bearer old", "Bearer new"]);
}

#[tokio::test]
async fn without_its_secret_a_request_never_leaves() {
    let mounted = Mounted::new(&[("line", "a\nb")]);
    let peer = Peer::start([]).await;
    for (secret, code) in [("missing", "secret_missing"), ("../s", "secret_missing"), ("line", "request_invalid")] {
        let auth = Auth { secret: secret.into(), ..auth(AuthKind::Bearer) };
        let outcome = mounted.rig().exchange(&with_auth(&peer.url(), auth)).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Retryable, code), "{:?}", outcome.detail);
        assert!(!outcome.refusal);
    }
    assert_eq!(peer.connections(), 0);
}

fn oauth2(issuer: &Peer) -> Auth {
    let scope = Some("files:write files:read".to_owned());
    Auth { token_url: Some(issuer.url()), scope, audience: Some("b".into()), ..auth(AuthKind::Oauth2) }
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_kept() {
    let mounted = Mounted::new(&[("s", "s3/cr et")]);
    let issuer = Peer::start([token("t-1", 3600), token("t-2", 3600)]).await;
    let peer = Peer::start([ok(), ok(), ok()]).await;
    let (mut rig, plan) = (mounted.rig(), with_auth(&peer.url(), oauth2(&issuer)));
    rig.exchange(&plan).await;
    rig.exchange(&plan).await;
    mounted.put("s", "another");
    rig.exchange(&plan).await;
    assert_eq!(shown(&peer, 3).await, ["Bearer t-1", "Bearer t-1", "Bearer t-2"]);
    let asked = issuer.requests(2).await;
    let (head, body) = split(&asked[0]);
    assert!(head.starts_with("POST "));
    assert_eq!(body, b"grant_type=client_credentials&scope=files%3Awrite+files%3Aread&audience=b");
    let basic = format!("Basic {}", STANDARD.encode("consign:s3%2Fcr+et"));
    assert_eq!(header(&asked[0], "authorization"), Some(basic));
    assert_eq!(header(&asked[0], "content-type").as_deref(), Some("application/x-www-form-urlencoded"));
    assert_eq!(header(&asked[0], "idempotency-key"), None);
}

#[tokio::test]
async fn a_token_that_soon_expires_is_not_kept() {
    let mounted = Mounted::new(&[("s", "secret")]);
    let issuer = Peer::start([token("t-1", 30), token("t-2", 30)]).await;
    let peer = Peer::start([ok(), ok()]).await;
    let (mut rig, plan) = (mounted.rig(), with_auth(&peer.url(), oauth2(&issuer)));
    rig.exchange(&plan).await;
    rig.exchange(&plan).await;
    assert_eq!(shown(&peer, 2).await, ["Bearer t-1", "Bearer t-2"]);
}

#[tokio::test]
async fn a_401_to_a_kept_token_asks_for_another_once_and_within_an_attempt_nothing_is_repeated() {
    let mounted = Mounted::new(&[("s", "secret")]);
    let issuer = Peer::start([token("t-1", 3600), token("t-2", 3600)]).await;
    let peer = Peer::start([ok(), unauthorized(), unauthorized()]).await;
    let (mut rig, plan) = (mounted.rig(), with_auth(&peer.url(), oauth2(&issuer)));
    rig.exchange(&plan).await;
    let kept = rig.exchange(&plan).await;
    assert_eq!((judged(&kept), kept.refusal), ((OutcomeKind::Retryable, "http_401"), false));
    assert_eq!(peer.requests(2).await.len(), 2);
    let fresh = rig.exchange(&plan).await;
    assert_eq!((judged(&fresh), fresh.refusal), ((OutcomeKind::Retryable, "http_401"), true));
    assert_eq!(shown(&peer, 3).await, ["Bearer t-1", "Bearer t-1", "Bearer t-2"]);
}

#[tokio::test]
async fn a_401_to_a_new_token_is_a_refusal_and_the_token_is_not_shown_again() {
    let mounted = Mounted::new(&[("s", "secret")]);
    let issuer = Peer::start([token("t-1", 3600), token("t-2", 3600)]).await;
    let peer = Peer::start([unauthorized(), ok()]).await;
    let (mut rig, plan) = (mounted.rig(), with_auth(&peer.url(), oauth2(&issuer)));
    let fresh = rig.exchange(&plan).await;
    assert_eq!((judged(&fresh), fresh.refusal), ((OutcomeKind::Retryable, "http_401"), true));
    rig.exchange(&plan).await;
    assert_eq!(shown(&peer, 2).await, ["Bearer t-1", "Bearer t-2"]);
}

#[tokio::test]
async fn without_a_token_a_request_never_leaves() {
    let mounted = Mounted::new(&[("s", "secret")]);
    let peer = Peer::start([]).await;
    let refused = response("401 Unauthorized", "", r#"{"error":"invalid_client","error_description":"secret"}"#);
    for (act, code, refusal) in [
        (Act::Answer(refused), "credentials_refused", true),
        (Act::Answer(response("503 Busy", "", "")), "token_unavailable", false),
        (Act::Answer(response("200 OK", "", r#"{"token":"secret"}"#)), "token_unavailable", false),
        (Act::Reset, "token_unavailable", false),
    ] {
        let issuer = Peer::start([act]).await;
        let outcome = mounted.rig().exchange(&with_auth(&peer.url(), oauth2(&issuer))).await;
        let expected = ((OutcomeKind::Retryable, code), refusal);
        assert_eq!((judged(&outcome), outcome.refusal), expected, "{:?}", outcome.detail);
        assert!(!outcome.detail.unwrap_or_default().contains("secret"));
    }
    let metadata = Auth { token_url: Some("http://169.254.169.254/token".into()), ..auth(AuthKind::Oauth2) };
    let outcome = mounted.rig().exchange(&with_auth(&peer.url(), metadata)).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "egress_refused"));
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn what_a_target_repeats_of_our_secrets_is_in_no_report() {
    let mounted = Mounted::new(&[("s", r#"can"ary"#)]);
    let basic = STANDARD.encode(r#"consign:can"ary"#);
    let echo = format!(r#"{{"you said": "Basic {basic}", "which is": "can\"ary", "plain": 'can"ary'}}"#);
    let headers = format!("server: {basic}\r\n");
    let peer = Peer::start([Act::Answer(response("400 Bad Request", &headers, &echo))]).await;
    let outcome = mounted.rig().exchange(&with_auth(&peer.url(), auth(AuthKind::Basic))).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Rejected, "http_400"));
    let report = format!("{outcome:?}");
    for leaked in [basic.as_str(), "can", "ary"] {
        assert!(!report.contains(leaked), "{leaked} in {report}");
    }
    assert!(report.contains("[redacted]"));
}

#[tokio::test]
async fn an_ack_token_that_a_target_repeats_is_in_no_report() {
    let token = tokens().issue("f-1/a");
    let peer = Peer::start([Act::Answer(response("202 Accepted", "", &format!("got {token}")))]).await;
    let mut plan = plan(&peer.url());
    plan.confirmed_by = ConfirmedBy::by(Confirmation::Callback);
    let outcome = Rig::new().exchange(&plan).await;
    assert_eq!(outcome.kind, OutcomeKind::Accepted);
    assert_eq!(outcome.evidence.expect("an answer").body.as_deref(), Some("got [redacted]"));
    let request = peer.requests(1).await.remove(0);
    assert_eq!(header(&request, "consign-ack-token"), Some(token));
    let url = header(&request, "consign-callback-url");
    assert_eq!(url.as_deref(), Some("https://consign.example/v1/callbacks/f-1/a?attempt=1"));
}

#[tokio::test]
async fn a_webhook_is_signed_anew_for_each_attempt_by_both_keys_of_a_rotation() {
    let current = "whsec_AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
    let previous = "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let seed = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let public = "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
    let mounted = Mounted::new(&[("k", current), ("k.previous", previous), ("ed", seed)]);
    let directory = mounted.0.path().to_owned();
    let now = Arc::new(AtomicI64::new(1_700_000_000_000));
    let reading = Arc::clone(&now);
    let clock: Clock = Arc::new(move || Timestamp(reading.load(Ordering::SeqCst)));
    let mut rig = Rig::over(&[], clock, |parts| parts.secrets.directory = Some(directory));
    let peer = Peer::start([ok(), ok()]).await;
    let mut plan = plan(&peer.url());
    plan.transport = TransportKind::Webhook;
    plan.request.sign_with = Some(vec!["k".into(), "ed".into()]);
    rig.exchange(&plan).await;
    now.store(1_700_000_060_000, Ordering::SeqCst);
    rig.exchange(&plan).await;
    let mut ids = Vec::new();
    for (request, seconds) in peer.requests(2).await.iter().zip(["1700000000", "1700000060"]) {
        let header = |name: &str| header(request, name).expect("it is there");
        let (id, signatures) = (header("webhook-id"), header("webhook-signature"));
        assert_eq!(header("webhook-timestamp"), seconds);
        assert_eq!(header("idempotency-key"), "f-1/a");
        for key in [current, previous, public] {
            let key = crate::transport::Secret::new(key.as_bytes().to_vec());
            let signed = (id.as_str(), seconds, signatures.as_str());
            let at = Timestamp(now.load(Ordering::SeqCst));
            assert!(crate::transport::sign::verify(signed, &split(request).1, at, [&key]));
        }
        assert_eq!(signatures.split(' ').count(), 3);
        ids.push(id);
    }
    assert_eq!(ids[0], ids[1]);
}
