//! One of two processes is killed half-way: every file still ends as it must, and the topics show how.

use std::time::Duration;

use consign::record::{FileId, State, Status};

use crate::world::{PATIENCE, World};

const FILES: usize = 1_000;

fn file_id(n: usize) -> String {
    format!("file-{n:04}")
}

fn settled(world: &World) -> usize {
    let files = world.view.census().files;
    [State::Completed, State::Failed]
        .iter()
        .filter_map(|state| files.get(state))
        .map(|n| usize::try_from(*n).unwrap())
        .sum()
}

/// Files whose only open dispatches are HELD.
fn held(world: &World) -> Vec<String> {
    (0..FILES)
        .map(file_id)
        .filter(|id| {
            world.view.file(&FileId::trusted(id)).is_some_and(|file| {
                let open = |s: Status| !matches!(s, Status::Succeeded | Status::Failed | Status::Cancelled);
                let mut open = file.dispatches.iter().filter(|d| open(d.status)).peekable();
                open.peek().is_some() && open.all(|d| d.status == Status::Held)
            })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_nothing_and_repeats_nothing() {
    let world = World::new("takeover");
    let (a, b) = (world.start("a"), world.start("b"));
    for n in 0..FILES {
        world.submit(&file_id(n)).await;
    }
    let half = world.view.wait_until(PATIENCE, || settled(&world) >= FILES / 2).await;
    assert!(half, "{} of {FILES} files settled", settled(&world));
    a.kill();
    let a = world.start("a");
    let ended = world.view.wait_until(PATIENCE, || settled(&world) + held(&world).len() >= FILES).await;
    assert!(ended, "{} settled, {} held of {FILES}", settled(&world), held(&world).len());

    // What the killed process had on the wire to the target that isn't trusted waits for a person.
    let to_confirm = held(&world);
    for id in &to_confirm {
        let arguments = ["intervene", id, "held", "confirm", "--reason", "seen in the target's own list"];
        let (code, output) = b.client(&arguments);
        assert_eq!(code, Some(0), "{id}: {output}");
    }
    assert!(world.view.wait_until(PATIENCE, || settled(&world) == FILES).await);
    assert_eq!(world.view.census().files.get(&State::Completed).copied(), Some(i64::try_from(FILES).unwrap()));

    // What one process took, the other shows. The one that was killed answers once its view has caught up.
    a.until_ready_says(200, "true").await;
    let manifest = tempfile::NamedTempFile::new().unwrap();
    let text = r#"{"file_id": "posted", "schema_version": 1, "file_type": "batch", "name": "p", "data": {"n": "p"}}"#;
    std::fs::write(manifest.path(), text).unwrap();
    let (code, said) = a.client(&["submit", manifest.path().to_str().unwrap(), "--wait", "60s", "--output", "json"]);
    assert_eq!(code, Some(0), "{said}");
    let there = world.view.wait_terminal(&FileId::trusted("posted"), PATIENCE).await.unwrap();
    let mut shown = String::new();
    for _ in 0..100 {
        let (code, text) = b.client(&["status", "posted", "--output", "json"]);
        shown = text;
        if code == Some(0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown, serde_json::to_value(&*there).unwrap());

    assert_eq!(a.stop().code(), Some(0));
    assert_eq!(b.stop().code(), Some(0));
    let report = world.verify_clean();
    println!("{:#?}", report.counts);
    assert_eq!(report.count("files.COMPLETED"), FILES as u64 + 1);
    // Each busy target was asked twice; what was confirmed by hand may never have left the killed process.
    let (requests, least) = (report.count("requests"), (6 * FILES - to_confirm.len()) as u64);
    assert!(requests >= least, "{requests} requests, {least} at least");
    println!("{} dispatches were confirmed by hand", to_confirm.len());
    world.end().await;
}
