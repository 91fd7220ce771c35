//! The whole state of a training on disk, so that one that was killed goes on to the same bits.
//!
//! `training/checkpoint` is a folder of `state.safetensors` and `checkpoint.json`; a new one is written beside it and
//! takes its place by renaming. What it belongs to, options and source, is written down in full and compared.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, safetensors};
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::{DataFusionError, Result};
use polysema_udfs::kernels::sae::{Trainer, Values};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const STATE: &str = "state.safetensors";
const PROGRESS: &str = "checkpoint.json";

/// How far a training has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
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
    /// Seconds of training.
    pub(super) seconds: f64,
    /// Whether nothing is left to train.
    pub(super) done: bool,
}

/// The checkpoints of one training.
#[derive(Debug)]
pub(super) struct Checkpoints {
    folder: PathBuf,
}

fn failed(act: &str, path: &Path, error: impl std::fmt::Display) -> DataFusionError {
    exec_datafusion_err!("train_sae: {act} {}: {error}", path.display())
}

impl Checkpoints {
    /// Those in a folder, which need not be there.
    pub(super) fn new(training: &Path) -> Self {
        Self {
            folder: training.to_path_buf(),
        }
    }

    fn current(&self) -> PathBuf {
        self.folder.join("checkpoint")
    }

    /// Writes a checkpoint in place of the last one, which stays if this one cannot be written.
    pub(super) fn write(&self, trainer: &mut Trainer, progress: &Progress) -> Result<()> {
        let next = self.folder.join("checkpoint.next");
        let written = self.write_into(&next, trainer, progress);
        if written.is_err() {
            let _ = fs::remove_dir_all(&next);
            return written;
        }
        let (current, old) = (self.current(), self.folder.join("checkpoint.old"));
        let _ = fs::remove_dir_all(&old);
        if current.exists() {
            fs::rename(&current, &old).map_err(|e| failed("rename", &current, e))?;
        }
        fs::rename(&next, &current).map_err(|e| failed("rename", &next, e))?;
        let _ = fs::remove_dir_all(&old);
        Ok(())
    }

    fn write_into(&self, next: &Path, trainer: &mut Trainer, progress: &Progress) -> Result<()> {
        let _ = fs::remove_dir_all(next);
        fs::create_dir_all(next).map_err(|e| failed("create", next, e))?;
        let path = next.join(STATE);
        let invalid = |e: candle_core::Error| failed("write", &path, e);
        let mut tensors = HashMap::new();
        for part in trainer.state() {
            let tensor = match part.values {
                Values::F32(values) => Tensor::from_slice(values, part.dims, &Device::Cpu),
                // Bits of counters, which safetensors has as signed numbers only through candle.
                Values::U64(values) => {
                    let signed: Vec<i64> = values.iter().map(|v| v.cast_signed()).collect();
                    Tensor::from_slice(&signed, part.dims, &Device::Cpu)
                }
                Values::U8(values) => Tensor::from_slice(values, part.dims, &Device::Cpu),
            };
            tensors.insert(part.name.to_string(), tensor.map_err(invalid)?);
        }
        safetensors::save(&tensors, &path).map_err(invalid)?;
        let text = serde_json::to_vec(progress).map_err(|e| failed("write", &path, e))?;
        let facts = next.join(PROGRESS);
        fs::write(&facts, text).map_err(|e| failed("write", &facts, e))?;
        for path in [&path, &facts] {
            fs::File::open(path)
                .and_then(|file| file.sync_all())
                .map_err(|e| failed("write", path, e))?;
        }
        Ok(())
    }

    /// The last whole checkpoint, if there is one.
    pub(super) fn find(&self) -> Result<Option<Progress>> {
        // A kill between the two renames leaves the old one under its other name.
        let old = self.folder.join("checkpoint.old");
        if !self.current().exists() && old.exists() {
            fs::rename(&old, self.current()).map_err(|e| failed("rename", &old, e))?;
        }
        let path = self.current().join(PROGRESS);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed("read", &path, e)),
        };
        let progress = serde_json::from_slice(&text).map_err(|e| failed("read", &path, e))?;
        Ok(Some(progress))
    }

    /// Removes what a training has left that was committed and killed before it could clean up.
    pub(super) fn remove_done(&self) -> Result<()> {
        match self.find()?.is_some_and(|progress| progress.done) {
            true => self.remove(),
            false => Ok(()),
        }
    }

    /// Removes every checkpoint.
    pub(super) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(failed("remove", &self.folder, e))
            }
            _ => Ok(()),
        }
    }

    /// Gives a new trainer of the same options the state of the last checkpoint.
    pub(super) fn restore(&self, trainer: &mut Trainer) -> Result<()> {
        let path = self.current().join(STATE);
        let tensors =
            safetensors::load(&path, &Device::Cpu).map_err(|e| failed("read", &path, e))?;
        let (mut floats, mut counters, mut flags) =
            (HashMap::new(), HashMap::new(), HashMap::new());
        for (name, tensor) in tensors {
            let invalid = |e: candle_core::Error| failed("read", &path, e);
            let flat = tensor.flatten_all().map_err(invalid)?;
            match tensor.dtype() {
                DType::F32 => {
                    floats.insert(name, flat.to_vec1::<f32>().map_err(invalid)?);
                }
                DType::I64 => {
                    let signed = flat.to_vec1::<i64>().map_err(invalid)?;
                    let values: Vec<u64> = signed.iter().map(|v| v.cast_unsigned()).collect();
                    counters.insert(name, values);
                }
                DType::U8 => {
                    flags.insert(name, flat.to_vec1::<u8>().map_err(invalid)?);
                }
                other => {
                    return exec_err!(
                        "train_sae: numbers of a checkpoint are required in {}, got {other:?}",
                        path.display()
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
        trainer.restore(find).map_err(|e| failed("read", &path, e))
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
