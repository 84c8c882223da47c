//! A course, bounds and an explanation in words.

use std::fmt;
use std::time::Duration;

use super::{Bounds, Course, DispatchExplained, End, Explanation, Happening, MostRequests, Step, Would};
use crate::record::{
    Action, HeldBecause, Judgement, NextEvent, NextEventKind, Status, TargetName, TimerKind, Timestamp,
};

/// How long after something, such as `+1m 5s`.
fn later(at: Timestamp, began: Timestamp) -> String {
    let millis = u64::try_from(at.millis_since(began)).unwrap_or(0);
    format!("+{}", humantime::format_duration(Duration::from_millis(millis)))
}

fn standing(status: Status, because: Option<HeldBecause>) -> String {
    match because {
        Some(because) => format!("{status} ({because})"),
        None => status.to_string(),
    }
}

fn names(targets: &[TargetName]) -> String {
    targets.iter().map(TargetName::as_str).collect::<Vec<_>>().join(", ")
}

impl Step {
    fn what(&self) -> String {
        match &self.what {
            Happening::Planned => "planned".to_owned(),
            Happening::Attempt(number) => format!("attempt {number}"),
            Happening::Report { kind, code, attempt, judgement: Judgement::Applied } => {
                format!("{kind} ({code}, attempt {attempt})")
            }
            Happening::Report { kind, code, attempt, judgement } => {
                format!("{kind} ({code}, attempt {attempt}): {judgement}")
            }
            Happening::Timer(TimerKind::AttemptDeadline) => "the attempt's deadline passes".to_owned(),
            Happening::Timer(TimerKind::ConfirmationDeadline) => "the confirmation is overdue".to_owned(),
            Happening::Timer(TimerKind::FileDeadline) => "the file is overdue".to_owned(),
            Happening::Timer(TimerKind::Escalation) => "escalates to the operator".to_owned(),
        }
    }
}

impl fmt::Display for Course {
    /// A line for every step, with the time since the beginning, then the end and what each target received.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: begins at {}", self.file.id(), self.began)?;
        for step in &self.steps {
            let target = step.target.as_ref().map_or("", |target| target.as_str());
            write!(f, "{:<12} {target:<12} {}", later(step.at, self.began), step.what())?;
            let own = |name: &TargetName| step.target.as_ref() == Some(name);
            let changes: Vec<String> = step
                .changes
                .iter()
                .map(|(name, status, because)| {
                    let standing = standing(*status, *because);
                    if own(name) { standing } else { format!("{name} {standing}") }
                })
                .chain(step.state.map(|state| format!("file {state}")))
                .collect();
            writeln!(f, "{}{}", if changes.is_empty() { "" } else { " → " }, changes.join(", "))?;
        }
        let after = later(self.end.at(), self.began);
        match &self.end {
            End::Completed(_) => writeln!(f, "end: COMPLETED after {}", &after[1..])?,
            End::Failed(_, reason) => {
                writeln!(f, "end: FAILED after {}: {}: {}", &after[1..], reason.code, reason.text)?;
            }
            End::Person(_, waits) => {
                writeln!(f, "end: after {} a person must decide on {}", &after[1..], names(waits))?;
                writeln!(
                    f,
                    "the file is overdue at {} ({})",
                    later(self.file.deadline, self.began),
                    self.file.deadline
                )?;
            }
            End::Unfinished(_) => writeln!(f, "end: unfinished after {} steps", self.steps.len())?,
        }
        for target in &self.paused {
            writeln!(f, "{target} refused the credentials and is paused until a person resumes it")?;
        }
        let requests: Vec<String> = self.requests.iter().map(|(target, count)| format!("{target} {count}")).collect();
        write!(f, "requests: {}", if requests.is_empty() { "none".to_owned() } else { requests.join(", ") })
    }
}

impl Bounds {
    /// In words, with times since `began`.
    pub fn in_words(&self, began: Timestamp) -> String {
        let mut text = match self.earliest_completion {
            Some(at) => format!("at best: COMPLETED at {}, one request for each target\n", later(at, began)),
            None => "at best: it can't be COMPLETED without a person\n".to_owned(),
        };
        text += &format!(
            "at worst: by {} ({}) it has ended, or moves only by a person or a late report\n",
            later(self.latest, began),
            self.latest
        );
        for (target, MostRequests { by_itself, with_people }) in &self.most_requests {
            text += &format!("  {target} receives at most {by_itself} requests, {with_people} with people's help\n");
        }
        for target in self.most_requests.keys() {
            let reasons: Vec<String> = self
                .person
                .iter()
                .filter(|person| person.target == *target)
                .map(|person| format!("{} from {}", person.because, later(person.earliest, began)))
                .collect();
            if !reasons.is_empty() {
                text += &format!("  a person may be needed for {target}: {}\n", reasons.join(", "));
            }
        }
        text
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = |at: Timestamp| moment(at, self.at);
        write!(f, "{} is {}", self.file_id, self.state)?;
        match &self.accountable {
            Some(who) => writeln!(f, "; accountable: {} since {}", who.party, moment(who.since))?,
            None => writeln!(f)?,
        }
        if let Some(next) = &self.next {
            writeln!(f, "next: {}", next_words(next, self.at))?;
        }
        if let Some(deadline) = &self.deadline {
            let earliest = self.earliest_completion;
            let best = earliest.map_or_else(|| "not without a person".to_owned(), |at| format!("at {}", moment(at)));
            writeln!(f, "COMPLETED at the earliest: {best}")?;
            let met = match (deadline.passed, deadline.can_be_met) {
                (true, _) => "passed",
                (false, true) => "can still be met",
                (false, false) => "can be met only if a person acts",
            };
            writeln!(f, "deadline {}: {met}", moment(deadline.at))?;
            match self.latest {
                Some(latest) if latest <= self.at => writeln!(f, "it moves only by a person or a late report")?,
                Some(latest) => {
                    writeln!(f, "by {} it has ended, or moves only by a person or a late report", moment(latest))?;
                }
                None => {}
            }
        }
        for dispatch in &self.dispatches {
            let DispatchExplained { target, status, held_because, since, .. } = dispatch;
            writeln!(
                f,
                "{target}: {} since {}, {} attempts",
                standing(*status, *held_because),
                moment(*since),
                dispatch.attempts
            )?;
            if let Some(last) = &dispatch.last_outcome {
                let code = if last.code.is_empty() { String::new() } else { format!(" ({})", last.code) };
                writeln!(f, "  last: {}{code} at {}", last.kind, moment(last.at))?;
            }
            if dispatch.paused {
                writeln!(
                    f,
                    "  paused: nothing is sent before consign targets resume {target} --reason TEXT; what waits escalates"
                )?;
            }
            if !dispatch.waits_for.is_empty() {
                writeln!(f, "  waits for {}", names(&dispatch.waits_for))?;
            }
            if let Some(who) = &dispatch.accountable {
                writeln!(f, "  accountable: {} since {}", who.party, moment(who.since))?;
            }
            if let Some(next) = &dispatch.next {
                writeln!(f, "  next: {}", next_words(next, self.at))?;
            }
            for would in &dispatch.outcomes {
                writeln!(f, "  if {}", would_words(would, self.at))?;
            }
            for would in &dispatch.interventions {
                writeln!(f, "  {}", would_words(would, self.at))?;
            }
        }
        for would in &self.interventions {
            if would.what == Action::Resubmit.as_str() && would.judgement == Judgement::Applied {
                writeln!(f, "resubmit → {} is planned, for the targets without a success", self.file_id.successor())?;
            } else {
                writeln!(f, "{}", would_words(would, self.at))?;
            }
        }
        Ok(())
    }
}

/// A time and how far away it is.
fn moment(at: Timestamp, now: Timestamp) -> String {
    let millis = at.millis_since(now);
    // Seconds are enough for a person, and two units of time.
    let seconds = millis.unsigned_abs() / 1000;
    let rounded = match seconds {
        0..=3_599 => seconds,
        3_600..=86_399 => seconds - seconds % 60,
        _ => seconds - seconds % 3_600,
    };
    let length = humantime::format_duration(Duration::from_secs(rounded));
    if millis < 0 { format!("{at} ({length} ago)") } else { format!("{at} (in {length})") }
}

fn next_words(next: &NextEvent, now: Timestamp) -> String {
    let target = next.target.as_ref().map(|target| format!(" at {target}")).unwrap_or_default();
    if next.what == NextEventKind::Attempt && next.at <= now {
        return format!("attempt{target}, as soon as there is capacity");
    }
    format!("{}{target}, {}", next.what, moment(next.at, now))
}

fn would_words(would: &Would, now: Timestamp) -> String {
    let Some(leads_to) = &would.leads_to else {
        return format!("{}: {} ({})", would.what, would.judgement, would.code.as_deref().unwrap_or_default());
    };
    let mut text = format!("{} → ", would.what);
    match leads_to.status {
        Some(status) => {
            text += &standing(status, leads_to.held_because);
            if leads_to.next.is_none() {
                text += &format!(", file {}", leads_to.state);
            }
        }
        None => text += &format!("file {}", leads_to.state),
    }
    if let Some(next) = leads_to.next.as_ref().filter(|_| leads_to.status.is_some()) {
        let at_once = next.what == NextEventKind::Attempt && next.at <= now;
        let at = if at_once { "at once".to_owned() } else { format!("at {}", moment(next.at, now)) };
        text += &format!(", then {} {at}", next.what);
    }
    if !leads_to.others.is_empty() {
        text += &format!("; changes {} too", names(&leads_to.others));
    }
    text
}
