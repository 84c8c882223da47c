//! Alerts and dashboard: their expressions read metrics and labels that exist, and what an alert waits for can rise.

use std::collections::{BTreeMap, BTreeSet};

use consign::engine::reason;
use consign::metrics::metrics_page;
use consign::node::embedded::in_process;
use consign::routing::Sources;
use consign::transport::{AckTokens, wall_clock};
use serde_json::Value as Json;

use super::deploy::yaml;
use super::repository::{none, read, words_after};

/// The functions and operators of `PromQL` that the expressions use.
const WORDS: [&str; 15] = [
    "sum",
    "min",
    "max",
    "by",
    "and",
    "rate",
    "increase",
    "delta",
    "histogram_quantile",
    "min_over_time",
    "or",
    "unless",
    "clamp_min",
    "time",
    "on",
];

/// The labels of each time series: our own, and what Prometheus adds.
fn series() -> BTreeMap<String, BTreeSet<String>> {
    let mut series = BTreeMap::from([("up".to_owned(), BTreeSet::new())]);
    for row in metrics_page().lines().filter(|line| line.starts_with("| `consign_")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`');
        let mut labels: BTreeSet<String> = cells[3].split(", ").map(|l| l.trim_matches('`').to_owned()).collect();
        labels.remove("");
        if cells[2] == "histogram" {
            for ending in ["_sum", "_count"] {
                series.insert(format!("{name}{ending}"), labels.clone());
            }
            labels.insert("le".to_owned());
            series.insert(format!("{name}_bucket"), labels);
        } else {
            series.insert(name.to_owned(), labels);
        }
    }
    for labels in series.values_mut() {
        labels.extend(["instance", "job"].map(str::to_owned));
    }
    series
}

/// The parts of an expression between brackets of this kind.
fn within<'e>(expression: &'e str, open: &str, close: char) -> Vec<(&'e str, &'e str)> {
    let parts = expression.match_indices(open).filter_map(|(at, _)| {
        let rest = &expression[at + open.len()..];
        Some((&expression[..at], rest.split_once(close)?.0))
    });
    parts.collect()
}

fn words(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic())).collect()
}

/// What is wrong with an expression of `PromQL`, as far as can be told without Prometheus: names, labels, brackets.
fn faults(place: &str, expression: &str) -> Vec<String> {
    let series = series();
    let mut faults = Vec::new();
    for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
        let count = |bracket: char| expression.chars().filter(|c| *c == bracket).count();
        if count(open) != count(close) {
            faults.push(format!("{place}: {open} and {close} don't match"));
        }
    }
    let mut used = BTreeSet::new();
    for (before, matchers) in within(expression, "{", '}') {
        let name = words(before).last().copied().unwrap_or_default().to_owned();
        for matcher in matchers.split(',') {
            let label = words(matcher).first().copied().unwrap_or_default();
            if !series.get(&name).is_some_and(|labels| labels.contains(label)) {
                faults.push(format!("{place}: {name} has no label {label}"));
            }
        }
    }
    // What stands between brackets of these kinds is no metric.
    let mut bare = String::new();
    let mut depth = 0;
    for c in expression.chars() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            c if depth == 0 => bare.push(c),
            _ => {}
        }
    }
    let by: BTreeSet<&str> = within(&bare, "by (", ')').into_iter().flat_map(|(_, list)| words(list)).collect();
    for word in words(&bare) {
        if series.contains_key(word) {
            used.insert(word);
        } else if word.starts_with("consign_") || !(by.contains(word) || WORDS.contains(&word)) {
            faults.push(format!("{place}: nothing is called {word}"));
        }
    }
    if used.is_empty() && faults.is_empty() {
        faults.push(format!("{place}: it reads no metric: {expression}"));
    }
    for label in by {
        if !used.iter().all(|name| series[*name].contains(label)) {
            faults.push(format!("{place}: not every metric has a label {label}"));
        }
    }
    faults
}

struct Alert {
    name: String,
    expression: String,
    severity: String,
    said: [String; 2],
}

fn alerts() -> Vec<Alert> {
    let rules = yaml("config/prometheus/alerts.yml");
    let mut alerts = Vec::new();
    for group in rules["groups"].as_vec().expect("groups") {
        for rule in group["rules"].as_vec().expect("rules") {
            let name = rule["alert"].as_str().expect("an alert has a name").to_owned();
            let text = |place: &str| {
                rule["annotations"][place].as_str().unwrap_or_else(|| panic!("{name} has no {place}")).to_owned()
            };
            alerts.push(Alert {
                expression: rule["expr"].as_str().expect("an alert has an expression").to_owned(),
                severity: rule["labels"]["severity"].as_str().expect("an alert has a severity").to_owned(),
                said: [text("summary"), text("description")],
                name,
            });
        }
    }
    assert!(alerts.len() >= 8, "the alerts mirror the machine");
    alerts
}

#[test]
fn alerts_read_metrics_and_labels_that_exist() {
    let mut wrong = Vec::new();
    for alert in alerts() {
        wrong.extend(faults(&alert.name, &alert.expression));
        assert!(["page", "ticket"].contains(&alert.severity.as_str()), "{}: {}", alert.name, alert.severity);
        // What the text names must be left over by the expression.
        let kept: Vec<&str> = within(&alert.expression, "by (", ')').into_iter().flat_map(|(_, l)| words(l)).collect();
        for label in
            alert.said.iter().flat_map(|said| words_after(said, "$labels.", |c| c.is_ascii_lowercase() || c == '_'))
        {
            let label = label.trim_start_matches("$labels.").to_owned();
            let is_kept =
                kept.contains(&label.as_str()) || (kept.is_empty() && ["instance", "job"].contains(&label.as_str()));
            if !is_kept {
                wrong.push(format!("{}: its text names {label}, which its expression drops", alert.name));
            }
        }
    }
    none(&wrong, "alerts about nothing");
}

/// What `/metrics` of a process says that has just begun, with a routing document in force.
async fn fresh() -> String {
    let tokens = AckTokens::new(vec![("k1".into(), b"0123456789abcdef".to_vec())]).expect("a key");
    let (shared, _) = in_process(tokens.into(), wall_clock()).expect("a log");
    let document = "file_types: {note: {}}\npayloads: {all: {body: {id: '=file.id'}}}\ntargets: {post: {owner: me, http: \
                    {url: 'https://post.invalid/'}, confirmed_by: {response: 'status == 200'}}}\nroutes: [{to: post, \
                    payload: all}]\n";
    let sources = Sources { name: "routing.yaml".into(), document: document.into(), files: [].into() };
    shared.apply(&sources, "test").expect("it loads");
    let node = shared.start("fresh", 1, 0).await.expect("it starts");
    node.ready(std::time::Duration::from_secs(30)).await.expect("it gets ready");
    let url = format!("http://{}/metrics", node.gateway_address().expect("a gateway"));
    let text = reqwest::get(url).await.expect("an answer").text().await.expect("a text");
    node.stop().await;
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_alert_waits_to_rise_is_there_at_zero() {
    let fresh = fresh().await;
    let at_zero = |name: &str, matchers: &[&str]| {
        let lines = fresh.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        lines.filter(|line| line.ends_with(" 0") && matchers.iter().all(|m| line.contains(m))).count()
    };
    let mut counted = 0;
    for alert in alerts() {
        let ranged = ["increase(", "rate("].into_iter().flat_map(|function| within(&alert.expression, function, '['));
        for (_, selector) in ranged {
            let (name, matchers) = selector.split_once('{').unwrap_or((selector, ""));
            let matchers: Vec<&str> = matchers.trim_end_matches('}').split(',').collect();
            assert!(
                at_zero(name, &matchers) > 0,
                "{}: a fresh /metrics has no {selector} at zero:\n{fresh}",
                alert.name
            );
            counted += 1;
        }
    }
    assert!(counted >= 4, "escalations, contradictions, dead letters, aborts: {counted}");
    assert_eq!(at_zero("consign_dead_letters_total", &[]), reason::ALL.len());
    assert_eq!(at_zero("consign_escalations_total", &["target=\"post\""]), 1);
}

#[test]
fn the_dashboard_reads_metrics_that_exist() {
    let dashboard: Json = serde_json::from_str(&read("config/grafana/consign.json")).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut wrong = Vec::new();
    let mut count = 0;
    for panel in panels {
        let title = panel["title"].as_str().expect("a panel has a title");
        for target in panel["targets"].as_array().into_iter().flatten() {
            wrong.extend(faults(title, target["expr"].as_str().expect("a target has an expression")));
            count += 1;
        }
    }
    assert!(count >= 8, "the dashboard shows the machine");
    none(&wrong, "panels about nothing");
}

#[test]
fn what_is_wrong_with_an_expression_is_found() {
    for wrong in [
        "sum by (file_id) (consign_held)",
        "sum by (target) (consign_heldd)",
        "consign_held{tarket=\"a\"}",
        "sum by (target) (consign_aborts_total)",
        "max(consign_ready",
        "summ(consign_ready)",
        "1 + 1",
    ] {
        assert_eq!(faults("x", wrong).len(), 1, "{wrong}: {:?}", faults("x", wrong));
    }
    for right in [
        "sum by (target) (consign_held)",
        "sum by (le) (rate(consign_restore_seconds_bucket[5m])) > 0",
        "up{job=\"consign\"} == 0",
    ] {
        assert_eq!(faults("x", right), Vec::<String>::new(), "{right}");
    }
}
