//! Where results go: to stdout, or to what `\o` names. A file of it takes its place when the script has come to its end, or
//! at the prompt with each result, and otherwise what was there stays.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::failure::Failure;
use super::format::Format;
use crate::files::disk::{self, DiskFile};
use crate::files::regular;
use crate::files::whole::NewFile;
use crate::policy::{Access, Policy};
use crate::text::describe;

/// What results are written to, one after the other.
pub trait ResultSink: Write {
    /// A result in this form begins.
    ///
    /// Errors: such a form does not go there, or not behind what is there.
    fn begin(&mut self, format: Format) -> Result<(), Failure>;
}

/// Refuses a result behind another where one of them is no text, which a reader takes for the only one.
fn require_first(before: Option<Format>, format: Format, place: &str) -> Result<(), Failure> {
    let Some(before) = before.filter(|before| !(before.is_text() && format.is_text())) else {
        return Ok(());
    };
    let form = if before.is_text() { format } else { before };
    Err(Failure::Error(format!(
        "one result is required in {place} as {}, got a second: \\o FILE before it begins another file",
        form.name()
    )))
}

/// Refuses what a terminal cannot show.
pub fn require_text(format: Format) -> Result<(), Failure> {
    match format.is_text() {
        true => Ok(()),
        false => Err(Failure::Error(format!(
            "a file or a pipe is required for {0}, got a terminal: \\o FILE, or > FILE behind the command",
            format.name()
        ))),
    }
}

/// The program's own output.
#[derive(Debug, Default)]
pub struct StandardOutput {
    before: Option<Format>,
}

impl ResultSink for StandardOutput {
    fn begin(&mut self, format: Format) -> Result<(), Failure> {
        if io::stdout().is_terminal() {
            require_text(format)?;
        }
        require_first(self.before, format, "stdout")?;
        self.before = Some(format);
        Ok(())
    }
}

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// What `\o` names, which results go to instead of stdout.
pub struct Output {
    /// As it was named.
    name: String,
    /// What its ending says, before what `\format` does.
    pub format: Option<Format>,
    /// Of the last result that it has whole.
    before: Option<Format>,
    /// Of the result that is being written.
    begun: Option<Format>,
    to: Destination,
}

enum Destination {
    /// A file, and what takes its place.
    File {
        place: PathBuf,
        next: Option<NewFile>,
    },
    /// A device or a pipe of the system, which has nothing that could be replaced.
    Device(DiskFile),
    /// A command's input; none after its end.
    Command(Option<Child>),
}

impl Output {
    /// Begins a file, or the command behind `|`.
    ///
    /// Errors: it cannot be written or started; the policy forbids it.
    pub fn open(argument: &str, policy: &Policy) -> Result<Self, Failure> {
        let failed = |error: datafusion::error::DataFusionError| Failure::Error(describe(&error));
        let (format, to) = match argument.strip_prefix('|') {
            Some(command) => {
                policy.require_everything("\\o |").map_err(failed)?;
                (None, Destination::Command(Some(start(command.trim())?)))
            }
            None => {
                policy.require("\\o", Access::WriteFiles).map_err(failed)?;
                let format = Format::of_file(Path::new(argument));
                let format = format.map_err(|message| Failure::Error(format!("\\o: {message}")))?;
                (format, destination(argument)?)
            }
        };
        Ok(Self {
            name: argument.to_string(),
            format,
            before: None,
            begun: None,
            to,
        })
    }

    /// What it was named.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its reader may leave, as a command's.
    pub fn is_command(&self) -> bool {
        matches!(self.to, Destination::Command(_))
    }

    /// A statement has ended. What it wrote stays if it succeeded, and is at once in its place if `now`.
    pub fn ended(&mut self, succeeded: bool, now: bool) -> Result<(), Failure> {
        let Some(format) = self.begun.take() else {
            return Ok(());
        };
        if succeeded {
            self.before = Some(format);
        }
        if let Destination::File { next, .. } = &mut self.to {
            match (succeeded, now) {
                (true, true) => commit(next)?,
                (true, false) => {}
                (false, _) => *next = None,
            }
        }
        Ok(())
    }

    /// Puts the file into its place, or waits for the command to end.
    ///
    /// Errors: the command failed; there was no result for a form that has one.
    pub fn close(mut self) -> Result<(), Failure> {
        match &mut self.to {
            Destination::File { next: None, .. } => Ok(()),
            Destination::File { next, .. } => {
                if self.before.is_none()
                    && let Some(format) = self.format.filter(|format| !format.is_text())
                {
                    return Err(Failure::Error(format!(
                        "\\o: a result is required in {} as {}, got none",
                        self.name,
                        format.name()
                    )));
                }
                commit(next)
            }
            Destination::Device(file) => Ok(file.flush()?),
            Destination::Command(child) => match child.take() {
                Some(child) => wait(child, &self.name),
                None => Ok(()),
            },
        }
    }
}

/// The file of a path, or the device.
fn destination(path: &str) -> Result<Destination, Failure> {
    let refused = |got: &dyn std::fmt::Display| {
        Failure::Error(format!(
            "\\o: a file that can be written is required, got {path} ({got})"
        ))
    };
    let named = Path::new(path);
    if named.is_dir() {
        return Err(refused(&"a folder"));
    }
    if regular::device(named).is_some() {
        let device = disk::create_or_clear(named).map_err(|error| refused(&error))?;
        return Ok(Destination::Device(device));
    }
    // What a link leads to is written, and not the link.
    let place = named.canonicalize().unwrap_or_else(|_| named.into());
    let next = NewFile::create(&place).map_err(|error| refused(&describe(&error)))?;
    let next = Some(next);
    Ok(Destination::File { place, next })
}

fn commit(next: &mut Option<NewFile>) -> Result<(), Failure> {
    match next.take().map(NewFile::commit) {
        Some(Err(error)) => Err(Failure::Error(format!("\\o: {}", describe(&error)))),
        _ => Ok(()),
    }
}

fn start(command: &str) -> Result<Child, Failure> {
    if command.is_empty() {
        let message = "\\o: a command is required behind |, got none";
        return Err(Failure::Error(message.to_string()));
    }
    let mut shell = Command::new("sh");
    let started = shell.arg("-c").arg(command).stdin(Stdio::piped()).spawn();
    started.map_err(|error| {
        Failure::Error(format!(
            "\\o: a command that can be started is required, got {command} ({error})"
        ))
    })
}

/// Waits for a command, whose failure is one of the script.
fn wait(mut child: Child, name: &str) -> Result<(), Failure> {
    drop(child.stdin.take());
    let status = child.wait()?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::Error(format!(
            "\\o: a command that succeeds is required, got {name} ({status})"
        ))),
    }
}

impl ResultSink for Output {
    fn begin(&mut self, format: Format) -> Result<(), Failure> {
        require_first(self.before, format, &self.name)?;
        self.begun = Some(format);
        if let Destination::File { place, next } = &mut self.to
            && next.is_none()
        {
            let failed = |error| Failure::Error(format!("\\o: {}", describe(&error)));
            let mut file = NewFile::create(place).map_err(failed)?;
            // Behind the results that it has.
            if self.before.is_some() {
                io::copy(&mut regular::open(place)?, &mut file)?;
            }
            *next = Some(file);
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let ended = || Err(io::ErrorKind::BrokenPipe.into());
        let written = match &mut self.to {
            Destination::File { next, .. } => next.as_mut().map_or_else(ended, |f| f.write(bytes)),
            Destination::Device(file) => file.write(bytes),
            Destination::Command(child) => {
                let stdin = child.as_mut().and_then(|child| child.stdin.as_mut());
                stdin.map_or_else(ended, |stdin| stdin.write(bytes))
            }
        };
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => error,
            _ => io::Error::other(format!("{}: {error}", self.name)),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            Destination::File { next, .. } => next.as_mut().map_or(Ok(()), NewFile::flush),
            Destination::Device(file) => file.flush(),
            Destination::Command(_) => Ok(()),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // A command that was not closed would take a part of the results for all of them.
        if let Destination::Command(Some(child)) = &mut self.to {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(failed: Result<impl Sized, Failure>) -> String {
        match failed {
            Err(Failure::Error(message)) => message,
            _ => panic!("an error is required"),
        }
    }

    #[test]
    fn who_may_not_write_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv").display().to_string();
        let mut policy = Policy::nothing();
        let refused = message(Output::open(&path, &policy));
        assert!(
            refused.starts_with("\\o: a session that may write files is required"),
            "{refused}"
        );
        policy.write_files = true;
        assert!(Output::open(&path, &policy).is_ok());
        // A command does what it likes.
        let command = format!("| cat > {path}");
        let refused = message(Output::open(&command, &policy));
        assert!(
            refused.starts_with("\\o |: a session that may "),
            "{refused}"
        );
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        assert!(Output::open("|", &Policy::everything()).is_err());
    }

    #[test]
    fn at_the_prompt_a_file_has_the_results_that_succeeded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let mut output = Output::open(&path.display().to_string(), &Policy::everything()).unwrap();
        assert!(!path.exists());
        for (text, succeeded, found) in [
            ("x", false, None),
            ("a\n", true, Some("a\n")),
            ("y", false, Some("a\n")),
            ("b\n", true, Some("a\nb\n")),
        ] {
            output.begin(Format::Csv).unwrap();
            output.write_all(text.as_bytes()).unwrap();
            output.ended(succeeded, true).unwrap();
            assert_eq!(std::fs::read_to_string(&path).ok().as_deref(), found);
        }
        let refused = message(output.begin(Format::Parquet));
        assert!(refused.contains(" as parquet, got a second"), "{refused}");
        output.close().unwrap();
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }
}
