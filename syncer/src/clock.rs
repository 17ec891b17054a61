//! The one place that asks what time it is.

use jiff::Timestamp;

/// Seconds since 1970.
pub(crate) fn now_seconds() -> i64 {
    Timestamp::now().as_second()
}

/// Now as a `MicroTime`.
pub(crate) fn now_micro_text() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Now as the API writes it: RFC 3339 with seconds.
pub(crate) fn now_text() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
