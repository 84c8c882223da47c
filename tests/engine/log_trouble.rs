//! The log and the registry in trouble: what waits, what goes on, what is refused.

use std::collections::BTreeMap;

use consign::engine::Observed;
use consign::log::memory::Fault;
use consign::log::{AbortCause, Headers, TopicPartition};
use consign::record::{Action, ActiveRouting, Control, OutcomeKind, RoutingBundle, State, Status, TargetName, Topic};
use consign::sim::{Answer, SIMULATED_DOCUMENT, START, SimRegistry, World, WorldOptions, manifest};

use crate::{clean, ids_of_both_homes, passes_through, reasons, world, world_of};

fn reframed(mut bytes: Vec<u8>, id: u32) -> Vec<u8> {
    bytes[1..5].copy_from_slice(&id.to_be_bytes());
    bytes
}

fn codes(world: &World) -> Vec<&'static str> {
    world.unwell().iter().map(|u| u.code).collect()
}

/// Why transactions were aborted, in order.
fn causes(world: &World) -> Vec<AbortCause> {
    let cause = |observed: &Observed| match observed {
        Observed::Aborted { cause } => Some(*cause),
        _ => None,
    };
    world.observed().iter().filter_map(cause).collect()
}

#[test]
fn a_transaction_that_does_not_happen_is_counted_once_by_its_cause() {
    for (fault, expected) in [
        (Fault::Abort { late_markers: false }, Some(AbortCause::Log)),
        (Fault::LeftOpen, Some(AbortCause::Undecided)),
        (Fault::Commit { reply_lost: true, late_markers: false }, Some(AbortCause::Undecided)),
        // It didn't begin.
        (Fault::Away, None),
        (Fault::Commit { reply_lost: false, late_markers: true }, None),
    ] {
        let mut world = world();
        world.submit(&manifest("f0", "plain"));
        world.aimed.transaction("w", fault);
        world.run();
        assert_eq!(causes(&world), Vec::from_iter(expected), "{fault:?}");
    }
    let mut world = world();
    world.submit(&manifest("f0", "plain"));
    world.cluster.fence_producer("w");
    world.run();
    assert_eq!(causes(&world), [AbortCause::Fenced]);
}

#[test]
fn each_outage_may_displace_a_worker_and_none_ends_it() {
    let mut world = world();
    for n in 0..5 {
        world.submit(&manifest(&format!("f{n}"), "plain"));
        world.aimed.transaction("w", Fault::Displaced);
        world.run_for(2_000);
    }
    assert_eq!(causes(&world), [AbortCause::Fenced; 5]);
    for n in 0..5 {
        assert_eq!(world.state(&format!("f{n}")).state, State::Distributing);
    }
}

#[test]
fn a_partition_waits_for_the_registry_and_goes_on() {
    let mut world = world();
    let [zero, one] = ids_of_both_homes(&world);
    world.registry.register(77, Topic::Manifests.schema().unwrap());
    passes_through(&mut world, &format!("{one}x"));
    world.registry.set_away(true);
    let value = reframed(world.encode(Topic::Manifests, &manifest(&zero, "plain")), 77);
    world.append(Topic::Manifests, 0, &zero, Some(value));
    let behind = (0..1_000).map(|n| format!("g{n}")).find(|id| world.home_of(id) == 0).unwrap();
    world.submit(&manifest(&behind, "plain"));
    world.submit(&manifest(&one, "plain"));
    world.run_for(3_000);
    assert!(codes(&world).contains(&"CG208"));
    assert!(reasons(&world).is_empty());
    assert!(!world.states().contains_key(behind.as_str()), "nothing passes what waits");
    assert_eq!(world.state(&one).state, State::Distributing, "other partitions go on");
    world.registry.set_away(false);
    world.run_for(2_000);
    assert_eq!(codes(&world), Vec::<&str>::new());
    assert_eq!(world.state(&zero).state, State::Distributing);
    assert_eq!(world.state(&behind).state, State::Distributing);
    for id in [&zero, &behind, &one] {
        world.answer(&format!("{id}/fast"), Answer::Succeeded);
    }
    world.run();
    clean(&world);
}

#[test]
fn a_control_that_the_registry_keeps_back_is_obeyed_later() {
    let mut world = world();
    world.registry.register(78, Topic::Controls.schema().unwrap());
    world.registry.set_away(true);
    let target = TargetName::trusted("fast");
    let pause = Control::pausing(&target, true, None, ("ann", "maintenance", START));
    let value = reframed(world.encode(Topic::Controls, &pause), 78);
    world.append(Topic::Controls, 0, &pause.name, Some(value));
    world.run();
    assert!(codes(&world).contains(&"CG208"));
    world.registry.set_away(false);
    world.run_for(2_000);
    world.submit(&manifest("f0", "plain"));
    world.run();
    assert_eq!(world.state("f0").state, State::Validated, "its target is paused");
    assert!(codes(&world).is_empty());
}

#[test]
fn lost_offsets_stop_the_partition() {
    let mut world = world();
    passes_through(&mut world, "f0");
    world.crash("w");
    let home = world.home_of("f0");
    let inputs: Vec<TopicPartition> =
        Topic::HOME_INPUTS.iter().map(|topic| TopicPartition { topic: *topic, partition: home }).collect();
    world.cluster.forget_committed(&inputs);
    world.start("w");
    world.run();
    assert_eq!(codes(&world), ["CG211"]);
    assert_eq!(world.workers["w"].running(), [1 - home]);
    assert_eq!(world.requests("f0/fast"), 1);
}

#[test]
fn offsets_that_were_never_there_are_not_lost_ones() {
    // The very first transactions fail, with records of the engine already written, and the process ends.
    for (failures, steps) in (1..6).flat_map(|failures| (1..8).map(move |steps| (failures, steps))) {
        let mut world = world_of(WorldOptions::new(SIMULATED_DOCUMENT), &[]);
        world.submit(&manifest("f0", "plain"));
        for _ in 0..failures {
            world.aimed.transaction("w", Fault::Abort { late_markers: false });
        }
        world.start("w");
        (0..steps).for_each(|_| world.step("w"));
        world.crash("w");
        world.aimed.clear();
        world.start("w");
        world.run();
        assert_eq!(codes(&world), Vec::<&str>::new(), "{failures} {steps}");
        // The crash may have taken its request along.
        while !world.answer("f0/fast", Answer::Succeeded) {
            world.run_for(1_000);
        }
        world.run();
        assert_eq!(world.state("f0").state, State::Completed);
        clean(&world);
    }
}

#[test]
fn a_home_is_worked_on_only_whole() {
    let mut options = WorldOptions::new(SIMULATED_DOCUMENT);
    options.more_partitions = BTreeMap::from([(Topic::Interventions, 4)]);
    let mut world = world_of(options, &["w0", "w1"]);
    let running: Vec<i32> = world.workers.values().flat_map(consign::engine::Worker::running).collect();
    assert_eq!(running, [0], "the interventions of home 1 are another worker's than its manifests");
    assert!(codes(&world).contains(&"CG210"));
    let [zero, one] = ids_of_both_homes(&world);
    passes_through(&mut world, &zero);
    world.submit(&manifest(&one, "plain"));
    world.run();
    assert!(!world.states().contains_key(one.as_str()));
    // One worker alone has both.
    world.crash("w1");
    world.cluster.expire("w1");
    world.run();
    assert_eq!(world.state(&one).state, State::Distributing);
}

#[test]
fn partitions_beyond_the_homes_are_only_forwarded_from() {
    let mut options = WorldOptions::new(SIMULATED_DOCUMENT);
    options.more_partitions = Topic::HOME_INPUTS.iter().map(|topic| (*topic, 4)).collect();
    let mut world = world_of(options, &["w0", "w1"]);
    let value = world.encode(Topic::Manifests, &manifest("f0", "plain"));
    world.append(Topic::Manifests, 3, "f0", Some(value));
    world.run();
    world.answer("f0/fast", Answer::Succeeded);
    world.run();
    assert_eq!(world.state("f0").state, State::Completed);
    clean(&world);
}

#[test]
fn a_broken_invariant_pauses_its_partition_only() {
    let mut world = world();
    let [zero, one] = ids_of_both_homes(&world);
    world.registry.register(SimRegistry::BREAKING_ID, Topic::Manifests.schema().unwrap());
    world.registry.set_broken(true);
    let value = reframed(world.encode(Topic::Manifests, &manifest(&zero, "plain")), SimRegistry::BREAKING_ID);
    world.append(Topic::Manifests, 0, &zero, Some(value));
    let aborts = |world: &World| causes(world).len();
    world.run();
    assert_eq!(causes(&world), [AbortCause::Invariant; 3], "the first time and two repeats");
    assert_eq!(codes(&world), ["CG213"]);
    assert_eq!(world.workers["w"].running(), [1]);
    passes_through(&mut world, &one);
    assert_eq!(aborts(&world), 3);
    // Mended and started again, it goes on where it stopped.
    world.registry.set_broken(false);
    world.crash("w");
    world.start("w");
    world.run();
    world.answer(&format!("{zero}/fast"), Answer::Succeeded);
    world.run();
    assert_eq!(world.state(&zero).state, State::Completed);
    clean(&world);
}

#[test]
fn a_broken_invariant_in_an_ack_stops_its_partition_of_acks_only() {
    let mut world = world();
    world.registry.register(SimRegistry::BREAKING_ID, Topic::Acks.schema().unwrap());
    world.registry.set_broken(true);
    let ack = world.ack("f0", "ledger", consign::record::OutcomeKind::Succeeded);
    let value = reframed(world.encode(Topic::Acks, &ack), SimRegistry::BREAKING_ID);
    world.append(Topic::Acks, 0, "f0/ledger", Some(value));
    world.run();
    assert_eq!(codes(&world), ["CG213"]);
    passes_through(&mut world, "f0");
    passes_through(&mut world, "f1");
}

#[test]
fn an_inbox_that_emptied_by_age_is_no_loss() {
    let mut world = world();
    world.submit(&manifest("f0", "careful"));
    world.run();
    // A timer leaves the marker of its transaction behind it.
    world.run_for(12_000);
    world.intervene("f0", Some("strict"), consign::record::Action::Confirm);
    world.run();
    world.advance(600_000);
    world.run();
    let partition = world.home_of("f0");
    for topic in Topic::HOME_INPUTS {
        world.cluster.delete_before(TopicPartition { topic, partition }, i64::MAX).unwrap();
    }
    world.crash("w");
    world.start("w");
    world.run();
    assert_eq!(codes(&world), Vec::<&str>::new());
}

#[test]
fn a_rebuild_waits_for_the_log() {
    let mut world = world();
    world.submit(&manifest("f0", "plain"));
    world.aimed.transaction("w", Fault::LeftOpen);
    world.aimed.rebuilds("w", 5);
    world.run_for(500);
    assert!(world.stops.is_empty(), "{:?}", world.stops);
    world.answer("f0/fast", Answer::Succeeded);
    world.run();
    assert_eq!(world.state("f0").state, State::Completed);
    clean(&world);
}

#[test]
fn a_producer_fenced_twice_in_a_minute_ends_its_process() {
    let mut world = world();
    for n in 0..2 {
        world.cluster.fence_producer("w");
        world.submit(&manifest(&format!("f{n}"), "plain"));
        world.run();
    }
    assert_eq!(world.stops.len(), 1);
    assert!(world.stops[0].1.to_string().starts_with("CG202"));
    let mut world = crate::world();
    for n in 0..3 {
        world.cluster.fence_producer("w");
        world.submit(&manifest(&format!("f{n}"), "plain"));
        world.run_for(61_000);
    }
    assert!(world.stops.is_empty());
}

#[test]
fn the_second_of_two_processes_with_one_identity_ends_the_first() {
    let mut world = world();
    world.submit(&manifest("f0", "plain"));
    world.run();
    let mut first = world.start("w").expect("the first worker");
    let now = world.now();
    world.run();
    let stop = first.step(std::time::Duration::ZERO, &|| now).unwrap_err();
    assert!(stop.to_string().starts_with("CG201"), "{stop}");
    assert_eq!(world.on_the_wire().len(), 1, "nothing is authorized again");
    world.answer("f0/fast", Answer::Succeeded);
    world.run();
    clean(&world);
}

#[test]
fn one_workers_late_markers_stop_no_other() {
    let mut options = WorldOptions::new(SIMULATED_DOCUMENT);
    options.acks_partitions = 2;
    let mut world = world_of(options, &["w0", "w1"]);
    let homes: BTreeMap<String, Vec<i32>> = world.workers.iter().map(|(n, w)| (n.clone(), w.running())).collect();
    let mine = homes["w0"][0];
    let id = |prefix: &str| (0..1_000).map(|n| format!("{prefix}{n}")).find(|id| world.home_of(id) == mine).unwrap();
    let (acked, plain) = (id("a"), id("p"));
    world.submit(&manifest(&acked, "acked"));
    world.run();
    // The deadline of an acked dispatch waits for acks, and w1's commit of its acks partition doesn't land.
    world.aimed.transaction("w1", Fault::Commit { reply_lost: false, late_markers: true });
    let acks_of_w1 = TopicPartition { topic: Topic::Acks, partition: 1 };
    world.cluster.put(acks_of_w1, Some(b"k".to_vec()), Some(b"no record".to_vec()), Headers::new()).unwrap();
    world.step("w1");
    world.advance(60_000);
    (0..3).for_each(|_| world.step("w0"));
    world.submit(&manifest(&plain, "plain"));
    for _ in 0..20 {
        world.step("w0");
        world.advance(50);
    }
    assert_eq!(world.state(&plain).state, State::Distributing, "w0 goes on");
    assert!(causes(&world).is_empty(), "nothing of w0's work is thrown away meanwhile");
    world.cluster.land_markers();
    world.run_for(500);
}

#[test]
fn an_aborted_transaction_leaves_nothing_behind() {
    let mut world = world();
    world.submit(&manifest("f0", "wide"));
    for late_markers in [false, true] {
        world.aimed.transaction("w", Fault::Abort { late_markers });
    }
    world.run();
    assert_eq!(causes(&world), [AbortCause::Log; 2]);
    assert_eq!(world.on_the_wire().len(), 5);
    assert!(world.cluster.dump_uncommitted(Topic::Attempts).len() > 5, "the aborted ones are on the log, too");
    assert_eq!(world.cluster.dump(Topic::Attempts).len(), 5);
    for target in ["fast", "strict", "slim"] {
        assert!(world.answer(&format!("f0/{target}"), Answer::Succeeded), "{target}: no permit was lost");
    }
}

#[test]
fn a_broken_invariant_pauses_its_partition_under_traffic_too() {
    let mut options = WorldOptions::new(SIMULATED_DOCUMENT);
    options.max_batch = 1;
    let mut world = world_of(options, &["w"]);
    let [zero, _] = ids_of_both_homes(&world);
    world.registry.register(SimRegistry::BREAKING_ID, Topic::Manifests.schema().unwrap());
    world.registry.set_broken(true);
    let value = reframed(world.encode(Topic::Manifests, &manifest(&zero, "plain")), SimRegistry::BREAKING_ID);
    world.append(Topic::Manifests, 0, &zero, Some(value));
    let others = (0..1_000).map(|n| format!("g{n}")).filter(|id| world.home_of(id) == 1).collect::<Vec<_>>();
    // Between any two meetings with that record others are committed.
    for id in others.iter().take(60) {
        world.submit(&manifest(id, "plain"));
        world.step("w");
    }
    world.run();
    assert_eq!((codes(&world), causes(&world)), (vec!["CG213"], vec![AbortCause::Invariant; 3]));
}

#[test]
fn files_wait_while_the_document_in_force_cannot_be_loaded() {
    let mut world = world();
    world.submit(&manifest("f0", "careful"));
    world.run();
    // A newer version of the tool brought it into force.
    let said = ("ann", "a newer one", START);
    let bundle = RoutingBundle {
        digest: "sha256:newer".into(),
        name: "routing.yaml".into(),
        document: "a_newer_grammar: true".into(),
        files: BTreeMap::new(),
    };
    let active = ActiveRouting { routing_digest: "sha256:newer".into(), breaking_accepted: None, answers: Vec::new() };
    for control in [Control::keeping(bundle, said), Control::activating(active, said)] {
        let value = world.encode(Topic::Controls, &control);
        world.append(Topic::Controls, 0, &control.name, Some(value));
    }
    world.submit(&manifest("f1", "plain"));
    world.run_for(3_000);
    assert!(codes(&world).contains(&"CG209"), "it is said for as long as it is so: {:?}", world.unwell());
    assert!(!world.states().contains_key("f1"), "it is planned by no other document");
    world.answer("f0/strict", Answer::Succeeded);
    world.run();
    assert_eq!(world.state("f0").state, State::Completed, "what is under way goes on");
    world.apply_routing(SIMULATED_DOCUMENT).unwrap();
    world.run_for(2_000);
    assert_eq!(codes(&world), Vec::<&str>::new());
    world.answer("f1/fast", Answer::Succeeded);
    world.run();
    assert_eq!(world.state("f1").state, State::Completed);
    clean(&world);
}

#[test]
fn a_control_that_cannot_be_read_is_said_until_it_is_replaced() {
    let mut world = world();
    world.append(Topic::Controls, 0, "pause/fast/operator", Some(b"no record".to_vec()));
    world.run_for(2_000);
    assert_eq!(codes(&world), ["CG204"]);
    passes_through(&mut world, "f0");
    world.pause("fast", false).unwrap();
    world.run();
    assert_eq!(codes(&world), Vec::<&str>::new());
}

#[test]
fn deadlines_that_wait_for_acks_nobody_reads_are_said() {
    let mut world = world();
    world.submit(&manifest("f0", "acked"));
    world.run();
    world.answer("f0/ledger", Answer::Accepted);
    world.run();
    // Acks of one partition wait for the registry.
    world.registry.register(79, Topic::Acks.schema().unwrap());
    world.registry.set_away(true);
    let ack = world.ack("f0", "lagging", OutcomeKind::Succeeded);
    let value = reframed(world.encode(Topic::Acks, &ack), 79);
    world.append(Topic::Acks, 1, "f0/lagging", Some(value));
    world.run_for(15_000);
    assert!(!codes(&world).contains(&"CG215"), "a moment is no trouble");
    world.run_for(30_000);
    assert!(codes(&world).contains(&"CG215"), "{:?}", world.unwell());
    world.registry.set_away(false);
    assert_eq!(world.status("f0", "ledger"), Status::Awaiting);
    world.run_for(3_000);
    assert_eq!(codes(&world), Vec::<&str>::new());
    assert_eq!(world.status("f0", "ledger"), Status::Held);
}

#[test]
fn once_no_deadline_waits_unread_acks_are_not_said_any_more() {
    let mut world = world();
    world.submit(&manifest("f0", "chained"));
    world.run();
    world.answer("f0/ledger", Answer::Accepted);
    world.run();
    world.registry.register(79, Topic::Acks.schema().unwrap());
    world.registry.set_away(true);
    let ack = world.ack("f0", "ledger", OutcomeKind::Succeeded);
    let value = reframed(world.encode(Topic::Acks, &ack), 79);
    world.append(Topic::Acks, 1, "f0/ledger", Some(value));
    world.run_for(45_000);
    assert!(codes(&world).contains(&"CG215"), "{:?}", world.unwell());
    // The file ends another way; the acks are as unread as before.
    world.intervene("f0", Some("ledger"), Action::Confirm);
    world.run_for(3_000);
    assert_eq!(world.status("f0", "ledger"), Status::Succeeded);
    assert!(codes(&world).contains(&"CG208"), "{:?}", world.unwell());
    assert!(!codes(&world).contains(&"CG215"), "{:?}", world.unwell());
}
