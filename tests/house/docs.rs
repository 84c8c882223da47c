//! The documentation: links lead somewhere, codes have pages, examples load, invariants name tests, commands exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use consign::engine::reason;
use consign::routing::{Sources, load, named_files};

use super::repository::{fenced, none, read, root, sources, texts, words_after};

fn codes_in(text: &str) -> BTreeSet<String> {
    words_after(text, "CG", |c| c.is_ascii_digit()).into_iter().filter(|code| code.len() == 5).collect()
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let given: BTreeSet<String> = sources()
        .iter()
        .flat_map(|(_, lines)| lines.iter())
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .flat_map(|(_, line)| codes_in(line))
        .collect();
    let explained: BTreeSet<String> = texts("docs/errors", ".md")
        .into_iter()
        .filter_map(|text| Path::new(&text.path).file_stem()?.to_str().map(str::to_owned))
        .filter(|name| codes_in(name).contains(name))
        .collect();
    let without_page = given.difference(&explained).map(|code| format!("{code} has no docs/errors/{code}.md"));
    let without_code = explained.difference(&given).map(|code| format!("docs/errors/{code}.md: nothing gives {code}"));
    none(&without_page.chain(without_code).collect::<Vec<_>>(), "codes and pages that miss each other");
}

/// The parts of a page, in their order.
const PARTS: [&str; 3] = ["What it means", "What consign does meanwhile", "What to do"];

/// What is wrong with the page of a code: a part that it lacks, that says nothing, or that stands elsewhere.
fn faults_of_page(code: &str, content: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !content.starts_with(&format!("# {code}: ")) {
        faults.push(format!("doesn't begin with `# {code}: `"));
    }
    let sections: Vec<(&str, &str)> =
        content.split("\n## ").skip(1).filter_map(|section| section.split_once('\n')).collect();
    let found: Vec<&str> = sections.iter().map(|(name, _)| *name).filter(|name| PARTS.contains(name)).collect();
    if found != PARTS {
        faults.push(format!("has the parts {found:?}, not {PARTS:?}"));
    }
    let silent = sections.iter().filter(|(_, text)| text.trim().is_empty());
    faults.extend(silent.map(|(name, _)| format!("says nothing under `{name}`")));
    faults
}

#[test]
fn a_page_without_a_part_is_found() {
    let whole = "# CG999: t\n\n## What it means\n\na\n\n## What consign does meanwhile\n\nb\n\n## What to do\n\nc\n";
    assert_eq!(faults_of_page("CG999", whole), Vec::<String>::new());
    assert_eq!(
        faults_of_page("CG999", &whole.replace("\nb\n", "")),
        ["says nothing under `What consign does meanwhile`"]
    );
    let lacking = whole.replace("## What consign does meanwhile", "## Meanwhile");
    assert_eq!(faults_of_page("CG999", &lacking).len(), 1);
    assert_eq!(faults_of_page("CG998", whole).len(), 1);
}

#[test]
fn every_page_of_a_code_says_what_it_means_what_happens_meanwhile_and_what_to_do() {
    let mut wrong = Vec::new();
    for text in texts("docs/errors", ".md") {
        let code = Path::new(&text.path).file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if !codes_in(&code).contains(&code) {
            continue;
        }
        wrong.extend(faults_of_page(&code, &text.content).into_iter().map(|fault| format!("{} {fault}", text.path)));
    }
    none(&wrong, "pages that are not whole");
}

#[test]
fn every_reason_of_a_dead_letter_has_its_section() {
    let page = read("docs/errors/dead-letters.md");
    let sections: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(sections, reason::ALL.into_iter().collect(), "docs/errors/dead-letters.md");
}

#[test]
fn every_code_of_a_judgement_is_explained() {
    let page = read("docs/errors/judgements.md");
    let mut wrong = Vec::new();
    for (text, lines) in sources().into_iter().filter(|(text, _)| text.path.starts_with("src/lifecycle/")) {
        if ["specimen.rs", "table.rs"].iter().any(|name| text.path.ends_with(name)) || text.path.contains("/table/") {
            continue;
        }
        for (at, line) in lines {
            for code in quoted_after(&line, &["Some(", "refused(", "late(", "code: "]) {
                if !page.contains(&format!("`{code}`")) {
                    wrong.push(format!("{}:{at}: `{code}` is not in docs/errors/judgements.md", text.path));
                }
            }
        }
    }
    none(&wrong, "codes without an explanation");
}

/// Words in quotes right after one of these.
fn quoted_after<'l>(line: &'l str, before: &[&str]) -> Vec<&'l str> {
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    before
        .iter()
        .flat_map(|before| line.match_indices(*before).map(|(at, found)| &line[at + found.len()..]))
        .filter_map(|rest| rest.strip_prefix('"')?.split('"').next())
        .filter(|word| is_word(word))
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for text in texts("", ".md") {
        let folder = Path::new(&text.path).parent().unwrap_or(Path::new("")).to_owned();
        for target in links(&text.content) {
            let (path, fragment) = target.split_once('#').unwrap_or((&target, ""));
            let place = if path.is_empty() { PathBuf::from(&text.path) } else { normal(&folder.join(path)) };
            if !root().join(&place).exists() {
                wrong.push(format!("{}: {target}: there is no {}", text.path, place.display()));
            } else if !fragment.is_empty() && !anchors(&read(&place.to_string_lossy())).contains(fragment) {
                wrong.push(format!("{}: {target}: there is no such heading", text.path));
            }
        }
    }
    none(&wrong, "links that lead nowhere");
}

/// The targets of relative links, outside fenced blocks.
fn links(markdown: &str) -> Vec<String> {
    let mut inside = false;
    let prose: Vec<&str> = markdown
        .lines()
        .filter(|line| {
            let fence = line.trim_start().starts_with("```");
            inside ^= fence;
            !inside && !fence
        })
        .collect();
    let prose = prose.join("\n");
    prose
        .match_indices("](")
        .filter_map(|(at, _)| prose[at + 2..].split([')', '\n']).next())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .map(str::to_owned)
        .collect()
}

fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => assert!(normal.pop(), "{} leaves the repository", path.display()),
            std::path::Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

/// The anchors of a text's headings, as GitHub makes them.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let kept = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == ' ';
    markdown
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| heading.chars().filter(|c| kept(*c)).collect::<String>().replace(' ', "-"))
        .collect()
}

#[test]
fn routing_examples_load() {
    let mut blocks = Vec::new();
    for text in texts("", ".md") {
        blocks.extend(fenced(&text.content, "yaml routing").into_iter().map(|block| (text.path.clone(), block)));
    }
    assert!(blocks.len() >= 5, "docs/routing.md shows the document by examples");
    for (path, document) in blocks {
        let files = named_files(&document).into_iter().map(|name| (name.clone(), stand_in(&name))).collect();
        let sources = Sources { name: path.clone(), document: document.clone(), files };
        if let Err(errors) = load(&sources) {
            panic!("{path}: {errors:#?}\n{document}");
        }
    }
}

/// A file that an example names: a schema that takes everything, or a table.
fn stand_in(name: &str) -> String {
    let text = match Path::new(name).extension().and_then(|ending| ending.to_str()) {
        Some("csv") => "account_id,tier\nA-100,gold\n",
        Some("avsc") => "\"string\"",
        _ => "{}",
    };
    text.to_owned()
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let page = read("ARCHITECTURE.md");
    let code: String = texts("src", ".rs").into_iter().chain(texts("tests", ".rs")).map(|text| text.content).collect();
    let paragraphs: Vec<&str> = page.split("\n\n").flat_map(|text| text.split("\n- ")).collect();
    let invariants: Vec<&&str> = paragraphs.iter().filter(|text| text.contains("**Invariant:**")).collect();
    assert!(invariants.len() >= 10, "ARCHITECTURE.md names the invariants");
    let mut wrong = Vec::new();
    for invariant in invariants {
        let mut named = invariant.split('`').skip(1).step_by(2).map(|name| name.rsplit("::").next().unwrap_or(name));
        let guarded = named.any(|name| code.contains(&format!("fn {name}()")));
        if !guarded {
            wrong.push(invariant.replace('\n', " "));
        }
    }
    none(&wrong, "invariants of ARCHITECTURE.md that no existing test guards");
}

/// The commands that have commands of their own.
const GROUPS: [&str; 6] = ["topics", "schemas", "routing", "offsets", "dead-letters", "targets"];

#[test]
fn every_command_that_is_shown_is_one_of_the_binarys() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for text in texts("", ".md") {
        for line in fenced(&text.content, "sh").iter().flat_map(|block| block.lines()) {
            for call in line.split(['|', ';', '&']).filter_map(|part| part.trim().strip_prefix("consign ")) {
                let call = call.split(" #").next().unwrap_or_default();
                let mut words = call.split_whitespace();
                let mut path: Vec<&str> = words.next().into_iter().collect();
                if path.first().is_some_and(|first| GROUPS.contains(first)) {
                    path.extend(words.next());
                }
                let flags: Vec<&str> = call.split_whitespace().filter(|word| word.starts_with("--")).collect();
                let mark = (path.join(" "), flags.join(" "));
                if seen.insert(mark) {
                    wrong.extend(unknown(&path, &flags).map(|why| format!("{}: consign {call}: {why}", text.path)));
                }
            }
        }
    }
    assert!(seen.len() >= 20, "the documentation shows commands");
    none(&wrong, "commands that the binary doesn't have");
}

/// What the binary has against a command; its help says which there are.
fn unknown(path: &[&str], flags: &[&str]) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_consign")).args(path).arg("--help").output();
    let output = output.expect("the binary can be run");
    let help = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || help.trim().is_empty() {
        return Some(format!("--help ends with {:?}", output.status.code()));
    }
    let missing = flags.iter().find(|flag| !help.contains(flag.split('=').next().unwrap_or(flag)));
    missing.map(|flag| format!("--help doesn't know {flag}"))
}

#[test]
fn the_receivers_that_are_shown_are_those_that_are_tested() {
    let page = read("docs/receivers.md");
    let mut wrong = Vec::new();
    for (words, name) in [
        ("python", "receiver.py"),
        ("js", "receiver.mjs"),
        ("go", "receiver.go"),
        ("java", "Receiver.java"),
        ("rust", "main.rs"),
    ] {
        let file = read(&format!("examples/receiver/{name}"));
        if !fenced(&page, words).iter().any(|block| block.trim_end() == file.trim_end()) {
            wrong.push(format!("docs/receivers.md shows another examples/receiver/{name}"));
        }
    }
    none(&wrong, "receivers that are shown otherwise");
}
