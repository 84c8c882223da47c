//! The proof by simulation: seeded runs, every crash point, and faults planted on purpose.

mod crash_points;
mod sabotage;
mod seeds;
