//! Walks JSON that this server wrote, without building values: what is not asked for is stepped over.

use std::borrow::Cow;
use std::str::FromStr;

use memchr::{memchr, memchr2};

/// What is in the store and can't be written for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Bytes that are not JSON as the server writes it: without spaces between its tokens.
    #[error("malformed JSON in the store")]
    Json,
    /// A text that should be base64, as RFC 4648 has it in section 4, with padding.
    #[error("malformed base64 in the store")]
    Base64,
}

/// A place in a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan<'a> {
    rest: &'a [u8],
}

/// A string between its quotes, as it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoted<'a> {
    /// With the quotes.
    whole: &'a str,
    escaped: bool,
}

impl<'a> Quoted<'a> {
    /// What it says.
    pub(crate) fn text(self) -> Cow<'a, str> {
        let inner = &self.whole[1..self.whole.len() - 1];
        if self.escaped { unescape(inner).map_or_else(|| self.decoded(), Cow::Owned) } else { Cow::Borrowed(inner) }
    }

    fn decoded(self) -> Cow<'a, str> {
        serde_json::from_str(self.whole).map_or(Cow::Borrowed(""), Cow::Owned)
    }
}

/// Takes the escapes out that stand for one character each; `None` if there are others.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        out.push(match rest.as_bytes().get(at + 1)? {
            b'n' => '\n',
            b'"' => '"',
            b'\\' => '\\',
            b't' => '\t',
            b'r' => '\r',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            _ => return None,
        });
        rest = &rest[at + 2..];
    }
    out.push_str(rest);
    Some(out)
}

impl<'a> Scan<'a> {
    pub(crate) fn new(json: &'a [u8]) -> Self {
        Self { rest: json }
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn at_null(&self) -> bool {
        self.rest.first() == Some(&b'n')
    }

    pub(crate) fn at_object(&self) -> bool {
        self.rest.first() == Some(&b'{')
    }

    pub(crate) fn at_string(&self) -> bool {
        self.rest.first() == Some(&b'"')
    }

    /// The next value as it is written.
    pub(crate) fn raw(&mut self) -> Result<&'a [u8], Malformed> {
        let start = self.rest;
        self.skip()?;
        Ok(&start[..start.len() - self.rest.len()])
    }

    /// The next value, if it is a number of this type.
    pub(crate) fn parse<T: FromStr>(&mut self) -> Result<Option<T>, Malformed> {
        Ok(std::str::from_utf8(self.raw()?).ok().and_then(|text| text.parse().ok()))
    }

    /// The next value if it is a string; empty if it is none.
    pub(crate) fn text(&mut self) -> Result<Cow<'a, str>, Malformed> {
        if self.at_string() {
            return Ok(self.string()?.text());
        }
        self.skip()?;
        Ok(Cow::Borrowed(""))
    }

    fn string(&mut self) -> Result<Quoted<'a>, Malformed> {
        let mut end = 1;
        let mut escaped = false;
        loop {
            let tail = self.rest.get(end..).ok_or(Malformed::Json)?;
            end += memchr2(b'"', b'\\', tail).ok_or(Malformed::Json)?;
            if self.rest[end] == b'"' {
                let (whole, rest) = self.rest.split_at(end + 1);
                self.rest = rest;
                return Ok(Quoted { whole: std::str::from_utf8(whole).map_err(|_| Malformed::Json)?, escaped });
            }
            escaped = true;
            end += 2;
        }
    }

    fn skip_string(&mut self) -> Result<(), Malformed> {
        let mut end = 1;
        loop {
            let tail = self.rest.get(end..).ok_or(Malformed::Json)?;
            end += memchr2(b'"', b'\\', tail).ok_or(Malformed::Json)?;
            if self.rest[end] == b'"' {
                self.rest = &self.rest[end + 1..];
                return Ok(());
            }
            end += 2;
        }
    }

    /// Steps over the next value.
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        let mut open = 0usize;
        loop {
            match *self.rest.first().ok_or(Malformed::Json)? {
                b'"' => self.skip_string()?,
                b'{' | b'[' => {
                    open += 1;
                    self.rest = &self.rest[1..];
                    continue;
                }
                b'}' | b']' => {
                    open = open.checked_sub(1).ok_or(Malformed::Json)?;
                    self.rest = &self.rest[1..];
                }
                b',' | b':' if open > 0 => {
                    self.rest = &self.rest[1..];
                    continue;
                }
                b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                    let end = self.rest.iter().position(|b| matches!(b, b',' | b'}' | b']'));
                    self.rest = &self.rest[end.unwrap_or(self.rest.len())..];
                }
                _ => return Err(Malformed::Json),
            }
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// Reads an object: `each` gets a key and must read its value. What is no object is stepped over.
    pub(crate) fn object(
        &mut self,
        mut each: impl FnMut(&mut Self, Quoted<'a>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if !self.at_object() {
            return self.skip();
        }
        self.rest = &self.rest[1..];
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            if !self.at_string() {
                return Err(Malformed::Json);
            }
            let key = self.string()?;
            self.expect(b':')?;
            each(self, key)?;
            if self.takes(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// Reads an array: `each` must read an item. What is no array is stepped over.
    pub(crate) fn array(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), Malformed>) -> Result<(), Malformed> {
        if self.rest.first() != Some(&b'[') {
            return self.skip();
        }
        self.rest = &self.rest[1..];
        if self.takes(b']') {
            return Ok(());
        }
        loop {
            each(self)?;
            if self.takes(b']') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn takes(&mut self, byte: u8) -> bool {
        let there = self.rest.first() == Some(&byte);
        if there {
            self.rest = &self.rest[1..];
        }
        there
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.takes(byte) { Ok(()) } else { Err(Malformed::Json) }
    }
}
