//! One worker of the engine.
