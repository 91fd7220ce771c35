//! Whole or not there: a file, a folder or a generation of files appears in one rename, or what was there stays.
//!
//!     refused, killed or cut off from power       what is found afterwards
//!     before the rename                           the old; the new under a hidden name, which the next use removes
//!     after it, before the folder is on disk      old or new; neither was removed, so that whichever it is is whole
//!     after that                                  the new; what it replaced until the next use, if not removed yet
//!
//! The next use tells what killed processes left from what living ones write or read by the system's locks, which end
//! with the process. Where two folders cannot be exchanged in one step a reader finds none for the moment between two
//! renames, and the next use puts the old one back if there was no second.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use datafusion::common::exec_err;
use datafusion::error::Result;
use serde::{Deserialize, Serialize};

use super::disk::{self, DiskFile, Held, failed, hold};

/// How often a reader looks again while what it opens is replaced.
const TRIES: usize = 1000;

/// Distinguishes what one process writes at the same time.
static NEXT: AtomicU64 = AtomicU64::new(0);

fn parent(place: &Path) -> &Path {
    match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// How the hidden names of what is written beside a place begin.
fn hidden(place: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(".polysema-");
    name
}

/// A hidden name beside a place, new in this process.
fn beside(place: &Path, what: &str) -> PathBuf {
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut name = hidden(place);
    name.push(format!("{process}-{number}.{what}"));
    parent(place).join(name)
}

fn begins_with(name: &OsStr, beginning: &OsStr) -> bool {
    let (name, beginning) = (name.as_encoded_bytes(), beginning.as_encoded_bytes());
    name.starts_with(beginning)
}

/// Removes what killed processes left beside a place, and puts back what one of them had moved away.
fn sweep_beside(place: &Path) -> io::Result<()> {
    let hidden = hidden(place);
    let left = |path: &PathBuf| path.file_name().is_some_and(|n| begins_with(n, &hidden));
    let entries = disk::entries(parent(place)).unwrap_or_default();
    let left: Vec<_> = entries.into_iter().filter(left).collect();
    if !left.is_empty() {
        // Until the last rename is on disk, what it replaced may be needed.
        disk::sync(parent(place))?;
    }
    for path in left {
        let Ok(Some(_held)) = hold(&path, true) else {
            continue;
        };
        let moved_away = path.extension().is_some_and(|e| e == "old");
        if moved_away && place.symlink_metadata().is_err() {
            disk::rename(&path, place)?;
        } else {
            disk::remove_all(&path)?;
        }
    }
    Ok(())
}

/// A file that takes its place when it is whole; gone when dropped without [`NewFile::commit`].
#[derive(Debug)]
pub struct NewFile {
    place: PathBuf,
    next: PathBuf,
    file: DiskFile,
    done: bool,
}

impl NewFile {
    /// Begins a file beside its place.
    pub fn create(place: &Path) -> Result<Self> {
        // What cannot be removed now is in nobody's way.
        let _ = sweep_beside(place);
        loop {
            let next = beside(place, "next");
            let file = disk::create_new(&next).map_err(|e| failed("create", &next, e))?;
            // Locked, so that nobody takes it for what a killed process left; if someone just did, once more.
            if file.lock() && next.symlink_metadata().is_ok() {
                return Ok(Self {
                    place: place.to_path_buf(),
                    next,
                    file,
                    done: false,
                });
            }
        }
    }

    /// Where it is written until then, for those who write by name.
    pub fn path(&self) -> &Path {
        &self.next
    }

    /// Puts it into its place, on disk; its size in bytes.
    pub fn commit(mut self) -> Result<u64> {
        let size = self.file.sync();
        let size = size.map_err(|e| failed("write", &self.next, e))?;
        disk::rename(&self.next, &self.place).map_err(|e| failed("write", &self.place, e))?;
        self.done = true;
        let folder = parent(&self.place);
        disk::sync(folder).map_err(|e| failed("write", folder, e))?;
        Ok(size)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.done {
            let _ = disk::remove_file(&self.next);
        }
    }
}

/// Writes a small file, or puts it in place of one.
pub fn write_file(place: &Path, text: &[u8]) -> Result<()> {
    let mut file = NewFile::create(place)?;
    let written = file.write_all(text);
    written.map_err(|e| failed("write", place, e))?;
    file.commit().map(|_| ())
}

/// A folder of files that takes its place when it is whole; gone when dropped without [`NewFolder::commit`].
#[derive(Debug)]
pub struct NewFolder {
    place: PathBuf,
    next: PathBuf,
    /// Whether it is on disk in its place, so that what it replaced is needed no more.
    confirmed: bool,
    held: Held,
}

impl NewFolder {
    /// Begins a folder beside its place.
    pub fn create(place: &Path) -> Result<Self> {
        if place.file_name().is_none() {
            return exec_err!("a folder with a name is required, got {}", place.display());
        }
        sweep_beside(place).map_err(|e| failed("clean up beside", place, e))?;
        loop {
            let next = beside(place, "next");
            disk::create_folder(&next).map_err(|e| failed("create", &next, e))?;
            if let Ok(Some(held)) = hold(&next, true)
                && next.symlink_metadata().is_ok()
            {
                return Ok(Self {
                    place: place.to_path_buf(),
                    next,
                    confirmed: false,
                    held,
                });
            }
        }
    }

    /// The folder to fill.
    pub fn path(&self) -> &Path {
        &self.next
    }

    /// Puts it into its place, on disk. A folder there is replaced if `replaceable` does not refuse it.
    pub fn commit(mut self, replaceable: impl Fn(&Path) -> Result<()>) -> Result<()> {
        sync_files(&self.next)?;
        let (place, next) = (self.place.clone(), self.next.clone());
        let refused = |e| failed("replace", &place, e);
        if place.symlink_metadata().is_ok() {
            disk::require_folder(&place)?;
            replaceable(&place)?;
            match disk::exchange(&next, &place) {
                Err(e) if e.kind() == io::ErrorKind::Unsupported => self.replace_in_two()?,
                done => done.map_err(refused)?,
            }
            // Someone may have put a file of theirs into it meanwhile.
            if disk::is_folder(&next).map_err(refused)?
                && let Err(error) = replaceable(&next)
            {
                disk::exchange(&next, &place).map_err(refused)?;
                return Err(error);
            }
        } else {
            disk::rename(&next, &place).map_err(|e| failed("create", &place, e))?;
        }
        let folder = parent(&place);
        disk::sync(folder).map_err(|e| failed("write", folder, e))?;
        self.confirmed = true;
        Ok(())
    }

    /// Where the disk cannot exchange two folders.
    fn replace_in_two(&self) -> Result<()> {
        let (place, old) = (&self.place, beside(&self.place, "old"));
        let refused = |e| failed("replace", place, e);
        disk::rename(place, &old).map_err(refused)?;
        if let Err(error) = disk::rename(&self.next, place) {
            // Where this fails too the next use of the place puts it back.
            let _ = disk::rename(&old, place);
            return Err(refused(error));
        }
        disk::sync(parent(place)).map_err(refused)?;
        // What cannot be removed now is removed by the next use of the place.
        let _ = disk::remove_all(&old);
        Ok(())
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // Under the hidden name lies the new folder, or after an exchange the old one.
        if self.confirmed || self.held.is(&self.next) {
            let _ = disk::remove_all(&self.next);
        }
    }
}

/// Waits until a folder's files, and their names, are on disk.
fn sync_files(folder: &Path) -> Result<()> {
    for path in disk::entries(folder)? {
        disk::sync(&path).map_err(|e| failed("write", &path, e))?;
    }
    disk::sync(folder).map_err(|e| failed("write", folder, e))
}

/// The name of a generation's folder: it is read from files, so that it is checked wherever it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GenerationName(String);

impl TryFrom<String> for GenerationName {
    type Error = String;

    fn try_from(name: String) -> std::result::Result<Self, String> {
        let number = name.strip_prefix("gen-").unwrap_or_default();
        let digits = number
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match digits && !number.is_empty() {
            true => Ok(Self(name)),
            false => Err(format!(
                "a generation gen-N of hexadecimal digits is required, got '{name}'"
            )),
        }
    }
}

impl From<GenerationName> for String {
    fn from(name: GenerationName) -> Self {
        name.0
    }
}

/// What every pointer file says.
#[derive(Deserialize)]
struct Pointer {
    generation: GenerationName,
}

/// A folder of generations, of which the JSON of a pointer file names the one that counts.
#[derive(Debug, Clone)]
pub struct Generations {
    folder: PathBuf,
    pointer: &'static str,
}

/// A generation as it is read: nobody removes it while this lives.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    _held: Held,
}

impl Snapshot {
    /// The folder of its files.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Generations {
    /// Those of a folder, which need not be there.
    pub fn new(folder: PathBuf, pointer: &'static str) -> Self {
        Self { folder, pointer }
    }

    /// The pointer file.
    pub fn pointer(&self) -> PathBuf {
        self.folder.join(self.pointer)
    }

    /// Whether a generation is named, readable or not.
    pub fn exists(&self) -> bool {
        disk::is_folder(&self.folder).is_ok_and(|is| is)
            && self.pointer().symlink_metadata().is_ok()
    }

    /// What the pointer file says; nothing if there is none.
    pub fn text(&self) -> Result<Option<Vec<u8>>> {
        self.require_folders()?;
        let pointer = self.pointer();
        match disk::read(&pointer) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("read", &pointer, e)),
        }
    }

    fn require_folders(&self) -> Result<()> {
        disk::require_folder(parent(&self.folder))?;
        disk::require_folder(&self.folder)
    }

    fn current(&self) -> Result<Option<GenerationName>> {
        let Some(text) = self.text()? else {
            return Ok(None);
        };
        let pointer = serde_json::from_slice::<Pointer>(&text);
        let pointer = pointer.map_err(|e| failed("read", &self.pointer(), e))?;
        Ok(Some(pointer.generation))
    }

    /// What the pointer file says, and the generation it names, held for reading; nothing if there is none.
    pub fn open<T>(
        &self,
        parse: impl Fn(&[u8]) -> Result<(T, GenerationName)>,
    ) -> Result<Option<(Vec<u8>, T, Snapshot)>> {
        let mut refused = None;
        for _ in 0..TRIES {
            let Some(text) = self.text()? else {
                return Ok(None);
            };
            // It was not replaced in between, or else once more.
            if let Some((last, error)) = refused
                && last == text
            {
                return Err(error);
            }
            let (parsed, generation) = parse(&text)?;
            let path = self.folder.join(&generation.0);
            let held = disk::require_folder(&path)
                .and_then(|()| hold(&path, false).map_err(|e| failed("open", &path, e)));
            refused = match held {
                Ok(Some(held)) if self.text()?.as_ref() == Some(&text) => {
                    let snapshot = Snapshot { path, _held: held };
                    return Ok(Some((text, parsed, snapshot)));
                }
                Ok(_) => None,
                Err(error) => Some((text, error)),
            };
        }
        exec_err!(
            "a state that stays while it is opened is required, got {TRIES} replacements of {}",
            self.folder.display()
        )
    }

    /// Begins a generation, after what killed writers left is removed. One writer at a time.
    pub fn begin(&self) -> Result<NewGeneration> {
        self.require_folders()?;
        self.sweep()?;
        let refused = |e| failed("create", &self.folder, e);
        disk::create_folders(&self.folder).map_err(refused)?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut number = since.map_or(0, |since| since.as_nanos());
        loop {
            let name = GenerationName(format!("gen-{number:x}"));
            let path = self.folder.join(&name.0);
            match disk::create_folder(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(e) => {
                    let _ = disk::remove_folder(&self.folder);
                    return Err(failed("create", &path, e));
                }
                Ok(()) => {
                    return Ok(NewGeneration {
                        of: self.clone(),
                        name,
                        path,
                        state: State::Begun,
                    });
                }
            }
        }
    }

    /// Removes every generation but the one that counts and those that are being read. Only by the one writer.
    ///
    /// A pointer file that cannot be read names a generation nobody knows: everything is left.
    pub fn sweep(&self) -> Result<()> {
        let Ok(current) = self.current() else {
            return Ok(());
        };
        let entries = disk::entries(&self.folder)?;
        let stale: Vec<_> = (entries.iter())
            .filter(|p| self.is_stale(p, &current))
            .collect();
        if !stale.is_empty() {
            // Until the pointer is on disk, what it replaced may be needed.
            disk::sync(&self.folder).map_err(|e| failed("write", &self.folder, e))?;
        }
        for path in stale {
            if path.is_symlink() {
                disk::remove_file(path).map_err(|e| failed("remove", path, e))?;
            } else if let Ok(Some(_held)) = hold(path, true) {
                disk::remove_all(path).map_err(|e| failed("remove", path, e))?;
            }
        }
        if current.is_none() && disk::is_folder(&self.folder).is_ok_and(|is| is) {
            // Fails, as it should, where someone keeps other files or reads.
            let _ = disk::remove_folder(&self.folder);
        }
        Ok(())
    }

    fn is_stale(&self, path: &Path, current: &Option<GenerationName>) -> bool {
        let Some(name) = path.file_name() else {
            return false;
        };
        let generation = name
            .to_str()
            .map(|name| GenerationName::try_from(name.to_string()));
        match generation {
            Some(Ok(generation)) => current.as_ref() != Some(&generation),
            _ => begins_with(name, &hidden(&self.pointer())),
        }
    }

    /// Removes it all: the pointer first, then the generations that nobody reads. The bytes that were in it.
    pub fn remove(&self) -> Result<u64> {
        self.require_folders()?;
        let bytes = disk::size_of(&self.folder)?;
        let pointer = self.pointer();
        match disk::remove_file(&pointer) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", &pointer, e)),
            _ => {
                self.sweep()?;
                Ok(bytes)
            }
        }
    }
}

/// How far a generation has come.
#[derive(Debug, PartialEq)]
enum State {
    Begun,
    /// The pointer may name it.
    Unconfirmed,
    Committed,
}

/// A generation being filled; invisible until [`NewGeneration::commit`], gone when dropped without it.
#[derive(Debug)]
pub struct NewGeneration {
    of: Generations,
    name: GenerationName,
    path: PathBuf,
    state: State,
}

impl NewGeneration {
    /// The folder to fill.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name, which the pointer file has to say.
    pub fn name(&self) -> &GenerationName {
        &self.name
    }

    /// The generations it is one of.
    pub fn of(&self) -> &Generations {
        &self.of
    }

    /// Waits until its files are on disk.
    pub fn sync(&self) -> Result<()> {
        sync_files(&self.path)?;
        let folder = &self.of.folder;
        disk::sync(folder).map_err(|e| failed("write", folder, e))
    }

    /// Makes it the generation that counts: `text` is what the pointer file then says.
    ///
    /// An error after the pointer took its place says so; both generations are then kept.
    pub fn commit(mut self, text: &[u8]) -> Result<()> {
        self.sync()?;
        self.state = State::Unconfirmed;
        write_file(&self.of.pointer(), text)?;
        self.state = State::Committed;
        Ok(())
    }
}

impl Drop for NewGeneration {
    fn drop(&mut self) {
        // What cannot be removed is invisible, and swept by the next writer.
        match self.state {
            State::Committed => {
                let _ = self.of.sweep();
            }
            State::Unconfirmed
                if !self
                    .of
                    .current()
                    .is_ok_and(|it| it.as_ref() != Some(&self.name)) => {}
            _ => {
                let _ = disk::remove_all(&self.path);
                let _ = disk::remove_folder(&self.of.folder);
            }
        }
    }
}

#[cfg(test)]
#[path = "whole_tests.rs"]
mod tests;
