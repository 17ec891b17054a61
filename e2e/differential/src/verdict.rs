//! What was found, held against what the corpus expects.

use crate::compare::{Difference, matches};
use crate::corpus::Known;

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same answers.
    Equal,
    /// They differ as the corpus says.
    Expected(Vec<String>),
    /// They differ where the corpus does not say so.
    Differs(Vec<Difference>),
    /// Differences that the corpus names are no longer there.
    Gone(Vec<String>),
    /// It could not be played.
    Broken(String),
}

/// Judges the differences of one case.
#[must_use]
pub fn judge(differences: Vec<Difference>, known: &[Known]) -> Verdict {
    let covers =
        |known: &Known, found: &Difference| known.at.is_empty() || known.at.iter().any(|at| matches(at, &found.at));
    let unknown: Vec<Difference> =
        differences.iter().filter(|d| !known.iter().any(|k| covers(k, d))).cloned().collect();
    if !unknown.is_empty() {
        return Verdict::Differs(unknown);
    }
    let gone: Vec<String> =
        known.iter().filter(|k| !differences.iter().any(|d| covers(k, d))).map(|k| k.known.clone()).collect();
    match (gone.is_empty(), known.is_empty()) {
        (false, _) => Verdict::Gone(gone),
        (true, true) => Verdict::Equal,
        (true, false) => Verdict::Expected(known.iter().map(|k| k.known.clone()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_differences_are_expected_and_must_be_there() {
        let found = |at: &str| Difference { step: 0, at: at.to_owned(), stock: None, tenant: None };
        let known = [Known { known: "k".to_owned(), at: vec!["body/a".to_owned()] }];
        assert_eq!(judge(vec![], &[]), Verdict::Equal);
        assert_eq!(judge(vec![found("body/a")], &known), Verdict::Expected(vec!["k".to_owned()]));
        assert_eq!(judge(vec![], &known), Verdict::Gone(vec!["k".to_owned()]));
        assert_eq!(judge(vec![found("body/a"), found("code")], &known), Verdict::Differs(vec![found("code")]));
    }
}
