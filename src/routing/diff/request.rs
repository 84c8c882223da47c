//! Where a target's requests go.

use super::{Changes, Place, Question, paired};
use crate::routing::document::Target;

/// Where a target is reached, as far as two targets can be the same receiver.
pub(super) fn destination(target: &Target) -> &str {
    &target.http.url
}

pub(super) fn compare(changes: &mut Changes, place: &Place, old: &Target, new: &Target) {
    let routing = &[Question::Routing];
    let (old, new) = (&old.http, &new.http);
    changes.value(place, routing, "url", (&old.url, &new.url), Clone::clone);
    changes.value(place, routing, "method", (&old.method, &new.method), Clone::clone);
    changes.value(place, routing, "content-type", (&old.content_type, &new.content_type), Clone::clone);
    for (name, before, after) in paired(&old.headers, &new.headers) {
        if before != after {
            let words = |value: Option<&String>| value.map_or_else(|| "none".to_owned(), |value| format!("`{value}`"));
            changes.add(place, routing, format!("header {name}: {} → {}", words(before), words(after)));
        }
    }
}
