//! The proof by simulation: seeded runs, every crash point, and faults planted on purpose.

mod crash_points;
mod sabotage;
mod seeds;

/// The one of the binary: these runs allocate, above all.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
