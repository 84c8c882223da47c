//! The gateway over real HTTP, on the in-process log: what an engine would write is written by hand.

#[path = "shared/answer.rs"]
mod answer;
#[path = "gateway/world.rs"]
mod world;

#[path = "gateway/access.rs"]
mod access;
#[path = "gateway/beginning.rs"]
mod beginning;
#[path = "gateway/callbacks.rs"]
mod callbacks;
#[path = "gateway/commands.rs"]
mod commands;
#[path = "gateway/connections.rs"]
mod connections;
#[path = "gateway/dead_letters.rs"]
mod dead_letters;
#[path = "gateway/files.rs"]
mod files;
#[path = "gateway/interventions.rs"]
mod interventions;
#[path = "gateway/service.rs"]
mod service;
#[path = "gateway/submit.rs"]
mod submit;
#[path = "gateway/targets.rs"]
mod targets;
