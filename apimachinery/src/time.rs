//! Times and durations as the API writes them: RFC 3339 text, and Go's text for durations. There is no clock here.
//!
//! Source: `k8s.io/apimachinery/pkg/apis/meta/v1` (`Time`, `MicroTime`, `Duration`) and Go's package `time`, which also
//! words the errors.

use std::fmt::Write;

use crate::field::quote;

const SECOND: i64 = 1_000_000_000;
const RFC3339: &str = "2006-01-02T15:04:05Z07:00";
const RFC3339_MICRO: &str = "2006-01-02T15:04:05.000000Z07:00";

/// A point in time: seconds since 1970 (UTC) and nanoseconds after that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since the epoch, may be negative.
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanos: u32,
}

impl Timestamp {
    /// A point in time by its seconds since 1970.
    pub const fn from_unix(seconds: i64) -> Self {
        Self { seconds, nanos: 0 }
    }

    /// Reads RFC 3339 text with any offset and any number of fractional digits.
    ///
    /// # Errors
    /// The message of Go's `time.Parse`.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse(text, RFC3339)
    }

    /// Reads RFC 3339 text with exactly six fractional digits, as `MicroTime` wants it.
    ///
    /// # Errors
    /// The message of Go's `time.Parse`.
    pub fn parse_micro(text: &str) -> Result<Self, String> {
        parse(text, RFC3339_MICRO)
    }

    /// `2006-01-02T15:04:05Z`: the text of a `Time`, which has no fractions.
    pub fn to_rfc3339(self) -> String {
        let mut out = self.date_time();
        out.push('Z');
        out
    }

    /// `2006-01-02T15:04:05.000000Z`: the text of a `MicroTime`.
    pub fn to_rfc3339_micro(self) -> String {
        let mut out = self.date_time();
        let _ = write!(out, ".{:06}Z", self.nanos / 1000);
        out
    }

    /// How many seconds lie between `earlier` and this, rounded down; negative if it lies later.
    pub fn seconds_since(self, earlier: Self) -> i64 {
        let borrow = i64::from(self.nanos < earlier.nanos);
        self.seconds - earlier.seconds - borrow
    }

    fn date_time(self) -> String {
        let (year, month, day) = civil(self.seconds.div_euclid(86_400));
        let second = self.seconds.rem_euclid(86_400);
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}")
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date that lies so many days after 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl Reader<'_> {
    fn cannot(&self, element: &str) -> String {
        format!(
            "parsing time {} as {}: cannot parse {} as {}",
            quote(self.text),
            quote(self.layout),
            quote(self.rest),
            quote(element)
        )
    }

    fn out_of_range(&self, what: &str) -> String {
        format!("parsing time {}: {what} out of range", quote(self.text))
    }

    fn number(&mut self, element: &str) -> Result<i64, String> {
        let bytes = self.rest.as_bytes();
        // Go takes one digit for the hour too.
        let wanted = element.len();
        let have = bytes.iter().take(wanted).take_while(|b| b.is_ascii_digit()).count();
        let take = if element == "15" && have == 1 { 1 } else { wanted };
        if have < take {
            return Err(self.cannot(element));
        }
        let (digits, rest) = self.rest.split_at(take);
        self.rest = rest;
        digits.parse().map_err(|_| self.cannot(element))
    }

    fn literal(&mut self, literal: &str) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(literal).ok_or_else(|| self.cannot(literal))?;
        Ok(())
    }
}

fn parse(text: &str, layout: &'static str) -> Result<Timestamp, String> {
    let mut r = Reader { text, rest: text, layout };
    let year = r.number("2006")?;
    r.literal("-")?;
    let month = r.number("01")?;
    if !(1..=12).contains(&month) {
        return Err(r.out_of_range("month"));
    }
    r.literal("-")?;
    let day = r.number("02")?;
    r.literal("T")?;
    let hour = r.number("15")?;
    if hour > 23 {
        return Err(r.out_of_range("hour"));
    }
    r.literal(":")?;
    let minute = r.number("04")?;
    if minute > 59 {
        return Err(r.out_of_range("minute"));
    }
    r.literal(":")?;
    let second = r.number("05")?;
    if second > 59 {
        return Err(r.out_of_range("second"));
    }
    let nanos = fraction(&mut r)?;
    let offset = zone(&mut r)?;
    if !r.rest.is_empty() {
        return Err(format!("parsing time {}: extra text: {}", quote(text), quote(r.rest)));
    }
    let date = days(year, month, day);
    if civil(date) != (year, month, day) {
        return Err(r.out_of_range("day"));
    }
    Ok(Timestamp { seconds: date * 86_400 + hour * 3600 + minute * 60 + second - offset, nanos })
}

fn fraction(r: &mut Reader<'_>) -> Result<u32, String> {
    let digits = r.rest.strip_prefix(['.', ',']).map_or(0, |f| f.bytes().take_while(u8::is_ascii_digit).count());
    let take = if r.layout == RFC3339_MICRO { 6 } else { digits };
    if digits < take {
        return Err(r.cannot(".000000"));
    }
    if digits == 0 {
        return Ok(0);
    }
    let (fraction, rest) = r.rest.split_at(take + 1);
    r.rest = rest;
    let nanos = fraction[1..].bytes().chain(std::iter::repeat(b'0')).take(9);
    Ok(nanos.fold(0, |n, digit| n * 10 + u32::from(digit - b'0')))
}

fn zone(r: &mut Reader<'_>) -> Result<i64, String> {
    if let Some(rest) = r.rest.strip_prefix('Z') {
        r.rest = rest;
        return Ok(0);
    }
    let bytes = r.rest.as_bytes();
    let digit = |i: usize| bytes.get(i).filter(|b| b.is_ascii_digit()).map(|b| i64::from(b - b'0'));
    let read = || {
        let sign = match bytes.first()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let hours = digit(1)? * 10 + digit(2)?;
        let minutes = (bytes.get(3) == Some(&b':')).then(|| Some(digit(4)? * 10 + digit(5)?))??;
        Some((sign, hours, minutes))
    };
    let (sign, hours, minutes) = read().ok_or_else(|| r.cannot("Z07:00"))?;
    if hours > 24 {
        return Err(r.out_of_range("time zone offset hour"));
    }
    if minutes > 60 {
        return Err(r.out_of_range("time zone offset minute"));
    }
    r.rest = &r.rest[6..];
    Ok(sign * (hours * 3600 + minutes * 60))
}

/// A duration of so many nanoseconds as Go writes it: `1h0m0s`, `1.5s`, `300ms`.
pub fn duration_text(nanos: i64) -> String {
    let mut out = String::new();
    if nanos < 0 {
        out.push('-');
    }
    let n = nanos.unsigned_abs();
    let second = SECOND.unsigned_abs();
    if n == 0 {
        return "0s".to_owned();
    }
    if n < second {
        let (unit, name) = match n {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        decimal(&mut out, n, unit);
        out.push_str(name);
        return out;
    }
    let (hours, minutes) = (n / second / 3600, n / second / 60 % 60);
    if hours > 0 {
        let _ = write!(out, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(out, "{minutes}m");
    }
    decimal(&mut out, n % (60 * second), second);
    out.push('s');
    out
}

fn decimal(out: &mut String, n: u64, unit: u64) {
    let _ = write!(out, "{}", n / unit);
    if !n.is_multiple_of(unit) {
        let width = unit.ilog10() as usize;
        let digits = format!("{:0width$}", n % unit);
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
}

/// Reads a duration as Go does (`1h30m`, `-1.5s`, `300ms`) into nanoseconds.
///
/// # Errors
/// The message of Go's `time.ParseDuration`.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(digits(rest));
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let name_end = after.bytes().take_while(|b| *b != b'.' && !b.is_ascii_digit()).count();
        let (name, after) = after.split_at(name_end);
        if name.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let unit: i128 = match name {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(format!("time: unknown unit {} in duration {}", quote(name), quote(text))),
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let kept = &fraction[..fraction.len().min(18)];
        let part: i128 = if kept.is_empty() { 0 } else { kept.parse().map_err(|_| invalid())? };
        let part = part * unit / 10i128.pow(kept.len() as u32);
        total = whole
            .checked_mul(unit)
            .and_then(|n| n.checked_add(part))
            .and_then(|n| total.checked_add(n))
            .ok_or_else(invalid)?;
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_any_offset_and_written_in_utc() {
        for (text, want) in [
            ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00Z"),
            ("2024-03-01T00:30:00+01:00", "2024-02-29T23:30:00Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_rfc3339(), want);
        }
        let micro = Timestamp::parse_micro("2024-02-29T12:00:00.123456Z").unwrap();
        assert_eq!(micro.to_rfc3339_micro(), "2024-02-29T12:00:00.123456Z");
        assert_eq!(Timestamp::from_unix(0).to_rfc3339(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_no_time_is_refused_in_the_words_of_go() {
        for (text, want) in [
            ("foo", r#"parsing time "foo" as "2006-01-02T15:04:05Z07:00": cannot parse "foo" as "2006""#),
            ("", r#"parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006""#),
            ("2024-02-30T00:00:00Z", r#"parsing time "2024-02-30T00:00:00Z": day out of range"#),
            ("2024-13-01T00:00:00Z", r#"parsing time "2024-13-01T00:00:00Z": month out of range"#),
            ("2024-02-01", r#"parsing time "2024-02-01" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#),
            ("2024-02-01T00:00:00Zx", r#"parsing time "2024-02-01T00:00:00Zx": extra text: "x""#),
        ] {
            assert_eq!(Timestamp::parse(text).unwrap_err(), want);
        }
        assert!(Timestamp::parse_micro("2024-02-29T12:00:00Z").is_err());
    }

    #[test]
    fn durations_are_those_of_go() {
        for text in ["0s", "1ns", "1.5µs", "300ms", "1.5s", "1m0s", "1h0m0s", "100h0m1.000000001s", "-2m3.4s"] {
            assert_eq!(duration_text(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_duration("1h30m").unwrap(), 5400 * SECOND);
        assert_eq!(parse_duration("5").unwrap_err(), r#"time: missing unit in duration "5""#);
        assert_eq!(parse_duration("x").unwrap_err(), r#"time: invalid duration "x""#);
        assert_eq!(parse_duration("1y").unwrap_err(), r#"time: unknown unit "y" in duration "1y""#);
        assert!(parse_duration("9999999h").is_err());
    }
}
