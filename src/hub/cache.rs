//! The hub's cache on this machine: `models--ORG--NAME` with `refs/REVISION` (a commit), `snapshots/COMMIT/FILE` (links)
//! and `blobs` (what they point to). Beside these we keep which files a commit has, under `.polysema`, so that the hub is
//! asked once.

use std::path::{Path, PathBuf};

use datafusion::error::Result;

use super::name::{HubName, check_inner};
use crate::files::whole::write_file;
use crate::files::{disk, file_error, regular};

/// The folder of a repository.
#[derive(Debug)]
pub(super) struct Repo {
    folder: PathBuf,
    /// The folder of the files that keep others from downloading the same.
    locks: PathBuf,
}

impl Repo {
    pub(super) fn new(cache: &Path, name: &HubName) -> Self {
        let repo = name.repo().replace('/', "--");
        let folder = format!("{}--{repo}", name.kind().plural());
        Self {
            locks: cache.join(".locks").join(&folder),
            folder: cache.join(folder),
        }
    }

    /// Makes the folders that files are downloaded into.
    pub(super) fn prepare(&self) -> Result<()> {
        folders(&self.folder.join("blobs"))?;
        folders(&self.locks)
    }

    pub(super) fn blob(&self, hash: &str) -> PathBuf {
        self.folder.join("blobs").join(hash)
    }

    /// Where a download is before it is whole.
    pub(super) fn incomplete(&self, hash: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{hash}.incomplete"))
    }

    /// The file that `huggingface_hub` locks, too, while it downloads a blob.
    pub(super) fn lock(&self, hash: &str) -> PathBuf {
        self.locks.join(format!("{hash}.lock"))
    }

    /// Makes a blob a file of a commit.
    pub(super) fn link(&self, commit: &str, file: &str, hash: &str) -> Result<()> {
        let link = self.snapshot(commit).join(file);
        folders(link.parent().unwrap_or(&self.folder))?;
        let up = "../".repeat(file.split('/').count() + 1);
        let way = PathBuf::from(format!("{up}blobs/{hash}"));
        if link.symlink_metadata().is_ok() && !link.is_file() {
            // Its blob is gone.
            disk::remove_file(&link).map_err(|e| file_error("replace", &link, e))?;
        }
        match disk::point(&link, &way) {
            // Made by someone else meanwhile.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map_err(|e| file_error("create", &link, e)),
        }
    }

    fn kept(&self, commit: &str) -> PathBuf {
        self.folder.join(".polysema").join(format!("{commit}.json"))
    }

    /// The files that a commit has, if the hub said so once.
    pub(super) fn listing(&self, commit: &str) -> Option<Vec<String>> {
        let text = regular::read_configuration(&self.kept(commit)).ok()?;
        let files: Vec<String> = serde_json::from_slice(&text).ok()?;
        let inside = files.iter().all(|file| check_inner("a file", file).is_ok());
        inside.then_some(files)
    }

    /// Keeps the commit of a revision, and the files that it has.
    pub(super) fn keep(&self, revision: &str, commit: &str, files: &[String]) -> Result<()> {
        let path = self.kept(commit);
        let text = serde_json::to_vec(files).map_err(|e| file_error("write", &path, e))?;
        folders(path.parent().unwrap_or(&self.folder))?;
        write_file(&path, &text)?;
        if revision == commit {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        folders(path.parent().unwrap_or(&self.folder))?;
        write_file(&path, commit.as_bytes())
    }

    /// The commit of a revision, if it was fetched.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) && self.snapshot(revision).is_dir() {
            return Some(revision.to_string());
        }
        let text = regular::read_configuration(&self.folder.join("refs").join(revision)).ok()?;
        let commit = String::from_utf8(text).ok()?.trim().to_string();
        is_commit(&commit).then_some(commit)
    }

    /// The folder of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The files of a commit that are there, by their paths in it; a link whose file is gone is not.
    pub(super) fn fetched(&self, commit: &str) -> Result<Vec<String>> {
        let root = self.snapshot(commit);
        let (mut files, mut folders) = (vec![], vec![String::new()]);
        while let Some(inner) = folders.pop() {
            let folder = root.join(&inner);
            let entries = match std::fs::read_dir(&folder) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                listed => listed.map_err(|e| file_error("read", &folder, e))?,
            };
            for entry in entries {
                let entry = entry.map_err(|e| file_error("read", &folder, e))?;
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                let path = match inner.as_str() {
                    "" => name,
                    inner => format!("{inner}/{name}"),
                };
                // The cache links files only, so a link to a folder is not entered.
                match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    true => folders.push(path),
                    false if entry.path().is_file() => files.push(path),
                    false => {}
                }
            }
        }
        files.sort();
        Ok(files)
    }
}

fn folders(path: &Path) -> Result<()> {
    disk::create_folders(path).map_err(|e| file_error("create", path, e))
}

/// Whether it may be the name of a blob.
pub(super) fn is_blob(text: &str) -> bool {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    (1..=128).contains(&text.len()) && text.bytes().all(is_letter)
}

/// Whether it is a whole commit hash.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}
