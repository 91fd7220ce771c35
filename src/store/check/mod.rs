//! Reads everything a store keeps, compares it with its checksums, and tells what is damaged and what is whole.

mod one_file;
mod report;
mod runs;

use std::path::PathBuf;

use datafusion::common::plan_err;
use datafusion::error::Result;
use rayon::prelude::*;

use super::Store;
use super::kept::KeptName;
use super::listing::LISTING;
use super::names::{STORE, UNFINISHED};
use crate::files::checkpoint_files::CheckpointSums;
use crate::files::disk;
use crate::files::file_sum::FileSum;
use crate::files::generations::{Generations, HeldGeneration};

use one_file::{CheckedFile, FileState, KnownBy, problem};
use runs::RunFiles;

pub use one_file::GoOn;
pub use report::{CheckedThing, Damage, PartRows, TablePart};

/// A thing whose files are to be read, held so that nobody removes them meanwhile.
struct Opened {
    thing: CheckedThing,
    files: Vec<CheckedFile>,
    of_run: Option<RunFiles>,
    _held: Option<HeldGeneration>,
}

impl Opened {
    fn new(kind: &'static str, name: &str) -> Self {
        Self {
            thing: CheckedThing {
                kind,
                name: name.to_string(),
                ..CheckedThing::default()
            },
            files: vec![],
            of_run: None,
            _held: None,
        }
    }

    fn sealed(mut self, path: PathBuf) -> Self {
        let by = KnownBy::Seal;
        self.files.push(CheckedFile { path, by });
        self
    }

    /// What the files of a generation have; nothing but its pointer if that is damaged.
    fn sums(
        self,
        of: &Generations,
        grows: bool,
        opened: Result<Option<(Vec<FileSum>, HeldGeneration)>>,
    ) -> Option<Self> {
        self.of_generation(of, opened, |sums, held| {
            let files = sums.into_iter().map(|sum| CheckedFile {
                path: held.path().join(&sum.name),
                by: KnownBy::Sum { sum, grows },
            });
            files.collect()
        })
    }

    fn of_generation<T>(
        mut self,
        of: &Generations,
        opened: Result<Option<(T, HeldGeneration)>>,
        files: impl FnOnce(T, &HeldGeneration) -> Vec<CheckedFile>,
    ) -> Option<Self> {
        match opened {
            // It was there a moment ago.
            Ok(None) => return None,
            Ok(Some((said, held))) => {
                self = self.sealed(of.pointer());
                self.files.extend(files(said, &held));
                self._held = Some(held);
            }
            Err(error) => {
                self.thing.files += 1;
                let file = of.pointer();
                self.thing.damages.push(Damage {
                    problem: problem(&file, &error),
                    file,
                    lost: None,
                    neurons: vec![],
                });
            }
        }
        Some(self)
    }

    fn read(mut self, go_on: GoOn<'_>) -> Result<CheckedThing> {
        let read = |file: &CheckedFile| {
            let bytes = std::sync::atomic::AtomicU64::new(0);
            let state = file.read(&|n| {
                bytes.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
                go_on(n)
            })?;
            Ok((state, bytes.into_inner()))
        };
        let states: Vec<(FileState, u64)> = self
            .files
            .par_iter()
            .map(read)
            .collect::<Result<Vec<_>>>()?;
        let mut lost = vec![];
        for (at, (file, (state, bytes))) in self.files.iter().zip(states).enumerate() {
            let thing = &mut self.thing;
            thing.bytes += bytes;
            thing.files += u64::from(!matches!(state, FileState::Gone));
            match state {
                FileState::Whole | FileState::Gone => {}
                FileState::Unverified => thing.unverified += 1,
                FileState::Damaged(..) if matches!(file.by, KnownBy::TailBehind) => {
                    thing.caches.push(file.path.clone());
                }
                FileState::Damaged(problem, batches) => {
                    lost.push((at, batches));
                    thing.damages.push(Damage {
                        file: file.path.clone(),
                        problem,
                        lost: None,
                        neurons: vec![],
                    });
                }
            }
        }
        if let Some(run) = &self.of_run
            && !self.thing.damages.is_empty()
        {
            run.tell(&mut self.thing, &lost);
        }
        Ok(self.thing)
    }
}

/// Names of the folders in one.
fn names(folder: &std::path::Path) -> Result<Vec<String>> {
    let entries = disk::entries(folder)?;
    let names = entries.iter().filter_map(|path| path.file_name()?.to_str());
    Ok(names.map(str::to_string).collect())
}

impl Store {
    /// Reads all that the store keeps, or that some runs of it have, and compares it with its checksums. What others write
    /// meanwhile is read as it was before or as it is after.
    ///
    /// Errors: there is no such run; a folder of the store cannot be listed; that of `go_on`.
    pub fn check(&self, runs: &[String], go_on: GoOn<'_>) -> Result<Vec<CheckedThing>> {
        if self.is_elsewhere() {
            return plan_err!(
                "a store on this machine is required to check all of it, got {}, of which what a question needs is compared \
                 with its checksums",
                self.place()
            );
        }
        let mut opened = vec![];
        let all = runs.is_empty();
        for run in runs {
            if !self.has(run) {
                return self.unknown_run(run);
            }
        }
        let runs = if all { self.runs()? } else { runs.to_vec() };
        for run in &runs {
            opened.extend(self.open_run_files(run));
        }
        if all {
            opened.extend(self.open_others()?);
        }
        let checked = opened.into_par_iter().map(|opened| opened.read(go_on));
        checked.collect()
    }

    fn open_run_files(&self, name: &str) -> Option<Opened> {
        let of = self.generations(name);
        let opened = RunFiles::open(&of, name);
        let mut run = None;
        let opened = Opened::new("run", name).of_generation(&of, opened, |files, held| {
            let list = files.list(held.path());
            run = Some(files);
            list
        });
        opened.map(|opened| Opened {
            of_run: run,
            ..opened
        })
    }

    fn open_others(&self) -> Result<Vec<Opened>> {
        let root = self.root();
        let mut opened = vec![];
        let named = [STORE, LISTING].map(|name| root.join(name));
        let sealed = named.into_iter().filter(|path| path.exists());
        let store = sealed.fold(Opened::new("store", ""), Opened::sealed);
        if !store.files.is_empty() {
            opened.push(store);
        }
        for schema in self.schemas()? {
            opened.push(Opened::new("schema", &schema).sealed(self.schema_marker(&schema)));
            for table in self.kept_tables(&schema)? {
                let name = KeptName::new(&schema, &table);
                let of = name.place(self);
                let thing = Opened::new("table", &name.to_string());
                let parts = self.open_kept(&name);
                opened.extend(thing.of_generation(&of, parts, |manifest, held| {
                    let parts = manifest.parts.into_iter().map(|part| CheckedFile {
                        path: held.path().join(part.file()),
                        by: KnownBy::Tail {
                            size_bytes: part.size_bytes,
                            tail: part.tail,
                            rows: part.rows,
                        },
                    });
                    parts.collect()
                }));
            }
        }
        for model in self.models()? {
            let thing = Opened::new("model", &model);
            opened.extend(thing.sums(&self.model(&model), false, self.open_model(&model)));
        }
        for name in names(&root.join("training"))? {
            let Ok(of) = self.training(&name) else {
                continue;
            };
            let thing = Opened::new("training", &name);
            opened.extend(thing.sums(&of, false, CheckpointSums::open(&of)));
        }
        for name in names(&root.join(UNFINISHED))? {
            let Some(of) = self.unfinished_by_name(&name) else {
                continue;
            };
            let thing = Opened::new("ingest", &name);
            opened.extend(thing.sums(&of, true, CheckpointSums::open(&of)));
        }
        let records = disk::entries(&root.join("jobs"))?;
        let mut jobs = Opened::new("jobs", "");
        for path in records {
            if path.extension().is_some_and(|ending| ending == "json") {
                jobs = jobs.sealed(path);
            }
        }
        if !jobs.files.is_empty() {
            opened.push(jobs);
        }
        Ok(opened)
    }
}
