//! A fault every few seconds, of every kind, under load; then all is mended, every file ends, and everything is checked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::fleet::{Fleet, check, load};
use super::scaled;
use crate::servers::OwnBed;
use crate::servers::proxy::{Loss, Proxy, TXN_OFFSET_COMMIT};
use crate::setup::Setup;
use crate::world::World;

/// Every fault, by its name.
const FAULTS: [&str; 15] = [
    "process killed",
    "end's reply lost",
    "connections cut",
    "process stopped for 3 s",
    "requests delayed by 300 ms",
    "broker killed",
    "connections half-open for 4 s",
    "end's request lost",
    "registry killed",
    "process ended in good order",
    "end late, in the next transaction",
    "ends delayed by 2 s",
    "end's reply lost with its connection",
    "positions delayed by 2 s",
    "process stopped for longer than its session",
];

struct Chaos<'w> {
    world: &'w World,
    bed: &'w OwnBed,
    proxy: &'w Proxy,
    fleet: Fleet<'w>,
    struck: BTreeMap<&'static str, usize>,
    turn: usize,
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Waits for what the load brings about, sooner or later; whether it did.
async fn until(holds: impl Fn() -> bool) -> bool {
    for _ in 0..600 {
        if holds() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

impl Chaos<'_> {
    /// The processes take turns.
    fn victim(&mut self) -> String {
        self.turn += 1;
        format!("p{}", self.turn % 3)
    }

    async fn strike(&mut self, fault: &'static str) {
        self.fleet.mend();
        let mut struck = true;
        match fault {
            "process killed" => {
                let name = self.victim();
                self.fleet.kill(&name);
                seconds(1).await;
                self.fleet.start_again(&name);
            }
            "process ended in good order" => {
                let name = self.victim();
                self.fleet.stop_and_start(&name).await;
            }
            "process stopped for 3 s" => self.stopped_for(3).await,
            "process stopped for longer than its session" => {
                self.stopped_for(self.world.setup.session_seconds * 3 / 2).await;
            }
            "broker killed" => self.server_killed("broker").await,
            "registry killed" => self.server_killed("registry").await,
            // Right after another fault nobody may be connected: clients wait before they try again.
            "connections cut" => struck = until(|| self.proxy.cut() > 0).await,
            "connections half-open for 4 s" => {
                struck = until(|| self.proxy.half_open() > 0).await;
                seconds(4).await;
                self.proxy.close_half_open();
            }
            "requests delayed by 300 ms" => {
                self.proxy.delay(Duration::from_millis(300));
                seconds(3).await;
                self.proxy.delay(Duration::ZERO);
            }
            "ends delayed by 2 s" => {
                self.proxy.delay_ends(Duration::from_secs(2));
                seconds(3).await;
                self.proxy.delay_ends(Duration::ZERO);
            }
            "positions delayed by 2 s" => {
                struck = self.positions_held().await;
                seconds(2).await;
                self.proxy.hold(None);
            }
            "end's request lost" => struck = self.lost(Loss::Request).await,
            "end's reply lost" => struck = self.lost(Loss::Reply).await,
            "end's reply lost with its connection" => struck = self.lost(Loss::ReplyWithTheConnection).await,
            "end late, in the next transaction" => {
                struck = self.lost(Loss::Late).await;
                if struck {
                    // Where some transaction has written records and no positions.
                    self.positions_held().await;
                    self.proxy.deliver_late();
                    self.proxy.hold(None);
                }
            }
            other => panic!("{other}"),
        }
        *self.struck.entry(fault).or_default() += usize::from(struck);
    }

    async fn stopped_for(&mut self, time: u64) {
        let name = self.victim();
        self.fleet.process(&name).signal("STOP");
        seconds(time).await;
        self.fleet.process(&name).signal("CONT");
    }

    async fn server_killed(&self, server: &str) {
        tokio::task::block_in_place(|| self.bed.kill(server));
        seconds(2).await;
        tokio::task::block_in_place(|| self.bed.revive(server));
    }

    /// Waits until it has struck, if anything is committed meanwhile.
    async fn lost(&self, loss: Loss) -> bool {
        self.proxy.lose_commit(loss, self.world.prefix());
        until(|| self.proxy.struck() > 0).await
    }

    /// From here on positions are held back; waits until some are.
    async fn positions_held(&self) -> bool {
        self.proxy.hold(Some(TXN_OFFSET_COMMIT));
        until(|| self.proxy.held() > 0).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_every_few_seconds_every_file_ends_as_it_must() {
    let bed = tokio::task::block_in_place(OwnBed::start);
    let proxy = Proxy::start(&bed.value("KAFKA_VIA"), &bed.value("KAFKA_BEHIND"));
    let via = Some(bed.value("KAFKA_VIA"));
    let world =
        World::of(Setup { via, session_seconds: 4, transaction_seconds: 5, ..Setup::new("chaos", bed.servers()) });
    let begun = Instant::now();
    let fleet = Fleet::start(&world, 3).await;
    let mut chaos = Chaos { world: &world, bed: &bed, proxy: &proxy, fleet, struck: BTreeMap::new(), turn: 0 };
    let stop = AtomicBool::new(false);
    let (rounds, every) = scaled((1, Duration::from_secs(3)), (4, Duration::from_secs(5)));
    let faults = async {
        for round in 0..rounds {
            for n in 0..FAULTS.len() {
                let next = tokio::time::Instant::now() + every;
                // Another order in each round, and each fault once in it.
                chaos.strike(FAULTS[(n * [1, 2, 4, 7][round % 4]) % FAULTS.len()]).await;
                tokio::time::sleep_until(next).await;
            }
        }
        stop.store(true, Ordering::Relaxed);
        chaos.fleet.until_ready().await;
        chaos
    };
    let (files, mut chaos) = tokio::join!(load(&world, 60, usize::MAX / 2, &stop), faults);
    let (faulty, mended) = (begun.elapsed(), Instant::now());
    let confirmed = chaos.fleet.until_settled(files).await;
    let calm = mended.elapsed();
    chaos.fleet.end().await;
    let report = tokio::task::block_in_place(|| check(&world, files));
    println!("| fault | times |\n| --- | --- |");
    for (fault, times) in &chaos.struck {
        println!("| {fault} | {times} |");
    }
    println!(
        "| files | seconds with faults | seconds to the last file after them | restarts | processes that ended by themselves | \
         aborts by cause | attempts | retries | decided by a person | violations |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n\
         | {files} | {:.0} | {:.0} | {} | {} | {:?} | {} | {} | {confirmed} | 0 |",
        faulty.as_secs_f64(),
        calm.as_secs_f64(),
        chaos.fleet.restarts,
        chaos.fleet.ended_by_themselves,
        chaos.fleet.aborts,
        report.count("attempts"),
        report.count("retries"),
    );
    let missed: Vec<&str> = FAULTS.into_iter().filter(|fault| chaos.struck[fault] == 0).collect();
    assert!(missed.is_empty(), "these never struck: {missed:?}");
    drop(chaos);
    world.end().await;
}
