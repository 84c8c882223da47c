//! Workers that copy manifests to plans, each record in the transaction that commits its position, under every fault,
//! crash, expiry and rebalance that the log knows: each manifest must come out once and in order.

use super::*;

const PARTITIONS: i32 = 3;
const WORKERS: usize = 3;

/// A small generator, so that a seed is a run.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn fault(&mut self) -> Fault {
        let (reply_lost, late_markers) = (self.roll(2) == 0, self.roll(2) == 0);
        match self.roll(8) {
            0 => Fault::Away,
            1 => Fault::Abort { late_markers },
            2 => Fault::LeftOpen,
            3 => Fault::Commit { reply_lost, late_markers },
            _ => Fault::NONE,
        }
    }
}

/// The smallest correct user of the port.
struct Copier {
    log: Box<dyn Log>,
    /// Partitions of manifests that wait for their committed offsets to be stable.
    to_start: Vec<TopicPartition>,
    held: Vec<TopicPartition>,
    /// Read by one turn, copied by the next: whatever happens between them finds it under way.
    read: Vec<Record>,
}

impl Copier {
    fn new(cluster: &MemoryCluster, identity: usize) -> Self {
        let log = cluster.worker(&format!("w{identity}")).unwrap();
        Self { log, to_start: Vec::new(), held: Vec::new(), read: Vec::new() }
    }

    /// One turn of its loop.
    fn turn(&mut self) {
        if !self.read.is_empty() {
            return self.copy();
        }
        let batch = match self.log.poll(4, Duration::ZERO) {
            Ok(batch) => batch,
            Err(LogError::Away(_)) => return,
            Err(other) => panic!("{other}"),
        };
        for change in &batch.changes {
            let (AssignmentChange::Assigned(partitions) | AssignmentChange::Revoked(partitions)) = change;
            self.held.retain(|at| !partitions.contains(at));
            if matches!(change, AssignmentChange::Assigned(_)) {
                self.held.extend(partitions.iter().filter(|at| at.topic == Topic::Manifests));
            }
            self.to_start.clone_from(&self.held);
        }
        self.start_what_is_stable();
        self.read = batch.records;
    }

    fn start_what_is_stable(&mut self) {
        let Ok(committed) = self.log.committed(&self.to_start) else { return };
        let positions: Vec<Position> =
            self.to_start.drain(..).zip(committed.iter().map(|offset| offset.unwrap_or(0))).collect();
        self.log.start(&positions).unwrap();
    }

    fn copy(&mut self) {
        let records = std::mem::take(&mut self.read);
        let positions: BTreeMap<_, _> = records.iter().map(|r| (r.at, r.offset + 1)).collect();
        let copied = |record: Record| Append {
            topic: Topic::Plans,
            partition: Some(record.at.partition),
            key: record.key.unwrap(),
            value: record.value,
            headers: record.headers,
        };
        let appends = records.into_iter().map(copied).collect();
        match self.log.transact(appends, &positions.into_iter().collect::<Vec<_>>()) {
            Ok(_) => {}
            Err(LogError::Aborted(_) | LogError::Away(_)) => {
                self.log.pause(&self.held).unwrap();
                self.to_start.clone_from(&self.held);
            }
            Err(LogError::Undecided(_) | LogError::ProducerFenced(_)) => {
                self.log.rebuild().unwrap();
                self.held.clear();
                self.to_start.clear();
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// What happens to the world between two turns.
fn disturb(cluster: &MemoryCluster, copiers: &mut [Option<Copier>], dice: &mut Dice) {
    let which = dice.roll(WORKERS);
    match dice.roll(14) {
        0 => copiers[which] = None,
        1 | 2 => {
            let zombie = copiers[which].replace(Copier::new(cluster, which));
            if let Some(mut zombie) = zombie {
                let outcome = zombie.log.transact(vec![], &[(manifests(), 0)]);
                assert!(matches!(outcome, Err(LogError::InstanceFenced(_))), "{outcome:?}");
            }
        }
        3 => cluster.expire(&format!("w{which}")),
        4 => cluster.rebalance(),
        5 => cluster.expire_transactions(),
        6 => cluster.fence_producer(&format!("w{which}")),
        7..=9 => {
            let pending = cluster.pending_markers();
            if !pending.is_empty() {
                assert!(cluster.land_marker(pending[dice.roll(pending.len())]));
            }
        }
        10 => {
            if let Some(mut copier) = copiers[which].take() {
                copier.log.close();
            }
        }
        _ => {}
    }
}

/// Runs a seed to the end; gives all that was ever written to plans.
fn run(seed: u64) -> Vec<Record> {
    let cluster = cluster(PARTITIONS, 1);
    let mut dice = Dice(seed);
    let mut fault_dice = Dice(seed ^ 0x5eed);
    cluster.faults(Box::new(move |_| fault_dice.fault()));
    let mut copiers: Vec<Option<Copier>> = (0..WORKERS).map(|n| Some(Copier::new(&cluster, n))).collect();
    for turn in 0..400 {
        let partition = i32::try_from(dice.roll(3)).unwrap();
        let manifest = format!("m{turn}").into_bytes();
        cluster.put(at(Topic::Manifests, partition), Some(manifest), Some(b"x".to_vec()), vec![]).unwrap();
        disturb(&cluster, &mut copiers, &mut dice);
        for _ in 0..3 {
            if let Some(copier) = &mut copiers[dice.roll(WORKERS)] {
                copier.turn();
            }
        }
    }
    cluster.no_faults();
    cluster.land_markers();
    cluster.expire_transactions();
    for (n, copier) in copiers.iter_mut().enumerate() {
        copier.get_or_insert_with(|| Copier::new(&cluster, n));
    }
    // Enough turns for every rebalance and rebuild to end, then to read all.
    for _ in 0..1000 {
        copiers.iter_mut().flatten().for_each(Copier::turn);
    }
    assert_eq!(cluster.pending_markers(), [], "seed {seed}");
    assert_same(seed, &cluster);
    cluster.dump_uncommitted(Topic::Plans)
}

fn assert_same(seed: u64, cluster: &MemoryCluster) {
    let keys = |topic| {
        let of = |r: &Record| (r.at.partition, text(r.key.as_ref()).to_owned());
        cluster.dump(topic).iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(keys(Topic::Plans), keys(Topic::Manifests), "seed {seed}");
}

#[test]
fn every_record_is_copied_once_and_in_order_whatever_happens() {
    let mut aborted = 0;
    for seed in 0..60 {
        aborted += run(seed).len() - 400;
    }
    assert!(aborted > 1000, "the runs abort often: {aborted}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
