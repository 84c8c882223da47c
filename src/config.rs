//! The runtime configuration.
