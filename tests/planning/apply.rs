//! Bringing a document into force: the comparison against what is in force, and what `controls` says of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use consign::node::controls::{ApplyError, Change, Said, apply_routing, read_controls};
use consign::node::embedded::{Shared, in_process};
use consign::record::{Control, Controls, Timestamp};
use consign::routing::Sources;
use consign::transport::AckTokens;

use super::support;

fn group() -> Shared {
    let tokens = AckTokens::new(vec![("k".to_owned(), b"a secret of some length".to_vec())]).unwrap();
    in_process(Arc::new(tokens), Arc::new(|| support::RECEIVED_AT)).unwrap().0
}

fn sources(rule: &str, owner: &str) -> Sources {
    let document = format!(
        "
file_types: {{note: {{}}}}
payloads: {{p: {{body: {{id: '=file.id'}}}}}}
targets: {{a: {{owner: {owner}, http: {{url: 'http://a.invalid'}}, confirmed_by: {{response: '{rule}'}}}}}}
routes: [{{to: a, payload: p}}]
"
    );
    Sources { name: "routing.yaml".to_owned(), document, files: BTreeMap::new() }
}

fn apply(group: &Shared, sources: &Sources, accept: Option<&str>) -> Result<Change, ApplyError> {
    let said = Said { actor: "ann", reason: "because", at: Timestamp(7) };
    apply_routing(group.cluster.as_ref(), &group.codec, sources, said, accept).map(|applied| applied.change)
}

fn controls(group: &Shared) -> Controls {
    read_controls(group.cluster.as_ref(), &group.codec).unwrap()
}

fn active(controls: &Controls) -> &Control {
    controls.control("active").unwrap()
}

#[test]
fn the_first_document_breaks_nothing() {
    let group = group();
    assert_eq!(apply(&group, &sources("status == 200", "o"), None).unwrap(), Change::First);
    let controls = controls(&group);
    assert_eq!(controls.active().unwrap().answers, Vec::<String>::new());
    assert_eq!((active(&controls).actor.as_str(), active(&controls).reason.as_str()), ("ann", "because"));
}

#[test]
fn a_change_that_breaks_nothing_is_recorded_with_its_five_answers() {
    let group = group();
    apply(&group, &sources("status == 200", "o"), None).unwrap();
    let change = apply(&group, &sources("status == 200", "other"), Some("not needed")).unwrap();
    assert!(!change.is_breaking());
    let in_force = controls(&group).active().unwrap().clone();
    assert_eq!(in_force.breaking_accepted, None, "nothing had to be accepted");
    let no = ["routing", "state machine", "idempotency", "acknowledgement", "retry semantics"]
        .map(|q| q.to_owned() + ": no");
    assert_eq!(in_force.answers, no);
}

#[test]
fn a_breaking_change_takes_a_persons_reason() {
    let group = group();
    let (old, new) = (sources("status == 200", "o"), sources("status == 201", "o"));
    apply(&group, &old, None).unwrap();
    let before = controls(&group);
    let Err(ApplyError::Breaking(change)) = apply(&group, &new, None) else { panic!("it was applied") };
    assert_eq!(change.answers()[3], "acknowledgement: yes");
    assert_eq!(controls(&group), before, "nothing was written");
    apply(&group, &new, Some("agreed with team-o")).unwrap();
    let after = controls(&group);
    let in_force = after.active().unwrap();
    assert_ne!(in_force.routing_digest, before.active().unwrap().routing_digest);
    assert_eq!(in_force.breaking_accepted.as_deref(), Some("agreed with team-o"));
    assert_eq!(in_force.answers[3], "acknowledgement: yes");
    // The same document again changes nothing, and breaks nothing.
    apply(&group, &new, None).unwrap();
    assert_eq!(controls(&group), after);
}

#[test]
fn a_document_in_force_that_cannot_be_read_answers_nothing() {
    let group = group();
    apply(&group, &sources("status == 200", "o"), None).unwrap();
    // A later version brought something into force that this one doesn't know.
    let said = ("ann", "a later version", Timestamp(8));
    let mut bundle = sources("status == 200", "o").to_bundle("sha256:later");
    bundle.document = "later: {}".to_owned();
    let active = consign::record::ActiveRouting {
        routing_digest: "sha256:later".to_owned(),
        breaking_accepted: None,
        answers: Vec::new(),
    };
    group
        .cluster
        .change_controls(&mut |_| {
            [Control::keeping(bundle.clone(), said), Control::activating(active.clone(), said)]
                .iter()
                .map(|control| consign::node::controls::append_of(&group.codec, control))
                .collect()
        })
        .unwrap();
    let new = sources("status == 200", "o");
    let Err(ApplyError::Breaking(change)) = apply(&group, &new, None) else { panic!("it was applied") };
    assert_eq!(*change, Change::Unknown { old: "sha256:later".to_owned() });
    apply(&group, &new, Some("back to this version")).unwrap();
    assert_eq!(controls(&group).active().unwrap().answers[0], "routing: unknown");
}
