//! What `run` refuses to start with: exit code 2 and one clear message.

use crate::world::World;

fn refused(world: &World, arguments: &[&str], says: &str) {
    let (code, text) = world.run_once(arguments);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains(says), "`{says}` is not in: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn run_refuses_what_is_not_set_up() {
    let world = World::new("refusals");
    world.write("other.yaml", "file_types: {batch: {}}\npayloads: {}\ntargets: {}\nroutes: []\n");
    refused(&world, &["--routing", "other.yaml"], "CG402");
    refused(&world, &["--prefix", "nothing-here."], "CG401");
    world.write("keyless.toml", &world.configuration_without_keys());
    refused(&world, &["--config", "keyless.toml"], "[[acks.keys]]");
    refused(&world, &["--config", "missing.toml"], "CG400");
    refused(&world, &["--listen", "0.0.0.0:0"], "tokens");
    world.end().await;
}
