//! Several processes of the binary on a real broker and registry; `make test` starts both.

mod acks;
#[path = "../shared/answer.rs"]
mod answer;
mod commands;
mod left_alone;
mod outage;
mod pausing;
mod predicted;
mod python;
#[path = "../servers/python.rs"]
mod python_env;
mod rate;
mod readme;
mod records;
mod refusals;
mod registry_away;
mod roles;
mod secured;
#[path = "../servers/mod.rs"]
mod servers;
mod setup;
mod soak;
mod store;
mod takeover;
mod too_long;
mod undecided;
mod verify;
mod world;
