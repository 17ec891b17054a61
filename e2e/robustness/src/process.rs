//! A program that is killed, stopped and started again.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A program and its arguments. What runs is killed when this is dropped.
pub struct Process {
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// One that does not run yet. What it says goes to a file.
    #[must_use]
    pub fn new(program: &Path, arguments: Vec<String>, log: PathBuf) -> Self {
        Self { program: program.to_owned(), arguments, log, child: None }
    }

    /// Starts it; kills it before if it runs.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&mut self) -> io::Result<()> {
        self.kill();
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        // A file that may not grow is told by an error then and not by a signal: as on a full disk.
        let script = "trap '' XFSZ; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&self.program).args(&self.arguments);
        self.child = Some(command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).spawn()?);
        Ok(())
    }

    /// As `kill -9` does it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Stops it where it is, or lets it go on.
    ///
    /// # Errors
    /// If there is no program `kill`.
    pub fn pause(&self, pause: bool) -> io::Result<()> {
        self.run("kill", &["-s", if pause { "STOP" } else { "CONT" }])
    }

    /// No file of it can have more than so many bytes any more: its disk is full.
    ///
    /// # Errors
    /// If there is no program `prlimit`.
    pub fn fill_disk(&self, bytes: u64) -> io::Result<()> {
        self.run("prlimit", &[&format!("--fsize={bytes}:"), "--pid"])
    }

    fn run(&self, program: &str, arguments: &[&str]) -> io::Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        Command::new(program).args(arguments).arg(child.id().to_string()).status().map(drop)
    }

    /// Tells it a line. One that has ended hears nothing.
    pub fn tell(&mut self, line: &str) {
        if let Some(stdin) = self.child.as_mut().and_then(|child| child.stdin.as_mut()) {
            let _ = writeln!(stdin, "{line}");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
