//! The screen: its size, and `$PAGER` for a result that is longer than it is high.

use std::env;
use std::io::{self, IsTerminal, Write, stdout};
use std::process::{Child, Command, Stdio};

use rustyline::Editor;
use rustyline::history::DefaultHistory;

/// The program the user pages with, if the environment names one.
pub fn program() -> Option<String> {
    env::var("PAGER")
        .ok()
        .filter(|program| !program.trim().is_empty())
}

/// Columns and lines of the terminal that stdout is, if it is one.
pub fn screen() -> Option<(usize, usize)> {
    if !stdout().is_terminal() {
        return None;
    }
    let mut editor = Editor::<(), DefaultHistory>::new().ok()?;
    let (columns, lines) = editor.dimensions()?;
    Some((usize::from(columns), usize::from(lines)))
}

/// Holds a result until it is longer than the screen, then hands it to the pager.
pub struct Pager {
    program: String,
    lines: usize,
    held: Vec<u8>,
    child: Option<Child>,
}

impl Pager {
    /// For a terminal of so many lines.
    pub fn new(program: String, lines: usize) -> Self {
        Self {
            program,
            lines,
            held: vec![],
            child: None,
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

    /// Writes what is held, or waits until the user has read it.
    pub fn finish(mut self) -> io::Result<()> {
        match &mut self.child {
            None => stdout().write_all(&self.held),
            Some(child) => {
                drop(child.stdin.take());
                child.wait().map(|_| ())
            }
        }
    }
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(child) = &mut self.child {
            return match &mut child.stdin {
                Some(stdin) => stdin.write(bytes),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            };
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
