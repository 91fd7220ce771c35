//! Generations of a folder's files: a pointer file names the one that counts, and replacing it replaces them all.
//!
//! What a crash leaves is as of [`super::whole`]. A reader holds the generation it reads, in whatever process: the next
//! writer removes what is named by nothing and held by nobody.

use std::io;
use std::path::{Path, PathBuf};

use datafusion::common::exec_err;
use datafusion::error::Result;
use serde::{Deserialize, Serialize};

use super::disk::{self, Held, hold};
use super::whole::{begins_with, hidden, parent, sync_files, write_file};
use super::{clock, file_error, seal};

/// How often a reader looks again while what it opens is replaced.
const TRIES: usize = 1000;

/// The name of a generation's folder: it is read from files, so that it is checked wherever it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GenerationName(String);

impl GenerationName {
    /// One that no other machine, process or moment gives.
    #[cfg(feature = "cloud")]
    pub fn of_this_moment() -> Self {
        let nanoseconds = clock::since_1970().as_nanos();
        Self(format!("gen-{nanoseconds:x}{:08x}", std::process::id()))
    }
}

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
pub struct HeldGeneration {
    path: PathBuf,
    _held: Held,
}

impl HeldGeneration {
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
    ///
    /// Errors: it is not what was written.
    pub fn text(&self) -> Result<Option<Vec<u8>>> {
        self.require_folders()?;
        let pointer = self.pointer();
        match disk::read(&pointer) {
            Ok(text) => {
                seal::is_sealed(&pointer, &text)?;
                Ok(Some(text))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(file_error("read", &pointer, e)),
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
        let pointer = pointer.map_err(|e| file_error("read", &self.pointer(), e))?;
        Ok(Some(pointer.generation))
    }

    /// What the pointer file says, and the generation it names, held for reading; nothing if there is none.
    pub fn open<T>(
        &self,
        parse: impl Fn(&[u8]) -> Result<(T, GenerationName)>,
    ) -> Result<Option<(Vec<u8>, T, HeldGeneration)>> {
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
                .and_then(|()| hold(&path, false).map_err(|e| file_error("open", &path, e)));
            refused = match held {
                Ok(Some(held)) if self.text()?.as_ref() == Some(&text) => {
                    let snapshot = HeldGeneration { path, _held: held };
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
        let refused = |e| file_error("create", &self.folder, e);
        disk::create_folders(&self.folder).map_err(refused)?;
        let mut number = clock::since_1970().as_nanos();
        loop {
            let name = GenerationName(format!("gen-{number:x}"));
            let path = self.folder.join(&name.0);
            match disk::create_folder(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(e) => {
                    let _ = disk::remove_folder(&self.folder);
                    return Err(file_error("create", &path, e));
                }
                Ok(()) => {
                    return Ok(NewGeneration {
                        of: self.clone(),
                        name,
                        path,
                        state: Stage::Begun,
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
            disk::sync(&self.folder).map_err(|e| file_error("write", &self.folder, e))?;
        }
        for path in stale {
            if path.is_symlink() {
                disk::remove_file(path).map_err(|e| file_error("remove", path, e))?;
            } else if let Ok(Some(_held)) = hold(path, true) {
                disk::remove_all(path).map_err(|e| file_error("remove", path, e))?;
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
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(file_error("remove", &pointer, e)),
            _ => {
                self.sweep()?;
                Ok(bytes)
            }
        }
    }
}

/// How far a generation has come.
#[derive(Debug, PartialEq)]
enum Stage {
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
    state: Stage,
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
        disk::sync(folder).map_err(|e| file_error("write", folder, e))
    }

    /// Makes it the generation that counts: `text`, a JSON object, is what the pointer file then says, beside its checksum.
    ///
    /// An error after the pointer took its place says so; both generations are then kept.
    pub fn commit(mut self, text: &[u8]) -> Result<()> {
        self.sync()?;
        self.state = Stage::Unconfirmed;
        write_file(&self.of.pointer(), &seal::seal(text))?;
        self.state = Stage::Committed;
        Ok(())
    }
}

impl Drop for NewGeneration {
    fn drop(&mut self) {
        // What cannot be removed is invisible, and swept by the next writer.
        match self.state {
            Stage::Committed => {
                let _ = self.of.sweep();
            }
            Stage::Unconfirmed
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
#[path = "generations_tests.rs"]
mod tests;
