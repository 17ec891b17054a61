//! The syntax of label selectors in queries.
//!
//! ```text
//! selector    = [ requirement *( "," requirement ) ]
//! requirement = [ "!" ] key | key ( "=" | "==" | "!=" | ">" | "<" ) [ value ] | key ( "in" | "notin" ) "(" [ values ] ")"
//! ```

use std::collections::BTreeSet;

use smol_str::SmolStr;

use super::{Operator, Requirement, SelectorError};
use crate::field::quote;
use crate::rules::names;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    End,
    Open,
    Close,
    Comma,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    In,
    NotIn,
    Word,
}

#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    text: SmolStr,
}

pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    Parser { tokens: lex(text), at: 0 }.selector()
}

/// Checks and builds a requirement. What is wrong is told under the path that the stock server gives it.
pub(super) fn requirement(
    key: SmolStr,
    operator: Operator,
    values: Vec<SmolStr>,
) -> Result<Requirement, SelectorError> {
    let mut errors = Vec::new();
    let listed = || format!("[{}]", values.iter().map(|v| quote(v)).collect::<Vec<_>>().join(","));
    let wrong = names::qualified_name(&key);
    if !wrong.is_empty() {
        errors.push(format!("key: Invalid value: {}: {}", quote(&key), wrong.join("; ")));
    }
    let complaint = match operator {
        Operator::In | Operator::NotIn if values.is_empty() => "for 'in', 'notin' operators, values set can't be empty",
        Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
            "exact-match compatibility requires one single value"
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            "values set must be empty for exists and does not exist"
        }
        Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
            "for 'Gt', 'Lt' operators, exactly one value is required"
        }
        _ => "",
    };
    if !complaint.is_empty() {
        errors.push(format!("values: Invalid value: {}: {complaint}", listed()));
    }
    for (i, value) in values.iter().enumerate() {
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) && value.parse::<i64>().is_err() {
            let value = quote(value);
            errors.push(format!(
                "values[{i}]: Invalid value: {value}: for 'Gt', 'Lt' operators, the value must be an integer"
            ));
        }
    }
    for (i, value) in values.iter().enumerate() {
        let wrong = names::label_value(value);
        if !wrong.is_empty() {
            errors.push(format!("values[{i}][{key}]: Invalid value: {}: {}", quote(value), wrong.join("; ")));
        }
    }
    match errors.len() {
        0 => Ok(Requirement { key, operator, values }),
        1 => Err(SelectorError(errors.remove(0))),
        _ => Err(SelectorError(format!("[{}]", errors.join(", ")))),
    }
}

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn symbol(text: &str) -> Option<Kind> {
    Some(match text {
        "(" => Kind::Open,
        ")" => Kind::Close,
        "," => Kind::Comma,
        "!" => Kind::Not,
        "=" => Kind::Equals,
        "==" => Kind::DoubleEquals,
        "!=" => Kind::NotEquals,
        ">" => Kind::Greater,
        "<" => Kind::Less,
        _ => return None,
    })
}

fn lex(text: &str) -> Vec<Token> {
    // A NUL ends the text, as it does for the stock server.
    let mut rest = text.split('\0').next().unwrap_or_default();
    let mut tokens = Vec::new();
    loop {
        rest = rest.trim_start_matches(is_space);
        let Some(first) = rest.chars().next() else { break };
        let one = &rest[..first.len_utf8()];
        let (token, tail) = if let Some(kind) = symbol(one) {
            // The longer symbol wins: `==` is not two `=`.
            let two = rest.get(..2).and_then(|s| symbol(s).map(|k| (k, s)));
            let (kind, literal) = two.unwrap_or((kind, one));
            (Token { kind, text: literal.into() }, &rest[literal.len()..])
        } else {
            let end = rest.find(|c| is_symbol(c) || is_space(c)).unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end);
            let kind = match word {
                "in" => Kind::In,
                "notin" => Kind::NotIn,
                _ => Kind::Word,
            };
            (Token { kind, text: word.into() }, tail)
        };
        tokens.push(token);
        rest = tail;
    }
    tokens.push(Token { kind: Kind::End, text: SmolStr::default() });
    tokens
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    /// The token at hand; past the end it is the end. `in` and `notin` are words wherever no operator can stand.
    fn peek(&self) -> Token {
        let last = self.tokens.len() - 1;
        let mut token = self.tokens[self.at.min(last)].clone();
        if matches!(token.kind, Kind::In | Kind::NotIn) {
            token.kind = Kind::Word;
        }
        token
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut requirements = Vec::new();
        loop {
            let token = self.peek();
            match token.kind {
                Kind::Word | Kind::Not => {
                    let requirement = self.requirement();
                    requirements
                        .push(requirement.map_err(|e| SelectorError(format!("unable to parse requirement: {e}")))?);
                    let token = self.next();
                    match token.kind {
                        Kind::End => return Ok(requirements),
                        Kind::Comma => {
                            let token = self.peek();
                            if !matches!(token.kind, Kind::Word | Kind::Not) {
                                return Err(found(&token, ", expected: identifier after ','"));
                            }
                        }
                        _ => return Err(found(&token, ", expected: ',' or 'end of string'")),
                    }
                }
                Kind::End => return Ok(requirements),
                _ => return Err(found(&token, ", expected: !, identifier, or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut token = self.next();
        let negated = token.kind == Kind::Not;
        if negated {
            token = self.next();
        }
        if token.kind != Kind::Word {
            return Err(found(&token, ", expected: identifier"));
        }
        let key = token.text;
        let wrong = names::qualified_name(&key);
        if !wrong.is_empty() {
            // The stock server has no path here and prints it as Go prints nil.
            return Err(SelectorError(format!("<nil>: Invalid value: {}: {}", quote(&key), wrong.join("; "))));
        }
        if negated {
            return requirement(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek().kind, Kind::End | Kind::Comma) {
            return requirement(key, Operator::Exists, Vec::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => BTreeSet::from([self.exact_value()?]),
        };
        requirement(key, operator, values.into_iter().collect())
    }

    fn operator(&mut self) -> Result<Operator, SelectorError> {
        let last = self.tokens.len() - 1;
        let token = self.tokens[self.at.min(last)].clone();
        self.at += 1;
        Ok(match token.kind {
            Kind::In => Operator::In,
            Kind::NotIn => Operator::NotIn,
            Kind::Equals => Operator::Equals,
            Kind::DoubleEquals => Operator::DoubleEquals,
            Kind::NotEquals => Operator::NotEquals,
            Kind::Greater => Operator::GreaterThan,
            Kind::Less => Operator::LessThan,
            _ => return Err(found(&token, ", expected: in, notin, =, ==, !=, gt, lt")),
        })
    }

    fn exact_value(&mut self) -> Result<SmolStr, SelectorError> {
        if matches!(self.peek().kind, Kind::End | Kind::Comma) {
            return Ok(SmolStr::default());
        }
        let token = self.next();
        if token.kind == Kind::Word { Ok(token.text) } else { Err(found(&token, ", expected: identifier")) }
    }

    fn values(&mut self) -> Result<BTreeSet<SmolStr>, SelectorError> {
        let token = self.next();
        if token.kind != Kind::Open {
            return Err(found(&token, " expected: '('"));
        }
        let first = self.peek();
        match first.kind {
            Kind::Word | Kind::Comma => {
                let values = self.list()?;
                if self.next().kind == Kind::Close { Ok(values) } else { Err(found(&first, ", expected: ')'")) }
            }
            Kind::Close => {
                self.next();
                Ok(BTreeSet::from([SmolStr::default()]))
            }
            _ => Err(found(&first, ", expected: ',', ')' or identifier")),
        }
    }

    /// Values up to the closing parenthesis, which stays. Where a comma has nothing on a side, the empty value is meant.
    fn list(&mut self) -> Result<BTreeSet<SmolStr>, SelectorError> {
        let mut values = BTreeSet::new();
        loop {
            let token = self.next();
            match token.kind {
                Kind::Word => {
                    values.insert(token.text);
                    let after = self.peek();
                    match after.kind {
                        Kind::Comma => {}
                        Kind::Close => return Ok(values),
                        _ => return Err(found(&after, ", expected: ',' or ')'")),
                    }
                }
                Kind::Comma => {
                    if values.is_empty() {
                        values.insert(SmolStr::default());
                    }
                    match self.peek().kind {
                        Kind::Close => {
                            values.insert(SmolStr::default());
                            return Ok(values);
                        }
                        Kind::Comma => {
                            values.insert(SmolStr::default());
                        }
                        _ => {}
                    }
                }
                _ => return Err(found(&token, ", expected: ',', or identifier")),
            }
        }
    }
}

fn found(token: &Token, rest: &str) -> SelectorError {
    SelectorError(format!("found '{}'{rest}", token.text))
}
