//! Says what is wrong with a text that is not JSON, in the words of Go's `encoding/json`. Only used once the real reader
//! has failed.

use crate::field::quote;

/// Go's own bound on nesting.
const GO_MAX_DEPTH: usize = 10_000;

/// What is wrong with `text`, or `None` if it is well-formed and nests at most `depth` deep.
pub(super) fn complaint(text: &[u8], depth: usize) -> Option<String> {
    Scanner { text, at: 0, depth: depth.min(GO_MAX_DEPTH) }.document().err()
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

/// What is open.
#[derive(Clone, Copy, PartialEq)]
enum Open {
    Object,
    Array,
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), String> {
        let mut open = Vec::new();
        let mut entered = self.value_start(&mut open)?;
        while let Some(kind) = open.last().copied() {
            entered = self.step(kind, entered, &mut open)?;
        }
        self.space();
        match self.peek() {
            None => Ok(()),
            Some(c) => Err(invalid(c, "after top-level value")),
        }
    }

    /// Goes on in an object or array that was `entered` just now, or after one of its values. Tells whether it then
    /// entered another.
    fn step(&mut self, kind: Open, entered: bool, open: &mut Vec<Open>) -> Result<bool, String> {
        self.space();
        let c = self.peek().ok_or_else(end)?;
        let close = if kind == Open::Object { b'}' } else { b']' };
        if c == close {
            self.at += 1;
            open.pop();
            return Ok(false);
        }
        if !entered {
            if c != b',' {
                let place = if kind == Open::Object { "after object key:value pair" } else { "after array element" };
                return Err(invalid(c, place));
            }
            self.at += 1;
        }
        if kind == Open::Object {
            self.key()?;
        }
        self.value_start(open)
    }

    fn key(&mut self) -> Result<(), String> {
        self.space();
        match self.peek().ok_or_else(end)? {
            b'"' => self.string()?,
            c => return Err(invalid(c, "looking for beginning of object key string")),
        }
        self.space();
        match self.peek().ok_or_else(end)? {
            b':' => self.at += 1,
            c => return Err(invalid(c, "after object key")),
        }
        Ok(())
    }

    /// Reads a scalar, or enters an object or array and tells so.
    fn value_start(&mut self, open: &mut Vec<Open>) -> Result<bool, String> {
        self.space();
        let c = self.peek().ok_or_else(end)?;
        match c {
            b'{' | b'[' => {
                if open.len() >= self.depth {
                    return Err(invalid(c, "exceeded max depth"));
                }
                open.push(if c == b'{' { Open::Object } else { Open::Array });
                self.at += 1;
                return Ok(true);
            }
            b'"' => self.string()?,
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            b'-' | b'0'..=b'9' => self.number()?,
            c => return Err(invalid(c, "looking for beginning of value")),
        }
        Ok(false)
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for expected in word.bytes() {
            let c = self.peek().ok_or_else(end)?;
            if c != expected {
                return Err(invalid(c, &format!("in literal {word} (expecting {})", show(expected))));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek().ok_or_else(end)? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            c => return Err(invalid(c, "in numeric literal")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn some_digits(&mut self, place: &str) -> Result<(), String> {
        match self.peek().ok_or_else(end)? {
            b'0'..=b'9' => self.digits(),
            c => return Err(invalid(c, place)),
        }
        Ok(())
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            let c = self.peek().ok_or_else(end)?;
            self.at += 1;
            match c {
                b'"' => return Ok(()),
                b'\\' => {
                    let escaped = self.peek().ok_or_else(end)?;
                    self.at += 1;
                    match escaped {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' => {
                            for _ in 0..4 {
                                let digit = self.peek().ok_or_else(end)?;
                                if !digit.is_ascii_hexdigit() {
                                    return Err(invalid(digit, "in \\u hexadecimal character escape"));
                                }
                                self.at += 1;
                            }
                        }
                        c => return Err(invalid(c, "in string escape code")),
                    }
                }
                c if c < 0x20 => return Err(invalid(c, "in string literal")),
                _ => {}
            }
        }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

fn end() -> String {
    "unexpected end of JSON input".to_owned()
}

fn invalid(c: u8, place: &str) -> String {
    format!("invalid character {} {place}", show(c))
}

/// A byte in single quotes, as Go shows it.
fn show(c: u8) -> String {
    match c {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        c => {
            let quoted = quote(&char::from(c).to_string());
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}
