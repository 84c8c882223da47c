//! The language of scripts: a step a line.
//!
//! | step | means |
//! | --- | --- |
//! | `open a as x` | worker `a` under the identity `x` |
//! | `drop a`, `expire x` | the worker goes without a word; its session ends |
//! | `join` | all workers poll until the partitions are shared out |
//! | `start a`, `take a` | deliver from the committed positions; poll until nothing comes |
//! | `transact a WRITES \| POSITIONS` | a transaction of a worker |
//! | `hold t FATE WRITES \| POSITIONS` | a transaction of another producer stays open; FATE is `commit`, `abort` or `leave` |
//! | `land t` | it ends as its fate says; one that is left ends only by `fence` |
//! | `fence t` | another producer begins under that transactional id |
//! | `rebuild a` | a worker's connection begins anew |
//! | `append WRITES` | records outside transactions, one by one |
//! | `committed a`, `where a` | the group's positions; the worker's |
//! | `ends P`, `read P` | where a partition begins and ends; what is visible, and whether the goal is reached |
//! | `compact P`, `delete P N` | compaction of all that is below; deletion up to an offset |
//!
//! WRITES are `P:key=value`, with `-` for a tombstone. POSITIONS are `P=offset`, or `+` for where the worker stands. P is a letter
//! of a topic and a partition: the inputs `m` manifests, `i` interventions, `o` outcomes and `k` acks; `s` file-state; and for
//! compaction `c` history, which keeps tombstones, and `d` plans, which loses them.

use std::fmt;

use consign::log::{Append, Position, TopicPartition};
use consign::record::Topic;

pub const PARTITIONS: i32 = 2;

const LETTERS: [(char, Topic); 7] = [
    ('m', Topic::Manifests),
    ('i', Topic::Interventions),
    ('o', Topic::Outcomes),
    ('k', Topic::Acks),
    ('s', Topic::FileState),
    ('c', Topic::History),
    ('d', Topic::Plans),
];

/// The partitions that a script may name.
pub fn places() -> impl Iterator<Item = TopicPartition> {
    LETTERS.iter().flat_map(|(_, topic)| (0..PARTITIONS).map(|partition| TopicPartition { topic: *topic, partition }))
}

pub fn name(at: TopicPartition) -> String {
    let (letter, _) = LETTERS.iter().find(|(_, topic)| *topic == at.topic).expect("scripts name these topics only");
    format!("{letter}{}", at.partition)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Commit,
    Abort,
    Leave,
}

/// Which positions a transaction commits; offsets count from the script's beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Positions {
    These(Vec<Position>),
    /// Where the worker stands on all it has started.
    Here,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Open { worker: String, identity: String },
    Drop(String),
    Expire(String),
    Join,
    Start(String),
    Take(String),
    Transact { worker: String, writes: Vec<Append>, positions: Positions },
    Hold { id: String, fate: Fate, writes: Vec<Append>, positions: Vec<Position> },
    Land(String),
    Fence(String),
    Rebuild(String),
    Append(Vec<Append>),
    Committed(String),
    Where(String),
    Ends(TopicPartition),
    Read(TopicPartition),
    Compact(TopicPartition),
    Delete(TopicPartition, i64),
}

pub struct Script {
    pub name: String,
    pub text: String,
    pub steps: Vec<Step>,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "# {}\n{}", self.name, self.text)
    }
}

impl Script {
    pub fn read(name: &str, text: &str) -> Self {
        let step = |line: &str| read_step(line).unwrap_or_else(|| panic!("{name}: no step: {line}"));
        let steps = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(step).collect();
        Self { name: name.to_owned(), text: text.to_owned(), steps }
    }

    /// Those of a file: each begins with a line `# name`.
    pub fn read_all(text: &str) -> Vec<Self> {
        let parts = text.split("\n# ").skip(1);
        parts.map(|part| part.split_once('\n').map(|(name, text)| Self::read(name, text)).expect("a name")).collect()
    }
}

fn read_step(line: &str) -> Option<Step> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let words: Vec<&str> = rest.split_whitespace().collect();
    let one = || words.first().map(|word| (*word).to_owned());
    Some(match word {
        "open" => Step::Open { worker: one()?, identity: (*words.get(2)?).to_owned() },
        "drop" => Step::Drop(one()?),
        "expire" => Step::Expire(one()?),
        "join" => Step::Join,
        "start" => Step::Start(one()?),
        "take" => Step::Take(one()?),
        "transact" => {
            let (writes, positions) = effects(&words[1..])?;
            let here = words.last() == Some(&"+");
            Step::Transact {
                worker: one()?,
                writes,
                positions: if here { Positions::Here } else { Positions::These(positions) },
            }
        }
        "hold" => {
            let fate = match *words.get(1)? {
                "commit" => Fate::Commit,
                "abort" => Fate::Abort,
                "leave" => Fate::Leave,
                _ => return None,
            };
            let (writes, positions) = effects(&words[2..])?;
            Step::Hold { id: one()?, fate, writes, positions }
        }
        "land" => Step::Land(one()?),
        "fence" => Step::Fence(one()?),
        "rebuild" => Step::Rebuild(one()?),
        "append" => Step::Append(effects(&words)?.0),
        "committed" => Step::Committed(one()?),
        "where" => Step::Where(one()?),
        "ends" => Step::Ends(place(words.first()?)?),
        "read" => Step::Read(place(words.first()?)?),
        "compact" => Step::Compact(place(words.first()?)?),
        "delete" => Step::Delete(place(words.first()?)?, words.get(1)?.parse().ok()?),
        _ => return None,
    })
}

/// Writes, and positions behind a bar.
fn effects(words: &[&str]) -> Option<(Vec<Append>, Vec<Position>)> {
    let mut parts = words.split(|word| *word == "|");
    let writes = parts.next().unwrap_or_default().iter().map(|word| write(word)).collect::<Option<_>>()?;
    let positions = parts.next().unwrap_or_default().iter().filter(|word| **word != "+").map(|word| position(word));
    Some((writes, positions.collect::<Option<_>>()?))
}

fn write(word: &str) -> Option<Append> {
    let (at, content) = word.split_once(':')?;
    let (key, value) = content.split_once('=')?;
    let at = place(at)?;
    Some(Append {
        topic: at.topic,
        partition: Some(at.partition),
        key: key.as_bytes().to_vec(),
        value: (value != "-").then(|| value.as_bytes().to_vec()),
        headers: Vec::new(),
    })
}

fn position(word: &str) -> Option<Position> {
    let (at, offset) = word.split_once('=')?;
    Some((place(at)?, offset.parse().ok()?))
}

fn place(word: &str) -> Option<TopicPartition> {
    let mut letters = word.chars();
    let letter = letters.next()?;
    let (_, topic) = LETTERS.iter().find(|(known, _)| *known == letter)?;
    Some(TopicPartition { topic: *topic, partition: letters.as_str().parse().ok()? })
}
