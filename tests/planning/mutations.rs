//! Documents and expressions that are broken at random, from a fixed seed: each is taken or refused, and none ends the
//! process.

use std::fs;

use consign::routing::{Response, Rule, Sources, load, named_files};

use super::support;

const PIECES: [&str; 24] = [
    "(",
    ")",
    "'",
    "\"",
    ".",
    "[",
    "]",
    "{",
    "}",
    "?",
    ":",
    "&&",
    " in ",
    "1u",
    "0x",
    "b'",
    "\\",
    "é",
    "😀",
    "9999999999999999999",
    "1e999",
    "\n",
    "- ",
    "&x",
];

/// A small generator (xorshift), so that a run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    /// The text with one to three parts taken out or put in.
    fn mutate(&mut self, text: &str, longest_cut: usize) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        for _ in 0..=self.below(3) {
            let at = self.below(chars.len() + 1);
            if self.below(2) == 0 {
                let end = (at + 1 + self.below(longest_cut)).min(chars.len());
                chars.drain(at.min(end)..end);
            } else {
                let piece = PIECES[self.below(PIECES.len())];
                chars.splice(at..at, piece.chars());
            }
        }
        chars.into_iter().collect()
    }
}

#[test]
fn broken_expressions_are_refused_or_evaluated() {
    let table = fs::read_to_string(support::repository().join("tests/planning/expressions.txt")).unwrap();
    let expressions: Vec<String> = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" => "))
        .map(|(expression, _)| expression.trim().replace("data", "body").replace("attributes", "headers"))
        .collect();
    let body = br#"{"i": 7, "f": 2.5, "l": [3, 1], "m": {"b": 2, "a": 1}, "s": "text", "n": null}"#.to_vec();
    let response = Response { status: 200, body, ..Response::default() };
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut compiled = 0;
    for _ in 0..5_000 {
        let place = random.below(expressions.len());
        let expression = random.mutate(&expressions[place], 2);
        if let Ok(rule) = Rule::compile(&expression) {
            compiled += 1;
            // Most give no boolean, which is an error of its own; the same one each time.
            assert_eq!(rule.holds(&response), rule.holds(&response), "{expression}");
        }
    }
    assert!((100..4_900).contains(&compiled), "{compiled} of 5000 compile");
}

#[test]
fn broken_documents_are_refused_or_loaded() {
    let shipped = support::shipped_sources();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut loaded = 0;
    for _ in 0..500 {
        let document = random.mutate(&shipped.document, 30);
        named_files(&document);
        match load(&Sources { document, ..shipped.clone() }) {
            Ok(_) => loaded += 1,
            Err(errors) => assert!(!errors.is_empty()),
        }
    }
    assert!((1..499).contains(&loaded), "{loaded} of 500 load");
}
