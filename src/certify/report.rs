//! What certifying found.

use std::fmt;

use serde::Serialize;

/// What is known of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The receiver does as it should.
    Passed,
    /// It doesn't.
    Failed,
    /// From here nobody can tell.
    Unseen,
    /// It doesn't apply to this target.
    LeftOut,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Unseen => "unseen",
            Self::LeftOut => "left out",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// What is known.
    pub verdict: Verdict,
    /// What was seen, or why nothing was.
    pub text: String,
}

/// What certifying found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The target.
    pub target: String,
    /// Where its requests went.
    pub url: String,
    /// By what its success is confirmed.
    pub confirmed_by: String,
    /// Whether no check failed.
    pub certified: bool,
    /// Requests that were sent.
    pub requests: usize,
    /// Every check, in order.
    pub checks: Vec<Check>,
    /// What no check of this run can see.
    pub cannot_see: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} at {}, confirmed by {}", self.target, self.url, self.confirmed_by)?;
        for Check { name, verdict, text } in &self.checks {
            writeln!(f, "  {verdict:<8}  {name:<22}  {text}")?;
        }
        let count = |verdict| self.checks.iter().filter(|check| check.verdict == verdict).count();
        let (passed, failed, unseen) = (count(Verdict::Passed), count(Verdict::Failed), count(Verdict::Unseen));
        let word = if self.certified { "certified" } else { "NOT certified" };
        let requests = self.requests;
        writeln!(f, "{word}: {passed} passed, {failed} failed, {unseen} unseen; {requests} requests")?;
        for text in &self.cannot_see {
            writeln!(f, "can't be seen: {text}")?;
        }
        Ok(())
    }
}
