//! Parses the command line and calls `cli`.

fn main() {}
