//! Everything that is printed: results to standard output, progress and errors to standard error.

use std::error::Error as _;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::Format;
use crate::error::Error;

/// Prints a result.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Stdout)
}

/// Prints an object as JSON or YAML.
pub(crate) fn print_object(format: Format, object: &impl Serialize) -> Result<(), Error> {
    match format {
        Format::Yaml => print(&serde_yaml_ng::to_string(object)?),
        Format::Json | Format::Wide => print(&(serde_json::to_string_pretty(object)? + "\n")),
    }
}

/// Prints a table, columns aligned as kubectl does.
pub(crate) fn print_table(header: &[&str], rows: &[Vec<String>]) -> Result<(), Error> {
    let width = |i: usize| rows.iter().map(|r| r[i].len()).chain([header[i].len()]).max().unwrap_or(0) + 3;
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let text: String = cells.iter().zip(&widths).map(|(cell, w)| format!("{cell:w$}")).collect();
        text.trim_end().to_owned() + "\n"
    };
    let mut text = line(header.to_vec());
    for row in rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    print(&text)
}

/// Says something on standard error. Nothing can be done if that fails.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints an error with its causes, leaving out what a cause repeats.
pub(crate) fn complain(error: &Error) {
    let mut text = format!("error: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    say(&text);
}

/// Tells what is being waited for: one line that changes on a terminal, a line per change elsewhere.
pub(crate) struct Progress {
    begun: Instant,
    last: String,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), last: String::new(), terminal: std::io::stderr().is_terminal() }
    }

    /// How long it has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Tells what is happening.
    pub(crate) fn tell(&mut self, text: &str) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K{text} ({:.0} s)", self.elapsed().as_secs_f64());
        } else if text != self.last {
            say(text);
        }
        self.last = text.to_owned();
    }

    /// Ends the line.
    pub(crate) fn done(&mut self) {
        if self.terminal && !self.last.is_empty() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// How long ago a time is, as kubectl writes it: `5s`, `3m12s`, `4h`, `2d`.
pub(crate) fn age(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(seconds / 60, "m", seconds % 60, "s"),
        600..10_800 => format!("{}m", seconds / 60),
        10_800..28_800 => two(seconds / 3600, "h", seconds / 60 % 60, "m"),
        28_800..172_800 => format!("{}h", seconds / 3600),
        172_800..691_200 => two(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn ages_read_as_kubectl_writes_them() {
        for (seconds, want) in
            [(5, "5s"), (119, "119s"), (192, "3m12s"), (3600, "60m"), (14_400, "4h"), (90_000, "25h"), (864_000, "10d")]
        {
            assert_eq!(age(seconds), want);
        }
    }
}
