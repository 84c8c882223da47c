//! What targets answer, attempt by attempt: `billing: 503, timeout, 200; crm: 202 then rejected after 2h`.

use std::collections::BTreeMap;

use crate::record::{Confirmation, ConfirmedBy, OutcomeKind, Timestamp};
use crate::routing::{Response, response_rule};
use crate::transport::{Answer, Exchange, Verdict, classify};

/// Most steps of one target, repetitions counted.
const MAX_SCRIPTED: usize = 10_000;

/// Why a text is no script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScriptError(pub String);

/// What one attempt meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `ok`: whatever the target's `confirmed_by` takes for success, the confirmation included.
    Ok,
    /// An HTTP answer: `503`, `200 {"result": "ok"}`, `503 retry-after 30s`.
    Status {
        /// The status.
        status: u16,
        /// The body.
        body: String,
        /// What `Retry-After` asks for, in milliseconds.
        retry_after_ms: Option<i64>,
    },
    /// `timeout`: no answer within the request's time-out.
    Timeout,
    /// `reset`: the connection broke after the request was sent.
    Reset,
    /// `unreachable`: the request provably didn't leave.
    Unreachable,
    /// `certificate`: the target's certificate isn't trusted.
    Certificate,
    /// `silence`: nothing is ever reported, and the attempt's deadline passes.
    Silence,
}

/// A report that follows an answer: `then rejected after 2h`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirming {
    /// What it says: ACCEPTED, SUCCEEDED, DUPLICATE, REJECTED or RETRYABLE.
    pub kind: OutcomeKind,
    /// How long after the report before it, in milliseconds.
    pub after_ms: i64,
}

/// What becomes of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptedStep {
    /// What it meets.
    pub reply: Reply,
    /// How long the answer takes, in milliseconds.
    pub took_ms: i64,
    /// What the target reports later, in order.
    pub then: Vec<Confirming>,
}

impl ScriptedStep {
    /// Success at once.
    pub const OK: Self = Self { reply: Reply::Ok, took_ms: 0, then: Vec::new() };
}

/// What every target answers. Once its steps are at their end, a target answers `ok`, and so does one without steps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    by_target: BTreeMap<String, Vec<ScriptedStep>>,
}

impl Script {
    /// Every target answers `ok`.
    pub fn best() -> Self {
        Self::default()
    }

    /// Reads a script: targets between `;`, the attempts of each between `,`.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let mut reader = Reader { rest: text };
        let mut script = Self::default();
        while !reader.at_end() {
            let target = reader.word();
            if target.is_empty() || !reader.takes(':') {
                return Err(ScriptError(format!("a target and `:` stand before `{}`", reader.shown())));
            }
            if script.by_target.contains_key(target) {
                return Err(ScriptError(format!("`{target}` is there twice")));
            }
            let mut steps = Vec::new();
            loop {
                let (step, times) = reader.step()?;
                if steps.len() + times > MAX_SCRIPTED {
                    return Err(ScriptError(format!("`{target}` has more than {MAX_SCRIPTED} steps")));
                }
                steps.extend(std::iter::repeat_n(step, times));
                if !reader.takes(',') {
                    break;
                }
            }
            script.by_target.insert(target.to_owned(), steps);
            if !reader.at_end() && !reader.takes(';') {
                return Err(ScriptError(format!("`,` or `;` stands before `{}`", reader.shown())));
            }
        }
        Ok(script)
    }

    /// The targets that have steps.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.by_target.keys().map(String::as_str)
    }

    /// The steps of a target, one for each attempt; none of one that isn't in the script.
    pub fn steps(&self, target: &str) -> &[ScriptedStep] {
        self.by_target.get(target).map_or(&[], Vec::as_slice)
    }

    /// What an attempt (from 1) at a target meets.
    pub fn step(&self, target: &str, attempt: i32) -> &ScriptedStep {
        const OK: &ScriptedStep = &ScriptedStep::OK;
        let place = usize::try_from(attempt - 1).unwrap_or(usize::MAX);
        self.steps(target).get(place).unwrap_or(OK)
    }
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn at_end(&mut self) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.is_empty()
    }

    fn takes(&mut self, mark: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// The characters up to the next space or mark.
    fn word(&mut self) -> &'t str {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| c.is_whitespace() || ",;:{[\"".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// Takes this word if it is the next.
    fn takes_word(&mut self, expected: &str) -> bool {
        let before = self.rest;
        let found = self.word() == expected;
        if !found {
            self.rest = before;
        }
        found
    }

    fn shown(&self) -> String {
        let text: String = self.rest.trim_start().chars().take(40).collect();
        if text.is_empty() { "the end".to_owned() } else { text }
    }

    fn duration_ms(&mut self) -> Result<i64, ScriptError> {
        let word = self.word();
        let parsed = humantime::parse_duration(word).ok().and_then(|d| i64::try_from(d.as_millis()).ok());
        // Ten years: no sum of such times overflows.
        let most = 10 * 366 * 86_400_000;
        parsed
            .filter(|ms| *ms <= most)
            .ok_or_else(|| ScriptError(format!("`{word}` is no duration, such as 30s or 2h")))
    }

    fn step(&mut self) -> Result<(ScriptedStep, usize), ScriptError> {
        let mut reply = self.reply()?;
        let mut step = ScriptedStep { reply: Reply::Ok, took_ms: 0, then: Vec::new() };
        let mut times = 1;
        loop {
            if self.takes_word("after") {
                step.took_ms = self.duration_ms()?;
            } else if self.takes_word("retry-after") {
                let asked = self.duration_ms()?;
                match &mut reply {
                    Reply::Status { retry_after_ms, .. } => *retry_after_ms = Some(asked),
                    _ => return Err(ScriptError("`retry-after` goes with a status".to_owned())),
                }
            } else if self.takes_word("then") {
                let kind = self.kind()?;
                let after_ms = if self.takes_word("after") { self.duration_ms()? } else { 0 };
                step.then.push(Confirming { kind, after_ms });
            } else if let Some(count) = self.repeats() {
                times = count?;
            } else {
                step.reply = reply;
                return Ok((step, times));
            }
        }
    }

    /// `x8`: so many times.
    fn repeats(&mut self) -> Option<Result<usize, ScriptError>> {
        let before = self.rest;
        let word = self.word();
        let Some(digits) = word.strip_prefix('x').filter(|digits| !digits.is_empty()) else {
            self.rest = before;
            return None;
        };
        let count = digits.parse().ok().filter(|count| (1..=MAX_SCRIPTED).contains(count));
        Some(count.ok_or_else(|| ScriptError(format!("`{word}` is no count from x1 to x{MAX_SCRIPTED}"))))
    }

    fn kind(&mut self) -> Result<OutcomeKind, ScriptError> {
        let word = self.word();
        Ok(match word {
            "accepted" => OutcomeKind::Accepted,
            "succeeded" => OutcomeKind::Succeeded,
            "duplicate" => OutcomeKind::Duplicate,
            "rejected" => OutcomeKind::Rejected,
            "retryable" => OutcomeKind::Retryable,
            _ => {
                let words = "accepted, succeeded, duplicate, rejected, retryable";
                return Err(ScriptError(format!("`{word}` is none of {words}")));
            }
        })
    }

    fn reply(&mut self) -> Result<Reply, ScriptError> {
        let word = self.word();
        Ok(match word {
            "ok" => Reply::Ok,
            "timeout" => Reply::Timeout,
            "reset" => Reply::Reset,
            "unreachable" => Reply::Unreachable,
            "certificate" => Reply::Certificate,
            "silence" => Reply::Silence,
            _ => {
                let status = word.parse().ok().filter(|status| (200..=599).contains(status)).ok_or_else(|| {
                    let words = "ok, timeout, reset, unreachable, certificate, silence";
                    ScriptError(format!("`{word}` is no status from 200 to 599 and none of {words}"))
                })?;
                Reply::Status { status, body: self.body()?, retry_after_ms: None }
            }
        })
    }

    /// A JSON value that may follow a status.
    fn body(&mut self) -> Result<String, ScriptError> {
        self.rest = self.rest.trim_start();
        if !self.rest.starts_with(['{', '[', '"']) {
            return Ok(String::new());
        }
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<serde::de::IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => {
                let (body, rest) = self.rest.split_at(values.byte_offset());
                self.rest = rest;
                Ok(body.to_owned())
            }
            _ => Err(ScriptError(format!("`{}` is no JSON body", self.shown()))),
        }
    }
}

/// What the transport makes of a reply, and how long after the request left it reports; `None` where it never does.
pub fn verdict_of(
    step: &ScriptedStep,
    confirmed_by: &ConfirmedBy,
    request_ms: i64,
    sent_at: Timestamp,
) -> Option<(Verdict, i64)> {
    let lost = |code| Exchange::Lost { code, detail: "by the script".to_owned() };
    let (exchange, took_ms) = match &step.reply {
        Reply::Silence => return None,
        // Whatever takes longer than the request may is lost.
        Reply::Timeout => (lost("timeout"), request_ms),
        _ if step.took_ms > request_ms => (lost("timeout"), request_ms),
        Reply::Ok => return Some((success(confirmed_by), step.took_ms)),
        Reply::Reset => (lost("reset"), step.took_ms),
        Reply::Unreachable => {
            (Exchange::NotSent { code: "connect_refused", detail: "by the script".to_owned() }, step.took_ms)
        }
        Reply::Certificate => (Exchange::Certificate { detail: "by the script".to_owned() }, step.took_ms),
        Reply::Status { status, body, retry_after_ms } => {
            // Retry-After counts in whole seconds.
            let retry_after = retry_after_ms.map(|ms| ("retry-after".to_owned(), ((ms + 999) / 1000).to_string()));
            let answer = Answer {
                status: *status,
                headers: retry_after.into_iter().collect(),
                body: body.clone().into_bytes(),
                ..Answer::default()
            };
            (Exchange::Answer(answer), step.took_ms)
        }
    };
    let rule = |rule: &str, answer: &Answer| {
        let response = Response { status: answer.status, headers: answer.headers.clone(), body: answer.body.clone() };
        response_rule(rule, &response)
    };
    Some((classify(confirmed_by, &exchange, sent_at.plus_millis(took_ms), &rule), took_ms))
}

fn success(confirmed_by: &ConfirmedBy) -> Verdict {
    let kind = match confirmed_by.by {
        Confirmation::Response | Confirmation::Transport => OutcomeKind::Succeeded,
        Confirmation::Acks | Confirmation::Callback => OutcomeKind::Accepted,
    };
    Verdict {
        kind,
        code: "ok".to_owned(),
        detail: None,
        refusal: false,
        retry_after_ms: None,
        exhausted_for_ms: None,
        received_digest: confirmed_by.receipt.clone(),
        evidence: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_says_what_every_attempt_meets() {
        let text = "billing: 503 retry-after 30s, timeout, 200 {\"a\": [1, \"x;,\"]} after 2s; \
                    crm: 202 then accepted after 1h then rejected after 2h, 500 x3, ok ;";
        let script = Script::parse(text).unwrap();
        let status =
            |status, body: &str, retry_after_ms| Reply::Status { status, body: body.to_owned(), retry_after_ms };
        assert_eq!(script.step("billing", 1).reply, status(503, "", Some(30_000)));
        assert_eq!(script.step("billing", 2).reply, Reply::Timeout);
        let third = script.step("billing", 3);
        assert_eq!((&third.reply, third.took_ms), (&status(200, "{\"a\": [1, \"x;,\"]}", None), 2_000));
        assert_eq!(script.step("billing", 4), &ScriptedStep::OK);
        let kinds: Vec<_> = script.step("crm", 1).then.iter().map(|then| (then.kind, then.after_ms)).collect();
        assert_eq!(kinds, [(OutcomeKind::Accepted, 3_600_000), (OutcomeKind::Rejected, 7_200_000)]);
        assert_eq!(script.step("crm", 4).reply, status(500, "", None));
        assert_eq!(script.step("crm", 5).reply, Reply::Ok);
        assert_eq!(script.step("other", 1).reply, Reply::Ok);
        assert_eq!(Script::parse(" ").unwrap(), Script::best());
    }

    #[test]
    fn an_ok_brings_the_receipt_that_the_plan_asks_for_and_an_answer_only_what_it_says() {
        let confirmed_by = ConfirmedBy {
            succeeded: Some("status == 200".to_owned()),
            receipt: Some("sha256:right".to_owned()),
            ..ConfirmedBy::by(Confirmation::Response)
        };
        let verdict = |text: &str| {
            let script = Script::parse(text).unwrap();
            verdict_of(script.step("a", 1), &confirmed_by, 1_000, Timestamp(0)).unwrap().0
        };
        let ok = verdict("a: ok");
        assert_eq!((ok.kind, ok.received_digest.as_deref()), (OutcomeKind::Succeeded, Some("sha256:right")));
        let bare = verdict("a: 200");
        assert_eq!((bare.kind, bare.code.as_str()), (OutcomeKind::Unknown, "receipt_missing"));
    }

    #[test]
    fn every_fault_of_a_script_is_named() {
        for (text, says) in [
            ("billing", "a target and `:`"),
            ("billing: ", "`` is no status"),
            ("billing: 99", "`99` is no status"),
            ("billing: 200 {", "is no JSON body"),
            ("billing: 200 after soon", "`soon` is no duration"),
            ("billing: 200 after 99999999d", "is no duration"),
            ("billing: ok retry-after 3s", "goes with a status"),
            ("billing: 202 then maybe", "`maybe` is none of"),
            ("billing: 503 x0", "`x0` is no count"),
            ("billing: 503 x9999, 503 x9999", "more than 10000 steps"),
            ("billing: 200 200", "`,` or `;` stands before `200`"),
            ("a: ok; a: ok", "`a` is there twice"),
        ] {
            let error = Script::parse(text).unwrap_err();
            assert!(error.0.contains(says), "{text}: {error}");
        }
    }
}
