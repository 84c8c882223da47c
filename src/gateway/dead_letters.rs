//! Dead letters: look at them, and put one back.

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::App;
use super::access::Operator;
use super::extract::{self, Body, Params};
use super::problem::{Code, Problem};
use crate::log::{Append, Headers, Record};
use crate::record::{Timestamp, Topic, file_id_of_key, home_partition};
use crate::view::{DeadLetter, header};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// The reason that forbids to put a letter back: within its time the file may have been dispatched already.
const EXPIRED: &str = "expired";
/// The reason of a letter that no topic takes: some of it may have been cut off.
const TOO_LONG: &str = "too_long";

/// What is on the outside of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterSummary {
    /// Its partition on `dead-letters`.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// When it was put there, in milliseconds since 1970.
    pub at: Timestamp,
    /// The original key, invalid UTF-8 replaced; null where it had none.
    pub key: Option<String>,
    /// Why it is one, in one word.
    pub reason: Option<String>,
    /// Why it is one, in words.
    pub detail: Option<String>,
    /// The topic that it was read from.
    pub topic: Option<String>,
    /// The partition that it was read from.
    pub from_partition: Option<i32>,
    /// The offset that it was read from.
    pub from_offset: Option<i64>,
    /// Size of the value in bytes; null for a tombstone.
    pub value_size: Option<usize>,
}

/// The newest dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetters {
    /// Newest first.
    pub dead_letters: Vec<DeadLetterSummary>,
}

/// A dead letter, opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterAnswer {
    /// The outside.
    pub dead_letter: DeadLetterSummary,
    /// Every header as it stands on the record, invalid UTF-8 replaced.
    pub headers: Vec<(String, String)>,
    /// The original value in base64; null for a tombstone.
    pub value_base64: Option<String>,
    /// The original value as text, where it is UTF-8.
    pub value_text: Option<String>,
}

/// Why a letter is put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reinject {
    /// Recorded in a header.
    pub reason: String,
}

/// Where a letter was put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reinjected {
    /// The full name of the topic.
    pub topic: String,
    /// The partition; null where the log chose it by the key.
    pub partition: Option<i32>,
    /// The letter that was put back.
    pub dead_letter: DeadLetterSummary,
}

/// `?limit=100`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitParam {
    limit: Option<usize>,
}

pub(super) async fn list(
    State(app): State<App>,
    Params(params): Params<LimitParam>,
) -> Result<Json<DeadLetters>, Problem> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::new(Code::CG304, format!("limit: {limit} is not 1 to {MAX_LIMIT}")));
    }
    let dead_letters = app.view.dead_letters(limit).await?.iter().map(summary).collect();
    Ok(Json(DeadLetters { dead_letters }))
}

pub(super) async fn show(
    State(app): State<App>,
    Path(place): Path<(String, String)>,
) -> Result<Json<DeadLetterAnswer>, Problem> {
    let letter = letter(&app, &place).await?;
    let headers = letter.record.headers.iter();
    let headers = headers.map(|(name, value)| (name.clone(), lossy(&without_tokens(value)))).collect();
    let value = letter.record.value.as_deref().map(without_tokens);
    Ok(Json(DeadLetterAnswer {
        dead_letter: summary(&letter),
        headers,
        value_base64: value.as_ref().map(|v| STANDARD.encode(v)),
        value_text: value.and_then(|v| String::from_utf8(v).ok()),
    }))
}

/// Puts the original bytes back on their topic, under their key, in the key's home partition.
pub(super) async fn reinject(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(place): Path<(String, String)>,
    Body(asked): Body<Reinject>,
) -> Result<Json<Reinjected>, Problem> {
    let reason = extract::reason(&asked.reason)?;
    let letter = letter(&app, &place).await?;
    let append = put_back(&app, &letter, &caller.actor, &reason).await?;
    let (topic, partition) = (app.names.name(append.topic), append.partition);
    app.append(append).await?;
    tracing::info!(
        partition = letter.partition(),
        offset = letter.offset(),
        topic,
        actor = caller.actor,
        "a dead letter was put back"
    );
    Ok(Json(Reinjected { topic, partition, dead_letter: summary(&letter) }))
}

async fn put_back(app: &App, letter: &DeadLetter, actor: &str, reason: &str) -> Result<Append, Problem> {
    let refuse = |why: String| Err(Problem::new(Code::CG331, why));
    if letter.header(header::REASON).as_deref() == Some(EXPIRED) {
        return refuse(
            "it is older than the deduplication memory: it may have been dispatched before. If it never was, \
             announce the file under a new file_id"
                .to_owned(),
        );
    }
    if letter.header(header::REASON).as_deref() == Some(TOO_LONG) {
        return refuse(
            "it is longer than its topic takes, and may be cut: have it published again, shorter".to_owned(),
        );
    }
    let Some(name) = letter.header(header::TOPIC) else {
        return refuse("no header says which topic it was read from".to_owned());
    };
    let topic = app.names.topic(&name).or_else(|| Topic::ALL.into_iter().find(|t| t.base_name() == name));
    let Some(topic) = topic.filter(|t| Topic::INPUTS.contains(t)) else {
        return refuse(format!("it was read from {name}, which is no input"));
    };
    // A dead letter of a record without a key has an empty one.
    let key = letter.record.key.as_ref().filter(|key| !key.is_empty());
    let (Some(key), Some(value)) = (key, &letter.record.value) else {
        return refuse("it has no key or no value, so it would only become a dead letter again".to_owned());
    };
    let partition = match std::str::from_utf8(key) {
        Ok(key) if topic != Topic::Acks => Some(home_partition(file_id_of_key(key), app.home_partitions().await?)),
        _ => None,
    };
    let headers = headers_back(&letter.record, actor, reason);
    Ok(Append { topic, partition, key: key.clone(), value: Some(value.clone()), headers })
}

/// The original headers, without those of the dead letter, and who put it back. What says where the record first stood
/// stays: its age must not be forgotten.
fn headers_back(record: &Record, actor: &str, reason: &str) -> Headers {
    const OURS: [&str; 8] = [
        header::REASON,
        header::DETAIL,
        header::TOPIC,
        header::PARTITION,
        header::OFFSET,
        header::REINJECTED_BY,
        header::REINJECTED_REASON,
        header::REINJECTED_FROM,
    ];
    let mut headers: Headers =
        record.headers.iter().filter(|(name, _)| !OURS.contains(&name.as_str())).cloned().collect();
    headers.push((header::REINJECTED_BY.to_owned(), actor.as_bytes().to_vec()));
    headers.push((header::REINJECTED_REASON.to_owned(), reason.as_bytes().to_vec()));
    let from = format!("{}/{}", record.at.partition, record.offset);
    headers.push((header::REINJECTED_FROM.to_owned(), from.into_bytes()));
    headers
}

async fn letter(app: &App, (partition, offset): &(String, String)) -> Result<DeadLetter, Problem> {
    let missing = || Problem::new(Code::CG322, format!("there is no dead letter {partition}/{offset}"));
    let (Ok(at_partition), Ok(at_offset)) = (partition.parse(), offset.parse()) else { return Err(missing()) };
    app.view.dead_letter(at_partition, at_offset).await?.ok_or_else(missing)
}

fn summary(letter: &DeadLetter) -> DeadLetterSummary {
    DeadLetterSummary {
        partition: letter.partition(),
        offset: letter.offset(),
        at: letter.at(),
        key: letter.record.key.as_deref().map(lossy),
        reason: letter.header(header::REASON),
        detail: letter.header(header::DETAIL),
        topic: letter.header(header::TOPIC),
        from_partition: letter.header(header::PARTITION).and_then(|p| p.parse().ok()),
        from_offset: letter.header(header::OFFSET).and_then(|o| o.parse().ok()),
        value_size: letter.value_size,
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Characters of an ack token after its key's id and the dot: 32 bytes in the URL's alphabet of base64.
const TAG: usize = 43;

/// The bytes with an `x` for each character of what may be an ack token, by which a viewer could report for a target. As many
/// bytes stay, so that what is framed by lengths can still be read.
fn without_tokens(bytes: &[u8]) -> Vec<u8> {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let mut shown = bytes.to_vec();
    for at in 1..bytes.len() {
        let tag = at + 1..at + 1 + TAG;
        let is_tag = bytes.get(tag.clone()).is_some_and(|tag| tag.iter().all(is_letter));
        if bytes[at] == b'.' && is_letter(&bytes[at - 1]) && is_tag {
            shown[tag].fill(b'x');
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_hidden_in_text_and_between_lengths() {
        let token = "k1.HtiL57ed6yq7o54xq66Jq4zj4q5bSXhodx-X1-I1Gew";
        let hidden = format!("k1.{}", "x".repeat(TAG));
        for (before, after) in [("{\"ack_token\":\"", "\"}"), ("\u{5c}", "a\u{2}"), ("", "")] {
            let shown = without_tokens(format!("{before}{token}{after}").as_bytes());
            assert_eq!(String::from_utf8(shown).unwrap(), format!("{before}{hidden}{after}"));
        }
        for harmless in ["", ".", "a.b", "https://billing.example/v1", "1.5"] {
            assert_eq!(without_tokens(harmless.as_bytes()), harmless.as_bytes());
        }
    }
}
