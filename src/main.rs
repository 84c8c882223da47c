//! Parses the command line and calls `cli`.

/// Decision 65: of the system's allocator the engine's threads paid two fifths of their time to it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    consign::cli::main()
}
