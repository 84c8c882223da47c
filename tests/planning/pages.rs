//! Every code of routing and planning has its page, and every page its code.

use std::collections::BTreeSet;
use std::fs;

use consign::routing::code;

use super::support;

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let folder = support::repository().join("docs/errors");
    let codes: BTreeSet<String> = code::ALL.iter().map(|code| (*code).to_owned()).collect();
    assert_eq!(codes.len(), code::ALL.len(), "a code is there twice");
    let pages: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".md").map(str::to_owned))
        .filter(|name| name.starts_with("CG1"))
        .collect();
    assert_eq!(pages, codes);
    for code in codes {
        let page = fs::read_to_string(folder.join(format!("{code}.md"))).unwrap();
        assert!(page.starts_with(&format!("# {code}: ")), "{code}");
        for part in ["\n## What it means\n", "\n## What to do\n"] {
            assert!(page.contains(part), "{code} lacks {part:?}");
        }
    }
}
