//! Which files a target gets, and as what.

use std::collections::BTreeMap;

use super::payloads::{self, Layers};
use super::{Changes, Place, Question, paired};
use crate::record::TargetName;
use crate::routing::document::{Choice, Document, Route};
use crate::routing::expression::{Expression, shown};

/// Whether any route leads to a target.
pub(super) fn is_routed(document: &Document, target: &TargetName) -> bool {
    document.routes.iter().any(|route| route.to == *target)
}

/// Every expression that decides on a file or stands in one of its payloads.
pub(super) fn reachable_expressions(document: &Document) -> Vec<&Expression> {
    let mut all = Vec::new();
    for route in &document.routes {
        all.extend(&route.when);
        for choice in &route.choices {
            all.extend(&choice.when);
            Layers::of(document, &choice.payload).expressions(&mut all);
        }
        let target = document.targets.get(&route.to);
        target.iter().for_each(|target| target.expressions(&mut all));
    }
    all
}

pub(super) fn compare(changes: &mut Changes, old: &Document, new: &Document) {
    let by_target = |document| -> BTreeMap<TargetName, &Route> { routes_of(document) };
    let (before, after) = (by_target(old), by_target(new));
    for (name, a, b) in paired(&before, &after) {
        let place = Place::Route(name.clone());
        match (a, b) {
            (None, Some(route)) => {
                changes.add(&place, &[Question::Routing], format!("is new: for {}", condition(route.when.as_ref())));
            }
            (Some(_), None) => changes.add(&place, &[Question::Routing], "is gone: no file goes there any more"),
            (Some(a), Some(b)) => route(changes, &place, (old, a), (new, b)),
            (None, None) => {}
        }
    }
    let order = |document: &Document, other: &BTreeMap<TargetName, &Route>| -> Vec<TargetName> {
        document.routes.iter().map(|route| route.to.clone()).filter(|to| other.contains_key(to)).collect()
    };
    if order(old, &after) != order(new, &before) {
        changes.add(&Place::Document, &[], "the order of the routes is another: plans list their targets in it");
    }
}

fn routes_of(document: &Document) -> BTreeMap<TargetName, &Route> {
    document.routes.iter().map(|route| (route.to.clone(), route)).collect()
}

fn route(changes: &mut Changes, place: &Place, (old, a): (&Document, &Route), (new, b): (&Document, &Route)) {
    let conditions = (&a.when, &b.when);
    changes.value(place, &[Question::Routing], "when", conditions, |when| condition(when.as_ref()));
    let names = |after: &Vec<TargetName>| match after.as_slice() {
        [] => "nothing".to_owned(),
        after => after.iter().map(TargetName::as_str).collect::<Vec<_>>().join(", "),
    };
    let sorted = |after: &[TargetName]| {
        let mut after = after.to_vec();
        after.sort();
        after
    };
    let waits = (&sorted(&a.after), &sorted(&b.after));
    changes.value(place, &[Question::StateMachine], "waits for", waits, names);
    choices(changes, place, (old, &a.choices), (new, &b.choices));
}

/// The payloads of a route, place by place: the first whose condition holds is taken, so that their order counts.
fn choices(changes: &mut Changes, place: &Place, (old, a): (&Document, &[Choice]), (new, b): (&Document, &[Choice])) {
    let routing = &[Question::Routing];
    let alone = a.len() <= 1 && b.len() <= 1;
    for i in 0..a.len().max(b.len()) {
        let what = if alone { "payload".to_owned() } else { format!("payload {}", i + 1) };
        match (a.get(i), b.get(i)) {
            (None, Some(choice)) => {
                let when = condition(choice.when.as_ref());
                changes.add(place, routing, format!("{what} is new: {} for {when}", choice.payload));
            }
            (Some(choice), None) => {
                let when = condition(choice.when.as_ref());
                changes.add(place, routing, format!("{what} is gone: {} for {when}", choice.payload));
            }
            (Some(a), Some(b)) => {
                let conditions = (&a.when, &b.when);
                changes.value(place, routing, &format!("{what} when"), conditions, |when| condition(when.as_ref()));
                let layers = (Layers::of(old, &a.payload), Layers::of(new, &b.payload));
                payloads::compare(changes, place, &what, (&a.payload, &b.payload), &layers);
            }
            (None, None) => {}
        }
    }
}

fn condition(when: Option<&Expression>) -> String {
    when.map_or_else(|| "every file".to_owned(), |when| format!("`{}`", shown(when.source())))
}
