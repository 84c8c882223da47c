//! A receiver that is right but for one fault.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use consign::record::Timestamp;
use consign::transport::{Secret, sign, wall_clock};
use serde_json::{Value, json};

pub const KEY: &str = "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// What a receiver does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It does it again with each repeat, and answers as if it didn't.
    EffectOnRepeat,
    /// It looks whether it has the key, takes its time, and then does it.
    EffectUnderConcurrency,
    AcceptsBadSignature,
    AcceptsUnsigned,
    AcceptsStale,
    /// It looks at the first signature alone.
    RefusesRotated,
    /// It looks at the last signature alone.
    RefusesRotatedLast,
    /// It remembers the key before it looks at the signature.
    SpoilsKey,
    BreaksOnLargeBody,
    /// It answers a repeat 409.
    RefusesRepeat,
    /// It makes a new entry for each repeat, and answers with its number.
    OtherEntryForRepeat,
    /// It breaks while another request with the key is under way.
    BreaksUnderConcurrency,
    /// It answers 2xx, but not as the target's rule says.
    AnswersAsNoRuleSays,
    /// It answers what it refuses with 500.
    RefusesWith500,
    NeverConfirms,
    ConfirmsAndRefuses,
    RefusesWhatItTook,
    /// It gives each report a reference of its own.
    NewReference,
    WrongDigest,
    WrongToken,
}

#[derive(Default)]
struct Known {
    /// Bodies answered, by key.
    answers: BTreeMap<String, String>,
    under_way: BTreeMap<String, usize>,
    entries: usize,
}

struct Shared {
    fault: Fault,
    known: Mutex<Known>,
    effects: PathBuf,
}

/// Serves on a free port for as long as the test process lives; gives the address. Each effect is a line with its key in the file
/// `effects` of the folder.
pub fn serve(fault: Fault, folder: &Path) -> String {
    consign::transport::set_up_tls();
    let (address, told) = std::sync::mpsc::channel();
    let shared = Arc::new(Shared { fault, known: Mutex::default(), effects: folder.join("effects") });
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            address.send(listener.local_addr().unwrap()).unwrap();
            axum::serve(listener, Router::new().fallback(receive).with_state(shared)).await.unwrap();
        });
    });
    format!("http://{}/in", told.recv().unwrap())
}

async fn receive(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let fault = shared.fault;
    let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let key = text("idempotency-key").unwrap();
    if fault == Fault::SpoilsKey && shared.known.lock().unwrap().answers.contains_key(&key) {
        return StatusCode::CONFLICT.into_response();
    }
    if !is_signed(fault, &parts.headers, &body) {
        if fault == Fault::SpoilsKey {
            shared.known.lock().unwrap().answers.insert(key, String::new());
        }
        let status = if fault == Fault::RefusesWith500 { 500 } else { 401 };
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    if fault == Fault::BreaksOnLargeBody && body.len() > 100_000 {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let answer = match take(&shared, &key).await {
        Ok(answer) => answer,
        Err(status) => return status.into_response(),
    };
    if let (Some(url), Some(token)) = (text("consign-callback-url"), text("consign-ack-token")) {
        tokio::spawn(confirm(fault, key, url, token, body));
        return (StatusCode::ACCEPTED, answer).into_response();
    }
    match fault {
        Fault::AnswersAsNoRuleSays => StatusCode::NO_CONTENT.into_response(),
        _ => ([("content-type", "application/json")], answer).into_response(),
    }
}

fn is_signed(fault: Fault, headers: &HeaderMap, body: &[u8]) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    let (Some(id), Some(seconds), Some(signatures)) =
        (text("webhook-id"), text("webhook-timestamp"), text("webhook-signature"))
    else {
        return fault == Fault::AcceptsUnsigned;
    };
    let signatures = match fault {
        Fault::RefusesRotated => signatures.split(' ').next().unwrap(),
        Fault::RefusesRotatedLast => signatures.split(' ').next_back().unwrap(),
        _ => signatures,
    };
    let now = match fault {
        Fault::AcceptsStale => Timestamp(seconds.parse::<i64>().unwrap() * 1000),
        _ => wall_clock()(),
    };
    let keys = [Secret::new(KEY.as_bytes().to_vec())];
    fault == Fault::AcceptsBadSignature || sign::verify((id, seconds, signatures), body, now, &keys)
}

/// How long a request takes whose key isn't known, where others must come meanwhile.
const MEANWHILE: Duration = Duration::from_millis(500);

/// Takes what a key brings, once; gives the answer.
async fn take(shared: &Shared, key: &str) -> Result<String, StatusCode> {
    let fault = shared.fault;
    let known = shared.known.lock().unwrap().answers.get(key).cloned();
    if fault == Fault::BreaksUnderConcurrency && known.is_none() {
        let others = {
            let mut known = shared.known.lock().unwrap();
            let others = known.under_way.entry(key.to_owned()).or_default();
            *others += 1;
            *others
        };
        tokio::time::sleep(MEANWHILE).await;
        *shared.known.lock().unwrap().under_way.get_mut(key).unwrap() -= 1;
        if others > 1 {
            return Err(StatusCode::INTERNAL_SERVER_ERROR);
        }
    }
    match known {
        Some(_) if fault == Fault::RefusesRepeat => return Err(StatusCode::CONFLICT),
        Some(answer) if ![Fault::EffectOnRepeat, Fault::OtherEntryForRepeat].contains(&fault) => return Ok(answer),
        _ => {}
    }
    if fault == Fault::EffectUnderConcurrency {
        tokio::time::sleep(MEANWHILE).await;
    }
    let mut known = shared.known.lock().unwrap();
    if let Some(answer) = known.answers.get(key).filter(|_| fault == Fault::None) {
        return Ok(answer.clone());
    }
    let effect = format!("{key}\n");
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&shared.effects).unwrap();
    file.write_all(effect.as_bytes()).unwrap();
    known.entries += 1;
    let answer = match fault {
        Fault::OtherEntryForRepeat => format!(r#"{{"result":"ok","entry":{}}}"#, known.entries),
        _ => r#"{"result":"ok"}"#.to_owned(),
    };
    known.answers.insert(key.to_owned(), answer.clone());
    Ok(answer)
}

async fn confirm(fault: Fault, key: String, url: String, token: String, body: Bytes) {
    use sha2::Digest as _;
    let bytes = if fault == Fault::WrongDigest { &b"something else"[..] } else { &body[..] };
    let digest = hex(&sha2::Sha256::digest(bytes));
    let reference = match fault {
        Fault::NewReference => format!("entry-{}", wall_clock()().0),
        _ => format!("entry of {key}"),
    };
    let outcomes: &[&str] = match fault {
        Fault::NeverConfirms => &[],
        Fault::ConfirmsAndRefuses => &["IN_PROGRESS", "SUCCEEDED", "REJECTED"],
        Fault::RefusesWhatItTook => &["REJECTED"],
        Fault::NewReference => &["SUCCEEDED", "SUCCEEDED"],
        _ => &["IN_PROGRESS", "SUCCEEDED"],
    };
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (number, outcome) in outcomes.iter().enumerate() {
        let reference = if fault == Fault::NewReference { format!("{reference}-{number}") } else { reference.clone() };
        let report: Json<Value> = Json(json!({
            "outcome": outcome, "idempotency_key": key, "received_digest": format!("sha256:{digest}"),
            "received_size": body.len(), "reference": reference,
        }));
        let token = if fault == Fault::WrongToken { "certify.AAAA" } else { &token };
        // What it hears changes nothing for it.
        let _ = client.post(&url).bearer_auth(token).json(&report.0).send().await;
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
