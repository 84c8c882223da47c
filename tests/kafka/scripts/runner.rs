//! Runs a script on one of the two logs and writes down what is visible, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use consign::log::{Append, AssignmentChange, Isolation, Log, LogError, Position, Reader, Record, TopicPartition};
use consign::record::Topic;

use super::language::{Fate, Positions, Script, Step, name, places};

/// How long a log may take to show what the other one showed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the port doesn't offer, on one of the logs. Offsets are those of the log.
pub trait Side {
    fn open(&mut self, identity: &str) -> Box<dyn Log>;
    fn append(&mut self, append: Append);
    fn hold(&mut self, id: &str, fate: Fate, writes: Vec<Append>, positions: &[Position]);
    fn land(&mut self, id: &str);
    fn fence(&mut self, id: &str);
    fn expire(&mut self, identity: &str);
    fn compact(&mut self, at: TopicPartition);
    fn delete(&mut self, at: TopicPartition, before: i64);
    /// How long one poll waits.
    fn wait(&self) -> Duration;
}

struct Worker {
    log: Box<dyn Log>,
    assigned: BTreeSet<TopicPartition>,
    /// Where each started partition goes on.
    next: BTreeMap<TopicPartition, i64>,
    /// Whether the group has told it its part since it last changed.
    told: bool,
}

/// One run of a script.
pub struct Runner<'a> {
    side: &'a mut dyn Side,
    /// Asks and reads, and is no member of the group.
    observer: &'a mut dyn Log,
    bases: BTreeMap<TopicPartition, i64>,
    workers: BTreeMap<String, Worker>,
    members: BTreeSet<String>,
}

impl<'a> Runner<'a> {
    pub fn new(side: &'a mut dyn Side, observer: &'a mut dyn Log) -> Self {
        let all: Vec<TopicPartition> = places().collect();
        let ends = observer.ends(&all, Isolation::ReadUncommitted).unwrap();
        let bases = all.into_iter().zip(ends).map(|(at, ends)| (at, ends.high)).collect();
        Self { side, observer, bases, workers: BTreeMap::new(), members: BTreeSet::new() }
    }

    /// What is visible after each step. Where it is known what should be, that is waited for.
    pub fn run(&mut self, script: &Script, expected: Option<&[String]>) -> Vec<String> {
        let mut seen = Vec::new();
        for (number, step) in script.steps.iter().enumerate() {
            let goal = expected.map(|lines| lines[number].as_str());
            seen.push(self.step(step, goal));
            if goal.is_some_and(|goal| goal != seen[number]) {
                break;
            }
        }
        seen
    }

    fn step(&mut self, step: &Step, goal: Option<&str>) -> String {
        match step {
            Step::Open { worker, identity } => {
                let log = self.side.open(identity);
                let opened = Worker { log, assigned: BTreeSet::new(), next: BTreeMap::new(), told: false };
                self.workers.insert(worker.clone(), opened);
                // Who comes back finds its part; who is new makes the group share out again.
                if self.members.insert(identity.clone()) {
                    self.share_out();
                }
            }
            Step::Drop(worker) => drop(self.workers.remove(worker)),
            Step::Expire(identity) => {
                self.side.expire(identity);
                self.members.remove(identity);
                self.share_out();
            }
            Step::Join => return self.join(goal),
            Step::Start(worker) => return self.start(worker),
            Step::Take(worker) => return self.take(worker, goal),
            Step::Transact { worker, writes, positions } => return self.transact(worker, writes, positions),
            Step::Hold { id, fate, writes, positions } => {
                let positions = self.absolute(positions);
                self.side.hold(id, *fate, writes.clone(), &positions);
            }
            Step::Land(id) => self.side.land(id),
            Step::Fence(id) => self.side.fence(id),
            Step::Rebuild(worker) => {
                let worker = self.worker(worker);
                worker.assigned.clear();
                worker.next.clear();
                worker.told = false;
                return outcome(worker.log.rebuild().map(|()| String::new()));
            }
            Step::Append(writes) => writes.iter().for_each(|write| self.side.append(write.clone())),
            Step::Committed(worker) => return self.committed(worker),
            Step::Where(worker) => return self.positions(worker, goal),
            Step::Ends(at) => return self.ends(*at, goal),
            Step::Read(at) => return self.read(*at, goal),
            Step::Compact(at) => self.side.compact(*at),
            Step::Delete(at, before) => {
                let before = before + self.bases[at];
                self.side.delete(*at, before);
            }
        }
        String::new()
    }

    fn worker(&mut self, worker: &str) -> &mut Worker {
        self.workers.get_mut(worker).expect("it is open")
    }

    fn share_out(&mut self) {
        self.workers.values_mut().for_each(|worker| worker.told = false);
    }

    fn absolute(&self, positions: &[Position]) -> Vec<Position> {
        positions.iter().map(|(at, offset)| (*at, offset + self.bases[at])).collect()
    }

    fn offset(&self, at: TopicPartition, offset: i64) -> String {
        format!("{}={}", name(at), offset - self.bases[&at])
    }

    fn join(&mut self, goal: Option<&str>) -> String {
        let wait = self.side.wait();
        repeat(goal, || {
            for worker in self.workers.values_mut() {
                match worker.log.poll(100, wait) {
                    Ok(batch) => follow(worker, &batch.changes),
                    Err(error) => return kind(&error).to_owned(),
                }
            }
            let of = |(id, worker): (&String, &Worker)| {
                if goal.is_some() && !worker.told {
                    return format!("{id} isn't told");
                }
                let assigned: Vec<String> = worker.assigned.iter().map(|at| name(*at)).collect();
                format!("{id}: {}", assigned.join(" "))
            };
            self.workers.iter().map(of).collect::<Vec<_>>().join("; ")
        })
    }

    fn start(&mut self, worker: &str) -> String {
        let assigned: Vec<TopicPartition> = self.worker(worker).assigned.iter().copied().collect();
        let committed = match self.worker(worker).log.committed(&assigned) {
            Ok(committed) => committed,
            Err(error) => return kind(&error).to_owned(),
        };
        let base = |at: &TopicPartition| self.bases[at];
        let positions: Vec<Position> =
            assigned.iter().zip(committed).map(|(at, offset)| (*at, offset.unwrap_or(base(at)))).collect();
        let worker = self.worker(worker);
        worker.next = positions.iter().copied().collect();
        if let Err(error) = worker.log.start(&positions) {
            return kind(&error).to_owned();
        }
        positions.iter().map(|(at, offset)| self.offset(*at, *offset)).collect::<Vec<_>>().join(" ")
    }

    fn take(&mut self, worker: &str, goal: Option<&str>) -> String {
        let wait = self.side.wait();
        let bases = self.bases.clone();
        let worker = self.worker(worker);
        let mut records = Vec::new();
        let mut failed = None;
        let taken = repeat(goal, || {
            if failed.is_none() {
                match worker.log.poll(100, wait) {
                    Ok(batch) => {
                        follow(worker, &batch.changes);
                        records.extend(batch.records);
                    }
                    Err(error) => failed = Some(error),
                }
            }
            let error = failed.as_ref().map(|error| format!(" {}", kind(error))).unwrap_or_default();
            shown(&records, &bases) + &error
        });
        for record in records {
            worker.next.insert(record.at, record.offset + 1);
        }
        taken
    }

    fn transact(&mut self, worker: &str, writes: &[Append], positions: &Positions) -> String {
        let positions = match positions {
            Positions::These(positions) => self.absolute(positions),
            Positions::Here => self.worker(worker).next.iter().map(|(at, next)| (*at, *next)).collect(),
        };
        let next = self.worker(worker).log.transact(writes.to_vec(), &positions);
        // What comes next stands behind its markers, which the broker writes when it has time.
        for (at, behind) in next.iter().flatten() {
            while self.observer.ends(&[*at], Isolation::ReadUncommitted).unwrap()[0].high <= *behind {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        outcome(next.map(|mut next| {
            next.sort_unstable();
            next.iter().map(|(at, offset)| self.offset(*at, *offset)).collect::<Vec<_>>().join(" ")
        }))
    }

    fn committed(&mut self, worker: &str) -> String {
        let inputs: Vec<TopicPartition> = places().filter(|at| Topic::INPUTS.contains(&at.topic)).collect();
        let committed = self.worker(worker).log.committed(&inputs);
        outcome(committed.map(|committed| {
            let known = inputs.iter().zip(committed).filter_map(|(at, offset)| Some(self.offset(*at, offset?)));
            known.collect::<Vec<_>>().join(" ")
        }))
    }

    fn positions(&mut self, worker: &str, goal: Option<&str>) -> String {
        let (wait, bases) = (self.side.wait(), self.bases.clone());
        let worker = self.worker(worker);
        let started: Vec<TopicPartition> = worker.next.keys().copied().collect();
        repeat(goal, || {
            if let Ok(batch) = worker.log.poll(100, wait)
                && !batch.records.is_empty()
            {
                return format!("strays: {}", shown(&batch.records, &bases));
            }
            outcome(worker.log.positions(&started).map(|positions| {
                let known = started.iter().zip(positions);
                let known = known.filter_map(|(at, offset)| Some(format!("{}={}", name(*at), offset? - bases[at])));
                known.collect::<Vec<_>>().join(" ")
            }))
        })
    }

    fn ends(&mut self, at: TopicPartition, goal: Option<&str>) -> String {
        let base = self.bases[&at];
        repeat(goal, || {
            let mut of = |isolation| self.observer.ends(&[at], isolation).unwrap()[0];
            let (committed, all) = (of(Isolation::ReadCommitted), of(Isolation::ReadUncommitted));
            let low = (all.low - base).max(0);
            format!("{low}..{} of {}", committed.high - base, all.high - base)
        })
    }

    fn read(&mut self, at: TopicPartition, goal: Option<&str>) -> String {
        let wait = self.side.wait();
        let (observer, bases) = (&mut *self.observer, &self.bases);
        let mut reader: Option<Box<dyn Reader>> = None;
        let mut records: Vec<Record> = Vec::new();
        repeat(goal, || {
            // What compaction takes away is seen only by who begins again.
            if reader.is_none() || goal.is_some_and(|goal| records.len() > goal.matches('@').count()) {
                let low = observer.ends(&[at], Isolation::ReadUncommitted).unwrap()[0].low;
                reader = Some(observer.reader_from(&[(at, bases[&at].max(low))]).unwrap());
                records.clear();
                std::thread::sleep(wait);
            }
            let reader = reader.as_mut().expect("just opened");
            records.extend(reader.poll(100, wait).unwrap());
            let goal = if reader.at_goal() { "to the goal" } else { "the goal is ahead" };
            format!("{} {goal}", shown(&records, bases))
        })
    }
}

fn follow(worker: &mut Worker, changes: &[AssignmentChange]) {
    for change in changes {
        match change {
            AssignmentChange::Assigned(partitions) => {
                worker.assigned.extend(partitions);
                worker.told = true;
            }
            AssignmentChange::Revoked(partitions) => {
                worker.assigned.retain(|at| !partitions.contains(at));
                worker.next.retain(|at, _| !partitions.contains(at));
            }
        }
    }
}

fn shown(records: &[Record], bases: &BTreeMap<TopicPartition, i64>) -> String {
    let mut records: Vec<&Record> = records.iter().collect();
    records.sort_by_key(|record| (record.at, record.offset));
    let text =
        |bytes: Option<&Vec<u8>>| bytes.map_or("-".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned());
    let line = |record: &&Record| {
        let (key, value) = (text(record.key.as_ref()), text(record.value.as_ref()));
        format!("{}@{} {key}={value}", name(record.at), record.offset - bases[&record.at])
    };
    records.iter().map(line).collect::<Vec<_>>().join(", ")
}

fn outcome(result: Result<String, LogError>) -> String {
    match result {
        Ok(text) => format!("ok {text}"),
        Err(error) => kind(&error).to_owned(),
    }
}

/// What the caller must do. Who is fenced learns so by its producer or by its place in the group, whichever asks first.
fn kind(error: &LogError) -> &'static str {
    match error {
        LogError::Away(_) => "away",
        LogError::Aborted(_) => "aborted",
        LogError::Undecided(_) => "undecided",
        LogError::Stuck(_) => "stuck",
        LogError::ProducerFenced(_) | LogError::Displaced(_) | LogError::InstanceFenced(_) => "fenced",
        LogError::OutOfRange(_) => "out of range",
        LogError::TargetTopic { .. } => "a topic of a target refused",
        LogError::TooLong(_) => "too long",
        LogError::Fatal(_) => "refused",
    }
}

/// Looks until the goal is seen, and once more; without a goal until nothing changes any more.
fn repeat(goal: Option<&str>, mut look: impl FnMut() -> String) -> String {
    let until = Instant::now() + PATIENCE;
    let mut seen = look();
    loop {
        let again = look();
        let settled = again == seen;
        seen = again;
        match goal {
            None if settled => return seen,
            Some(goal) if seen == goal && (settled || seen.ends_with("to the goal")) => return seen,
            Some(_) if Instant::now() >= until => return seen,
            _ => {}
        }
    }
}
