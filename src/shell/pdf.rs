//! A page as PDF, printed by a browser that this machine has: headless Chromium or Chrome.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use url::Url;

use super::failure::{Failure, lost};
use super::interrupt::Interrupts;
use crate::files::disk;
use crate::files::scratch::Scratch;
use crate::files::whole::write_file;
use crate::text::describe;

/// Names the program, where none of the known names on PATH is to be taken.
const VARIABLE: &str = "POLYSEMA_BROWSER";
/// Programs that print without a screen, by what they are called.
const KNOWN: [&str; 5] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
];
/// Time to print a page. Chosen: a page of a thousand rows takes two seconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time between two looks at whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// A browser that prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Browser(PathBuf);

impl Browser {
    /// The one that the environment names, or else the first known one on PATH.
    ///
    /// Errors: there is none.
    pub fn find() -> Result<Self, String> {
        let named = env::var_os(VARIABLE).filter(|name| !name.is_empty());
        let path = env::var_os("PATH").unwrap_or_default();
        match named {
            Some(name) => program(&name, &path).ok_or_else(|| {
                format!(
                    "a program, Chromium or Chrome, is required in {VARIABLE}, got '{}'",
                    name.display()
                )
            }),
            None => {
                let mut known = KNOWN.iter();
                let found = known.find_map(|name| program(OsStr::new(name), &path));
                found.ok_or_else(|| {
                    format!(
                        "a browser is required for a file that ends in .pdf, {} on PATH or another Chromium in {VARIABLE}, got \
                         none (every browser prints a page that ends in .html)",
                        KNOWN.join(", ")
                    )
                })
            }
        }
    }

    /// A page of HTML as PDF. Ctrl-C ends it, and leaves nothing.
    pub async fn print(&self, html: String, interrupts: &Interrupts) -> Result<Vec<u8>, Failure> {
        let ended = Arc::new(AtomicBool::new(false));
        let (browser, asked) = (self.clone(), Arc::clone(&ended));
        let mut task = tokio::task::spawn_blocking(move || browser.printed(&html, &asked));
        let printed = tokio::select! {
            () = interrupts.pressed() => {
                ended.store(true, Ordering::Relaxed);
                // It holds the folder that the browser works in.
                let _ = task.await;
                return Err(Failure::interrupted());
            }
            printed = &mut task => printed.map_err(lost)?,
        };
        printed.map_err(|message| Failure::Error(format!("error: report: {message}")))
    }

    fn printed(&self, html: &str, ended: &AtomicBool) -> Result<Vec<u8>, String> {
        let described = |error| describe(&error);
        let folder = Scratch::new().map_err(described)?;
        let [page, pdf, own] =
            ["page.html", "page.pdf", "browser"].map(|name| folder.path().join(name));
        write_file(&page, html.as_bytes()).map_err(described)?;
        let url = Url::from_file_path(&page);
        let url = url.map_err(|()| format!("a path is required, got {}", page.display()))?;
        let mut command = Command::new(&self.0);
        command.args([
            "--headless",
            "--no-pdf-header-footer",
            "--no-first-run",
            "--no-default-browser-check",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-extensions",
            "--disable-sync",
            "--disable-component-update",
            "--disable-background-networking",
            "--disable-breakpad",
        ]);
        // Chromium's own walls are not built for the administrator; the page has no script, and its policy no address.
        if is_administrator() {
            command.arg("--no-sandbox");
        }
        let of = |flag: &str, path: &Path| {
            let mut argument = std::ffi::OsString::from(flag);
            argument.push(path);
            argument
        };
        command
            .arg(of("--user-data-dir=", &own))
            .arg(of("--print-to-pdf=", &pdf))
            .arg(url.as_str());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| {
            format!(
                "a browser that starts is required, got {}: {error}",
                self.0.display()
            )
        })?;
        let mut running = Running::of(child);
        let status = running.wait(ended)?;
        let bytes = disk::read(&pdf).unwrap_or_default();
        let is_whole = bytes.starts_with(b"%PDF-") && bytes.trim_ascii_end().ends_with(b"%%EOF");
        match status.success() && is_whole {
            true => Ok(bytes),
            false => Err(format!(
                "a page that is printed is required of {}, got none ({status}): {}",
                self.0.display(),
                running.said()
            )),
        }
    }
}

/// A program by its path, or by its name in one of the folders of `path`.
fn program(name: &OsStr, path: &OsStr) -> Option<Browser> {
    let is_program = |place: &PathBuf| place.is_file();
    if Path::new(name).components().count() > 1 {
        return Some(PathBuf::from(name)).filter(is_program).map(Browser);
    }
    let mut places = env::split_paths(path).map(|folder| folder.join(name));
    places.find(is_program).map(Browser)
}

/// Whether this process has every right.
fn is_administrator() -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // Its own entry belongs to who it runs as; where there is none, nobody runs this as root.
        Path::new("/proc/self")
            .metadata()
            .is_ok_and(|own| own.uid() == 0)
    }
    #[cfg(not(unix))]
    false
}

/// The browser while it prints; ended when dropped.
struct Running {
    child: Child,
    /// What it says last.
    saying: Option<JoinHandle<String>>,
}

impl Running {
    fn of(mut child: Child) -> Self {
        let saying = child.stderr.take().map(|said| {
            // Read all the time: a full pipe would stop it.
            thread::spawn(move || {
                let lines = BufReader::new(said).lines().map_while(Result::ok);
                let told = lines.filter(|line| !line.trim().is_empty());
                told.last().unwrap_or_default()
            })
        });
        Self { child, saying }
    }

    fn wait(&mut self, ended: &AtomicBool) -> Result<ExitStatus, String> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                return Ok(status);
            }
            if ended.load(Ordering::Relaxed) {
                return Err("cancelled".to_string());
            }
            if begun.elapsed() > PATIENCE {
                let seconds = PATIENCE.as_secs();
                return Err(format!(
                    "a page that is printed within {seconds} s is required, got none"
                ));
            }
            thread::sleep(LOOK);
        }
    }

    /// The last line it said, once it has ended.
    fn said(&mut self) -> String {
        let said = self.saying.take().and_then(|saying| saying.join().ok());
        said.filter(|line| !line.is_empty())
            .unwrap_or_else(|| "it said nothing".to_string())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended cannot be killed, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_its_path_and_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("chromium");
        std::fs::write(&place, "").unwrap();
        std::fs::create_dir(folder.path().join("chrome")).unwrap();
        let path = env::join_paths([Path::new("/nowhere"), folder.path()]).unwrap();
        let found = Some(Browser(place.clone()));
        assert_eq!(program(OsStr::new("chromium"), &path), found);
        assert_eq!(program(place.as_os_str(), OsStr::new("")), found);
        for none in ["chrome", "chromium-browser", "./chromium", ""] {
            assert_eq!(program(OsStr::new(none), &path), None, "{none}");
        }
    }
}
