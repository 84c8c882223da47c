//! Where a target's requests go.

use super::{Changes, Place, Question, paired};
use crate::routing::document::Target;

/// Where a target is reached, as far as two targets can be the same receiver.
pub(super) fn destination(target: &Target) -> &str {
    &target.http.url
}

pub(super) fn compare(changes: &mut Changes, place: &Place, old: &Target, new: &Target) {
    let routing = &[Question::Routing];
    if old.key != new.key {
        changes.add(place, routing, "the key of its records is another: they may go to other partitions");
    }
    let (old, new) = (&old.http, &new.http);
    let transports = (&old.transport, &new.transport);
    changes.value(place, &[Question::Routing, Question::Idempotency], "transport", transports, ToString::to_string);
    changes.value(place, routing, "url", (&old.url, &new.url), Clone::clone);
    changes.value(place, routing, "method", (&old.method, &new.method), Clone::clone);
    changes.value(place, routing, "content-type", (&old.content_type, &new.content_type), Clone::clone);
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
    for (name, before, after) in paired(&old.headers, &new.headers) {
        if before != after {
            let words = |value: Option<&String>| value.map_or_else(|| "none".to_owned(), |value| format!("`{value}`"));
            changes.add(place, routing, format!("header {name}: {} → {}", words(before), words(after)));
        }
    }
}
