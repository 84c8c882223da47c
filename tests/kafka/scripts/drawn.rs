//! Scripts drawn from seeds: legal steps in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::language::Script;

const STEPS: usize = 14;

struct Draw {
    state: u64,
    text: String,
    workers: BTreeSet<&'static str>,
    /// Transactions that are open, and whether another producer must end them.
    held: BTreeMap<String, bool>,
    holds: usize,
    values: usize,
    written: BTreeSet<&'static str>,
}

/// The script of a seed.
pub fn script(seed: u64) -> Script {
    let mut draw = Draw {
        state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d,
        text: String::new(),
        workers: BTreeSet::from(["a"]),
        held: BTreeMap::new(),
        holds: 0,
        values: 0,
        written: BTreeSet::new(),
    };
    draw.say("open a as a");
    draw.shared_out();
    for _ in 0..STEPS {
        draw.step();
    }
    draw.end();
    Script::read(&format!("seed-{seed}"), &draw.text)
}

impl Draw {
    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        // xorshift64*
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let drawn = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).expect("31 bits") % bound
    }

    fn say(&mut self, step: &str) {
        writeln!(self.text, "{step}").expect("a text takes lines");
    }

    fn one_of(&mut self, all: &[&'static str]) -> &'static str {
        all[self.below(all.len())]
    }

    fn worker(&mut self) -> &'static str {
        let all: Vec<&'static str> = self.workers.iter().copied().collect();
        self.one_of(&all)
    }

    fn writes(&mut self, places: &[&'static str]) -> String {
        let count = 1 + self.below(3);
        let mut writes = Vec::new();
        for _ in 0..count {
            self.values += 1;
            let (place, key) = (self.one_of(places), self.one_of(&["p", "q", "r"]));
            self.written.insert(place);
            let value = if self.below(5) == 0 { "-".to_owned() } else { self.values.to_string() };
            writes.push(format!("{place}:{key}={value}"));
        }
        writes.join(" ")
    }

    fn shared_out(&mut self) {
        self.say("join");
        for worker in self.workers.clone() {
            self.say(&format!("start {worker}"));
        }
    }

    fn step(&mut self) {
        const INPUTS: [&str; 6] = ["m0", "m1", "o0", "o1", "k0", "i1"];
        const ALL: [&str; 8] = ["m0", "m1", "o0", "o1", "s0", "s1", "c0", "d0"];
        match self.below(16) {
            0..3 => {
                let writes = self.writes(&INPUTS);
                self.say(&format!("append {writes}"));
            }
            3..6 => {
                let worker = self.worker();
                self.say(&format!("take {worker}"));
            }
            6..9 => {
                let (worker, writes) = (self.worker(), self.writes(&["s0", "s1", "c0", "d0", "o0"]));
                self.say(&format!("transact {worker} {writes} | +"));
            }
            9..11 => self.hold(&ALL),
            11 => self.land(),
            12 => {
                let place = self.one_of(&ALL);
                self.say(&format!("ends {place}"));
                self.say(&format!("read {place}"));
            }
            13 => {
                let worker = self.worker();
                self.say(&format!("take {worker}"));
                self.say(&format!("where {worker}"));
            }
            14 => self.trouble(),
            _ => self.members(),
        }
    }

    fn hold(&mut self, places: &[&'static str]) {
        if self.held.len() == 2 {
            return self.land();
        }
        self.holds += 1;
        let (id, writes) = (format!("t{}", self.holds), self.writes(places));
        let fate = self.one_of(&["commit", "abort", "leave"]);
        self.say(&format!("hold {id} {fate} {writes}"));
        self.held.insert(id, fate == "leave");
    }

    fn land(&mut self) {
        let ids: Vec<String> = self.held.keys().cloned().collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.below(ids.len())].clone();
        let word = if self.held.remove(&id) == Some(true) { "fence" } else { "land" };
        self.say(&format!("{word} {id}"));
    }

    /// Somebody else begins under a worker's identity, or under its transactional id alone.
    fn trouble(&mut self) {
        let worker = self.worker();
        if self.below(2) == 0 {
            self.say(&format!("fence {worker}"));
            self.say(&format!("transact {worker} s0:f=1 | +"));
            self.say(&format!("rebuild {worker}"));
        } else {
            self.say(&format!("drop {worker}"));
            self.say(&format!("open {worker} as {worker}"));
        }
        self.shared_out();
    }

    fn members(&mut self) {
        if self.workers.len() == 1 {
            self.workers.insert("b");
            self.say("open b as b");
        } else if self.below(2) == 0 {
            self.workers.insert("c");
            self.say("open c as c");
        } else {
            let worker = self.worker();
            self.workers.remove(worker);
            self.say(&format!("drop {worker}"));
            self.say(&format!("expire {worker}"));
        }
        self.shared_out();
    }

    fn end(&mut self) {
        while !self.held.is_empty() {
            self.land();
        }
        if self.below(6) == 0 {
            let place = self.one_of(&["c0", "d0"]);
            self.say(&format!("compact {place}"));
        }
        for place in std::mem::take(&mut self.written) {
            self.say(&format!("ends {place}"));
            self.say(&format!("read {place}"));
        }
        let worker = self.worker();
        self.say(&format!("committed {worker}"));
    }
}
