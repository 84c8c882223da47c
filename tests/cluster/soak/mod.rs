//! Suites that break everything again and again under load. `make test` runs them short, `make test-soak` (`SOAK=1`) in full, with
//! a table for docs/reliability.md.

mod chaos;
mod fleet;
mod matrix;
mod no_brokers;
mod rolling;
mod zombies;

/// Whether the full forms run.
pub fn in_full() -> bool {
    std::env::var_os("SOAK").is_some()
}

/// A number that is one in the short form and another in full.
pub fn scaled<T>(short: T, full: T) -> T {
    if in_full() { full } else { short }
}
