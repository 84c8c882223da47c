//! What an exchange with a target is reported as: tables, printed by asking the transport's own classification.

use std::collections::BTreeMap;

use crate::lifecycle::specimen::{START, planned};
use crate::lifecycle::table::{Table, tables as of_the_machine};
use crate::record::{Confirmation, ConfirmedBy};
use crate::transport::{Answer, Exchange, Verdict, classify};

/// How long a target asks to be left alone, in milliseconds.
const ASKED_MS: i64 = 7_000;

/// All tables of the machine, in the order in which they are read: what becomes of events, and what exchanges with targets
/// are reported to it as.
pub fn tables() -> Vec<Table> {
    let mut tables = of_the_machine();
    tables.extend([kinds(), own_word()]);
    tables
}

/// Answers by their status; all statuses of a row have the same result.
fn answers() -> Vec<(String, Vec<Answer>)> {
    // Those that the contract names one by one; the rest of a hundred stands together.
    let named = [
        400, 401, 403, 404, 405, 406, 407, 408, 409, 410, 411, 413, 414, 415, 422, 425, 429, 431, 500, 501, 502, 503,
        504, 505,
    ];
    let answer = |status| Answer { status, ..Answer::default() };
    let mut answers = Vec::new();
    for first in [100, 200, 300] {
        answers.push((format!("{first}-{}", first + 99), (first..first + 100).map(answer).collect()));
    }
    for first in [400, 500] {
        let (own, rest): (Vec<u16>, Vec<u16>) = (first..first + 100).partition(|status| named.contains(status));
        answers.extend(own.into_iter().map(|status| (status.to_string(), vec![answer(status)])));
        answers.push((format!("any other {}xx", first / 100), rest.into_iter().map(answer).collect()));
    }
    for status in [429, 500, 503] {
        let headers = BTreeMap::from([("retry-after".to_owned(), (ASKED_MS / 1_000).to_string())]);
        answers.push((format!("{status} with Retry-After"), vec![Answer { headers, ..answer(status) }]));
    }
    let kept = Answer { token_was_kept: true, ..answer(401) };
    answers.push(("401 to a token kept from before".to_owned(), vec![kept]));
    answers
}

/// Exchanges that end without an answer, by the code that is reported.
fn without_answer() -> Vec<(String, Exchange)> {
    let not_sent = [
        "resolve_failed",
        "connect_refused",
        "connect_failed",
        "connect_timeout",
        "tls_failed",
        "egress_refused",
        "secret_missing",
        "token_unavailable",
        "file_missing",
        "file_refused",
        "file_unreadable",
        "file_differs",
        "not_taken",
        "topic_unknown",
        "record_refused",
        "queue_full",
        "dropped_unsent",
        "request_invalid",
        "stopped",
    ];
    // What left may have arrived, and what was broken off may have been enough.
    let lost =
        ["timeout", "reset", "cut_off", "undelivered", "file_unreadable", "file_differs", "file_unverified", "stopped"];
    let detail = String::new;
    let mut exchanges: Vec<(String, Exchange)> = not_sent
        .into_iter()
        .map(|code| (format!("not sent: {code}"), Exchange::NotSent { code, detail: detail() }))
        .collect();
    exchanges.push(("not sent: certificate_invalid".into(), Exchange::Certificate { detail: detail() }));
    for code in ["credentials_refused", "http_407"] {
        exchanges.push((format!("not sent: {code}"), Exchange::Refused { code, detail: detail() }));
    }
    for code in lost {
        exchanges.push((format!("sent, no answer: {code}"), Exchange::Lost { code, detail: detail() }));
    }
    exchanges.push(("in another system's log: delivered".into(), Exchange::Delivered { detail: detail() }));
    exchanges
}

/// A rule of the target holds if it says so.
fn judged(confirmed_by: &ConfirmedBy, exchange: &Exchange) -> String {
    let rule = |text: &str, _: &Answer| match text {
        "holds" => Ok(true),
        "fails" => Ok(false),
        _ => Err("it reads what isn't there".to_owned()),
    };
    let Verdict { kind, refusal, retry_after_ms, .. } = classify(confirmed_by, exchange, START, &rule);
    let refusal = if refusal { " (refusal)" } else { "" };
    let asked = if retry_after_ms == Some(ASKED_MS) { ", not before the time asked for" } else { "" };
    format!("{kind}{refusal}{asked}")
}

fn confirmed(by: Confirmation) -> ConfirmedBy {
    ConfirmedBy { by, ..planned("f", "a").confirmed_by }
}

/// What an exchange is reported as where the target's document says nothing about it.
fn kinds() -> Table {
    let mut table = Table {
        name: "kinds",
        title: "what an exchange is reported as, unless the target's own rules or lists name the answer",
        inputs: &["exchange", "confirmed by"],
        outputs: &["kind"],
        by_first_column: false,
        cells: Vec::new(),
    };
    for by in Confirmation::ALL.iter().copied() {
        for (name, answers) in answers() {
            let kinds: Vec<String> =
                answers.into_iter().map(|answer| judged(&confirmed(by), &Exchange::Answer(answer))).collect();
            assert!(kinds.windows(2).all(|pair| pair[0] == pair[1]), "{name}: one row for one result");
            table.add([&name, by.as_str()], [kinds[0].clone()]);
        }
        for (name, exchange) in without_answer() {
            table.add([&name, by.as_str()], [judged(&confirmed(by), &exchange)]);
        }
    }
    table
}

/// What a target's document may say of an answer.
type Word = (&'static str, fn(&mut ConfirmedBy, i32));

const HOLDS: &str = "holds";

const WORDS: [Word; 12] = [
    ("rule duplicate", |c, _| c.duplicate = Some(HOLDS.into())),
    ("rule succeeded", |c, _| c.succeeded = Some(HOLDS.into())),
    ("rule rejected", |c, _| c.rejected = Some(HOLDS.into())),
    ("rule retryable", |c, _| c.retryable = Some(HOLDS.into())),
    ("list not_processed", |c, status| c.not_processed = vec![status]),
    ("list rejected", |c, status| c.rejected_status = vec![status]),
    ("rules that have no value", |c, _| {
        let rule = Some("no value".to_owned());
        (c.duplicate, c.succeeded, c.rejected, c.retryable) = (rule.clone(), rule.clone(), rule.clone(), rule);
    }),
    ("rules that don't hold", |c, _| {
        let rule = Some("fails".to_owned());
        (c.duplicate, c.succeeded, c.rejected, c.retryable) = (rule.clone(), rule.clone(), rule.clone(), rule);
    }),
    ("all four rules", |c, _| {
        let rule = Some(HOLDS.to_owned());
        (c.duplicate, c.succeeded, c.rejected, c.retryable) = (rule.clone(), rule.clone(), rule.clone(), rule);
    }),
    ("rules succeeded, rejected, retryable", |c, _| {
        let rule = Some(HOLDS.to_owned());
        (c.succeeded, c.rejected, c.retryable) = (rule.clone(), rule.clone(), rule);
    }),
    ("rule rejected, list not_processed", |c, status| {
        (c.rejected, c.not_processed) = (Some(HOLDS.into()), vec![status]);
    }),
    ("both lists", |c, status| (c.not_processed, c.rejected_status) = (vec![status], vec![status])),
];

/// What the target's document makes of answers.
fn own_word() -> Table {
    let mut table = Table {
        name: "own-word",
        title: "what an answer is reported as where the target's own rules or lists name it",
        inputs: &["named by", "answer", "confirmed by"],
        outputs: &["kind"],
        by_first_column: false,
        cells: Vec::new(),
    };
    for (name, word) in WORDS {
        for status in [200_u16, 403, 409, 422, 503] {
            for by in Confirmation::ALL.iter().copied() {
                let mut confirmed_by = confirmed(by);
                word(&mut confirmed_by, i32::from(status));
                let answer = Answer { status, ..Answer::default() };
                let kind = judged(&confirmed_by, &Exchange::Answer(answer));
                table.add([name, &status.to_string(), by.as_str()], [kind]);
            }
        }
    }
    table
}
