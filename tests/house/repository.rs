//! The repository as text: its files, and the lines of its code that aren't tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold nothing of ours.
const FOREIGN: [&str; 4] = ["target", ".git", ".cache", ".claude"];

/// A text file of the repository.
pub struct Text {
    /// Its path from the root, with `/`.
    pub path: String,
    /// What is in it.
    pub content: String,
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The content of a file; its path from the root.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every text file under a folder (`""` for the root) whose name ends so, sorted.
pub fn texts(folder: &str, ending: &str) -> Vec<Text> {
    let mut paths = Vec::new();
    collect(&root().join(folder), &mut paths);
    paths.sort();
    let of = |path: &PathBuf| {
        let name = path.strip_prefix(root()).expect("it is below the root").to_str().expect("paths are UTF-8");
        Text { path: name.replace('\\', "/"), content: fs::read_to_string(path).unwrap_or_default() }
    };
    let texts: Vec<Text> = paths.iter().filter(|path| path.to_string_lossy().ends_with(ending)).map(of).collect();
    assert!(!texts.is_empty(), "there is no {ending} under `{folder}`");
    texts
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries.map(|entry| entry.expect("the folder can be read")) {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if !path.is_dir() {
            paths.push(path);
        } else if !FOREIGN.contains(&name.as_str()) {
            collect(&path, paths);
        }
    }
}

/// The sources of the crate that aren't tests, each with its lines that aren't tests: (number from 1, line).
pub fn sources() -> Vec<(Text, Vec<(usize, String)>)> {
    let is_test = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        path.contains("/tests/") || name == "testing.rs" || name == "tests.rs" || name.ends_with("_tests.rs")
    };
    texts("src", ".rs")
        .into_iter()
        .filter(|text| !is_test(&text.path))
        .map(|text| {
            let lines = without_tests(&text.content);
            (text, lines)
        })
        .collect()
}

/// Lines without items under `#[cfg(test)]`. The code is formatted: an item that opens a brace ends at the first line
/// with the same indentation that is only a closing one.
pub fn without_tests(content: &str) -> Vec<(usize, String)> {
    let mut lines = content.lines().enumerate().map(|(at, line)| (at + 1, line.to_owned()));
    let mut kept = Vec::new();
    while let Some((at, line)) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push((at, line));
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let item = lines.by_ref().find(|(_, line)| !line.trim_start().starts_with("#["));
        if item.is_some_and(|(_, item)| item.ends_with('{')) {
            let end = format!("{}}}", " ".repeat(indent));
            lines.by_ref().find(|(_, line)| *line == end);
        }
    }
    kept
}

/// Every occurrence of `prefix` followed by characters that `is_word` takes, as (prefix and word).
pub fn words_after(text: &str, prefix: &str, is_word: impl Fn(char) -> bool) -> BTreeSet<String> {
    let starts_word = |at: usize| !text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(prefix)
        .filter(|(at, _)| starts_word(*at))
        .map(|(at, _)| {
            let rest = &text[at + prefix.len()..];
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            format!("{prefix}{}", &rest[..end])
        })
        .collect()
}

/// The fenced blocks of a Markdown text with these words after the fence.
pub fn fenced(markdown: &str, words: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
        if info.trim() == words {
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

/// Fails with all complaints at once.
pub fn none(complaints: &[String], what: &str) {
    assert!(complaints.is_empty(), "{what}:\n  {}", complaints.join("\n  "));
}

#[test]
fn what_is_under_cfg_test_is_left_out() {
    let code = "a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\n#[path = \"x\"]\nmod y {\n    c\n}\nd\n";
    let kept: Vec<String> = without_tests(code).into_iter().map(|(_, line)| line).collect();
    assert_eq!(kept, ["a", "b", "d"]);
}

#[test]
fn fenced_blocks_are_found_by_their_words() {
    let text = "x\n```yaml routing\na: 1\nb: 2\n```\n```yaml\nc: 3\n```\n";
    assert_eq!(fenced(text, "yaml routing"), ["a: 1\nb: 2"]);
    assert_eq!(fenced(text, "yaml"), ["c: 3"]);
}
