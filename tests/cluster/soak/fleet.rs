//! Processes under load, and what is counted of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use consign::log::{Cluster as _, Record};
use consign::record::{FileId, State, Status, Topic};
use consign::verify::Report;
use serde_json::{Value, json};

use crate::world::{PATIENCE, Process, World};

/// Processes of one world by name.
pub struct Fleet<'w> {
    world: &'w World,
    processes: BTreeMap<String, Process>,
    /// How often a process was started that had run before.
    pub restarts: usize,
    /// How often one ended that nobody ended.
    pub ended_by_themselves: usize,
    /// Aborted transactions by cause, as the processes counted them before they were ended in good order.
    pub aborts: BTreeMap<String, usize>,
}

impl<'w> Fleet<'w> {
    /// Starts that many, and waits until they are ready.
    pub async fn start(world: &'w World, count: usize) -> Self {
        let mut fleet =
            Self { world, processes: BTreeMap::new(), restarts: 0, ended_by_themselves: 0, aborts: BTreeMap::new() };
        for n in 0..count {
            let name = format!("p{n}");
            fleet.processes.insert(name.clone(), world.start_quiet(&name));
        }
        fleet.until_ready().await;
        fleet
    }

    pub fn names(&self) -> Vec<String> {
        self.processes.keys().cloned().collect()
    }

    pub fn process(&self, name: &str) -> &Process {
        &self.processes[name]
    }

    /// Ends one at once and starts it again.
    pub fn kill_and_start(&mut self, name: &str) {
        self.kill(name);
        self.start_again(name);
    }

    pub fn kill(&mut self, name: &str) {
        self.processes.remove(name).expect("it runs").kill();
    }

    pub fn start_again(&mut self, name: &str) {
        self.restarts += 1;
        self.processes.insert(name.to_owned(), self.world.start_quiet(name));
    }

    /// Ends one in good order, and starts it again.
    pub async fn stop_and_start(&mut self, name: &str) {
        self.stop(name).await;
        self.start_again(name);
    }

    async fn stop(&mut self, name: &str) {
        let process = self.processes.remove(name).expect("it runs");
        for (cause, count) in process.aborts().await {
            *self.aborts.entry(cause).or_default() += count;
        }
        let code = tokio::task::block_in_place(|| process.stop()).code();
        assert_eq!(code, Some(0), "{name} ends in good order");
    }

    /// Starts those again that have ended by themselves.
    pub fn mend(&mut self) {
        for name in self.names() {
            if let Some(status) = self.processes.get_mut(&name).expect("it runs").has_ended() {
                eprintln!("{}: {name} ended by itself: {status}", self.world.setup.test);
                self.ended_by_themselves += 1;
                self.start_again(&name);
            }
        }
    }

    /// Waits until all are ready, starting those again that have ended.
    pub async fn until_ready(&mut self) {
        let begun = Instant::now();
        loop {
            self.mend();
            let mut waiting = Vec::new();
            for (name, process) in &self.processes {
                match process.asked_ready().await {
                    Some((200, _)) => {}
                    answer => waiting.push(format!("{name}: {answer:?}")),
                }
            }
            if waiting.is_empty() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{}: {waiting:?}", self.world.setup.test);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until every file has ended; a person decides what waits for one.
    pub async fn until_settled(&mut self, files: usize) -> usize {
        let mut confirmed = BTreeSet::new();
        let begun = Instant::now();
        while settled(self.world) < files {
            self.mend();
            for (file_id, target, version) in held(self.world) {
                let process = self.processes.values().next().expect("one runs");
                if process.confirm(&file_id, &target, version).await {
                    confirmed.insert((file_id, target));
                }
            }
            assert!(
                begun.elapsed() < PATIENCE * 2,
                "{}: {} of {files} files have ended: {:?}",
                self.world.setup.test,
                settled(self.world),
                self.world.view.census()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        confirmed.len()
    }

    /// Ends all in good order.
    pub async fn end(&mut self) {
        for name in self.names() {
            self.stop(&name).await;
        }
    }
}

impl Process {
    /// What `/readyz` says, if anybody answers.
    pub async fn asked_ready(&self) -> Option<(u16, String)> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build().unwrap();
        let reply = client.get(format!("{}/readyz", self.url)).send().await.ok()?;
        Some((reply.status().as_u16(), reply.text().await.ok()?))
    }

    /// Aborted transactions by cause.
    async fn aborts(&self) -> BTreeMap<String, usize> {
        let text = self.metrics().await;
        let lines = text.lines().filter_map(|line| line.strip_prefix("consign_aborts_total{cause=\""));
        let aborts = lines.filter_map(|line| {
            let (cause, count) = line.split_once("\"} ")?;
            Some((cause.to_owned(), count.parse().ok()?))
        });
        aborts.collect()
    }

    /// Confirms a dispatch, as a person does who has asked the target; whether that was applied.
    async fn confirm(&self, file_id: &str, target: &str, seen_version: i64) -> bool {
        let url = format!("{}/v1/files/{file_id}/dispatches/{target}/interventions?wait=5s", self.url);
        let reason = "seen in the target's own list";
        let asked = json!({"action": "confirm", "reason": reason, "seen_version": seen_version});
        let Ok(reply) = reqwest::Client::new().post(url).json(&asked).send().await else { return false };
        let answer: Value = reply.json().await.unwrap_or_default();
        // A refused one has met a report that came late, or the view was behind: the next look shows.
        answer["judgement"] == "applied"
    }
}

/// Files that have ended.
pub fn settled(world: &World) -> usize {
    let files = world.view.census().files;
    let ended = [State::Completed, State::Failed].iter().filter_map(|state| files.get(state)).sum::<i64>();
    usize::try_from(ended).unwrap()
}

fn held_dispatches(world: &World) -> usize {
    usize::try_from(world.view.census().held.values().sum::<i64>()).unwrap()
}

/// What waits for a person.
fn held(world: &World) -> Vec<(String, String, i64)> {
    if held_dispatches(world) == 0 {
        return Vec::new();
    }
    let ids = world.submitted.lock().unwrap().clone();
    let mut held = Vec::new();
    for id in ids {
        if let Some(file) = world.view.file(&FileId::trusted(id.as_str())) {
            let of_file = file.dispatches.iter().filter(|d| d.status == Status::Held);
            held.extend(of_file.map(|d| (id.clone(), d.target.to_string(), d.version)));
        }
    }
    held
}

/// Announces files, so that about `open` of them are open at a time and wait for nobody, until there are `files` or it is
/// told to stop. What is held is confirmed when the load is over: were it counted, a pause of the machine that made so many
/// overdue would end the load.
pub async fn load(world: &World, open: usize, files: usize, stop: &AtomicBool) -> usize {
    let mut announced = world.submitted.lock().unwrap().len();
    let files = announced + files;
    while announced < files && !stop.load(Ordering::Relaxed) {
        let beside = settled(world) + held_dispatches(world);
        let room = open.saturating_sub(announced.saturating_sub(beside)).min(files - announced);
        let ids: Vec<String> = (announced..announced + room).map(|n| format!("file-{n:06}")).collect();
        announced += room;
        world.submitted.lock().unwrap().extend(ids.iter().cloned());
        world.submit_all(ids).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    announced
}

/// Where a record stands, and what is in it.
type Seen = BTreeSet<(Topic, i32, i64, Vec<u8>, Option<Vec<u8>>)>;

fn seen(records: Vec<Record>) -> Seen {
    let one = |r: Record| (r.at.topic, r.at.partition, r.offset, r.key.unwrap_or_default(), r.value);
    records.into_iter().map(one).collect()
}

/// A reader that is there from the beginning.
pub struct Concurrent {
    read: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

const READ: [Topic; 5] = [Topic::Arrivals, Topic::Plans, Topic::Attempts, Topic::History, Topic::FileState];

impl Concurrent {
    pub fn start(world: &World) -> Self {
        let (read, stop) = (Arc::new(Mutex::new(Seen::new())), Arc::new(AtomicBool::new(false)));
        let (into, until, cluster) = (Arc::clone(&read), Arc::clone(&stop), Arc::clone(&world.cluster));
        let thread = std::thread::spawn(move || {
            let mut reader = cluster.follow(&READ).unwrap();
            while !until.load(Ordering::Relaxed) {
                // A broker that is away comes back.
                if let Ok(records) = reader.poll(5_000, Duration::from_millis(100)) {
                    into.lock().unwrap().extend(seen(records));
                }
            }
        });
        Self { read, stop, thread: Some(thread) }
    }

    /// Compares what it saw with what a reader sees who comes when all is over; gives the number of records.
    pub fn equals_a_late_one(mut self, world: &World) -> usize {
        let late: Seen = READ.iter().flat_map(|topic| seen(world.read(*topic))).collect();
        let begun = Instant::now();
        while self.read.lock().unwrap().len() < late.len() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        let concurrent = self.read.lock().unwrap();
        let differ: Vec<_> = concurrent.symmetric_difference(&late).take(5).map(|(t, p, o, ..)| (t, p, o)).collect();
        assert!(differ.is_empty(), "{}: the readers differ: {differ:?}", world.setup.test);
        late.len()
    }
}

/// Checks everything, and that no file was lost.
pub fn check(world: &World, files: usize) -> Report {
    let report = world.verify_clean();
    assert_eq!(report.count("files"), files as u64, "{}", world.setup.test);
    assert_eq!(report.count("files.COMPLETED"), files as u64, "{}", world.setup.test);
    assert_eq!(world.read(Topic::DeadLetters).len(), 0);
    report
}
