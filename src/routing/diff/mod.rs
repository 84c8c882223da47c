//! What changes from one routing document to another, in words, and the five questions.
//!
//! The answers are for files that arrive from now on: those under way keep their plan. A question is answered with no only
//! where that is certain; two spellings of one thing that can't be told to be one count as a change.

mod payloads;
mod policy;
mod request;
mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::document::{DEFAULT_DEADLINE_MS, Document, FileType, Target};
use super::table::Table;
use crate::record::TargetName;

/// What must be asked of every change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Does any file go to other targets, as another request, or is any accepted or refused that wasn't?
    Routing,
    /// Do other statuses follow one another, or by other events or at other times?
    StateMachine,
    /// Does a receiver see other keys, or is it trusted otherwise to recognise them?
    Idempotency,
    /// Does anything else count as success or as a definite no?
    Acknowledgement,
    /// Is a request sent again in other cases, at other times, or more or less often?
    Retry,
}

impl Question {
    /// All five, in the order in which they are asked.
    pub const ALL: [Self; 5] =
        [Self::Routing, Self::StateMachine, Self::Idempotency, Self::Acknowledgement, Self::Retry];

    /// Its name in records and on the screen.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Routing => "routing",
            Self::StateMachine => "state machine",
            Self::Idempotency => "idempotency",
            Self::Acknowledgement => "acknowledgement",
            Self::Retry => "retry semantics",
        }
    }
}

/// The part of a document that a change is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The document as a whole.
    Document,
    /// A file type.
    FileType(String),
    /// A table.
    Table(String),
    /// A target.
    Target(TargetName),
    /// The route to a target, with its payloads.
    Route(TargetName),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => write!(f, "the document"),
            Self::FileType(name) => write!(f, "file type {name}"),
            Self::Table(name) => write!(f, "table {name}"),
            Self::Target(name) => write!(f, "target {name}"),
            Self::Route(name) => write!(f, "route to {name}"),
        }
    }
}

/// One thing that is another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub place: Place,
    /// What, in words.
    pub text: String,
    /// The questions that it answers with yes.
    pub questions: BTreeSet<Question>,
}

/// What changes from one document to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// The digest of the old document.
    pub old: String,
    /// The digest of the new one.
    pub new: String,
    /// Every change, by place.
    pub changes: Vec<Change>,
}

impl Diff {
    /// Whether a question is answered with yes.
    pub fn answer(&self, question: Question) -> bool {
        self.changes.iter().any(|change| change.questions.contains(&question))
    }

    /// Whether any is: it takes a person's reason to apply the change.
    pub fn is_breaking(&self) -> bool {
        Question::ALL.into_iter().any(|question| self.answer(question))
    }

    /// The five answers as `controls` records them: `routing: yes`, …
    pub fn answers(&self) -> Vec<String> {
        let answer = |question: Question| if self.answer(question) { "yes" } else { "no" };
        Question::ALL.into_iter().map(|question| format!("{}: {}", question.as_str(), answer(question))).collect()
    }
}

impl fmt::Display for Diff {
    /// Every change under its place, then the five questions with their answers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut place = None;
        for change in &self.changes {
            if place != Some(&change.place) {
                writeln!(f, "{}", change.place)?;
                place = Some(&change.place);
            }
            let questions: Vec<&str> = change.questions.iter().map(|question| question.as_str()).collect();
            match questions.as_slice() {
                [] => writeln!(f, "  {}", change.text)?,
                questions => writeln!(f, "  {} [{}]", change.text, questions.join(", "))?,
            }
        }
        if self.changes.is_empty() {
            writeln!(f, "nothing changes")?;
        }
        for answer in self.answers() {
            writeln!(f, "{answer}")?;
        }
        write!(f, "{}", if self.is_breaking() { "BREAKING" } else { "not breaking" })
    }
}

/// Compares two documents.
pub fn diff(old: &Document, new: &Document) -> Diff {
    let mut changes = Changes::default();
    file_types(&mut changes, &old.file_types, &new.file_types);
    tables(&mut changes, old, new);
    targets(&mut changes, old, new);
    routes::compare(&mut changes, old, new);
    changes.0.sort_by(|a, b| a.place.cmp(&b.place));
    Diff { old: old.digest.clone(), new: new.digest.clone(), changes: changes.0 }
}

/// Gathers what changes.
#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, place: &Place, questions: &[Question], text: impl Into<String>) {
        let questions = questions.iter().copied().collect();
        self.0.push(Change { place: place.clone(), text: text.into(), questions });
    }

    /// A value that may be another.
    fn value<T: PartialEq>(
        &mut self,
        place: &Place,
        questions: &[Question],
        what: &str,
        (old, new): (&T, &T),
        words: impl Fn(&T) -> String,
    ) {
        if old != new {
            self.add(place, questions, format!("{what}: {} → {}", words(old), words(new)));
        }
    }
}

/// The names of both sides with what each has.
fn paired<'a, K: Ord, V>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let names: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
    names.into_iter().map(|name| (name, old.get(name), new.get(name)))
}

fn file_types(changes: &mut Changes, old: &BTreeMap<String, FileType>, new: &BTreeMap<String, FileType>) {
    for (name, old, new) in paired(old, new) {
        let place = Place::FileType(name.clone());
        match (old, new) {
            (None, _) => changes.add(&place, &[Question::Routing], "is new: its files failed validation before"),
            (_, None) => changes.add(&place, &[Question::Routing], "is gone: its files fail validation"),
            (Some(old), Some(new)) => {
                let of = |file_type: &FileType| file_type.schema.as_ref().map(|schema| schema.json().clone());
                match (of(old), of(new)) {
                    (old, new) if old == new => {}
                    (None, _) => changes.add(&place, &[Question::Routing], "data has a schema and had none"),
                    (_, None) => changes.add(&place, &[Question::Routing], "data has no schema any more"),
                    _ => changes.add(&place, &[Question::Routing], "the schema of its data is another"),
                }
                let deadline = |file_type: &FileType| file_type.deadline_ms.unwrap_or(DEFAULT_DEADLINE_MS);
                let deadlines = (&deadline(old), &deadline(new));
                if old.content != new.content {
                    let questions = [Question::Routing, Question::StateMachine, Question::Retry];
                    changes.add(&place, &questions, "its bytes are fetched otherwise");
                }
                changes.value(&place, &[Question::StateMachine], "deadline", deadlines, |millis| duration(*millis));
            }
        }
    }
}

fn tables(changes: &mut Changes, old: &Document, new: &Document) {
    let read: BTreeSet<String> =
        [old, new].into_iter().flat_map(routes::reachable_expressions).flat_map(|e| e.tables().to_vec()).collect();
    for (name, before, after) in paired(&old.tables, &new.tables) {
        let place = Place::Table(name.clone());
        let (questions, reads): (&[Question], &str) =
            if read.contains(name) { (&[Question::Routing], "") } else { (&[], "; no route reads it") };
        match (before, after) {
            (None, _) => changes.add(&place, questions, format!("is new{reads}")),
            (_, None) => changes.add(&place, questions, format!("is gone{reads}")),
            (Some(before), Some(after)) if before != after => {
                changes.add(&place, questions, format!("{}{reads}", rows(before, after)));
            }
            _ => {}
        }
    }
}

/// What became of a table's rows.
fn rows(old: &Table, new: &Table) -> String {
    if !old.columns().eq(new.columns()) {
        let columns = |table: &Table| table.columns().collect::<Vec<_>>().join(", ");
        return format!("columns: {} → {}", columns(old), columns(new));
    }
    let keys: BTreeSet<&str> = old.keys().chain(new.keys()).collect();
    let (mut added, mut gone, mut changed) = (0, 0, 0);
    for key in keys {
        match (old.row(key), new.row(key)) {
            (None, _) => added += 1,
            (_, None) => gone += 1,
            (old, new) if old != new => changed += 1,
            _ => {}
        }
    }
    format!("rows: {added} new, {gone} gone, {changed} changed")
}

fn targets(changes: &mut Changes, old: &Document, new: &Document) {
    for (name, before, after) in paired(&old.targets, &new.targets) {
        let place = Place::Target(name.clone());
        match (before, after) {
            (None, Some(after)) => {
                changes.add(&place, &[], "is new");
                renamed(changes, &place, (old, new), after);
            }
            (Some(_), None) => changes.add(&place, &[], "is gone"),
            (Some(before), Some(after)) => {
                let mut own = Changes::default();
                own.value(&place, &[], "owner", (&before.owner, &after.owner), Clone::clone);
                request::compare(&mut own, &place, before, after);
                policy::compare(&mut own, &place, &before.policy, &after.policy);
                if !routes::is_routed(old, name) || !routes::is_routed(new, name) {
                    // Nothing was sent there, or nothing will be: what holds for it changes nothing for any file.
                    own.0.iter_mut().for_each(|change| change.questions.clear());
                }
                changes.0.extend(own.0);
            }
            (None, None) => {}
        }
    }
}

/// A new target at the address of one that is gone: its receiver sees other keys for the same files.
fn renamed(changes: &mut Changes, place: &Place, (old, new): (&Document, &Document), after: &Target) {
    let gone = old.targets.iter().filter(|(name, _)| !new.targets.contains_key(*name));
    for (name, before) in gone {
        if request::destination(before) == request::destination(after) && routes::is_routed(old, name) {
            let text = format!("takes the place of {name} at one address: its receiver sees other keys");
            changes.add(place, &[Question::Idempotency], text);
        }
    }
}

/// A duration in words.
fn duration(millis: i64) -> String {
    humantime::format_duration(std::time::Duration::from_millis(millis.unsigned_abs())).to_string()
}
