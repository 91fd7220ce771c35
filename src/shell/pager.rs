//! `$PAGER`, for a result that is longer than the screen is high.

use std::env;
use std::io::{self, Write, stdout};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::failure::Failure;
use super::format::Format;
use super::output::{ResultSink, require_text};

/// The program the user pages with, if the environment names one.
pub fn program() -> Option<String> {
    env::var("PAGER")
        .ok()
        .filter(|program| !program.trim().is_empty())
}

/// Holds a result until it is longer than the screen, then hands it to the pager.
pub struct Pager {
    program: String,
    lines: usize,
    held: Vec<u8>,
    child: Option<Child>,
    /// For its reader.
    waited: Duration,
}

impl Pager {
    /// For a terminal of so many lines.
    pub fn new(program: String, lines: usize) -> Self {
        Self {
            program,
            lines,
            held: vec![],
            child: None,
            waited: Duration::ZERO,
        }
    }

    fn start(&mut self) -> io::Result<()> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(&self.program).stdin(Stdio::piped());
        if env::var_os("LESS").is_none() {
            // Long lines are not folded, colours stay, and what fits the screen ends at once.
            command.env("LESS", "FRSX");
        }
        self.child = Some(command.spawn()?);
        let held = std::mem::take(&mut self.held);
        self.write_all(&held)
    }

    /// Writes what is held, or waits until the user has read it; gives the time that the reader took in all.
    pub fn finish(mut self) -> io::Result<Duration> {
        let Some(child) = &mut self.child else {
            return stdout().write_all(&self.held).map(|()| self.waited);
        };
        let began = Instant::now();
        drop(child.stdin.take());
        child.wait()?;
        Ok(self.waited + began.elapsed())
    }
}

impl ResultSink for Pager {
    fn begin(&mut self, format: Format) -> Result<(), Failure> {
        require_text(format)
    }
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(child) = &mut self.child {
            let began = Instant::now();
            let written = match &mut child.stdin {
                Some(stdin) => stdin.write(bytes),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            };
            self.waited += began.elapsed();
            return written;
        }
        self.held.extend(bytes);
        if self.held.iter().filter(|byte| **byte == b'\n').count() >= self.lines {
            self.start()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
