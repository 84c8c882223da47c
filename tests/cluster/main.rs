//! Several processes of the binary on a real broker and registry; `make test` starts both.

mod python;
mod refusals;
mod takeover;
mod too_long;
mod world;
