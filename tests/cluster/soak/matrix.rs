//! The sixteen cases of a bounce: hard or clean, of the broker or of every processor, 1 or 6 partitions, 1 or 3 processes.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tokio::sync::{Barrier, Semaphore, watch};
use tokio::task::JoinSet;

use super::fleet::{Concurrent, Fleet, check, load, settled};
use super::scaled;
use crate::servers::OwnBed;
use crate::setup::Setup;
use crate::world::{PATIENCE, Servers, World};

/// Files of each case: 16 cases make 100,000, where `SOAK_FILES` doesn't say otherwise.
fn files() -> usize {
    let asked = std::env::var("SOAK_FILES").ok().and_then(|files| files.parse().ok());
    asked.unwrap_or(scaled(120, 6_250))
}

/// How often each process is bounced.
fn bounces() -> usize {
    scaled(1, 3)
}

/// How often the broker is. Twice within a minute is worse than twice as bad: what once excuses must excuse again.
fn bounces_of_broker() -> usize {
    scaled(2, 3)
}

struct Case {
    world: World,
    processes: usize,
}

impl Case {
    /// The four cases of one kind, on one broker.
    fn four(kind: &str, servers: &Servers) -> Vec<Self> {
        let mut cases = Vec::new();
        for partitions in [1, 6] {
            for processes in [1, 3] {
                let test = format!("{kind}-{partitions}-{processes}");
                let setup = Setup { partitions, targets: vec!["quick", "busy"], ..Setup::new(&test, servers.clone()) };
                cases.push(Self { world: World::of(setup), processes });
            }
        }
        cases
    }

    async fn until_share(&self, share: usize, of: usize) {
        let goal = files() * share / of;
        let there = self.world.view.wait_until(PATIENCE * 2, || settled(&self.world) >= goal).await;
        assert!(there, "{}: {} of {goal} files", self.world.setup.test, settled(&self.world));
    }

    /// Bounces every process in turn, the rounds apart by a share of the work.
    async fn bounce_processes(&self, fleet: &mut Fleet<'_>, hard: bool) {
        for round in 1..=bounces() {
            self.until_share(round, bounces() + 2).await;
            for name in fleet.names() {
                if hard {
                    fleet.kill_and_start(&name);
                } else {
                    fleet.stop_and_start(&name).await;
                }
                fleet.until_ready().await;
            }
        }
    }

    /// Waits for the end of all files and of all processes, checks everything; gives a row of the table.
    async fn finish(&self, fleet: &mut Fleet<'_>, concurrent: Concurrent, begun: Instant) -> String {
        fleet.until_settled(files()).await;
        let seconds = begun.elapsed().as_secs_f64();
        fleet.end().await;
        let report = tokio::task::block_in_place(|| check(&self.world, files()));
        let records = tokio::task::block_in_place(|| concurrent.equals_a_late_one(&self.world));
        assert_eq!(fleet.ended_by_themselves, 0, "{}", self.world.setup.test);
        format!(
            "| {} | {} | {seconds:.0} | {} | {} | {} | {} | {records} | 0 |",
            self.world.setup.test,
            files(),
            fleet.restarts,
            report.count("attempts"),
            report.count("retries"),
            fleet.aborts.values().sum::<usize>(),
        )
    }
}

const HEAD: &str = "| case: what, partitions, processes | files | seconds | restarts | attempts | retries | aborts | \
                    records, the same to both readers | violations |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |";

fn print(rows: &[String]) {
    println!("{HEAD}\n{}", rows.join("\n"));
}

async fn processors(hard: bool) {
    let servers = Servers::of_environment();
    let at_once = Arc::new(Semaphore::new(scaled(4, 1)));
    let mut cases = JoinSet::new();
    for case in Case::four(if hard { "processor-hard" } else { "processor-clean" }, &servers) {
        let at_once = Arc::clone(&at_once);
        cases.spawn(async move {
            let _turn = at_once.acquire().await.unwrap();
            let (begun, stop) = (Instant::now(), AtomicBool::new(false));
            let concurrent = Concurrent::start(&case.world);
            let mut fleet = Fleet::start(&case.world, case.processes).await;
            tokio::join!(load(&case.world, 200, files(), &stop), case.bounce_processes(&mut fleet, hard));
            let row = case.finish(&mut fleet, concurrent, begun).await;
            drop(fleet);
            case.world.end().await;
            row
        });
    }
    print(&cases.join_all().await);
}

async fn brokers(hard: bool) {
    let bed = tokio::task::block_in_place(OwnBed::of_a_broker);
    // How many of the broker's ends are still to come, told to every case.
    let (ended, rounds) = watch::channel(0);
    let all_ready = Arc::new(Barrier::new(5));
    let mut cases = JoinSet::new();
    for case in Case::four(if hard { "broker-hard" } else { "broker-clean" }, &bed.servers()) {
        let (mut rounds, all_ready) = (rounds.clone(), Arc::clone(&all_ready));
        cases.spawn(async move {
            let (begun, stop) = (Instant::now(), AtomicBool::new(false));
            let concurrent = Concurrent::start(&case.world);
            let mut fleet = Fleet::start(&case.world, case.processes).await;
            all_ready.wait().await;
            let in_time = async { rounds.wait_for(|round| *round == bounces_of_broker()).await.map(|_| ()).unwrap() };
            tokio::join!(load(&case.world, 200, files(), &stop), in_time);
            let row = case.finish(&mut fleet, concurrent, begun).await;
            drop(fleet);
            case.world.end().await;
            row
        });
    }
    all_ready.wait().await;
    for round in 1..=bounces_of_broker() {
        tokio::time::sleep(scaled(Duration::from_secs(1), Duration::from_secs(20))).await;
        tokio::task::block_in_place(|| if hard { bed.kill("broker") } else { bed.halt("broker") });
        tokio::time::sleep(Duration::from_secs(2)).await;
        tokio::task::block_in_place(|| bed.revive("broker"));
        ended.send_replace(round);
    }
    print(&cases.join_all().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processors_end_hard() {
    processors(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processors_end_clean() {
    processors(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_broker_ends_hard() {
    brokers(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_broker_ends_clean() {
    brokers(false).await;
}
