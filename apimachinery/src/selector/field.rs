//! Field selectors: `status.phase=Running,metadata.name!=x`.
//!
//! Source of syntax and wording: `k8s.io/apimachinery/pkg/fields`.

use std::fmt;

use smol_str::SmolStr;

use super::SelectorError;

/// One term: a field has, or has not, a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field, such as `spec.nodeName`.
    pub field: SmolStr,
    /// The value, unescaped.
    pub value: SmolStr,
    /// Whether the field must have the value; otherwise it must not.
    pub equal: bool,
}

/// All terms must hold. The default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// Parses `a=b,c!=d,e==f`. In values `\`, `,` and `=` are written with a `\` before them.
    ///
    /// # Errors
    /// In the words of the stock server; a 400 to the client. Which fields a kind knows is not asked here.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            let (field, equal, value) = split_term(part)
                .ok_or_else(|| SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'")))?;
            terms.push(FieldTerm { field: field.into(), value: unescape(value)?.into(), equal });
        }
        Ok(Self { terms })
    }

    /// A selector of one field with one value.
    pub fn field_is(field: impl Into<SmolStr>, value: impl Into<SmolStr>) -> Self {
        Self { terms: vec![FieldTerm { field: field.into(), value: value.into(), equal: true }] }
    }

    /// The terms, sorted as text.
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// Whether this selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether all terms hold of an object whose fields `lookup` tells. A field that is not there counts as empty.
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().all(|t| (lookup(&t.field).unwrap_or_default() == t.value) == t.equal)
    }

    /// The value that the field must have, if a term demands one: `metadata.name=x` is a get.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.field == field).map(|t| t.value.as_str())
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let op = if term.equal { "=" } else { "!=" };
            write!(f, "{comma}{}{op}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.char_indices().find(|(i, c)| *c == '=' || term[*i..].starts_with("!="))?.0;
    let (field, rest) = term.split_at(at);
    Some(match (rest.strip_prefix("!="), rest.strip_prefix("==")) {
        (Some(value), _) => (field, false, value),
        (None, Some(value)) => (field, true, value),
        (None, None) => (field, true, &rest[1..]),
    })
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => {
                    return Err(SelectorError(format!("invalid field selector: invalid escape sequence: \\{c}")));
                }
                None => return Err(SelectorError("invalid field selector: invalid escape sequence: \\".to_owned())),
            },
            ',' | '=' => {
                let code = c as u32;
                return Err(SelectorError(format!("invalid field selector: unescaped character in value: {code}")));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}
