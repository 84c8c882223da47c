//! A network that fails while a transaction ends: whoever isn't told what became of a commit rebuilds, and finds out.

use std::time::Duration;

use consign::log::kafka::KafkaCluster;
use consign::log::{Cluster, Log, LogError, Position, TopicPartition};
use consign::record::Topic;

use crate::bed::{BY, Bed, PATIENCE, append, assigned, eventually, local_codec, take, text};
use crate::servers::OwnBed;
use crate::servers::proxy::{ADD_OFFSETS_TO_TXN, Loss, Proxy, TXN_OFFSET_COMMIT};

const IN: TopicPartition = TopicPartition { topic: Topic::Manifests, partition: 0 };
const OUT: TopicPartition = TopicPartition { topic: Topic::Arrivals, partition: 0 };
/// How long a worker tries to end a transaction.
const TRANSACTION: Duration = Duration::from_secs(3);

/// A broker, and a proxy before it. The proxy has one port, so what disturbs it happens in one test, in turns.
struct Network {
    own: OwnBed,
    proxy: Proxy,
}

impl Network {
    fn start() -> Self {
        let own = OwnBed::of_a_broker();
        let proxy = Proxy::start(&own.value("KAFKA_VIA"), &own.value("KAFKA_BEHIND"));
        Self { own, proxy }
    }

    /// Topics of one scenario's own; with them a cluster that is reached through the proxy.
    fn place(&self, scenario: &str, transaction: Duration) -> (Bed, KafkaCluster) {
        let bed = Bed::on(scenario, 1, self.own.value("KAFKA_BOOTSTRAP"));
        bed.cluster.apply(&bed.specs, &local_codec(), BY, false).unwrap();
        let mut options = bed.options.clone();
        options.bootstrap = self.own.value("KAFKA_VIA");
        options.transaction_timeout = transaction;
        (bed, KafkaCluster::new(options).unwrap())
    }
}

fn values(bed: &Bed) -> Vec<String> {
    bed.read(&[OUT]).iter().map(|r| text(r.value.as_ref())).collect()
}

fn open(cluster: &KafkaCluster) -> Box<dyn Log> {
    let mut worker = cluster.worker("w").unwrap();
    assigned(&mut *worker, Topic::INPUTS.len());
    worker
}

fn commit(worker: &mut dyn Log, value: &str, position: i64) -> Result<Vec<Position>, LogError> {
    worker.transact(vec![append(OUT, "k", value)], &[(IN, position)])
}

/// A commit suffers this loss; then the worker rebuilds. Gives whether the commit had happened.
fn undecided(network: &Network, scenario: &str, loss: Loss) -> bool {
    let (bed, cluster) = network.place(scenario, TRANSACTION);
    bed.send(&bed.raw_producer(None), IN, 0..5);
    let mut worker = open(&cluster);
    worker.start(&[(IN, 0)]).unwrap();
    take(&mut *worker, 5);
    commit(&mut *worker, "before", 2).unwrap();

    network.proxy.lose_commit(loss, bed.names.prefix());
    let error = commit(&mut *worker, "in doubt", 4).unwrap_err();
    assert!(matches!(error, LogError::Undecided(_)), "{scenario}: {error:?}");
    assert!(network.proxy.struck() > 0);

    worker.rebuild().unwrap();
    assigned(&mut *worker, Topic::INPUTS.len());
    let committed = worker.committed(&[IN]).unwrap()[0].unwrap();
    let happened = committed == 4;
    assert!(happened || committed == 2, "{scenario}: {committed}");
    let before: Vec<&str> = if happened { vec!["before", "in doubt"] } else { vec!["before"] };
    assert_eq!(values(&bed), before, "{scenario}: records and positions agree");

    worker.start(&[(IN, committed)]).unwrap();
    assert_eq!(take(&mut *worker, usize::try_from(5 - committed).unwrap())[0].offset, committed);
    commit(&mut *worker, "after", 5).unwrap();
    assert_eq!(values(&bed), [before, vec!["after"]].concat());
    happened
}

/// An EndTxn that a failing connection holds up arrives when its producer's next transaction is half written.
fn a_late_end_ends_no_other_transaction(network: &Network) {
    let (bed, cluster) = network.place("late-end", PATIENCE);
    let mut worker = open(&cluster);
    network.proxy.lose_commit(Loss::Late, bed.names.prefix());
    commit(&mut *worker, "first", 1).unwrap();
    assert_eq!(network.proxy.struck(), 1, "its end was held up, and a repetition of it was not");

    // The second one's records are in the log and its positions aren't.
    network.proxy.hold(Some(TXN_OFFSET_COMMIT));
    let second = std::thread::spawn(move || (commit(&mut *worker, "second", 2), worker));
    until(|| network.proxy.held() > 0);
    network.proxy.deliver_late();
    let mut reader = bed.cluster.reader(&[OUT]).unwrap();
    let seen: usize = (0..10).map(|_| reader.poll(10, Duration::from_millis(100)).unwrap().len()).sum();
    assert_eq!(seen, 1, "half of a transaction is visible");
    network.proxy.hold(None);
    let (outcome, worker) = second.join().unwrap();
    outcome.unwrap();
    assert_eq!(values(&bed), ["first", "second"]);
    drop(worker);
}

/// The cluster takes the group's coordinator out while a transaction's positions are on their way there. librdkafka waits for
/// it for ever then, and the worker doesn't.
fn a_coordinator_that_vanishes_is_not_waited_for(network: &Network) {
    let (bed, cluster) = network.place("vanished", TRANSACTION);
    let mut worker = open(&cluster);
    commit(&mut *worker, "1", 1).unwrap();
    let mut done = 1;
    let is_finished = |second: &std::thread::ScopedJoinHandle<'_, _>| second.is_finished();
    // Whether its client has learned of it when the positions go is a matter of moments.
    let stuck = (0..30).any(|_| {
        let next = done + 1;
        network.proxy.hold(Some(ADD_OFFSETS_TO_TXN));
        let outcome = std::thread::scope(|scope| {
            let second = scope.spawn(|| commit(&mut *worker, &next.to_string(), next));
            until(|| network.proxy.held() > 0 || is_finished(&second));
            let before = network.proxy.hidden();
            network.proxy.hide_brokers(true);
            network.proxy.cut();
            until(|| network.proxy.hidden() > before + 4 && network.proxy.held() > 0 || is_finished(&second));
            std::thread::sleep(TRANSACTION / 3);
            network.proxy.hold(None);
            until(|| is_finished(&second));
            network.proxy.hide_brokers(false);
            second.join().unwrap()
        });
        println!("vanished: {outcome:?}");
        worker.rebuild().unwrap();
        assigned(&mut *worker, Topic::INPUTS.len());
        let committed = worker.committed(&[IN]).unwrap()[0].unwrap();
        let happened = usize::from(committed == next);
        assert_eq!(values(&bed).len(), usize::try_from(done).unwrap() + happened, "records and positions agree");
        done = committed;
        match outcome {
            Err(LogError::Stuck(_)) => {
                assert_eq!(happened, 0);
                true
            }
            Ok(_) | Err(LogError::Aborted(_) | LogError::Undecided(_) | LogError::ProducerFenced(_)) => false,
            Err(other) => panic!("{other:?}"),
        }
    });
    assert!(stuck, "the call always returned");
    commit(&mut *worker, "after", done + 1).unwrap();
    assert_eq!(values(&bed).last().map(String::as_str), Some("after"));
}

/// The cluster seems to have no brokers for a while. A reader that is glanced at, as a worker glances at `controls` in each of its
/// turns, goes on afterwards as one that is waited on does.
fn a_reader_that_is_only_glanced_at_goes_on(network: &Network) {
    let (bed, cluster) = network.place("glanced-at", TRANSACTION);
    let producer = bed.raw_producer(None);
    let mut reader = cluster.reader(&[OUT]).unwrap();
    let mut read = 0;
    for round in 1..=3 {
        let before = network.proxy.hidden();
        network.proxy.hide_brokers(true);
        // Whoever is cut off asks.
        for _ in 0..10 {
            network.proxy.cut();
            std::thread::sleep(TRANSACTION / 10);
            read += reader.poll(10, Duration::ZERO).unwrap().len();
        }
        network.proxy.hide_brokers(false);
        assert!(network.proxy.hidden() > before, "nobody asked");
        bed.send(&producer, OUT, 0..1);
        until(|| {
            read += reader.poll(10, Duration::ZERO).unwrap().len();
            read == round
        });
    }
}

fn until(mut is_so: impl FnMut() -> bool) {
    eventually("what the network waits for", || {
        std::thread::sleep(Duration::from_millis(10));
        is_so().then_some(())
    });
}

/// What a network does between two transactions and within them, commits nothing twice and loses nothing.
fn a_bad_network_only_costs_time(network: &Network) {
    let (bed, cluster) = network.place("bad-network", TRANSACTION);
    let mut worker = open(&cluster);
    let mut done = 0;
    let mut step = |worker: &mut Box<dyn Log>, what: &str| {
        match commit(&mut **worker, &(done + 1).to_string(), done + 1) {
            Ok(_) => {}
            Err(text @ (LogError::Aborted(_) | LogError::Undecided(_) | LogError::ProducerFenced(_))) => {
                println!("{what}: {text}");
                worker.rebuild().unwrap();
                assigned(&mut **worker, Topic::INPUTS.len());
                if worker.committed(&[IN]).unwrap()[0].unwrap() == done {
                    commit(&mut **worker, &(done + 1).to_string(), done + 1).unwrap();
                }
            }
            Err(other) => panic!("{what}: {other:?}"),
        }
        done += 1;
    };
    step(&mut worker, "quiet");
    network.proxy.delay(Duration::from_millis(100));
    step(&mut worker, "delayed");
    network.proxy.delay(Duration::ZERO);
    network.proxy.delay_ends(Duration::from_millis(500));
    step(&mut worker, "ends delayed");
    network.proxy.delay_ends(Duration::ZERO);
    assert!(network.proxy.cut() > 0);
    step(&mut worker, "cut");
    assert!(network.proxy.half_open() > 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(TRANSACTION / 2);
            network.proxy.close_half_open();
        });
        step(&mut worker, "half-open");
    });
    step(&mut worker, "mended");
    assert_eq!(values(&bed), ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(worker.committed(&[IN]).unwrap(), [Some(6)]);
}

#[test]
fn a_network_that_fails_loses_nothing_and_repeats_nothing() {
    let network = Network::start();
    assert!(!undecided(&network, "request-lost", Loss::Request));
    assert!(undecided(&network, "reply-lost", Loss::Reply));
    assert!(undecided(&network, "reply-cut", Loss::ReplyWithTheConnection));
    a_late_end_ends_no_other_transaction(&network);
    a_coordinator_that_vanishes_is_not_waited_for(&network);
    a_reader_that_is_only_glanced_at_goes_on(&network);
    a_bad_network_only_costs_time(&network);
}
