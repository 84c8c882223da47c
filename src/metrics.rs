//! Metrics that mirror the machine.
