//! The tests' Python environment, and programs in it that print a JSON value a line.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The environment's interpreter.
pub fn interpreter() -> String {
    let made = Command::new(root().join("scripts/python-env")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// A command that runs a program of `tests/kafka` in the environment.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(interpreter());
    command.arg(root().join("tests/kafka").join(name));
    command
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs it, which must go well; gives its lines.
pub fn lines_of(command: &mut Command) -> Vec<Value> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
