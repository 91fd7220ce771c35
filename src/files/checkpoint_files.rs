//! How far long work has come, in the pointer beside its newest generation of files, so that work that was killed goes on.

use std::marker::PhantomData;
use std::path::Path;

use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::{DataFusionError, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

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
    /// folder and says how far the work is.
    pub fn write(&self, files: impl FnOnce(&Path) -> Result<S>) -> Result<()> {
        let next = self.of.begin()?;
        let saved = Saved {
            progress: files(next.path())?,
            generation: next.name().clone(),
        };
        let text = serde_json::to_vec(&saved);
        next.commit(&text.map_err(|e| file_error("write", &self.of.pointer(), e))?)
    }

    fn parse(&self, text: &[u8]) -> Result<(S, GenerationName)> {
        let saved = serde_json::from_slice::<Saved<S>>(text);
        let saved = saved.map_err(|e| anew(&file_error("read", &self.of.pointer(), e)))?;
        Ok((saved.progress, saved.generation))
    }

    /// How far the last one is, if there is one.
    pub fn find(&self) -> Result<Option<S>> {
        match self.of.text()? {
            Some(text) => Ok(Some(self.parse(&text)?.0)),
            None => Ok(None),
        }
    }

    /// The last one, with its folder held for reading.
    pub fn open(&self) -> Result<(S, HeldGeneration)> {
        match self.of.open(|text| self.parse(text))? {
            Some((_, progress, generation)) => Ok((progress, generation)),
            None => exec_err!("a checkpoint is required, got none"),
        }
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
