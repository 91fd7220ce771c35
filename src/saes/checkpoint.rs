//! The whole state of a training on disk, so that one that was killed goes on to the same bits.
//!
//! A checkpoint has `state.safetensors`. What the training is, options and source, is
//! written down in full and compared.

use std::collections::HashMap;
use std::path::Path;

use datafusion::arrow::datatypes::ToByteSlice;
use datafusion::common::exec_err;
use datafusion::error::{DataFusionError, Result};
use polysema_kernels::sae::{Trainer, Values};
use safetensors::tensor::{Dtype, SafeTensorError, TensorView, serialize_to_file};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::curve::Curve;
use crate::files::arrays::{self, ElementType};
use crate::files::checkpoint_files::{CheckpointFiles, anew};
use crate::files::file_sum::FileSum;
use crate::files::generations::Generations;
use crate::files::{disk, file_error};

const STATE: &str = "state.safetensors";
/// Beside the trainer's own parts.
const CURVE: &str = "curve";

/// How far a training has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TrainingState {
    /// Options and source, as text: numbers are compared as they were written.
    pub(super) of: String,
    /// Width of the vectors.
    pub(super) d_in: usize,
    /// Steps done.
    pub(super) steps: u64,
    /// Rows seen.
    pub(super) rows: u64,
    /// blake3 of these rows in their order.
    pub(super) seen: String,
    /// What vectors were divided by.
    pub(super) spread: f32,
    /// Seconds of training.
    pub(super) seconds: f64,
    /// Whether nothing is left to train.
    pub(super) done: bool,
}

/// The checkpoints of one training.
#[derive(Debug)]
pub(super) struct Checkpoints {
    of: CheckpointFiles<TrainingState>,
}

fn unreadable(path: &Path, error: impl std::fmt::Display) -> DataFusionError {
    anew(&file_error("read", path, error))
}

impl Checkpoints {
    /// Those of a folder, which need not be there.
    pub(super) fn new(of: &Generations) -> Self {
        Self {
            of: CheckpointFiles::new(of.clone()),
        }
    }

    /// Writes a checkpoint in place of the last one, which stays if this one cannot be written.
    pub(super) fn write(
        &self,
        trainer: &mut Trainer,
        curve: &Curve,
        progress: &TrainingState,
    ) -> Result<()> {
        self.of.write(|folder| {
            let path = folder.join(STATE);
            // Views of what is being trained: a copy would be six more matrices in memory.
            let state = trainer.state();
            let tensors = state.iter().map(|part| {
                let (dtype, bytes) = match &part.values {
                    Values::F32(values) => (Dtype::F32, values.to_byte_slice()),
                    // Bits of counters, which are read as signed numbers.
                    Values::U64(values) => (Dtype::I64, values.to_byte_slice()),
                    Values::U8(values) => (Dtype::U8, values.to_byte_slice()),
                };
                Ok((
                    part.name,
                    TensorView::new(dtype, part.dims.to_vec(), bytes)?,
                ))
            });
            let curve = curve.to_numbers();
            let shape = vec![curve.len()];
            let curve = TensorView::new(Dtype::I64, shape, curve.to_byte_slice());
            let tensors = tensors.chain([curve.map(|curve| (CURVE, curve))]);
            let tensors: Result<Vec<_>, SafeTensorError> = tensors.collect();
            let written = tensors.and_then(|tensors| serialize_to_file(tensors, None, &path));
            written.map_err(|e| file_error("write", &path, e))?;
            Ok((progress.clone(), vec![FileSum::of(&path)?]))
        })
    }

    /// The last checkpoint, if there is one.
    pub(super) fn find(&self) -> Result<Option<TrainingState>> {
        self.of.find()
    }

    /// Removes what a training has left that was committed and killed before it could clean up.
    pub(super) fn remove_done(&self) -> Result<()> {
        match self.find()?.is_some_and(|progress| progress.done) {
            true => self.remove(),
            false => Ok(()),
        }
    }

    /// Removes every checkpoint, readable or not.
    pub(super) fn remove(&self) -> Result<()> {
        self.of.remove()
    }

    /// Gives a new trainer of the same options the state of the last checkpoint, and what was kept of its steps: nothing by
    /// one that was written before there were curves.
    pub(super) fn restore(&self, trainer: &mut Trainer) -> Result<Curve> {
        let (_, generation) = self.of.open()?;
        let path = generation.path().join(STATE);
        disk::open(&path).map_err(|e| unreadable(&path, e))?;
        let arrays = arrays::safetensors(&path).map_err(|e| unreadable(&path, e))?;
        let (mut floats, mut counters, mut flags) =
            (HashMap::new(), HashMap::new(), HashMap::new());
        for mut array in arrays {
            let name = array.name().to_string();
            let invalid = |e: DataFusionError| unreadable(&path, e);
            match array.kind() {
                Some(ElementType::F32) => {
                    floats.insert(name, array.all_floats().map_err(invalid)?);
                }
                Some(ElementType::I64) => {
                    let signed = array.integers(0..array.n_elements()).map_err(invalid)?;
                    let values: Vec<u64> = signed.iter().map(|v| v.cast_unsigned()).collect();
                    counters.insert(name, values);
                }
                Some(ElementType::U8) => {
                    let values = array.integers(0..array.n_elements()).map_err(invalid)?;
                    let values: Vec<u8> = values.iter().map(|v| *v as u8).collect();
                    flags.insert(name, values);
                }
                _ => {
                    return exec_err!(
                        "numbers of a checkpoint are required in {}, got {}",
                        path.display(),
                        array.stored_as()
                    );
                }
            }
        }
        let find = |name: &str| {
            let floats = floats.get(name).map(|v| Values::F32(v));
            let counters = || counters.get(name).map(|v| Values::U64(v));
            let flags = || flags.get(name).map(|v| Values::U8(v));
            floats.or_else(counters).or_else(flags)
        };
        let restored = trainer.restore(find);
        restored.map_err(|e| unreadable(&path, e))?;
        let curve = counters
            .get(CURVE)
            .map_or(Some(Curve::default()), |kept| Curve::of_numbers(kept));
        curve.ok_or_else(|| unreadable(&path, "its curve is cut"))
    }
}

/// The names of what differs between two trainings.
pub(super) fn difference(a: &str, b: &str) -> String {
    let [a, b] = [a, b].map(|text| serde_json::from_str::<Value>(text).unwrap_or_default());
    let mut names = vec![];
    for part in ["options", "vectors"] {
        if let (Some(a), Some(b)) = (a[part].as_object(), b[part].as_object()) {
            let changed = b.iter().filter(|(name, value)| a.get(*name) != Some(value));
            names.extend(changed.map(|(name, _)| name.clone()));
        }
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::faults::each;
    use crate::options::Options;
    use crate::saes::{SaeOptions, TRAIN_SAE};

    fn trainer() -> Trainer {
        let words = [("d_sae", "8"), ("batch_size", "4")];
        let options = Options::of_words(&TRAIN_SAE, words).and_then(SaeOptions::new);
        let options = options.expect("options");
        let sae = options.untrained(4).expect("an autoencoder");
        Trainer::new(sae, options.train_options(4)).expect("a trainer")
    }

    fn progress(steps: u64) -> TrainingState {
        TrainingState {
            of: "{}".to_string(),
            d_in: 4,
            spread: 1.0,
            steps,
            rows: 4 * steps,
            seen: String::new(),
            seconds: 0.0,
            done: false,
        }
    }

    /// A trainer after some steps, whose weights tell how many.
    fn after(steps: u64) -> Trainer {
        let mut trainer = trainer();
        for step in 0..steps {
            let rows: Vec<f32> = (0..16).map(|i| (i as f32 + step as f32).sin()).collect();
            trainer.step(&rows).expect("a step");
        }
        trainer
    }

    #[test]
    fn a_checkpoint_is_the_old_or_the_new_whatever_fails() {
        let weights = [1, 2].map(|steps| after(steps).into_sae().w_enc);
        let begin = || {
            let folder = tempfile::tempdir().expect("a folder");
            let of = Generations::new(folder.path().join("s"), "checkpoint.json");
            let checkpoints = Checkpoints::new(&of);
            checkpoints
                .write(&mut after(1), &Curve::default(), &progress(1))
                .expect("written");
            (folder, checkpoints)
        };
        let work = |(_, checkpoints): &(_, Checkpoints)| {
            checkpoints.write(&mut after(2), &Curve::default(), &progress(2))
        };
        let steps = each(begin, work, |(folder, checkpoints), done, fault| {
            let found = checkpoints
                .find()
                .expect(fault)
                .expect("a checkpoint")
                .steps;
            assert!(done.is_err() || found == 2, "{fault}");
            let mut restored = trainer();
            checkpoints.restore(&mut restored).expect(fault);
            assert!(
                restored.into_sae().w_enc == weights[found as usize - 1],
                "{fault}: {found}"
            );
            checkpoints.remove().expect(fault);
            assert!(!folder.path().join("s").exists(), "{fault}");
        });
        assert!(steps > 8, "{steps} changes");
    }

    #[test]
    fn one_that_cannot_be_read_can_be_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let of = Generations::new(folder.path().join("s"), "checkpoint.json");
        let checkpoints = Checkpoints::new(&of);
        checkpoints
            .write(&mut after(1), &Curve::default(), &progress(1))
            .expect("written");
        std::fs::write(of.pointer(), "{").expect("a file");
        let error = checkpoints.find().expect_err("damaged").to_string();
        assert!(
            error.contains("pass resume: false to begin anew"),
            "{error}"
        );
        checkpoints.remove().expect("removed");
        assert!(checkpoints.find().expect("none").is_none());
    }
}
