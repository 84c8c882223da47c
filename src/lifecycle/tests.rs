//! What the tables don't show: sequences.

use super::specimen::*;
use super::*;

#[test]
fn print() {
    println!("{}", table::render());
}
