//! Bytes and data of files that mean harm: whatever expressions do with them, planning takes a bounded amount of memory and of
//! work, and ends in a plan within its limits or in a validation failure with a code.
//!
//! What is asserted is counted, by the allocator too. `HOSTILE=1 … -- --nocapture hostile_content` also prints what each case took.

use std::collections::BTreeMap;
use std::time::Instant;

use consign::plan::{Fetched, Inputs, Limits, MAX_DATA, MAX_ROWS, plan};
use consign::predict::{End, Script, course};
use consign::record::{Arrival, FileManifest};
use consign::routing::{Document, MAX_READ_CONTENT, Sources, load, sha256_digest};

use super::support;

/// What planning one file may take at once.
const MAX_MEMORY: u64 = 64 * 1024 * 1024;
/// How often it may ask for memory: every value costs that, and nothing costs much without.
const MAX_ALLOCATIONS: u64 = 3_000_000;
/// The codes of files that fail for what is in them.
const CODES: [&str; 8] = ["CG122", "CG123", "CG125", "CG126", "CG127", "CG129", "CG140", "CG151"];

const TARGET: &str = "{owner: o, http: {url: 'http://a.invalid'}, confirmed_by: {response: status == 200}}";
const TYPES: &str =
    "{json: {content: {format: json}}, ndjson: {content: {format: ndjson}}, csv: {content: {format: csv}}}";

/// What expressions may do with much: `V` stands for `content` or `data`.
fn leaves() -> Vec<String> {
    let pasted = format!("[{}]", ["V"; 400].join(", "));
    let conditions = ["x != 1"; 300].join(" && ");
    let texts = format!("V.map(x, '{}')", "t".repeat(3_500));
    let rows = "V.map(x, lookup('wide', 'a'))".to_owned();
    let sums = ["V"; 40].join(" + ");
    let mut all = vec![pasted, texts, rows, sums];
    all.push(format!("V.all(x, {conditions})"));
    all.push(format!("V.map(x, [{}])", ["x"; 1_000].join(", ")));
    all.push(format!("V.map(x, {{{}}})", (0..200).map(|n| format!("'{n}': x")).collect::<Vec<_>>().join(", ")));
    let short = [
        "V",
        "size(V)",
        "V.map(x, x)",
        "V.map(x, [x, V])",
        "V.map(x, {'a': x, 'b': V})",
        "V.map(x, {'a': {'a': {'a': [x, x, x, x]}}})",
        "[[V, V, V, V], [V, V, V, V]].map(x, [x, x, x, x, x, x, x, x]) == [[V]]",
        "V.filter(x, x in V)",
        "V.filter(x, x == V)",
        "V.filter(x, V == V)",
        "V.exists(x, [V] == [V])",
        // An error is kept until an item decides: it must not carry what it is about.
        "V.exists(x, V - 1 == x)",
        "V.exists(x, 1 < V)",
        "V.exists(x, V + 1 == x)",
        "V.exists(x, V[0.5] == x)",
        "V.exists(x, {V: 1} == x)",
        "V.exists(x, size(V) == 1 || V.size() == 1)",
        "V.map(x, string(V))",
        "V.map(x, string(x) + string(x))",
        "bytes(V) == b''",
        "V.map(x, x + x)",
        "V.map(x, V + V)",
        "V.matches('(a|b)*x{9}c') || V.matches('(x+x+)+y')",
        "V.exists(x, V.contains('y') || V.startsWith(V) || V.endsWith(V) || V < V || V <= V)",
        "[1, 2, 3, 4, 5, 6, 7, 8, 9].map(x, V)",
        "[1, 2, 3, 4, 5, 6, 7, 8, 9].map(x, V.contains('y'))",
        "string(V)",
        "[V, V, V] + [V, V, V]",
    ];
    all.extend(short.map(str::to_owned));
    all
}

/// A text for each number.
fn each(count: usize, text: impl Fn(usize) -> String) -> String {
    (0..count).map(text).collect::<Vec<_>>().concat()
}

fn load_with_table(text: String) -> Document {
    let columns = (0..1_000).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
    let row = format!("a{}", ",some text of a cell".repeat(999));
    let files = BTreeMap::from([("wide.csv".to_owned(), format!("{columns}\n{row}\n"))]);
    let sources = Sources { name: "routing.yaml".to_owned(), document: text, files };
    load(&sources).unwrap_or_else(|errors| panic!("{}", support::lines(&errors))).document
}

fn document(leaf: &str) -> Document {
    let tables = if leaf.contains("lookup") { "tables: {wide: wide.csv}\n" } else { "" };
    let types = if leaf.contains("content") { TYPES } else { "{any: {}}" };
    load_with_table(format!(
        "{tables}file_types: {types}\npayloads: {{p: {{body: {{v: \"={leaf}\"}}}}}}\ntargets: {{a: {TARGET}}}\nroutes: [{{to: a, payload: p}}]\n"
    ))
}

/// So often that it fills this many bytes, between a beginning and an end.
fn filled_to(limit: usize, begin: &str, part: &str, end: &str) -> String {
    let times = (limit - begin.len() - end.len()) / part.len();
    format!("{begin}{}{end}", part.repeat(times))
}

fn read_limit() -> usize {
    usize::try_from(MAX_READ_CONTENT).unwrap()
}

fn filled(begin: &str, part: &str, end: &str) -> Vec<u8> {
    filled_to(read_limit(), begin, part, end).into_bytes()
}

/// JSON of this many bytes that is legal, and takes much of something.
fn legal_json(limit: usize) -> Vec<String> {
    let keys = each(20_000, |n| format!("\"{n}\":1,"));
    let long_key = format!("{{\"{}\":1}}", "k".repeat(limit - 6));
    let list = |item: &str| filled_to(limit, &format!("[{item}"), &format!(",{item}"), "]");
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    vec![
        filled_to(limit, "\"", "x", "\""),
        filled_to(limit, "\"", "\\u0000", "\""),
        format!("{{{keys}\"last\":1}}"),
        long_key,
        list("\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\""),
        list("1e308"),
        list(&deep),
        list("{\"a\":{\"b\":[1,2,3,4,5,6]}}"),
        format!("[{}]", vec!["{\"id\":1,\"qty\":2}"; 9_000].join(",")),
    ]
}

/// JSON of this many bytes that is legal, and has as many values as there is room for.
fn many_values(limit: usize) -> Vec<String> {
    let list = |item: &str| filled_to(limit, &format!("[{item}"), &format!(",{item}"), "]");
    ["1", "[]", "{}", "\"a\"", "[1]", "{\"\":0}"].map(list).into()
}

fn arrival(file_type: &str, data: &str) -> Arrival {
    support::arrival(support::manifest(file_type, data, &[]))
}

/// Whether this expression meets these values: all of them do where everything is printed, else every fourth.
fn is_asked(leaf: usize, values: usize) -> bool {
    (leaf + values).is_multiple_of(4) || std::env::var_os("HOSTILE").is_some()
}

/// What planning gave, with what it took.
struct Took {
    code: Option<String>,
    text: String,
    bytes: u64,
    allocations: u64,
    ms: f64,
}

/// How long this thread has been on a processor.
fn on_cpu_ns() -> Option<f64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

fn take(routing: &Document, arrival: &Arrival, content: Option<&[u8]>) -> Took {
    let digest = content.map(sha256_digest);
    let cause = support::cause();
    let inputs = Inputs {
        arrival,
        fetched: digest.as_deref().map(|digest| Fetched { digest, bytes: content }),
        routing,
        version: 2,
        cause: &cause,
        planned_at: arrival.received_at,
        limits: Limits::default(),
    };
    let (mut made, begun, on_cpu) = (None, Instant::now(), on_cpu_ns());
    let took = allocation_counter::measure(|| made = Some(plan(inputs)));
    // What others do meanwhile counts only where the system doesn't tell.
    let wall = begun.elapsed().as_secs_f64() * 1_000.0;
    let ms = on_cpu.zip(on_cpu_ns()).map_or(wall, |(before, after)| (after - before) / 1e6);
    let (code, text) = match made.unwrap() {
        Ok(plan) => {
            let sizes = plan.iter().filter_map(|dispatch| Some(dispatch.request.body.as_ref()?.as_ref().len()));
            assert!(sizes.max() <= Some(Limits::default().body_bytes));
            (None, String::new())
        }
        Err(failure) => {
            assert!(failure.text.len() < 4_096, "{failure:?}");
            (Some(failure.code), failure.text)
        }
    };
    Took { code, text, bytes: took.bytes_max, allocations: took.count_total, ms }
}

/// The most that any case took, and what was beyond the bounds.
#[derive(Default)]
struct Ledger {
    most_bytes: (u64, String),
    most_allocations: (u64, String),
    slowest: (f64, String),
    beyond: Vec<String>,
    planned: usize,
    failed: BTreeMap<String, usize>,
}

impl Ledger {
    fn add(&mut self, about: &str, took: &Took) {
        let Took { code, text, bytes, allocations, ms } = took;
        if std::env::var_os("HOSTILE").is_some() {
            let code = code.as_deref().unwrap_or("a plan");
            let kb = bytes / 1_000;
            eprintln!("{ms:7.1} ms {kb:6} kB {allocations:8} {code} {about} {text}");
        }
        match code {
            None => self.planned += 1,
            Some(code) => {
                *self.failed.entry(code.clone()).or_default() += 1;
                if !CODES.contains(&code.as_str()) {
                    self.beyond.push(format!("{about}: {code} {text}"));
                }
            }
        }
        if *bytes > MAX_MEMORY || *allocations > MAX_ALLOCATIONS {
            self.beyond.push(format!("{about}: {bytes} bytes at once, {allocations} allocations"));
        }
        self.most_bytes = self.most_bytes.clone().max((*bytes, about.to_owned()));
        self.most_allocations = self.most_allocations.clone().max((*allocations, about.to_owned()));
        if *ms > self.slowest.0 {
            self.slowest = (*ms, about.to_owned());
        }
    }

    fn check(&self) {
        let Self { most_bytes, most_allocations, slowest, beyond, planned, failed } = self;
        eprintln!(
            "{planned} planned, failed {failed:?}; bytes {most_bytes:?}, allocations {most_allocations:?}, ms {slowest:?}"
        );
        assert!(beyond.is_empty(), "{}", support::lines(beyond));
    }
}

#[test]
fn whatever_a_document_does_with_content_memory_and_work_are_bounded() {
    let mut ledger = Ledger::default();
    let mut contents: Vec<(&str, Vec<u8>)> = Vec::new();
    let legal = legal_json(read_limit()).into_iter().chain(many_values(read_limit()));
    contents.extend(legal.map(|json| ("json", json.into_bytes())));
    contents.push(("ndjson", "[1,1,1,1,1,1,1,1,1,1]\n".repeat(MAX_ROWS).into_bytes()));
    contents.push(("ndjson", filled("", "\n", "")));
    contents.push(("csv", format!("a\n{}", "1\n".repeat(MAX_ROWS)).into_bytes()));
    let columns = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>().join(",") + "\n";
    contents.push(("csv", (columns(250) + &(",".repeat(249) + "\n").repeat(700)).into_bytes()));
    contents.push(("csv", (columns(12) + &"1,2,3,4,5,6,7,8,9,10,11,12\n".repeat(9_000)).into_bytes()));
    // As much as rows may swell to.
    contents.push(("csv", format!("{}\n{}", "n".repeat(400), "1\n".repeat(MAX_ROWS)).into_bytes()));
    for (at, leaf) in leaves().into_iter().enumerate() {
        let routing = document(&leaf.replace('V', "content"));
        for (number, (format, bytes)) in contents.iter().enumerate().filter(|(number, _)| is_asked(at, *number)) {
            assert!(bytes.len() <= read_limit(), "{number}");
            let took = take(&routing, &arrival(format, "{}"), Some(bytes));
            ledger.add(&format!("content {number} ({format}) in `{leaf:.60}`"), &took);
        }
    }
    ledger.check();
    assert!(ledger.planned > 20, "{}", ledger.planned);
}

#[test]
fn whatever_a_document_does_with_data_memory_and_work_are_bounded() {
    let mut ledger = Ledger::default();
    let all: Vec<String> = legal_json(MAX_DATA).into_iter().chain(many_values(MAX_DATA)).collect();
    for (at, leaf) in leaves().into_iter().enumerate() {
        let routing = document(&leaf.replace('V', "data"));
        for (number, data) in all.iter().enumerate().filter(|(number, _)| is_asked(at, *number)) {
            ledger.add(&format!("data {number} in `{leaf:.60}`"), &take(&routing, &arrival("any", data), None));
        }
    }
    ledger.check();
}

/// Bytes that can't be read, or that hold more than may be read, with what is said of them.
fn unreadable() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let limit = read_limit();
    let columns = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>().join(",") + "\n";
    let keys = each(20_000, |n| format!("\"{n}\":1,"));
    let name = "n".repeat(limit / 2);
    vec![
        ("json", filled("", "[", ""), "line 1, column"),
        ("json", filled("", "{\"a\":", ""), "line 1, column"),
        ("json", format!("{}1{}", "[".repeat(65), "]".repeat(65)).into_bytes(), "nests more than 64 deep"),
        ("json", filled("[1", ",1", ",NaN]"), "line 1, column"),
        ("json", filled("[1", ",1", ",1e400]"), "line 1, column"),
        ("json", filled("[1", ",1", ",\"\\ud800\"]"), "line 1, column"),
        ("json", filled("[1", ",1", ",\"\0\"]"), "line 1, column"),
        ("json", format!("{{{keys}\"19999\":1}}").into_bytes(), "a key is there twice"),
        ("json", vec![0; limit], "line 1, column 1"),
        ("json", vec![0xff; limit], "byte 0 is no UTF-8"),
        ("ndjson", filled("", "{}\n", ""), "more than 10000 lines"),
        ("ndjson", filled("", "1\n", ""), "more than 10000 lines"),
        ("ndjson", ("{\"a\":1}\n".repeat(9_000) + "{\"a\":").into_bytes(), "line 9001, column"),
        ("csv", filled("a\n", "1\n", ""), "more than 10000 rows"),
        ("csv", filled(&columns(256), &(",".repeat(255) + "\n"), ""), "values take more than"),
        ("csv", filled(&columns(20_000), "1\n", ""), "columns, more than 256"),
        ("csv", filled("a,b\n", "1\n", ""), "line 2 has 1 columns, the first has 2"),
        ("csv", filled("a,b\n\"", "\"\"", ""), "line"),
        ("csv", filled("a,b\n\"", "x\n", ""), "line"),
        ("csv", filled("a,b\n", "\"1\n", ""), "line"),
        // A name of half the file in each of the rows that the other half has room for.
        (
            "csv",
            format!("{name}\n{}", "1\n".repeat(limit / 4 - 1)).into_bytes(),
            "rows with their names take more than",
        ),
    ]
}

#[test]
fn what_cant_be_read_says_so() {
    let mut ledger = Ledger::default();
    let routing = document("content.map(x, [x, content])");
    for (number, (format, bytes, says)) in unreadable().into_iter().enumerate() {
        assert!(bytes.len() <= read_limit(), "{number}");
        let took = take(&routing, &arrival(format, "{}"), Some(&bytes));
        let about = format!("{number} ({format})");
        ledger.add(&about, &took);
        // A quote that is never closed may end as one long cell of a row that is too short, or as a row that fits.
        let is_read = took.code.as_deref() == Some("CG151") && took.text.contains(says);
        assert!(is_read, "{about}: {:?} {}", took.code, took.text);
    }
    ledger.check();
}

/// What a row of the table says a file fails with.
fn ends_with(routing: &str, file_type: &str, data: &str, content: Option<&[u8]>, code: &str, says: &str) {
    let routing = load_with_table(routing.to_owned());
    let took = take(&routing, &arrival(file_type, data), content);
    let mut ledger = Ledger::default();
    ledger.add(says, &took);
    assert_eq!(
        (took.code.as_deref(), took.text.contains(says)),
        (Some(code), true),
        "{says}: {:?} {}",
        took.code,
        took.text
    );
    ledger.check();
}

#[test]
fn every_way_to_make_much_of_little_ends_with_a_code() {
    let body = |leaf: &str| {
        format!(
            "file_types: {TYPES}\npayloads: {{p: {{body: {{v: \"={leaf}\"}}}}}}\ntargets: {{a: {TARGET}}}\nroutes: [{{to: a, payload: p}}]\n"
        )
    };
    let text = format!("\"{}\"", "x".repeat(200 * 1024));
    let list = format!("[{}]", vec!["1"; 10_000].join(","));
    let (text, list) = (text.as_bytes(), list.as_bytes());
    for (leaf, content, says) in [
        ("content.map(x, [x, content])", list, "bytes of values written"),
        ("content.map(x, {'a': x, 'b': {'c': {'d': [x, x, x, x]}}})", list, "bytes of values"),
        ("content.filter(x, x in content)", list, "bytes searched"),
        ("[1, 2, 3, 4, 5, 6, 7, 8, 9].map(n, content + content)", text, "the payload `p` has 3686434 bytes"),
        ("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map(n, content + content)", text, "bytes from `+`"),
        ("[1, 2, 3, 4, 5, 6, 7, 8, 9].map(n, content.matches('(x+x+)+y'))", text, "`matches`"),
        (
            "content.matches('(x+x+)+y') || content.matches('(x+x+)+z') || content.matches('a+b') || content.matches('c') || content.matches('d') || content.matches('e')",
            text,
            "bytes searched",
        ),
    ] {
        if says == "`matches`" {
            // Patterns in a comprehension are refused when the document is loaded.
            let sources = Sources { name: "routing.yaml".to_owned(), document: body(leaf), files: BTreeMap::new() };
            assert!(load(&sources).is_err_and(|errors| errors.iter().any(|error| error.code == "CG110")));
            continue;
        }
        let code = if says.starts_with("the payload") { "CG127" } else { "CG125" };
        ends_with(&body(leaf), "json", "{}", Some(content), code, says);
    }
    // Pasted by `set` into a payload that is derived.
    let set = each(300, |n| format!("/k{n}: \"=content\", "));
    let pasted = format!(
        "file_types: {TYPES}\npayloads:\n  p: {{body: {{v: 1}}}}\n  q: {{from: p, set: {{{set}}}}}\ntargets: {{a: {TARGET}}}\nroutes: [{{to: a, payload: q}}]\n"
    );
    ends_with(&pasted, "json", "{}", Some(text), "CG125", "bytes of values written");
    // Pasted, then removed again: what is there at once counts, not what is left.
    let removed = format!(
        "file_types: {TYPES}\npayloads:\n  p: {{body: {{{}}}}}\n  q: {{from: p, remove: [{}]}}\ntargets: {{a: {TARGET}}}\nroutes: [{{to: a, payload: q}}]\n",
        each(300, |n| format!("k{n}: \"=content\", ")),
        (1..300).map(|n| format!("/k{n}")).collect::<Vec<_>>().join(", "),
    );
    ends_with(&removed, "json", "{}", Some(text), "CG125", "bytes of values written");
    // Parts of requests that grow.
    let part = |part: &str| {
        format!(
            "file_types: {TYPES}\npayloads: {{p: {{body: {{v: 1}}}}}}\ntargets: {{a: {part}}}\nroutes: [{{to: a, payload: p}}]\n"
        )
    };
    let http = |more: &str| {
        part(&format!(
            "{{owner: o, http: {{url: 'http://a.invalid', {more}}}, confirmed_by: {{response: status == 200}}}}"
        ))
    };
    let kafka = part("{owner: o, kafka: {topic: t, key: \"=content + content\"}, confirmed_by: {acks: 1h}}");
    ends_with(&kafka, "json", "{}", Some(text), "CG140", "the key");
    ends_with(&http("headers: {x: \"=content + content + content\"}"), "json", "{}", Some(text), "CG140", "the header");
    ends_with(&http("path: [\"=content + content\"]"), "json", "{}", Some(text), "CG140", "longer than");
    let long = format!("query: {{q: \"=content.map(x, '{}')\"}}", "t".repeat(200));
    ends_with(&http(&long), "json", "{}", Some(list), "CG140", "the URL");
    let longer = format!("query: {{q: \"=content.map(x, '{}')\"}}", "t".repeat(3_000));
    ends_with(&http(&longer), "json", "{}", Some(list), "CG125", "bytes of lists, maps and texts built");
    // A form is longer than what it is made of.
    let form = body("content + content + content + content + content").replace("p: {body", "p: {format: form, body");
    ends_with(&form, "json", "{}", Some(text), "CG127", "more than");
    // A key of a map that no message may carry.
    ends_with(&body("{content: 1}"), "json", "{}", Some(list), "CG125", "value of this type");
    // A list and a map have no sum: a map has no order.
    ends_with(
        &body("content + data"),
        "json",
        "{\"a\": 1, \"b\": 2}",
        Some(list),
        "CG125",
        "`add` doesn't take a list and a map",
    );
}

/// Whatever goes through a long text, or copies it, for each of many items.
#[test]
fn a_long_text_for_each_of_many_items_ends_with_a_code() {
    let data =
        format!("{{\"l\": [{}1], \"m\": {{\"a\": 1}}, \"t\": \"{}\"}}", "1, ".repeat(8_999), "x".repeat(200 * 1024));
    for one in [
        "data.t == data.t",
        "data.t != data.t",
        "data.t < data.t",
        "data.t < 1",
        "1 < data.t",
        "data.t - 1 == x",
        "data.t + 'x' == x",
        "data.t * x == x",
        "size(data.t) == x",
        "data.t.size() == x",
        "int(data.t) == x",
        "double(data.t) == 1.0",
        "bool(data.t)",
        "string(data.t) == x",
        "bytes(data.t) == x",
        "data.t in data.m",
        "data.t in [data.t]",
        "data.t in {data.t: 1}",
        "data.m[data.t] == x",
        "{data.t: 1} == x",
        "[data.t] == [data.t]",
        "{'a': data.t} == {'a': data.t}",
        "data.t.contains('y')",
        "data.t.startsWith(data.t + 'y')",
        "data.t.endsWith(data.t + 'y')",
        "lookup('wide', data.t) == x",
        "has(lookup('wide', data.t).c1)",
    ] {
        // Never true, so that it is asked of all items; an error is kept until one decides.
        let none = format!("data.l.exists(x, ({one}) == null)");
        let took = take(&document(&none), &arrival("any", &data), None);
        let mut ledger = Ledger::default();
        ledger.add(&none, &took);
        let is_bounded = took.code.as_deref() == Some("CG125") && took.text.contains("more than ");
        assert!(is_bounded, "{one}: {:?} {}", took.code, took.text);
        ledger.check();
    }
}

/// A schema finds a fault in every value there is.
#[test]
fn as_many_faults_as_values_end_with_the_first() {
    let of = |items: &str| format!("{{\"type\": \"array\", \"items\": {items}}}");
    let schemas = [
        of("{\"type\": \"string\", \"minLength\": 100}"),
        of("{\"enum\": [\"x\", \"y\"], \"pattern\": \"^(a+)+$\", \"multipleOf\": 7}"),
        of("{\"type\": \"object\", \"required\": [\"a\", \"b\", \"c\"], \"additionalProperties\": false}"),
        of("{\"anyOf\": [{\"type\": \"string\", \"minLength\": 100}, {\"required\": [\"b\"], \"type\": \"object\"}]}"),
        "{\"type\": \"array\", \"uniqueItems\": true, \"maxItems\": 3, \"contains\": {\"const\": 5}}".to_owned(),
        "{\"type\": \"object\", \"additionalProperties\": {\"type\": \"string\"}, \"propertyNames\": {\"maxLength\": 1}}".to_owned(),
        "{\"type\": \"object\", \"additionalProperties\": false}".to_owned(),
        "{\"not\": {}}".to_owned(),
        format!("{{\"anyOf\": [{}, {}]}}", of("{\"type\": \"string\", \"minLength\": 100}"), of("{\"required\": [\"b\"]}")),
        format!("{{\"oneOf\": [{}, {}]}}", of("{\"type\": \"boolean\"}"), of("{\"type\": \"null\"}")),
        of("{\"if\": {\"type\": \"integer\"}, \"then\": {\"minimum\": 7}, \"else\": {\"$ref\": \"#/$defs/a\"}}")
            .replacen('{', "{\"$defs\": {\"a\": {\"type\": \"null\"}}, ", 1),
    ];
    let mut ledger = Ledger::default();
    let all: Vec<String> = legal_json(MAX_DATA).into_iter().chain(many_values(MAX_DATA / 4)).collect();
    for schema in &schemas {
        let document = format!(
            "file_types: {{any: {{schema: s.json}}}}\npayloads: {{p: {{body: {{v: 1}}}}}}\ntargets: {{a: {TARGET}}}\nroutes: [{{to: a, payload: p}}]\n"
        );
        let files = BTreeMap::from([("s.json".to_owned(), schema.clone())]);
        let routing = load(&Sources { name: "routing.yaml".to_owned(), document, files }).unwrap().document;
        for (number, data) in all.iter().enumerate() {
            let took = take(&routing, &arrival("any", data), None);
            ledger.add(&format!("data {number} against {schema:.60}"), &took);
            let is_expected = [None, Some("CG122"), Some("CG123")].contains(&took.code.as_deref());
            assert!(is_expected, "{:?} {}", took.code, took.text);
        }
    }
    assert!(ledger.failed["CG123"] > 50, "{:?}", ledger.failed);
    ledger.check();
}

#[test]
fn a_payload_in_avro_takes_no_more() {
    let item = "{\"type\": \"record\", \"name\": \"i\", \"fields\": [{\"name\": \"a\", \"type\": [\"null\", \"long\", \"string\"], \"default\": null}]}";
    let schema = format!(
        "{{\"type\": \"record\", \"name\": \"r\", \"fields\": [{{\"name\": \"v\", \"type\": {{\"type\": \"array\", \"items\": {item}}}}}]}}"
    );
    let document = format!(
        "file_types: {TYPES}\npayloads: {{p: {{format: avro, avro: {{schema: s.avsc, subject: s, version: 1, id: 7}}, body: {{v: \"=content\"}}}}}}\ntargets: {{a: {TARGET}}}\nroutes: [{{to: a, payload: p}}]\n"
    );
    let files = BTreeMap::from([("s.avsc".to_owned(), schema)]);
    let routing = load(&Sources { name: "routing.yaml".to_owned(), document, files })
        .unwrap_or_else(|errors| panic!("{}", support::lines(&errors)))
        .document;
    let mut ledger = Ledger::default();
    for (kib, item) in [(115, "{\"a\":1}"), (115, "{\"b\":1}"), (80, "{\"a\":\"\"}"), (40, "{}"), (200, "1")] {
        let content = filled_to(kib * 1024, &format!("[{item}"), &format!(",{item}"), "]");
        let took = take(&routing, &arrival("json", "{}"), Some(content.as_bytes()));
        ledger.add(&format!("{kib} KiB of {item} in Avro"), &took);
    }
    ledger.check();
    assert_eq!(ledger.planned, 3, "{:?}", ledger.failed);
}

#[test]
fn a_plan_as_large_as_it_may_be_is_made_within_the_same_memory() {
    let targets = 60;
    let names: Vec<String> = (0..targets).map(|n| format!("t{n}")).collect();
    let all = |line: &dyn Fn(&str) -> String| names.iter().map(|name| line(name)).collect::<String>();
    let routing = load_with_table(format!(
        "file_types: {TYPES}\npayloads:\n{}targets:\n{}routes:\n{}",
        all(&|name| format!("  p{name}: {{body: {{n: {name}, v: \"=content\"}}}}\n")),
        all(&|name| format!("  {name}: {TARGET}\n")),
        all(&|name| format!("  - {{to: {name}, payload: p{name}}}\n")),
    ));
    for (kib, code) in [(180, None), (240, Some("CG127"))] {
        let content = format!("\"{}\"", "x".repeat(kib * 1024));
        let took = take(&routing, &arrival("json", "{}"), Some(content.as_bytes()));
        let mut ledger = Ledger::default();
        ledger.add(&format!("{targets} bodies of {kib} KiB"), &took);
        assert_eq!(took.code.as_deref(), code, "{}", took.text);
        ledger.check();
    }
}

#[test]
fn what_is_longer_than_it_may_be_is_never_read() {
    let routing = document("content");
    let long = format!("\"{}\"", "x".repeat(10 * 1024 * 1024)).into_bytes();
    let digest = sha256_digest(&long);
    for size in [None, i64::try_from(long.len()).ok()] {
        let manifest = support::manifest("json", "{}", &[]);
        let location = Some("https://files.invalid/a".to_owned());
        let arrival = support::arrival(FileManifest { size, location, ..manifest }).into();
        let fetched = Fetched { digest: &digest, bytes: Some(&long) };
        let mut end = None;
        let took = allocation_counter::measure(|| {
            end = Some(course(&arrival, Some(fetched), &routing, &Script::best()).end);
        });
        let Some(End::Failed(_, reason)) = end else { panic!("{end:?}") };
        assert!(reason.code == "CG150" && reason.text.contains("too_large"), "{reason:?}");
        assert!(took.bytes_max < 1024 * 1024, "{} bytes at once", took.bytes_max);
    }
}
