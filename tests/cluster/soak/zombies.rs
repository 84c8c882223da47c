//! Processes that are stopped for longer than their session, and come back to find that others have their work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::fleet::{Fleet, check, load};
use super::scaled;
use crate::setup::Setup;
use crate::world::{Servers, World};

const SESSION_SECONDS: u64 = 2;
/// One and a half times the session.
const STOPPED: Duration = Duration::from_millis(SESSION_SECONDS * 1_500);

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_commits_nothing_once_others_have_its_work() {
    let setup = Setup::new("zombies", Servers::of_environment());
    let world = World::of(Setup { session_seconds: SESSION_SECONDS, targets: vec!["quick", "busy", "held"], ..setup });
    let (takeovers, stop) = (scaled(4, 50), AtomicBool::new(false));
    let begun = Instant::now();
    let mut fleet = Fleet::start(&world, 3).await;
    let faults = async {
        for n in 0..takeovers {
            let name = format!("p{}", n % 3);
            fleet.process(&name).signal("STOP");
            tokio::time::sleep(STOPPED).await;
            fleet.process(&name).signal("CONT");
            fleet.until_ready().await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (files, ()) = tokio::join!(load(&world, 60, usize::MAX / 2, &stop), faults);
    let confirmed = fleet.until_settled(files).await;
    fleet.end().await;
    let report = tokio::task::block_in_place(|| check(&world, files));
    println!(
        "| takeovers | files | seconds | aborts by cause | processes that ended by themselves | attempts | retries | decided \
         by a person | zombie commits |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n\
         | {takeovers} | {files} | {:.0} | {:?} | {} | {} | {} | {confirmed} | 0 |",
        begun.elapsed().as_secs_f64(),
        fleet.aborts,
        fleet.ended_by_themselves,
        report.count("attempts"),
        report.count("retries"),
    );
    drop(fleet);
    world.end().await;
}
