//! Where a target's requests go.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{Changes, Place, Question, paired};
use crate::routing::document::{Envelope, Parts, Target};
use crate::routing::expression::shown;
use crate::routing::template::Template;

/// Where a target is reached, as far as two targets can be the same receiver.
pub(super) fn destination(target: &Target) -> &str {
    &target.http.url
}

pub(super) fn compare(changes: &mut Changes, place: &Place, old: &Target, new: &Target) {
    let routing = &[Question::Routing];
    parts(changes, place, &old.parts, &new.parts);
    for (name, before, after) in paired(&headers(old), &headers(new)).filter(|(_, before, after)| before != after) {
        let words = |value: Option<&String>| value.map_or_else(|| "none".to_owned(), Clone::clone);
        changes.add(place, routing, format!("header {name}: {} → {}", words(before), words(after)));
    }
    envelope(changes, place, old.envelope.as_ref(), new.envelope.as_ref());
    let (old, new) = (&old.http, &new.http);
    let transports = (&old.transport, &new.transport);
    changes.value(place, &[Question::Routing, Question::Idempotency], "transport", transports, ToString::to_string);
    changes.value(place, routing, "url", (&old.url, &new.url), Clone::clone);
    changes.value(place, routing, "method", (&old.method, &new.method), Clone::clone);
    changes.value(place, routing, "content-type", (&old.content_type, &new.content_type), |content_type| {
        content_type.as_ref().map_or_else(|| "that of its payloads".to_owned(), Clone::clone)
    });
    for (what, is_same) in [
        ("the credentials that its requests show are others", old.auth == new.auth),
        ("the certificates that its requests show or trust are others", old.tls == new.tls),
    ] {
        if !is_same {
            changes.add(place, routing, what);
        }
    }
    changes.value(place, routing, "sign_with", (&old.sign_with, &new.sign_with), |secrets| {
        secrets.as_ref().map_or_else(|| "none".to_owned(), |secrets| secrets.join(", "))
    });
    changes.value(place, routing, "cluster", (&old.cluster, &new.cluster), |cluster| {
        cluster.as_ref().map_or_else(|| "consign's own".to_owned(), Clone::clone)
    });
    // Who doesn't read committed sees records of aborted transactions, and none is sent again for an unknown fate.
    let delivery = &[Question::Idempotency, Question::Retry];
    let in_transaction = (&old.in_transaction, &new.in_transaction);
    changes.value(place, delivery, "in_transaction", in_transaction, ToString::to_string);
}

/// All headers that a target's requests have, as they stand in the document.
fn headers(target: &Target) -> BTreeMap<&str, String> {
    let written = target.http.headers.iter().map(|(name, value)| (name.as_str(), format!("`{value}`")));
    let computed = target.parts.headers.iter().map(|(name, template)| (name.as_str(), words(Some(template))));
    written.chain(computed).collect()
}

/// What is put together for each file.
fn parts(changes: &mut Changes, place: &Place, old: &Parts, new: &Parts) {
    let routing = &[Question::Routing];
    if old.key != new.key {
        changes.add(place, routing, "the key of its records is another: they may go to other partitions");
    }
    let path = |segments: &Vec<Template>| match segments.as_slice() {
        [] => "none".to_owned(),
        segments => segments.iter().map(|segment| words(Some(segment))).collect::<Vec<_>>().join(" / "),
    };
    changes.value(place, routing, "path", (&old.path, &new.path), path);
    for (name, before, after) in paired(&old.query, &new.query).filter(|(_, before, after)| before != after) {
        changes.add(place, routing, format!("query {name}: {} → {}", words(before), words(after)));
    }
}

/// The event around the body. Receivers know an event again by its `source` and `id` together.
fn envelope(changes: &mut Changes, place: &Place, old: Option<&Envelope>, new: Option<&Envelope>) {
    let mode = |envelope: Option<&Envelope>| match envelope {
        Some(envelope) => format!("cloudevents, {}", envelope.mode.as_str()),
        None => "none".to_owned(),
    };
    let identity = [Question::Routing, Question::Idempotency];
    let by_mode = if old.is_some() == new.is_some() { &identity[..1] } else { &identity[..] };
    if old.map(|old| old.mode) != new.map(|new| new.mode) {
        changes.add(place, by_mode, format!("envelope: {} → {}", mode(old), mode(new)));
    }
    let (Some(old), Some(new)) = (old, new) else { return };
    for (name, before, after) in paired(&old.attributes, &new.attributes).filter(|(_, a, b)| a != b) {
        let questions = if name == "source" { &identity[..] } else { &identity[..1] };
        changes.add(place, questions, format!("event attribute {name}: {} → {}", words(before), words(after)));
    }
}

/// A part as it stands in the document.
fn words(part: Option<&Template>) -> String {
    match part {
        None => "none".to_owned(),
        Some(Template::Leaf(expression)) => format!("`={}`", shown(expression.source())),
        Some(Template::Value(Json::String(text))) => format!("`{}`", shown(text)),
        Some(Template::Value(json)) => format!("`{}`", shown(&json.to_string())),
        Some(Template::List(items)) => {
            let items: Vec<String> = items.iter().map(|item| words(Some(item))).collect();
            format!("[{}]", items.join(", "))
        }
        Some(Template::Map(_)) => "a mapping".to_owned(),
    }
}
