//! Schedules of CronJobs: five fields or a descriptor, as `github.com/robfig/cron/v3` reads them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::time::parse_duration;

/// When something is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// At the times that match.
    At(Fields),
    /// Again and again after this long (`@every 1h`).
    Every(SignedDuration),
}

/// The times that match: a bit for each value of each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// Whether days of the month, or of the week, are all meant; if neither is, either may match.
    any_day: bool,
    any_weekday: bool,
}

/// Why a text is no schedule, in the words that the stock server shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CronError(String);

/// How far ahead a match is looked for.
const YEARS_AHEAD: i16 = 5;

struct Bounds {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { min: 0, max: 59, names: &[] };
const HOURS: Bounds = Bounds { min: 0, max: 23, names: &[] };
const DAYS: Bounds = Bounds { min: 1, max: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds = Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Schedule {
    /// Reads a schedule. A time zone before it (`TZ=UTC `) is skipped; [`time_zone`] reads it.
    ///
    /// # Errors
    /// In the words of the stock server.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let mut text = text;
        if text.is_empty() {
            return Err(CronError("empty spec string".to_owned()));
        }
        if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
            let Some((zone, rest)) = text.split_once(' ') else {
                return Err(CronError(
                    "invalid schedule format: runtime error: slice bounds out of range [:-1]".to_owned(),
                ));
            };
            let name = zone.split_once('=').map_or("", |(_, name)| name);
            time_zone(name).map_err(|why| CronError(format!("provided bad location {name}: {}", why.0)))?;
            text = rest.trim();
        }
        if text.starts_with('@') {
            return descriptor(text);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(CronError(format!(
                "expected exactly 5 fields, found {}: [{}]",
                fields.len(),
                fields.join(" ")
            )));
        };
        let (minute, _) = field(minute, &MINUTES)?;
        let (hour, _) = field(hour, &HOURS)?;
        let (day, any_day) = field(day, &DAYS)?;
        let (month, _) = field(month, &MONTHS)?;
        let (weekday, any_weekday) = field(weekday, &WEEKDAYS)?;
        Ok(Self::At(Fields { minute, hour, day, month, weekday, any_day, any_weekday }))
    }

    /// The first time after `time` that is due in this zone; nothing if there is none within five years.
    pub fn next_after(&self, time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(gap) => {
                // Whole seconds, at least one.
                let gap = SignedDuration::from_secs(gap.as_secs().max(1));
                let whole = Timestamp::from_second(time.as_second()).ok()?;
                whole.checked_add(gap).ok()
            }
            Self::At(fields) => {
                let local = zone.to_datetime(time);
                let mut at = local.date().at(local.hour(), local.minute(), 0, 0).checked_add(1.minute()).ok()?;
                let last = local.year().saturating_add(YEARS_AHEAD);
                while at.year() <= last {
                    at = match fields.step(at) {
                        None => {
                            let due = zone.to_ambiguous_timestamp(at).compatible().ok()?;
                            // A time that the clock skips is due when the clock has moved on; one that it repeats, once.
                            if due > time {
                                return Some(due);
                            }
                            at.checked_add(1.minute()).ok()?
                        }
                        Some(later) => later,
                    };
                }
                None
            }
        }
    }
}

impl Fields {
    /// A later time at which a match is possible; nothing if `at` matches.
    fn step(&self, at: DateTime) -> Option<DateTime> {
        let has = |bits: u64, value: i8| bits & (1 << value) != 0;
        let date = at.date();
        if !has(self.month, at.month()) {
            return date.first_of_month().checked_add(1.month()).ok().map(|d| d.at(0, 0, 0, 0));
        }
        let (day, weekday) = (has(self.day, at.day()), has(self.weekday, at.weekday().to_sunday_zero_offset()));
        let matches = if self.any_day || self.any_weekday { day && weekday } else { day || weekday };
        if !matches {
            return date.tomorrow().ok().map(|d| d.at(0, 0, 0, 0));
        }
        if !has(self.hour, at.hour()) {
            return date.at(at.hour(), 0, 0, 0).checked_add(1.hour()).ok();
        }
        if !has(self.minute, at.minute()) {
            return at.checked_add(1.minute()).ok();
        }
        None
    }
}

fn range_bits(start: u32, end: u32, step: u32) -> u64 {
    (start..=end).step_by(step as usize).fold(0, |bits, value| bits | 1 << value)
}

/// The bits of a field, and whether it means all values.
fn field(text: &str, bounds: &Bounds) -> Result<(u64, bool), CronError> {
    let (mut bits, mut any) = (0, false);
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (more, star) = range(part, bounds)?;
        bits |= more;
        any |= star;
    }
    Ok((bits, any))
}

fn range(text: &str, bounds: &Bounds) -> Result<(u64, bool), CronError> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let mut star = matches!(ends[0], "*" | "?");
    let (start, mut end) = if star {
        (bounds.min, bounds.max)
    } else {
        let start = number_or_name(ends[0], bounds.names, bounds.min)?;
        match ends[..] {
            [_] => (start, start),
            [_, end] => (start, number_or_name(end, bounds.names, bounds.min)?),
            _ => return Err(CronError(format!("too many hyphens: {text}"))),
        }
    };
    let step = match parts[..] {
        [_] => 1,
        [_, step] => {
            let step = number(step)?;
            if ends.len() == 1 {
                end = bounds.max;
            }
            star &= step <= 1;
            step
        }
        _ => return Err(CronError(format!("too many slashes: {text}"))),
    };
    if start < bounds.min {
        return Err(CronError(format!("beginning of range ({start}) below minimum ({}): {text}", bounds.min)));
    }
    if end > bounds.max {
        return Err(CronError(format!("end of range ({end}) above maximum ({}): {text}", bounds.max)));
    }
    if start > end {
        return Err(CronError(format!("beginning of range ({start}) beyond end of range ({end}): {text}")));
    }
    if step == 0 {
        return Err(CronError(format!("step of range should be a positive number: {text}")));
    }
    Ok((range_bits(start, end, step), star))
}

fn number_or_name(text: &str, names: &[&str], first: u32) -> Result<u32, CronError> {
    match names.iter().position(|name| text.eq_ignore_ascii_case(name)) {
        Some(i) => Ok(first + i as u32),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, CronError> {
    let value: i64 = text.parse().map_err(|_| {
        let quoted = crate::field::quote(text);
        CronError(format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: invalid syntax"))
    })?;
    if value < 0 {
        return Err(CronError(format!("negative number ({value}) not allowed: {text}")));
    }
    Ok(value.try_into().unwrap_or(u32::MAX))
}

fn descriptor(text: &str) -> Result<Schedule, CronError> {
    let fields = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(every) = text.strip_prefix("@every ") else {
                return Err(CronError(format!("unrecognized descriptor: {text}")));
            };
            let nanos =
                parse_duration(every).map_err(|why| CronError(format!("failed to parse duration {text}: {why}")))?;
            return Ok(Schedule::Every(SignedDuration::from_nanos(nanos)));
        }
    };
    Schedule::parse(fields)
}

/// The time zone of this name.
///
/// # Errors
/// `unknown time zone NAME`
pub fn time_zone(name: &str) -> Result<TimeZone, CronError> {
    if name.is_empty() || name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    // Names of files in Go: their case counts.
    TimeZone::get(name)
        .ok()
        .filter(|zone| zone.iana_name() == Some(name))
        .ok_or_else(|| CronError(format!("unknown time zone {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, after: &str, zone: &str) -> String {
        let schedule = Schedule::parse(schedule).unwrap();
        schedule.next_after(after.parse().unwrap(), &time_zone(zone).unwrap()).unwrap().to_string()
    }

    #[test]
    fn next_times() {
        assert_eq!(next("*/5 * * * *", "2026-01-01T00:02:30Z", "UTC"), "2026-01-01T00:05:00Z");
        assert_eq!(next("0 0 29 2 *", "2026-01-01T00:00:00Z", "UTC"), "2028-02-29T00:00:00Z");
        assert_eq!(next("0 9 * * mon-fri", "2026-01-02T10:00:00Z", "UTC"), "2026-01-05T09:00:00Z");
        assert_eq!(next("0 9 13 * 5", "2026-01-01T10:00:00Z", "UTC"), "2026-01-02T09:00:00Z");
        assert_eq!(next("@daily", "2026-01-01T00:00:00Z", "Europe/Berlin"), "2026-01-01T23:00:00Z");
        assert_eq!(next("@every 90s", "2026-01-01T00:00:00Z", "UTC"), "2026-01-01T00:01:30Z");
    }

    #[test]
    fn refusals() {
        for (text, why) in [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("@sometimes", "unrecognized descriptor: @sometimes"),
        ] {
            assert_eq!(Schedule::parse(text).unwrap_err().to_string(), why);
        }
        assert!(time_zone("europe/berlin").is_err());
    }
}
