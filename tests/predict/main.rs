//! What is foretold of a file is what the engine does: random documents, manifests and scripts, on the in-process log.

#[path = "../shared/answer.rs"]
mod answer;
mod commands;
mod courses;
mod explained;
mod fetching;
mod generate;
mod stage;
