//! What can be said of the corpus without a server.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use differential::corpus;

#[test]
fn every_known_difference_has_its_row_and_every_row_its_case() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = corpus::load(&here.join("corpus")).unwrap();
    let marked: BTreeSet<&str> =
        corpus.iter().flat_map(|s| &s.cases).flat_map(|c| &c.differs).map(|known| known.known.as_str()).collect();
    let page = std::fs::read_to_string(here.join("../../docs/differences.md")).unwrap();
    let section = page.split("## Found by the differential suite").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows: BTreeSet<&str> = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(marked, rows);
}

#[test]
fn the_corpus_is_large_enough() {
    let corpus = corpus::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap();
    assert!(corpus.iter().map(|s| s.cases.len()).sum::<usize>() >= 500);
}
