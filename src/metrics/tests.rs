use super::*;
use crate::log::TopicPartition;
use crate::record::{FileState, HeldBecause, Status, Topic};
use crate::view::testing::{dispatch, file};

#[test]
fn the_committed_page_lists_every_metric() {
    crate::cli::output::assert_generated("docs/metrics.md", &metrics_page());
}

#[test]
fn no_metric_has_a_file_id_as_a_label() {
    for (name, _, labels, _) in LIST {
        assert!(!labels.contains(&"file_id"), "{name}");
    }
}

#[test]
fn the_mirror_follows_the_files() {
    let metrics = Metrics::default();
    let a = TargetName::trusted("a");
    let mut open = file("x", State::Distributing, 1_000);
    open.overdue = true;
    open.dispatches = vec![dispatch("a", Status::Held), dispatch("b", Status::Succeeded)];
    open.dispatches[0].held_because = Some(HeldBecause::FateUnknown);
    let mut census = Census::default();
    census.add(&open);
    metrics.mirror(&census, [(&a, PausedBy::Engine)], Timestamp(3_500));
    let text = metrics.render();
    for line in [
        "consign_files{state=\"DISTRIBUTING\"} 1",
        "consign_files{state=\"FAILED\"} 0",
        "consign_dispatches{status=\"HELD\",target=\"a\"} 1",
        "consign_held{held_because=\"fate_unknown\",target=\"a\"} 1",
        "consign_overdue_files 1",
        "consign_oldest_open_file_seconds{target=\"a\"} 2.5",
        "consign_paused_targets{paused_by=\"engine\",target=\"a\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
    assert!(!text.contains("consign_oldest_open_file_seconds{target=\"b\"}"), "b is settled:\n{text}");

    census.remove(&open);
    let mut settled = open.clone();
    settled.state = State::Completed;
    settled.dispatches[0] = dispatch("a", Status::Succeeded);
    census.add(&settled);
    metrics.mirror(&census, [], Timestamp(9_000));
    let text = metrics.render();
    for gone in ["consign_held{", "status=\"HELD\"", "consign_paused_targets{", "consign_oldest_open_file_seconds{"] {
        assert!(!text.contains(gone), "{gone} is still in:\n{text}");
    }
    assert!(text.contains("consign_overdue_files 0"), "{text}");
    census.remove(&settled);
    assert_eq!(census, Census::default());
}

#[test]
fn open_files_whose_deadline_is_lost_are_counted() {
    let waiting = FileState { deadline_lost: true, ..file("x", State::Distributing, 1_000) };
    let lost = |file: &FileState| {
        let mut census = Census::default();
        census.add(file);
        let metrics = Metrics::default();
        metrics.mirror(&census, [], Timestamp(3_500));
        assert!(metrics.render().contains(&format!("consign_deadline_lost_files {}", census.deadline_lost)));
        census.remove(file);
        assert_eq!(census, Census::default());
        metrics.render().lines().find_map(|line| line.strip_prefix("consign_deadline_lost_files ")?.parse().ok())
    };
    assert_eq!(lost(&waiting), Some(1));
    assert_eq!(lost(&FileState { deadline_lost: false, ..waiting.clone() }), Some(0));
    assert_eq!(lost(&FileState { state: State::Failed, ..waiting }), Some(0));
}

#[test]
fn what_may_be_counted_is_shown_at_zero_and_what_was_counted_stays() {
    let metrics = Metrics::default();
    metrics.dead_lettered("astray");
    let a = TargetName::trusted("a");
    metrics.escalated(&a);
    metrics.begin(&Words { dead_letters: &["astray", "expired"], duplicates: &["manifest"], store_rebuilds: &["gap"] });
    for _ in 0..2 {
        metrics.know_target(&a);
    }
    let text = metrics.render();
    for line in [
        "consign_dead_letters_total{reason=\"astray\"} 1",
        "consign_dead_letters_total{reason=\"expired\"} 0",
        "consign_duplicates_total{what=\"manifest\"} 0",
        "consign_store_rebuilds_total{reason=\"gap\"} 0",
        "consign_aborts_total{cause=\"rebalance\"} 0",
        "consign_forwarded_total{topic=\"outcomes\"} 0",
        "consign_files_settled_total{state=\"FAILED\"} 0",
        "consign_time_to_terminal_seconds_count{state=\"COMPLETED\"} 0",
        "consign_interventions_total{action=\"confirm\",judgement=\"refused\"} 0",
        "consign_attempts_total{target=\"a\"} 0",
        "consign_attempt_duration_seconds_count{target=\"a\"} 0",
        "consign_escalations_total{target=\"a\"} 1",
        "consign_reports_late_total{judgement=\"contradiction\",target=\"a\"} 0",
        "consign_outcomes_total{kind=\"UNKNOWN\",reporter=\"transport\",target=\"a\"} 0",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
    assert!(!text.contains("TIMER") && !text.contains("start_successor"), "what is never counted:\n{text}");
}

#[test]
fn what_is_fed_is_shown() {
    let metrics = Metrics::default();
    let a = TargetName::trusted("a");
    let at = TopicPartition { topic: Topic::Manifests, partition: 3 };
    metrics.file_settled(State::Completed, Duration::from_secs(2));
    metrics.attempt_authorized(&a);
    metrics.attempt_ended(&a, Duration::from_millis(30));
    metrics.outcome(&a, OutcomeKind::Unknown, Reporter::Transport);
    metrics.report_late(&a, Judgement::Contradiction);
    metrics.escalated(&a);
    metrics.intervention(Action::Confirm, Judgement::Refused);
    metrics.duplicate("manifest");
    metrics.dead_lettered("undecodable");
    metrics.forwarded(Topic::Manifests);
    metrics.transaction_committed();
    metrics.transaction_aborted(crate::log::AbortCause::Fenced);
    metrics.lag(&Lag { at, input: 7, last_stable_offset: 2 });
    metrics.ready(true);
    metrics.clock_offset("a-0", -1_500);
    metrics.restored(9, Duration::from_secs(1));
    metrics.http_request("/v1/files", "GET", 200);
    metrics.view(4, Duration::from_millis(1500), 1);
    let text = metrics.render();
    for line in [
        "consign_files_settled_total{state=\"COMPLETED\"} 1",
        "consign_time_to_terminal_seconds_count{state=\"COMPLETED\"} 1",
        "consign_attempts_total{target=\"a\"} 1",
        "consign_attempt_duration_seconds_bucket{target=\"a\",le=\"0.05\"} 1",
        "consign_outcomes_total{kind=\"UNKNOWN\",reporter=\"transport\",target=\"a\"} 1",
        "consign_reports_late_total{judgement=\"contradiction\",target=\"a\"} 1",
        "consign_escalations_total{target=\"a\"} 1",
        "consign_interventions_total{action=\"confirm\",judgement=\"refused\"} 1",
        "consign_duplicates_total{what=\"manifest\"} 1",
        "consign_dead_letters_total{reason=\"undecodable\"} 1",
        "consign_forwarded_total{topic=\"manifests\"} 1",
        "consign_transactions_total 1",
        "consign_aborts_total{cause=\"fenced\"} 1",
        "consign_input_lag{partition=\"3\",topic=\"manifests\"} 7",
        "consign_last_stable_offset_lag{partition=\"3\",topic=\"manifests\"} 2",
        "consign_restore_records_total 9",
        "consign_http_requests_total{method=\"GET\",route=\"/v1/files\",status=\"200\"} 1",
        "consign_ready 1",
        "consign_clock_offset_seconds{worker=\"a-0\"} -1.5",
        "consign_view_lag_records 4",
        "consign_view_age_seconds 1.5",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
    metrics.forget_lags();
    assert!(!metrics.render().contains("consign_input_lag{"));
}
