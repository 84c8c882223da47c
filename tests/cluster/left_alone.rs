//! One of two processes is killed and stays dead: the other one does all of the work, and says so.

use std::collections::BTreeSet;

use consign::record::{FileId, Status, Topic, home_partition};
use serde_json::Value;

use crate::world::{HOME_PARTITIONS, PATIENCE, World};

const FILES: usize = 200;

fn file_id(n: usize) -> String {
    format!("file-{n:03}")
}

/// Files that wait for a person alone: what the killed process had on the wire to the target that isn't trusted.
fn held(world: &World) -> Vec<String> {
    let waits = |id: &String| {
        let file = world.view.file(&FileId::trusted(id.as_str()))?;
        let open = |s: Status| !matches!(s, Status::Succeeded | Status::Failed | Status::Cancelled);
        let mut open = file.dispatches.iter().filter(|d| open(d.status)).peekable();
        (open.peek().is_some() && open.all(|d| d.status == Status::Held)).then_some(())
    };
    (0..FILES).map(file_id).filter(|id| waits(id).is_some()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_process_takes_over_and_every_file_ends() {
    let world = World::new("left-alone");
    let (a, (b, log)) = (world.start("a"), world.start_logging("b"));
    a.until_ready_says(200, "true").await;
    b.until_ready_says(200, "true").await;

    // Each process waits for files of every home partition, and owns half of them.
    let mut homes = BTreeSet::new();
    let mut before = 0;
    for n in 0.. {
        let (one, other) = (format!("a-{n}"), format!("b-{n}"));
        homes.extend([&one, &other].map(|id| home_partition(id, HOME_PARTITIONS)));
        for (process, id) in [(&a, &one), (&b, &other)] {
            let (status, answer) = process.submit_and_wait(id).await;
            assert_eq!((status, answer["state"].as_str()), (200, Some("COMPLETED")), "{id}: {answer}");
            before += 1;
        }
        if n >= 5 && homes.len() == usize::try_from(HOME_PARTITIONS).unwrap() {
            break;
        }
    }
    // Each process answered from its own view; this one may be behind both.
    assert!(world.view.wait_until(PATIENCE, || world.completed() == before).await);

    for n in 0..FILES {
        world.submit(&file_id(n)).await;
    }
    assert!(world.view.wait_until(PATIENCE, || world.completed() >= before + FILES / 4).await);
    a.kill();
    let ended = world.view.wait_until(PATIENCE, || world.completed() + held(&world).len() >= before + FILES).await;
    assert!(ended, "{} COMPLETED, {} held", world.completed(), held(&world).len());
    for id in held(&world) {
        let (code, output) =
            b.client(&["intervene", &id, "held", "confirm", "--reason", "seen in the target's own list"]);
        assert_eq!(code, Some(0), "{id}: {output}");
    }
    assert!(world.view.wait_until(PATIENCE, || world.completed() == before + FILES).await);
    assert_eq!(world.read(Topic::DeadLetters).len(), 0);
    assert_eq!(b.stop().code(), Some(0));
    world.verify_clean();

    // What it logged can be read by a machine, line by line.
    let text = std::fs::read_to_string(log).unwrap();
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    let names = |line: &&Value| ["file_id", "target", "attempt", "outcome"].iter().all(|field| !line[*field].is_null());
    let exchanges: Vec<&Value> = lines.iter().filter(names).collect();
    assert!(exchanges.len() > FILES, "only {} lines name file_id, target, attempt and outcome", exchanges.len());
    assert!(exchanges.iter().all(|line| line["attempt"].is_i64() && line["level"].is_string()));
    world.end().await;
}
