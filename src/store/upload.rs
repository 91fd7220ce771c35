//! Runs of a store written into one that lies in a bucket, where there are no locks and no renames: the files of a run go
//! into a generation of their own, then its manifest takes the place of the one that was seen, or of none, in one request.
//! Of two who write a run at the same time the second is told, and nobody ever reads a part of a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;

use super::check::GoOn;
use super::listing::{self, LISTING};
use super::manifest::{MANIFEST, Manifest};
use super::names::{RUNS, STORE};
use super::run::Run;
use super::sae_manifest::SaeEntry;
use super::{Store, sae_training, store_file};
use crate::files::generations::GenerationName;
use crate::files::seal;
use crate::remote::{BucketFolder, BucketVersion};

/// What a writer that was killed left goes after so many seconds, by the bucket's clock. Chosen: a day, far longer than any
/// writer is silent.
const LEFT_AFTER: i64 = 24 * 60 * 60;
/// Others write the list of runs meanwhile at most so often.
const TRIES: usize = 100;

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uploaded {
    /// Runs.
    pub runs: u64,
    /// Files of theirs.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
}

/// A run on its way.
struct Upload {
    run: Arc<Run>,
    /// Its place, from the store's folder on.
    folder: String,
    /// The manifest that is there, with the generation it names.
    seen: Option<(BucketVersion, Option<GenerationName>)>,
    files: Vec<(PathBuf, String)>,
    manifest: Manifest,
}

impl Store {
    /// Writes runs into the store that lies in a bucket, which is made if there is none; all runs where none is named.
    /// Runs of these names stay unless they are replaced. `go_on` is told of bytes that were written.
    ///
    /// Errors: there is no such run; a run is damaged or was written before there were checksums; there is one and it is not
    /// to be replaced; someone else wrote it meanwhile; that of `go_on`. Runs that were written before the error stay, of the
    /// others nothing does.
    pub fn upload(
        &self,
        runs: &[String],
        bucket: &BucketFolder,
        replace: bool,
        go_on: GoOn<'_>,
    ) -> Result<Uploaded> {
        if self.is_elsewhere() {
            return plan_err!(
                "a store on this machine is required to upload its runs, got {}",
                self.place()
            );
        }
        let mut names = match runs {
            [] => self.runs()?,
            runs => runs.to_vec(),
        };
        names.sort();
        names.dedup();
        if names.is_empty() {
            return plan_err!(
                "a store with runs is required, got {} without",
                self.place()
            );
        }
        self.require_whole(&names, go_on)?;
        require_store(bucket)?;
        let uploads = names
            .iter()
            .map(|name| self.plan_upload(name, bucket, replace));
        let uploads: Vec<_> = uploads.collect::<Result<_>>()?;
        let mut all = Uploaded::default();
        for upload in uploads {
            let bytes = upload
                .files
                .iter()
                .map(|(path, _)| path.metadata().map_or(0, |m| m.len()));
            all.bytes += bytes.sum::<u64>();
            all.files += upload.files.len() as u64;
            all.runs += 1;
            upload.write(bucket, go_on)?;
            list_runs(bucket)?;
        }
        Ok(all)
    }

    fn require_whole(&self, runs: &[String], go_on: GoOn<'_>) -> Result<()> {
        for run in self.check(runs, &|_| go_on(0))? {
            let problem = match (run.damages.len(), run.unverified) {
                (0, 0) => continue,
                (0, n) => format!(
                    "{n} files written before there were checksums: ingest it again with replace: true"
                ),
                (n, _) => format!("{n} damaged files, which polysema check names"),
            };
            return exec_err!(
                "a whole run is required to upload it, got '{}' with {problem}",
                run.name
            );
        }
        Ok(())
    }

    fn plan_upload(&self, name: &str, bucket: &BucketFolder, replace: bool) -> Result<Upload> {
        let run = self.run(name)?;
        let folder = format!("{RUNS}/{name}");
        let seen = bucket.look(&format!("{folder}/{MANIFEST}"))?;
        if seen.is_some() && !replace {
            return plan_err!(
                "a new run name is required, got '{name}', which exists in {}: --replace replaces it",
                bucket.address()
            );
        }
        let generation = GenerationName::of_this_moment();
        let seen = seen.map(|(text, version)| {
            // Of one that cannot be read nobody knows the generation.
            let old = Manifest::parse(name, Path::new(MANIFEST), &text);
            (version, old.ok().map(|old| old.generation))
        });
        let manifest = Manifest {
            generation: generation.clone(),
            ..run.whole_manifest().clone()
        };
        let to = format!("{folder}/{}", String::from(generation));
        let files =
            file_names(&manifest).map(|file| (run.folder().join(&file), format!("{to}/{file}")));
        Ok(Upload {
            files: files.collect(),
            run: Arc::clone(&run),
            folder,
            seen,
            manifest,
        })
    }
}

/// Has a bucket's folder be a store.
///
/// Errors: it is one of another version; there is no bucket.
fn require_store(bucket: &BucketFolder) -> Result<()> {
    let found = match bucket.look(STORE)? {
        Some((text, _)) => Some(text),
        None if bucket.replace(STORE, &store_file::text()?, None)? => return Ok(()),
        None => bucket.look(STORE)?.map(|(text, _)| text),
    };
    match found {
        Some(text) => store_file::check(&Path::new(bucket.address().as_str()).join(STORE), &text),
        None => exec_err!(
            "a bucket that is there is required, got {}",
            bucket.address()
        ),
    }
}

/// Names of the files of a generation.
fn file_names(manifest: &Manifest) -> impl Iterator<Item = String> {
    let tables = manifest.files.iter().map(|file| file.name.clone());
    let saes = manifest.saes.iter().flat_map(|sae| {
        let name = &sae.facts.name;
        let curve = sae.curve.is_some().then(|| sae_training::file_name(name));
        std::iter::once(SaeEntry::file_name(name)).chain(curve)
    });
    tables.chain(saes)
}

impl Upload {
    /// Where its files go.
    fn generation(&self) -> String {
        format!(
            "{}/{}",
            self.folder,
            String::from(self.manifest.generation.clone())
        )
    }

    fn write(self, bucket: &BucketFolder, go_on: GoOn<'_>) -> Result<()> {
        let written = bucket.upload(self.files.clone(), go_on);
        let committed = match written.and_then(|()| go_on(0)) {
            Ok(()) => self.commit(bucket)?,
            Err(error) => {
                self.take_back(bucket);
                return Err(error);
            }
        };
        if !committed {
            self.take_back(bucket);
            return exec_err!(
                "a run that nobody else writes is required, got '{}' of {}, which was written or removed meanwhile: look at \
                 it and upload again",
                self.run.name(),
                bucket.address()
            );
        }
        self.sweep(bucket, LEFT_AFTER)
    }

    /// Removes its files, which no manifest names.
    fn take_back(&self, bucket: &BucketFolder) {
        // What cannot be removed goes with a later upload.
        let _ = bucket.remove(&self.generation());
    }

    /// Whether its manifest took the place of the one that was seen. An error leaves that unknown, so that its files stay.
    fn commit(&self, bucket: &BucketFolder) -> Result<bool> {
        let path = format!("{}/{MANIFEST}", self.folder);
        let text = serde_json::to_vec(&self.manifest);
        let text = seal::seal(&text.map_err(|e| exec_datafusion_err!("write {path}: {e}"))?);
        let seen = self.seen.as_ref().map(|(version, _)| version);
        bucket.replace(&path, &text, seen)
    }

    /// Removes the generation that was replaced, and what killed writers left so many seconds ago.
    fn sweep(&self, bucket: &BucketFolder, left_after: i64) -> Result<()> {
        let now = bucket.youngest(&self.generation())?.unwrap_or_default();
        let replaced = self.seen.as_ref().and_then(|(_, name)| name.as_ref());
        for name in bucket.folders(&self.folder)? {
            let Ok(name) = GenerationName::try_from(name) else {
                continue;
            };
            if name == self.manifest.generation {
                continue;
            }
            let path = format!("{}/{}", self.folder, String::from(name.clone()));
            let is_left = match bucket.youngest(&path)? {
                _ if Some(&name) == replaced => true,
                Some(then) => now - then > left_after,
                None => false,
            };
            if is_left {
                bucket.remove(&path)?;
            }
        }
        Ok(())
    }
}

/// Has the list of runs name those that are there.
fn list_runs(bucket: &BucketFolder) -> Result<()> {
    for _ in 0..TRIES {
        let seen = bucket.look(LISTING)?;
        let mut runs = bucket.folders(RUNS)?;
        runs.sort();
        let mut listed = vec![];
        for run in runs {
            if bucket.exists(&format!("{RUNS}/{run}/{MANIFEST}"))? {
                listed.push(run);
            }
        }
        let text = listing::text(listed)?;
        let version = seen.as_ref().map(|(_, version)| version);
        if seen.as_ref().is_some_and(|(now, _)| *now == text)
            || bucket.replace(LISTING, &text, version)?
        {
            return Ok(());
        }
    }
    exec_err!(
        "{LISTING} of {} that others leave alone for a moment is required, got {TRIES} writes of theirs",
        bucket.address()
    )
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
