//! The read model behind the gateway.
