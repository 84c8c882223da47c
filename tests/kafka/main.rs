//! Tests against a real broker and a real schema registry; `make test` starts both.

mod admin;
mod appending;
mod bed;
mod callbacks;
mod controls;
mod delivery;
mod events;
mod offsets;
mod python;
#[path = "../servers/python.rs"]
mod python_env;
mod reading;
mod rebalance;
mod records;
mod schemas;
mod scripts;
#[path = "../servers/mod.rs"]
mod servers;
mod targets;
mod transactions;
mod undecided;
mod webhooks;
