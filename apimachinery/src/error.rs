//! Errors in words.

use std::error::Error;

/// An error with what it comes from, on one line; what a cause only repeats is left out.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Step(&'static str, #[source] Option<Box<Step>>);

    #[test]
    fn all_causes_are_told_once() {
        let caused = |text, by| Step(text, Some(Box::new(by)));
        let error = caused("cannot list", caused("cannot connect", caused("connect", Step("refused", None))));
        assert_eq!(chain(&error), "cannot list: cannot connect: refused");
    }
}
