//! How far long work has come, in the pointer beside its newest generation of files, so that work that was killed goes on.

use std::marker::PhantomData;
use std::path::Path;

use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::{DataFusionError, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::file_sum::FileSum;
use super::generations::{GenerationName, Generations, HeldGeneration};
use super::{file_error, words};

/// The checkpoints of one work, whose progress is an `S`.
#[derive(Debug)]
pub struct CheckpointFiles<S> {
    of: Generations,
    progress: PhantomData<fn() -> S>,
}

/// The pointer file.
#[derive(Serialize, Deserialize)]
struct Saved<S> {
    generation: GenerationName,
    progress: S,
    /// What the files have that it counts on; none where it was written before there were checksums.
    #[serde(default)]
    files: Vec<FileSum>,
}

/// The files of a checkpoint, whatever the work is.
#[derive(Debug, Deserialize)]
pub struct CheckpointSums {
    generation: GenerationName,
    #[serde(default)]
    files: Vec<FileSum>,
}

impl CheckpointSums {
    /// Those of the last checkpoint, with its folder held for reading; nothing if there is none.
    pub fn open(of: &Generations) -> Result<Option<(Vec<FileSum>, HeldGeneration)>> {
        let opened = of.open(|text| {
            let sums = serde_json::from_slice::<Self>(text);
            let sums = sums.map_err(|e| file_error("read", &of.pointer(), e))?;
            Ok((sums.files, sums.generation))
        })?;
        Ok(opened.map(|(_, files, generation)| (files, generation)))
    }
}

impl<S: Serialize + DeserializeOwned> CheckpointFiles<S> {
    /// Those of a folder, which need not be there.
    pub fn new(of: Generations) -> Self {
        Self {
            of,
            progress: PhantomData,
        }
    }

    /// Where they lie.
    pub fn generations(&self) -> &Generations {
        &self.of
    }

    /// Writes a checkpoint in place of the last one, which stays if this one cannot be written: `files` writes into a
    /// folder and says how far the work is, and what each of them has by now.
    pub fn write(&self, files: impl FnOnce(&Path) -> Result<(S, Vec<FileSum>)>) -> Result<()> {
        let next = self.of.begin()?;
        let (progress, files) = files(next.path())?;
        let saved = Saved {
            progress,
            generation: next.name().clone(),
            files,
        };
        let text = serde_json::to_vec(&saved);
        next.commit(&text.map_err(|e| file_error("write", &self.of.pointer(), e))?)
    }

    fn parse(&self, text: &[u8]) -> Result<Saved<S>> {
        let saved = serde_json::from_slice::<Saved<S>>(text);
        saved.map_err(|e| anew(&file_error("read", &self.of.pointer(), e)))
    }

    /// How far the last one is, if there is one.
    pub fn find(&self) -> Result<Option<S>> {
        match self.of.text().map_err(|e| anew(&e))? {
            Some(text) => Ok(Some(self.parse(&text)?.progress)),
            None => Ok(None),
        }
    }

    /// The last one, with its folder held for reading.
    ///
    /// Errors: one of its files is not what was written.
    pub fn open(&self) -> Result<(S, HeldGeneration)> {
        let opened = self.of.open(|text| {
            let saved = self.parse(text)?;
            Ok(((saved.progress, saved.files), saved.generation))
        })?;
        let Some((_, (progress, files), generation)) = opened else {
            return exec_err!("a checkpoint is required, got none");
        };
        for file in files {
            let checked = file.check(generation.path(), |_| Ok(()));
            checked.map_err(|e| anew(&e))?;
        }
        Ok((progress, generation))
    }

    /// Removes every one, readable or not.
    pub fn remove(&self) -> Result<()> {
        self.of.remove().map(|_| ())
    }
}

/// An error of reading a checkpoint, with what helps.
pub fn anew(error: &DataFusionError) -> DataFusionError {
    exec_datafusion_err!("{} (pass resume: false to begin anew)", words(error))
}
