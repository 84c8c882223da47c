//! consign: the control plane between files that arrive and the services that must each receive them.
//!
//! A file is announced by one manifest. consign decides once where it goes and exactly what each target gets ([`plan`], by
//! the document of [`routing`]), sends it ([`transport`]), and keeps one authoritative state of it until it is COMPLETED or
//! FAILED ([`lifecycle`], driven by the [`engine`] over the [`log`]).
//!
//! # The map of the house
//!
//! Arrows go down; `tests/house` keeps them so. The pure modules do no I/O, read no clock and draw no random number.
//!
//! | module | is | pure |
//! | --- | --- | --- |
//! | [`cli`] | the commands, and the exit codes | |
//! | [`node`] | one process: workers on threads, transport, gateway | |
//! | [`config`] | its configuration | |
//! | [`gateway`] | the HTTP API: submit and wait, look, intervene | |
//! | [`view`] | the read model behind it | |
//! | [`metrics`] | the machine in numbers | |
//! | [`engine`] | one worker: batches, transactions, timers, home partitions | but for its two ports |
//! | [`lifecycle`] | the state machine: (file, event, time) → file and effects | yes |
//! | [`plan`] | arrival and routing document → the exact requests | yes |
//! | [`routing`] | the routing document: read, check, digest, evaluate | yes |
//! | [`store`] | the engine's local state: what a home partition knows, on disk or in memory | |
//! | [`predict`] | what will become of a file: its course, its bounds, an explanation | yes |
//! | [`transport`] | port 2, the outside | |
//! | [`log`] | port 1, the log: Kafka, or the same semantics in this process | |
//! | [`record`] | the records, their keys, topics and codec | |
//! | [`receiver`] | built-in receivers, for the demo, for `consign receiver` and for tests | |
//! | [`certify`] | tries a real receiver, and says what it does wrong | |
//! | [`verify`] | the checker of the contract's invariants, from topics and journals alone | |
//! | [`audit`] | the check of a running cluster, file by file through a scratch store | |
//! | [`sim`] | the simulated world: engine and log under a seeded clock and faults | |
//!
//! # One turn of a worker
//!
//! Poll a batch → fold each record into its file → one transaction of records and positions → only then let requests
//! leave. What became of a request comes back as a record, and so does a deadline. ARCHITECTURE.md walks one record
//! through all of it.

pub mod audit;
pub mod certify;
pub mod cli;
pub mod config;
pub mod engine;
pub mod gateway;
pub mod lifecycle;
pub mod log;
pub mod metrics;
pub mod node;
pub mod plan;
pub mod predict;
pub mod receiver;
pub mod record;
pub mod routing;
pub mod sim;
pub mod store;
pub mod transport;
pub mod verify;
pub mod view;
