//! `make up` where it cannot go on: one clear line, exit code 1, and nothing is started. Needs no host.

#![allow(clippy::expect_used, reason = "a test's helpers may fail it")]

use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A `make up` of its own, with its state in a folder of its own.
struct Up {
    folder: PathBuf,
}

impl Up {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tenantry-up-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the test");
        Self { folder }
    }

    fn run(&self, path: &str, environment: &[(&str, &str)]) -> Output {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut make = Command::new("make");
        make.arg("-C")
            .arg(top)
            .arg("--no-print-directory")
            .arg("up")
            .env("PATH", path)
            .env("TENANTRY_RUN", self.folder.join("run"));
        make.env_remove("MAKEFLAGS").env_remove("HOST").envs(environment.iter().copied());
        make.output().expect("make starts")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn refused(up: &Up, output: &Output, says: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("error: ") && error.contains(says), "{error}");
    let left = |name: &str| up.folder.join("run").join(name).exists();
    assert!(!left("kind") && !left("log") && !left("sim"), "something was begun");
}

#[test]
fn a_missing_tool_is_named() {
    let up = Up::new("tool");
    let path = std::env::var("PATH").unwrap_or_default();
    let found = |tool: &str| path.split(':').map(|dir| Path::new(dir).join(tool)).find(|file| file.is_file());
    // All that the scripts use before they know, but neither cargo nor go.
    for tool in [
        "make", "bash", "env", "dirname", "cat", "date", "printf", "cksum", "awk", "sed", "df", "git", "cc", "uname",
        "id",
    ] {
        if let Some(file) = found(tool) {
            symlink(file, up.folder.join(tool)).expect("a link");
        }
    }
    let output = up.run(&up.folder.display().to_string(), &[]);
    refused(&up, &output, "cargo go");
}

#[test]
fn a_used_port_is_named() {
    let up = Up::new("port");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its number").port().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = up.run(&path, &[("HOST", "simulated"), ("HOST_PORT_BASE", &port)]);
    refused(&up, &output, &port);
}
