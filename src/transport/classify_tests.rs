//! One row for every row of the contract's table of outcome kinds.

use Confirmation::{Acks, Callback, Response, Transport};
use OutcomeKind::{Accepted, Duplicate, Rejected, Retryable, Succeeded, Unknown};

use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn answer(status: u16) -> Answer {
    Answer { status, ..Answer::default() }
}

fn with_header(status: u16, name: &str, value: &str) -> Answer {
    Answer { headers: BTreeMap::from([(name.to_owned(), value.to_owned())]), ..answer(status) }
}

/// A rule is the status that it names; anything else has no value.
fn rule(text: &str, answer: &Answer) -> Result<bool, String> {
    text.parse::<u16>().map(|status| status == answer.status).map_err(|e| format!("`{text}`: {e}"))
}

fn judge(confirmed_by: &ConfirmedBy, answer: Answer) -> Verdict {
    classify(confirmed_by, &Exchange::Answer(answer), NOW, &rule)
}

#[test]
fn every_row_of_the_table_of_statuses() {
    // status, Retry-After, then the kind for a target confirmed by its response, by acks or callback, by transport.
    let rejected: Vec<u16> = (300..400).chain([400, 405, 406, 411, 413, 414, 415, 422, 431, 501, 505]).collect();
    let refused = [401, 403, 407, 410];
    let retryable = [404, 425, 429];
    for status in 100..600 {
        for retry_after in [None, Some("7")] {
            let expected = match status {
                200..=299 => [Unknown, Accepted, Accepted, Succeeded],
                _ if rejected.contains(&status) => [Rejected; 4],
                _ if refused.contains(&status) || retryable.contains(&status) => [Retryable; 4],
                503 if retry_after.is_some() => [Retryable; 4],
                _ => [Unknown; 4],
            };
            for (by, kind) in [Response, Acks, Callback, Transport].into_iter().zip(expected) {
                let answer = retry_after.map_or(answer(status), |value| with_header(status, "retry-after", value));
                let verdict = judge(&ConfirmedBy::by(by), answer);
                assert_eq!(verdict.kind, kind, "{status} {by} {retry_after:?}");
                assert_eq!(verdict.refusal, refused.contains(&status), "{status}");
                assert_eq!(verdict.code, format!("http_{status}"));
                let honoured = (kind == Retryable && retry_after.is_some()).then_some(7000);
                assert_eq!(verdict.retry_after_ms, honoured, "{status} {by}");
            }
        }
    }
}

#[test]
fn every_row_of_the_table_of_exchanges_without_an_answer() {
    let not_sent = [
        "resolve_failed",
        "connect_refused",
        "connect_failed",
        "connect_timeout",
        "tls_failed",
        "dropped_unsent",
        "request_invalid",
        "stopped",
    ];
    let detail = || "why".to_owned();
    let rows = not_sent
        .into_iter()
        .map(|code| (Exchange::NotSent { code, detail: detail() }, Retryable, code, false))
        .chain([(Exchange::Certificate { detail: detail() }, Retryable, "certificate_invalid", true)])
        .chain(
            ["timeout", "reset", "stopped"]
                .into_iter()
                .map(|code| (Exchange::Lost { code, detail: detail() }, Unknown, code, false)),
        );
    for (exchange, kind, code, refusal) in rows {
        for by in [Response, Acks, Callback, Transport] {
            let expected = Verdict {
                kind,
                code: code.to_owned(),
                detail: Some(detail()),
                refusal,
                retry_after_ms: None,
                exhausted_for_ms: None,
                received_digest: None,
                evidence: None,
            };
            assert_eq!(classify(&ConfirmedBy::by(by), &exchange, NOW, &rule), expected);
        }
    }
}

type Edit = fn(&mut ConfirmedBy);

#[test]
fn the_targets_own_word_comes_first_and_in_order() {
    let set = |edit: Edit| {
        let mut by = ConfirmedBy::by(Response);
        edit(&mut by);
        by
    };
    let rows: [(u16, OutcomeKind, Edit); 16] = [
        (200, Succeeded, |by| by.succeeded = Some("200".into())),
        (202, Unknown, |by| by.succeeded = Some("200".into())),
        (202, Succeeded, |by| by.succeeded = Some("202".into())),
        (409, Duplicate, |by| by.duplicate = Some("409".into())),
        (200, Rejected, |by| by.rejected = Some("200".into())),
        (500, Retryable, |by| by.retryable = Some("500".into())),
        (400, Succeeded, |by| by.succeeded = Some("400".into())),
        (502, Retryable, |by| by.not_processed = vec![502]),
        (422, Retryable, |by| by.not_processed = vec![422]),
        (409, Rejected, |by| by.rejected_status = vec![409]),
        (403, Rejected, |by| by.rejected_status = vec![403]),
        (410, Rejected, |by| by.rejected_status = vec![410]),
        (500, Retryable, |by| (by.not_processed, by.rejected_status) = (vec![500], vec![500])),
        // Between rules the order is duplicate, succeeded, rejected, retryable; then come the lists.
        (200, Duplicate, |by| {
            (by.duplicate, by.succeeded, by.rejected) = (Some("200".into()), Some("200".into()), Some("200".into()));
        }),
        (500, Rejected, |by| (by.rejected, by.retryable) = (Some("500".into()), Some("500".into()))),
        (500, Rejected, |by| (by.rejected, by.not_processed) = (Some("500".into()), vec![500])),
    ];
    for (status, kind, edit) in rows {
        let by = set(edit);
        assert_eq!(judge(&by, answer(status)).kind, kind, "{status} with {by:?}");
    }
}

#[test]
fn a_403_that_is_listed_as_rejected_is_no_refusal_and_one_that_is_retryable_is() {
    let listed = ConfirmedBy { rejected_status: vec![403], ..ConfirmedBy::by(Response) };
    assert!(!judge(&listed, answer(403)).refusal);
    let retried = ConfirmedBy { retryable: Some("403".into()), ..ConfirmedBy::by(Response) };
    assert!(judge(&retried, answer(403)).refusal);
}

#[test]
fn no_response_tells_the_success_of_a_target_that_is_confirmed_otherwise() {
    for by in [Acks, Callback] {
        let by = ConfirmedBy { succeeded: Some("200".into()), duplicate: Some("200".into()), ..ConfirmedBy::by(by) };
        assert_eq!(judge(&by, answer(200)).kind, Accepted);
    }
    let by = ConfirmedBy { rejected: Some("200".into()), ..ConfirmedBy::by(Acks) };
    assert_eq!(judge(&by, answer(200)).kind, Rejected);
}

#[test]
fn a_rule_without_a_value_is_false_and_mentioned() {
    let by = ConfirmedBy {
        succeeded: Some("body.result".into()),
        retryable: Some("429".into()),
        ..ConfirmedBy::by(Response)
    };
    let verdict = judge(&by, answer(200));
    assert_eq!(verdict.kind, Unknown);
    let detail = verdict.detail.expect("there is something to say");
    assert!(detail.contains("rule `succeeded` has no value: `body.result`"), "{detail}");
    assert!(detail.contains("no rule of the target names this answer"), "{detail}");
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    // NOW is Tue, 14 Nov 2023 22:13:20 GMT.
    let rows = [
        ("0", Some(0)),
        (" 120 ", Some(120_000)),
        ("Tue, 14 Nov 2023 22:13:50 GMT", Some(30_000)),
        ("Tuesday, 14-Nov-23 22:13:50 GMT", Some(30_000)),
        ("Tue Nov 14 22:13:50 2023", Some(30_000)),
        ("Tue, 14 Nov 2023 22:13:19 GMT", Some(0)),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("99999999999999999999999", None),
        ("9223372036854775807", None),
        ("5, 6", None),
    ];
    for (value, expected) in rows {
        assert_eq!(retry_after_ms(value, NOW), expected, "`{value}`");
        let verdict = judge(&ConfirmedBy::by(Response), with_header(503, "retry-after", value));
        assert_eq!(verdict.kind, if expected.is_some() { Retryable } else { Unknown }, "`{value}`");
        assert_eq!(verdict.retry_after_ms, expected);
    }
}

#[test]
fn what_is_left_of_a_quota_is_a_hint_and_a_retry_after_goes_before_it() {
    let by = ConfirmedBy { succeeded: Some("200".into()), ..ConfirmedBy::by(Response) };
    let exhausted = ("ratelimit", r#""default";r=0;t=30"#);
    for (status, retry_after, kind, asked, hinted) in [
        (200, None, Succeeded, None, Some(30_000)),
        (422, None, Rejected, None, Some(30_000)),
        (429, None, Retryable, Some(30_000), Some(30_000)),
        (429, Some("7"), Retryable, Some(7_000), Some(30_000)),
        (503, Some("7"), Retryable, Some(7_000), Some(30_000)),
        // What was processed isn't for a quota to say.
        (503, None, Unknown, None, Some(30_000)),
        (500, None, Unknown, None, Some(30_000)),
    ] {
        let mut answer = with_header(status, exhausted.0, exhausted.1);
        answer.headers.extend(retry_after.map(|value| ("retry-after".to_owned(), value.to_owned())));
        let verdict = judge(&by, answer);
        let found = (verdict.kind, verdict.retry_after_ms, verdict.exhausted_for_ms);
        assert_eq!(found, (kind, asked, hinted), "{status} {retry_after:?}");
    }
}

#[test]
fn evidence_keeps_what_matters_and_at_most_16_kib() {
    let long = "ä".repeat(20_000);
    let headers = [("content-type", "text/plain"), ("set-cookie", "secret"), ("server", long.as_str())];
    let answer = Answer {
        status: 200,
        headers: headers.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        body: long.clone().into_bytes(),
        truncated: false,
        took: Duration::from_millis(12),
        token_was_kept: false,
    };
    let evidence = judge(&ConfirmedBy::by(Response), answer).evidence.expect("the target answered");
    assert_eq!(evidence.headers.keys().collect::<Vec<_>>(), ["content-type", "server"]);
    assert_eq!(evidence.headers["server"].len(), EVIDENCE_HEADER_BYTES);
    let size: usize = evidence.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
    let body = evidence.body.expect("there was a body");
    assert!((EVIDENCE_BYTES - 1..=EVIDENCE_BYTES).contains(&(size + body.len())));
    assert!(long.starts_with(&body));
    assert!(evidence.truncated);
    assert_eq!((evidence.status, evidence.took_ms), (Some(200), Some(12)));
}

#[test]
fn evidence_replaces_invalid_utf8_and_says_that_the_transport_cut() {
    let answer = Answer { status: 500, body: b"a\xffb".to_vec(), truncated: true, ..Answer::default() };
    let evidence = judge(&ConfirmedBy::by(Response), answer).evidence.expect("the target answered");
    assert_eq!(evidence.body.as_deref(), Some("a\u{fffd}b"));
    assert!(evidence.truncated);
}

#[test]
fn a_success_without_the_right_receipt_is_unknown_and_a_receipt_is_kept_in_any_case() {
    let right = format!("sha256:{}", "0a".repeat(32));
    let other = format!("sha256:{}", "0b".repeat(32));
    let saying = |status, body: String| Answer { body: body.into_bytes(), ..answer(status) };
    let named = |digest: &str| format!(r#"{{"result": "ok", "received_digest": "{digest}"}}"#);
    let by = |receipt: Option<&String>| ConfirmedBy {
        succeeded: Some("200".into()),
        duplicate: Some("208".into()),
        rejected: Some("418".into()),
        receipt: receipt.cloned(),
        ..ConfirmedBy::by(Response)
    };
    for (demanded, status, body, kind, code, received) in [
        (true, 200, named(&right), Succeeded, "http_200", Some(&right)),
        (true, 208, named(&right), Duplicate, "http_208", Some(&right)),
        (true, 200, named(&other), Unknown, "receipt_differs", Some(&other)),
        (true, 208, r#"{"result": "ok"}"#.into(), Unknown, "receipt_missing", None),
        // Not as consign writes digests, no text, no JSON.
        (true, 200, named(&right.to_uppercase()), Unknown, "receipt_missing", None),
        (true, 200, r#"{"received_digest": 7}"#.into(), Unknown, "receipt_missing", None),
        (true, 200, format!("received_digest: {right}"), Unknown, "receipt_missing", None),
        // Who says no needs no receipt.
        (true, 418, String::new(), Rejected, "http_418", None),
        (true, 422, String::new(), Rejected, "http_422", None),
        (false, 200, String::new(), Succeeded, "http_200", None),
        (false, 200, named(&other), Succeeded, "http_200", Some(&other)),
    ] {
        let verdict = judge(&by(demanded.then_some(&right)), saying(status, body.clone()));
        let found = (verdict.kind, verdict.code.as_str(), verdict.received_digest.as_ref());
        assert_eq!(found, (kind, code, received), "{status} {body}");
    }
    // What a later report says counts there.
    let accepted = ConfirmedBy { receipt: Some(right), ..ConfirmedBy::by(Callback) };
    assert_eq!(judge(&accepted, answer(202)).kind, Accepted);
}
