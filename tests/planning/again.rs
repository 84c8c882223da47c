//! Plans made again, under the same document and under another one; and why a file goes where it goes.

use consign::plan::{Replan, Replanned, Verdict, Why, consider, replan, verify};
use consign::routing::Document;

use super::support;

fn document(amount: &str, extra: &str) -> Document {
    support::document(&format!(
        "
file_types: {{invoice: {{}}, note: {{}}}}
payloads:
  plain: {{body: {{id: '=file.id'}}}}
  amount: {{body: {{amount: '={amount}'}}}}
targets:
  a: {{owner: o, http: {{url: 'http://a.invalid'}}, confirmed_by: {{response: status == 200}}}}
  b: {{owner: o, http: {{url: 'http://b.invalid'}}, confirmed_by: {{response: status == 200}}}}
  c: {{owner: o, http: {{url: 'http://c.invalid'}}, confirmed_by: {{response: status == 200}}}}
  idle: {{owner: o, http: {{url: 'http://idle.invalid'}}, confirmed_by: {{response: status == 200}}}}
routes:
  - {{to: a, payload: [{{when: 'has(attributes.long) && data.amount > 5', use: amount}}, {{use: plain}}]}}
  - {{to: b, when: \"file.type == 'invoice' && (data.amount > 10 || has(attributes.b)) && file.schema_version == 2\", payload: amount}}
  - {{to: c, when: 'data.missing == 1', payload: [{{when: 'false', use: plain}}]}}
{extra}"
    ))
}

fn why(document: &Document, data: &str, attributes: &[(&str, &str)]) -> Vec<(String, Why)> {
    let arrival = support::arrival(support::manifest("invoice", data, attributes));
    consider(&arrival, document, None).unwrap().into_iter().map(|c| (c.target.to_string(), c.why)).collect()
}

#[test]
fn every_target_has_a_reason_or_the_first_condition_that_does_not_hold() {
    let document = document("data.amount", "");
    let reasons = why(&document, r#"{"amount": 7, "missing": 0}"#, &[("long", "x")]);
    let chosen = Why::Chosen {
        when: None,
        payload: Some("amount".to_owned()),
        payload_when: Some("has(attributes.long) && data.amount > 5".to_owned()),
    };
    assert_eq!(reasons[0], ("a".to_owned(), chosen));
    let part = "(data.amount > 10 || has(attributes.b))";
    assert_eq!(reasons[1], ("b".to_owned(), Why::Condition(part.to_owned())));
    assert_eq!(reasons[2], ("c".to_owned(), Why::Condition("data.missing == 1".to_owned())));
    assert_eq!(reasons[3], ("idle".to_owned(), Why::NoRoute));
    let reasons = why(&document, r#"{"amount": 70, "missing": 1}"#, &[]);
    assert!(matches!(&reasons[1].1, Why::Chosen { when: Some(_), payload_when: None, .. }));
    assert_eq!(reasons[2].1, Why::NoPayload);
    let reasons = why(&document, r#"{"amount": 70}"#, &[]);
    assert_eq!(reasons[2].1, Why::Fails("`data.missing == 1`: there is no `missing`".to_owned()));
}

#[test]
fn a_successor_goes_only_where_its_predecessor_left_something_open() {
    let document = document("data.amount", "");
    let arrival = support::successor(support::manifest("invoice", r#"{"amount": 70, "missing": 0}"#, &[]), &["b"]);
    let considered = consider(&arrival, &document, None).unwrap();
    assert_eq!(considered[0].why, Why::NotResubmitted);
    assert!(matches!(considered[1].why, Why::Chosen { .. }));
}

#[test]
fn the_chosen_targets_are_those_of_the_plan() {
    let document = support::shipped();
    for example in support::examples() {
        let arrival = support::arrival(example.manifest);
        let Ok(plan) = support::plan_of(&arrival, &document) else { continue };
        let considered = consider(&arrival, &document, None).unwrap();
        let chosen: Vec<_> =
            considered.iter().filter(|c| matches!(c.why, Why::Chosen { .. })).map(|c| &c.target).collect();
        assert!(plan.iter().map(|dispatch| &dispatch.target).eq(chosen), "{}", example.name);
        assert_eq!(considered.len(), document.targets().len(), "{}", example.name);
    }
}

#[test]
fn a_recorded_plan_is_equal_different_or_not_provable() {
    let document = document("data.amount", "");
    let arrival = support::arrival(support::manifest("invoice", r#"{"amount": 70, "missing": 0}"#, &[]));
    let recorded = support::plan_of(&arrival, &document).unwrap();
    assert_eq!(verify(&arrival, Some(&document), None, &recorded), Verdict::Equal);
    let mut forged = recorded.clone();
    forged[1].request.destination = "http://elsewhere.invalid/".to_owned();
    let text = "the dispatch to b is another one".to_owned();
    assert_eq!(verify(&arrival, Some(&document), None, &forged), Verdict::Different(text));
    let short = &recorded[..1];
    assert!(matches!(verify(&arrival, Some(&document), None, short), Verdict::Different(_)));
    let other = support::arrival(support::manifest("memo", "{}", &[]));
    assert!(
        matches!(verify(&other, Some(&document), None, &recorded), Verdict::Different(why) if why.contains("CG121"))
    );
    assert!(matches!(verify(&arrival, None, None, &recorded), Verdict::NotProvable(_)));
    let another = self::document("data.amount * 2", "");
    assert!(matches!(verify(&arrival, Some(&another), None, &recorded), Verdict::NotProvable(_)));
    // A plan of the version before is made again as that version made it.
    let mut older = recorded.clone();
    older.iter_mut().for_each(|dispatch| dispatch.planner_version = 1);
    let digest = consign::plan::plan_digest(&older);
    older.iter_mut().for_each(|dispatch| dispatch.plan_digest.clone_from(&digest));
    assert_eq!(verify(&arrival, Some(&document), None, &older), Verdict::Equal);
    let twice = support::arrival(support::manifest("invoice", r#"{"amount": 1, "amount": 70, "missing": 0}"#, &[]));
    assert!(support::plan_of(&twice, &document).is_err());
    let mut of_twice = older.clone();
    of_twice.iter_mut().for_each(|dispatch| dispatch.arrival_digest.clone_from(&twice.manifest_digest));
    let digest = consign::plan::plan_digest(&of_twice);
    of_twice.iter_mut().for_each(|dispatch| dispatch.plan_digest.clone_from(&digest));
    assert_eq!(verify(&twice, Some(&document), None, &of_twice), Verdict::Equal);
    let mut later = recorded.clone();
    later.iter_mut().for_each(|dispatch| dispatch.planner_version += 1);
    assert!(matches!(verify(&arrival, Some(&document), None, &later), Verdict::NotProvable(_)));
    assert!(matches!(
        verify::<consign::record::PlannedDispatch>(&arrival, Some(&document), None, &[]),
        Verdict::NotProvable(_)
    ));
}

fn changed(replan: Replan) -> Option<Replanned> {
    match replan {
        Replan::Same => None,
        Replan::Changed(replanned) => Some(replanned),
        Replan::NotProvable(why) => panic!("{why}"),
    }
}

#[test]
fn a_file_gains_loses_or_gets_other_requests_under_another_document() {
    let old = document("data.amount", "");
    let new = document("data.amount * 2", "  - {to: idle, when: \"has(attributes.idle)\", payload: plain}\n");
    let replanned = |data: &str, attributes: &[(&str, &str)]| {
        changed(replan(&support::arrival(support::manifest("invoice", data, attributes)), None, &old, &new))
    };
    assert_eq!(replanned(r#"{"amount": 7, "missing": 0}"#, &[]), None);
    let file = replanned(r#"{"amount": 70, "missing": 0}"#, &[("idle", "")]).unwrap();
    let names = |targets: &[consign::record::TargetName]| targets.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&file.gained), ["idle"]);
    assert_eq!(names(&file.changed), ["b"]);
    assert!(file.lost.is_empty() && file.validation.is_none());
    let back = replan(
        &support::arrival(support::manifest("invoice", "{\"amount\": 1, \"missing\": 0}", &[("idle", "")])),
        None,
        &new,
        &old,
    );
    assert_eq!(names(&changed(back).unwrap().lost), ["idle"]);
    let broken = replanned(r#"{"amount": "many", "missing": 0, "n": 9223372036854775807}"#, &[("b", "")]).unwrap();
    assert!(broken.validation.unwrap().starts_with("fails validation: CG125"));
}
