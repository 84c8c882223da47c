//! The bytes of a file as `content`: what a document may ask of them, and what planning makes of them.

use consign::plan::{Fetched, Inputs, Limits, Replan, Verdict, consider, fetch_of, plan, replan, verify};
use consign::record::{Failure, FileManifest, PlannedDispatch};
use consign::routing::{Document, Sources, code, load, sha256_digest};

use super::support::{arrival, body_text, cause, document, lines, manifest};

const DOCUMENT: &str = "
file_types:
  rows: {deadline: 1h, content: {format: csv, max_size: 100, attempts: 2, schedule: [1s, 3s], within: 9s}}
  tree: {content: {format: json}}
  scan: {content: {}}
  bare: {}
payloads:
  p: {body: {count: '=size(content)', first: '=content[0].id'}}
  q: {body: {id: '=file.id'}}
  r: {from: q, set: {/a: '=content.a'}}
targets: {a: &A, b: &A}
routes:
  - {to: a, when: \"file.type == 'rows' && size(content) > 0\", payload: p}
  - {to: b, payload: [{when: \"file.type == 'tree' && has(content.a)\", use: r}, {use: q}]}
";
const TARGET: &str = "{owner: o, http: {url: 'http://a.invalid'}, confirmed_by: {response: status == 200}}";

fn text(document: &str) -> String {
    document.replace("&A", TARGET)
}

fn routing() -> Document {
    document(&text(DOCUMENT))
}

fn planned(file_type: &str, bytes: Option<&str>) -> Result<Vec<PlannedDispatch>, Failure> {
    let (routing, arrival) = (routing(), arrival(manifest(file_type, "{}", &[])));
    let digest = bytes.map(|bytes| sha256_digest(bytes.as_bytes()));
    let fetched = digest.as_ref().map(|digest| Fetched { digest: digest.as_str(), bytes: bytes.map(str::as_bytes) });
    let planned_at = arrival.received_at;
    plan(Inputs {
        arrival: &arrival,
        fetched,
        routing: &routing,
        version: 4,
        cause: &cause(),
        planned_at,
        limits: Limits::default(),
    })
}

#[test]
fn routes_and_payloads_read_the_bytes_and_the_plan_names_their_digest() {
    let bytes = "id,amount\n7,1\n8,2\n";
    let plan = planned("rows", Some(bytes)).unwrap();
    assert_eq!(plan.iter().map(body_text).collect::<Vec<_>>(), [r#"{"count":2,"first":"7"}"#, r#"{"id":"f-1"}"#]);
    assert!(plan.iter().all(|dispatch| dispatch.content_digest == Some(sha256_digest(bytes.as_bytes()))));
    assert_eq!(planned("rows", Some("id\n")).unwrap().len(), 1, "no rows, no target a");
    let tree = planned("tree", Some(r#"{"a": [1]}"#)).unwrap();
    assert_eq!(body_text(&tree[0]), r#"{"a":[1],"id":"f-1"}"#);
    assert_eq!(planned("scan", Some("\u{0}")).unwrap().len(), 1, "it is only checked");
    assert_eq!(planned("bare", None).unwrap()[0].content_digest, None);
}

#[test]
fn what_is_not_there_or_not_in_its_format_fails_validation() {
    assert_eq!(planned("rows", None).unwrap_err().code, code::CONTENT_MISSING);
    let failure = planned("tree", Some("{")).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.text.contains("no JSON: line 1")), (code::CONTENT, true), "{failure:?}");
    assert_eq!(planned("rows", Some("a,b\n1\n")).unwrap_err().code, code::CONTENT);
    let arrival = arrival(manifest("rows", "{}", &[]));
    assert_eq!(consider(&arrival, &routing(), None).unwrap_err().code, code::CONTENT_MISSING);
}

#[test]
fn how_the_bytes_are_fetched_is_what_the_document_says() {
    let at = |file_type: &str, location: Option<&str>| {
        arrival(FileManifest { location: location.map(str::to_owned), ..manifest(file_type, "{}", &[]) })
    };
    let rows = at("rows", Some("https://x.invalid/a"));
    let fetch = fetch_of(&rows, &routing()).unwrap().unwrap();
    assert_eq!((fetch.max_size, fetch.keep, fetch.attempts, fetch.request_ms), (100, true, 2, 9_000));
    assert_eq!((fetch.schedule_ms, fetch.file_deadline), (vec![1_000, 3_000], rows.received_at.plus_millis(3_600_000)));
    let scan = fetch_of(&at("scan", Some("https://x.invalid/a")), &routing()).unwrap().unwrap();
    assert!(!scan.keep && scan.max_size == 1 << 30);
    assert_eq!(fetch_of(&at("bare", Some("https://x.invalid/a")), &routing()), Ok(None));
    assert_eq!(fetch_of(&at("rows", None), &routing()).unwrap_err().code, code::CONTENT_MISSING);
}

#[test]
fn a_plan_made_again_takes_the_same_bytes_or_proves_nothing() {
    let bytes = "id\n7\n";
    let (routing, arrival) = (routing(), arrival(manifest("rows", "{}", &[])));
    let recorded = planned("rows", Some(bytes)).unwrap();
    let again = |content: Option<&[u8]>| verify(&arrival, Some(&routing), content, &recorded);
    assert_eq!(again(Some(bytes.as_bytes())), Verdict::Equal);
    assert!(matches!(again(None), Verdict::NotProvable(why) if why.contains("aren't there")));
    assert!(matches!(again(Some(b"id\n8\n")), Verdict::NotProvable(_)), "others prove nothing");
    let scanned = planned("scan", Some("x")).unwrap();
    let arrival = super::support::arrival(manifest("scan", "{}", &[]));
    assert_eq!(verify(&arrival, Some(&routing), None, &scanned), Verdict::Equal, "only the digest is in it");
}

#[test]
fn another_document_is_tried_on_the_recorded_bytes_or_proves_nothing() {
    let old = routing();
    let located = |file_type: &str| FileManifest {
        location: Some("https://x.invalid/a".into()),
        ..manifest(file_type, "{}", &[])
    };
    let under = |new: &str, file_type: &str, bytes: Option<&[u8]>| {
        let digest = bytes.map(sha256_digest);
        let fetched = digest.as_deref().map(|digest| Fetched { digest, bytes });
        replan(&arrival(located(file_type)), fetched, &old, &document(&text(new)))
    };
    let rows: Option<&[u8]> = Some(b"id\n7\n");
    let others = DOCUMENT.replace("'=size(content)'", "'=size(content) * 2'");
    assert_eq!(under(DOCUMENT, "rows", rows), Replan::Same);
    let Replan::Changed(changed) = under(&others, "rows", rows) else { panic!("its bytes are others") };
    assert_eq!((changed.changed.len(), changed.validation), (1, None));
    assert!(matches!(under(&others, "rows", None), Replan::NotProvable(why) if why.contains("bytes")));
    assert_eq!(under(&others, "scan", None), Replan::Same, "nobody reads these");
    // What wasn't read before isn't recorded.
    let reads = DOCUMENT.replace("scan: {content: {}}", "scan: {content: {format: json}}");
    assert!(matches!(under(&reads, "scan", None), Replan::NotProvable(_)));
    let unread = DOCUMENT.replace("tree: {content: {format: json}}", "tree: {content: {format: ndjson}}");
    let Replan::Changed(changed) = under(&unread, "tree", Some(b"{\"a\": 1}")) else { panic!("it is a list") };
    assert_eq!((changed.lost.len(), changed.validation.unwrap().contains("CG125")), (1, true));
    let smaller = DOCUMENT.replace("max_size: 100", "max_size: 3");
    let Replan::Changed(changed) = under(&smaller, "rows", rows) else { panic!("it is too large") };
    assert!(changed.validation.unwrap().contains("more than 3 bytes"));
    let fetched = DOCUMENT.replace("bare: {}", "bare: {content: {}}");
    let nowhere = arrival(manifest("bare", "{}", &[]));
    let Replan::Changed(changed) = replan(&nowhere, None, &old, &document(&text(&fetched))) else { panic!("no place") };
    assert!(changed.validation.unwrap().contains(code::CONTENT_MISSING));
}

#[test]
fn a_document_that_reads_content_where_there_is_none_is_refused() {
    let refused = |document: &str| {
        let sources = Sources { name: "r".into(), document: text(document), files: std::collections::BTreeMap::new() };
        load(&sources).map_or_else(|errors| lines(&errors), |_| String::new())
    };
    assert_eq!(refused(DOCUMENT), "");
    for (from, to, types) in [
        ("when: \"file.type == 'rows' && size(content) > 0\"", "when: size(content) > 0", "`bare`, `scan`"),
        ("when: \"file.type == 'tree' && has(content.a)\", ", "", "`bare`, `scan`"),
        ("file.type == 'rows' && size", "file.type in ['rows', 'scan'] && size", "`scan`"),
        ("tree: {content: {format: json}}", "tree: {}", "`tree`"),
    ] {
        assert_eq!(DOCUMENT.matches(from).count(), 1, "{from}");
        let said = refused(&DOCUMENT.replace(from, to));
        assert!(said.contains(code::NO_CONTENT) && said.contains(types), "{from}: {said}");
    }
    for (from, to) in [
        ("format: csv", "format: xml"),
        ("max_size: 100", "max_size: 262145"),
        ("attempts: 2", "attempts: 0"),
        ("within: 9s", "within: soon"),
        ("schedule: [1s, 3s]", "schedule: 1s"),
        ("scan: {content: {}}", "scan: {content: {fromat: csv}}"),
    ] {
        assert!(!refused(&DOCUMENT.replace(from, to)).is_empty(), "{to}");
    }
}
