//! Safetensors of a model folder: found, read, checked and turned to float32, with the file and the tensor in every
//! message.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use datafusion::error::Result;
use polysema_kernels::vector::first_non_finite;
use serde::Deserialize;

use super::error::{from_candle, invalid};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Reads a file of a model and counts it into the model's hash, name and length first.
pub(super) fn read_hashed(path: &Path, hasher: &mut blake3::Hasher) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).map_err(|e| {
        invalid(format!(
            "a readable file {} is required, got {e}",
            path.display()
        ))
    })?;
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    hasher
        .update(&(name.len() as u64).to_le_bytes())
        .update(name);
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(&bytes);
    Ok(bytes)
}

/// Tensors of one model, by name.
pub(super) struct Weights {
    /// What messages call the whole: the file, or the index of the shards.
    source: PathBuf,
    tensors: HashMap<String, (PathBuf, Tensor)>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl Weights {
    /// Bytes of all tensors as float32.
    pub(super) fn bytes(&self) -> usize {
        let tensors = self.tensors.values();
        tensors.map(|(_, tensor)| 4 * tensor.elem_count()).sum()
    }

    /// Reads `model.safetensors`, or the shards its index names.
    pub(super) fn read_folder(folder: &Path, hasher: &mut blake3::Hasher) -> Result<Self> {
        let single = folder.join(SINGLE);
        if single.exists() {
            return Self::read_file(&single, hasher);
        }
        let source = folder.join(INDEX);
        if !source.exists() {
            return Err(invalid(format!(
                "{SINGLE} or {INDEX} is required in {}, got neither",
                folder.display()
            )));
        }
        let index: Index = serde_json::from_slice(&read_hashed(&source, hasher)?).map_err(|e| {
            invalid(format!(
                "{}: a weight_map is required, got {e}",
                source.display()
            ))
        })?;
        let mut weights = Self {
            source,
            tensors: HashMap::new(),
        };
        // Sorted, so that the hash does not depend on the order of the index.
        for shard in index.weight_map.values().collect::<BTreeSet<_>>() {
            if Path::new(shard).components().count() != 1 {
                return Err(invalid(format!(
                    "{}: shards beside the index are required, got {shard:?}",
                    weights.source.display()
                )));
            }
            weights.add_file(&folder.join(shard), hasher)?;
        }
        Ok(weights)
    }

    /// Reads one safetensors file.
    pub(super) fn read_file(path: &Path, hasher: &mut blake3::Hasher) -> Result<Self> {
        let mut weights = Self {
            source: path.to_path_buf(),
            tensors: HashMap::new(),
        };
        weights.add_file(path, hasher)?;
        Ok(weights)
    }

    fn add_file(&mut self, path: &Path, hasher: &mut blake3::Hasher) -> Result<()> {
        let bytes = read_hashed(path, hasher)?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|e| {
            invalid(format!(
                "{}: a whole safetensors file is required, got {} bytes: {e}",
                path.display(),
                bytes.len()
            ))
        })?;
        let named = tensors
            .into_iter()
            .map(|(name, tensor)| (name, (path.to_path_buf(), tensor)));
        self.tensors.extend(named);
        Ok(())
    }

    /// Number of tensors not yet taken.
    pub(super) fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is a tensor of this name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of a tensor, for formats that tell their sizes no other way.
    pub(super) fn dims(&self, name: &str) -> Result<&[usize]> {
        match self.tensors.get(name) {
            Some((_, tensor)) => Ok(tensor.dims()),
            None => Err(self.missing(name)),
        }
    }

    /// Takes a tensor of the given shape out, as finite float32 values in row-major order.
    pub(super) fn take(&mut self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        let (file, tensor) = self
            .tensors
            .remove(name)
            .ok_or_else(|| self.missing(name))?;
        let place = format!("{}: tensor {name}", file.display());
        if tensor.dims() != dims {
            return Err(invalid(format!(
                "{place}: shape {dims:?} is required, got {:?}",
                tensor.dims()
            )));
        }
        if !matches!(
            tensor.dtype(),
            DType::F32 | DType::F16 | DType::BF16 | DType::F64
        ) {
            return Err(invalid(format!(
                "{place}: type F32, F16, BF16 or F64 is required, got {:?}",
                tensor.dtype()
            )));
        }
        let values: Vec<f32> = tensor
            .to_dtype(DType::F32)
            .and_then(|t| t.flatten_all())
            .and_then(|t| t.to_vec1())
            .map_err(|e| from_candle(&place, e))?;
        if let Some(i) = first_non_finite(&values) {
            return Err(invalid(format!(
                "{place}: finite values are required, got {} at {i}",
                values[i]
            )));
        }
        Ok(values)
    }

    fn missing(&self, name: &str) -> datafusion::error::DataFusionError {
        invalid(format!(
            "{}: tensor {name} is required, got none",
            self.source.display()
        ))
    }
}
