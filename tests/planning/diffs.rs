//! Pairs of documents, each with what is another and the five answers: the files under `diffs`.
//!
//! A pair is `diffs/base.yaml` and a patch of it: lines of `- ` are replaced by the lines of `+ ` that follow, `@ NAME` goes on
//! in a file beside the document. What stands after `=` is what the tool says.

use std::collections::BTreeMap;
use std::fs;

use consign::routing::diff::{Question, diff};
use consign::routing::{Document, Sources, load};

use super::support;

fn base() -> BTreeMap<String, String> {
    let document = fs::read_to_string(support::repository().join("tests/planning/diffs/base.yaml")).unwrap();
    [
        ("", document.as_str()),
        ("data.json", "{\"type\": \"object\"}\n"),
        ("account.json", "{\"type\": \"object\"}\n"),
        ("accounts.csv", "account,tier\na,gold\nb,silver\n"),
        ("spare.csv", "k,v\nx,1\n"),
    ]
    .into_iter()
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .collect()
}

fn loaded(texts: &BTreeMap<String, String>) -> Document {
    let mut files = texts.clone();
    let document = files.remove("").unwrap();
    let sources = Sources { name: "routing.yaml".to_owned(), document, files };
    load(&sources).unwrap_or_else(|errors| panic!("{}\n{}", support::lines(&errors), sources.document)).document
}

/// The texts after a patch.
fn patched(patch: &str) -> BTreeMap<String, String> {
    let mut texts = base();
    let mut file = String::new();
    let mut hunks: Vec<(String, String, String)> = Vec::new();
    for line in patch.lines().filter(|line| !line.starts_with('#')) {
        let (mark, text) = line.split_at(line.len().min(2));
        match mark {
            "@ " => text.clone_into(&mut file),
            "- " => match hunks.last_mut() {
                Some((of, old, new)) if *of == file && new.is_empty() => *old += &format!("{text}\n"),
                _ => hunks.push((file.clone(), format!("{text}\n"), String::new())),
            },
            "+ " => hunks.last_mut().unwrap().2 += &format!("{text}\n"),
            _ => panic!("{line:?} is no line of a patch"),
        }
    }
    for (file, old, new) in hunks {
        let text = texts.get_mut(&file).unwrap();
        assert_eq!(text.matches(&old).count(), 1, "{old} stands once");
        *text = text.replacen(&old, &new, 1);
    }
    texts
}

/// To take in what the tool says: `UPDATE_DIFFS=1 cargo test --release --test planning`.
#[test]
fn every_pair_has_its_changes_and_its_five_answers() {
    let folder = support::repository().join("tests/planning/diffs");
    let mut pairs: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    pairs.sort();
    assert!(pairs.len() >= 30, "{} pairs", pairs.len());
    let old = loaded(&base());
    let mut yes = BTreeMap::new();
    for path in pairs {
        let text = fs::read_to_string(&path).unwrap();
        let (patch, expected) = text.split_once("\n=\n").unwrap_or((text.trim_end_matches("\n="), ""));
        let new = loaded(&patched(patch));
        let said = diff(&old, &new);
        let shown = format!("{said}\n");
        if std::env::var_os("UPDATE_DIFFS").is_some() {
            fs::write(&path, format!("{patch}\n=\n{shown}")).unwrap();
        } else {
            assert_eq!(shown, expected, "{}", path.display());
        }
        assert_eq!(said.is_breaking(), said.answers().iter().any(|answer| answer.ends_with(": yes")));
        // The answers are for the change, whichever of the two was there first; a new name at an old address aside.
        let back = diff(&new, &old);
        assert_eq!(back.answers(), said.answers(), "{}", path.display());
        for question in Question::ALL.into_iter().filter(|question| said.answer(*question)) {
            *yes.entry(question).or_insert(0) += 1;
        }
    }
    assert!(Question::ALL.iter().all(|question| yes.get(question).is_some_and(|count| *count >= 3)), "{yes:?}");
}

#[test]
fn a_document_is_no_change_of_itself() {
    let document = loaded(&base());
    let said = diff(&document, &document);
    assert!(said.changes.is_empty() && !said.is_breaking());
    assert_eq!(said.old, said.new);
}
