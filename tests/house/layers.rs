//! The layers of the house: arrows go down, pure modules say so, files stay small, nothing is left unfinished.

use std::collections::BTreeMap;

use super::repository::{none, read, sources, texts, words_after};

/// What each module may use, its own parts aside. A module that isn't here may not exist.
const ARROWS: &[(&str, &[&str])] = &[
    ("record", &[]),
    ("routing", &["record"]),
    ("plan", &["routing", "record"]),
    ("lifecycle", &["record"]),
    ("log", &["record"]),
    ("transport", &["log", "record"]),
    ("store", &["lifecycle", "record"]),
    ("predict", &["lifecycle", "plan", "routing", "transport", "record"]),
    ("engine", &["store", "lifecycle", "plan", "routing", "transport", "log", "record"]),
    ("metrics", &["log", "record"]),
    ("view", &["metrics", "log", "record"]),
    ("gateway", &["view", "metrics", "log", "record"]),
    ("receiver", &["predict", "transport", "log", "record"]),
    ("certify", &["gateway", "routing", "transport", "log", "record"]),
    ("verify", &["engine", "lifecycle", "plan", "routing", "log", "record", "receiver"]),
    ("sim", &["verify", "store", "engine", "lifecycle", "plan", "routing", "transport", "log", "record"]),
    ("audit", &["verify", "log", "record"]),
    ("config", &["record"]),
    (
        "node",
        &[
            "engine",
            "store",
            "gateway",
            "view",
            "metrics",
            "config",
            "transport",
            "predict",
            "lifecycle",
            "plan",
            "routing",
            "log",
            "record",
        ],
    ),
    ("cli", &ANY),
    ("main", &["cli"]),
];

/// The shell around everything: commands may use every part.
const ANY: [&str; 19] = [
    "certify",
    "record",
    "routing",
    "plan",
    "lifecycle",
    "predict",
    "log",
    "transport",
    "store",
    "engine",
    "metrics",
    "view",
    "gateway",
    "receiver",
    "verify",
    "sim",
    "audit",
    "config",
    "node",
];

/// Modules that do no I/O, read no clock and draw no random number. The engine reaches outside by its two ports only.
const PURE: [&str; 5] = ["routing", "plan", "lifecycle", "predict", "engine"];
const DENIES: &str = "#![deny(clippy::disallowed_methods, clippy::disallowed_types)]";
/// Longest file, its tests aside, in lines.
const MAX_LINES: usize = 600;

fn module_of(path: &str) -> &str {
    let below = path.strip_prefix("src/").expect("sources are under src");
    below.split(['/', '.']).next().expect("a path has a first part")
}

/// The modules of this crate that a line names.
fn named_modules(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
    ["crate::", "consign::"]
        .into_iter()
        .flat_map(|root| words_after(code, root, is_word).into_iter().map(move |word| word[root.len()..].to_owned()))
        .filter(|module| !module.is_empty())
        .collect()
}

#[test]
fn arrows_go_down() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (text, lines) in sources() {
        let module = module_of(&text.path);
        if module == "lib" {
            continue;
        }
        let Some(allowed) = arrows.get(module) else {
            wrong.push(format!("{}: `{module}` has no place in the layers of tests/house/layers.rs", text.path));
            continue;
        };
        for (at, line) in lines {
            for named in named_modules(&line) {
                if named != module && arrows.contains_key(named.as_str()) && !allowed.contains(&named.as_str()) {
                    wrong.push(format!("{}:{at}: `{module}` may not use `{named}`", text.path));
                }
            }
        }
    }
    none(&wrong, "arrows that go up");
}

#[test]
fn the_arrows_have_no_circle() {
    let mut placed: Vec<&str> = Vec::new();
    let mut left: Vec<(&str, &[&str])> = ARROWS.to_vec();
    while !left.is_empty() {
        let before = left.len();
        left.retain(|(module, uses)| {
            let is_free = uses.iter().all(|used| placed.contains(used));
            if is_free {
                placed.push(module);
            }
            !is_free
        });
        assert!(left.len() < before, "a circle among {left:?}");
    }
}

#[test]
fn braces_in_a_use_hide_no_module() {
    let wrong: Vec<String> = sources()
        .into_iter()
        .flat_map(|(text, lines)| {
            lines
                .into_iter()
                .filter(|(_, line)| line.contains("use crate::{"))
                .map(move |(at, _)| format!("{}:{at}: one `use crate::…` for each module", text.path))
        })
        .collect();
    none(&wrong, "imports that the layers can't be read from");
}

#[test]
fn the_pure_modules_deny_clocks_and_chance() {
    for module in PURE {
        let path = format!("src/{module}/mod.rs");
        assert!(read(&path).lines().any(|line| line == DENIES), "{path} must have {DENIES}");
    }
    let lifted: Vec<String> = sources()
        .into_iter()
        .filter(|(text, _)| PURE.contains(&module_of(&text.path)))
        .flat_map(|(text, lines)| {
            lines
                .into_iter()
                .filter(|(_, line)| line.contains("allow(clippy::disallowed"))
                .map(move |(at, line)| format!("{}:{at}: {}", text.path, line.trim()))
        })
        .collect();
    none(&lifted, "pure modules that allow themselves what they deny");
}

#[test]
fn the_pure_modules_are_not_async() {
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(text, _)| PURE.contains(&module_of(&text.path)))
        .flat_map(|(text, lines)| {
            lines
                .into_iter()
                .filter(|(_, line)| {
                    let code = line.split("//").next().unwrap_or_default();
                    ["async ", "tokio::", "Mutex", "RwLock"].iter().any(|word| code.contains(word)) || awaits(code)
                })
                .map(move |(at, line)| format!("{}:{at}: {}", text.path, line.trim()))
        })
        .collect();
    none(&wrong, "pure modules that wait or lock");
}

fn awaits(code: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(".await").any(|(at, found)| !code[at + found.len()..].starts_with(is_word))
}

#[test]
fn files_are_short() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(_, lines)| lines.len() > MAX_LINES)
        .map(|(text, lines)| format!("{} has {} lines", text.path, lines.len()))
        .collect();
    none(&long, "files of more than 600 lines without their tests");
}

#[test]
fn nothing_is_left_unfinished() {
    const MARKERS: [&str; 5] = ["todo!(", "unimplemented!(", "FIXME", "TODO", "XXX"];
    let wrong: Vec<String> = texts("src", ".rs")
        .into_iter()
        .flat_map(|text| {
            let found: Vec<String> = text
                .content
                .lines()
                .enumerate()
                .filter(|(_, line)| MARKERS.iter().any(|marker| line.contains(marker)))
                .map(|(at, line)| format!("{}:{}: {}", text.path, at + 1, line.trim()))
                .collect();
            found
        })
        .collect();
    none(&wrong, "stubs and notes to oneself");
}

#[test]
fn nobodys_machine_is_in_the_repository() {
    const FOLDERS: [&str; 5] = ["src", "docs", "config", "schemas", "tests"];
    let homes = ["work", "home", "root", "Users"].map(|folder| format!("/{folder}/"));
    let of_one_machine = |line: &str| {
        homes.iter().any(|home| {
            line.match_indices(home.as_str()).any(|(at, _)| {
                // A path begins here, not in the middle of an address or of another path.
                line[..at].chars().next_back().is_none_or(|c| " \"'`(=:".contains(c))
            })
        })
    };
    let wrong: Vec<String> = FOLDERS
        .iter()
        .flat_map(|folder| texts(folder, ""))
        .chain(texts("", ".md"))
        .flat_map(|text| {
            let found: Vec<String> = text
                .content
                .lines()
                .enumerate()
                .filter(|(_, line)| of_one_machine(line))
                .map(|(at, line)| format!("{}:{}: {}", text.path, at + 1, line.trim()))
                .collect();
            found
        })
        .collect();
    none(&wrong, "absolute paths of one machine");
}
