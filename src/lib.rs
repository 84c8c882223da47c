//! consign: the control plane between files that arrive and the services that must each receive them.

pub mod cli;
pub mod config;
pub mod engine;
pub mod gateway;
pub mod lifecycle;
pub mod log;
pub mod metrics;
pub mod node;
pub mod plan;
pub mod receiver;
pub mod record;
pub mod routing;
pub mod sim;
pub mod transport;
pub mod verify;
pub mod view;
