//! The engine in the simulated world: scenarios and seeds.

mod seeds;
