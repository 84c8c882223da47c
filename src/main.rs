//! Parses the command line and calls `cli`.

fn main() -> std::process::ExitCode {
    consign::cli::main()
}
