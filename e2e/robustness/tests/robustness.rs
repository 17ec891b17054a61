//! The model checker for a short while on each store. What it prints is not held back.

#![allow(clippy::unwrap_used, reason = "a test's helpers may fail it")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

#[track_caller]
fn check(more: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_robustness"));
    let done = command.args(["check", "--seconds", "28"]).args(more).status().unwrap();
    assert!(done.success());
}

/// Each fault, for how long there is load and how much of that nothing is killed, and what is found.
const FAULTS: [(&str, u32, u32, &str); 11] = [
    ("early-answer", 8, 0, "not in the log"),
    ("lost-write", 4, 4, "not in the log"),
    ("blind-write", 4, 4, "VIOLATION"),
    ("stale-read", 4, 4, "VIOLATION"),
    ("torn-list", 4, 4, "when there was"),
    ("skipped-event", 4, 4, "not in the log"),
    ("repeated-event", 4, 4, "the log tells revision"),
    ("swapped-events", 4, 4, "the log tells revision"),
    ("early-bookmark", 16, 16, "VIOLATION"),
    ("no-bookmark", 32, 32, "was known for"),
    ("short-history", 4, 4, "refused as too old"),
];

#[test]
fn stores_that_are_wrong_are_found() {
    let check = |(fault, seconds, calm, _)| {
        let (seconds, calm) = (format!("--seconds={seconds}"), format!("--calm={calm}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_robustness"));
        command.args(["check", "--seed=1", "--broken", fault, &seconds, &calm]).stdout(Stdio::piped()).spawn().unwrap()
    };
    let runs = FAULTS.map(|fault| (fault, check(fault)));
    let mut missed = Vec::new();
    for ((fault, .., found), run) in runs {
        let done = run.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        if done.status.success() || !said.contains(found) {
            missed.push(format!("{fault}: {found:?} is not said in:\n{said}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn embedded() {
    check(&[]);
}

#[test]
#[ignore = "needs etcd: e2e/test runs it"]
fn etcd() {
    let run = std::env::var_os("TENANTRY_RUN")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.run")), PathBuf::from);
    check(&["--etcd", run.join("bin/etcd").to_str().unwrap()]);
}
