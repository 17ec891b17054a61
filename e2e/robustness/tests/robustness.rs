//! The model checker for a short while on each store. What it prints is not held back.

#![allow(clippy::unwrap_used, reason = "a test's helpers may fail it")]

use std::path::PathBuf;
use std::process::Command;

#[track_caller]
fn check(more: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_robustness"));
    let done = command.args(["check", "--seconds", "28"]).args(more).status().unwrap();
    assert!(done.success());
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
