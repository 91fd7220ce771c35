//! The parameters of a sparse autoencoder on disk: one safetensors file, a row a latent, in its run.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, safetensors};
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;
use polysema_kernels::sae::{Sae, Variant};
use polysema_kernels::vector::first_non_finite;

use crate::store::StoredSae;

/// Writes the parameters as a file and waits until they are on disk.
pub(super) fn save(path: &Path, sae: &Sae) -> Result<()> {
    let (n, d) = (sae.d_sae, sae.d_in);
    let matrix = [n, d];
    let mut parts: Vec<(&str, &[f32], &[usize])> = vec![
        ("w_enc", &sae.w_enc, &matrix),
        ("b_enc", &sae.b_enc, &matrix[..1]),
        ("w_dec", &sae.w_dec, &matrix),
        ("b_dec", &sae.b_dec, &matrix[1..]),
    ];
    let only: [f32; 1];
    match &sae.variant {
        Variant::Relu | Variant::TopK { .. } => {}
        Variant::BatchTopK { threshold, .. } => {
            only = [*threshold];
            parts.push(("threshold", &only, &[1]));
        }
        Variant::JumpRelu { threshold } => parts.push(("threshold", threshold, &matrix[..1])),
        Variant::Gated {
            b_gate,
            r_mag,
            b_mag,
        } => {
            parts.push(("b_gate", b_gate, &matrix[..1]));
            parts.push(("r_mag", r_mag, &matrix[..1]));
            parts.push(("b_mag", b_mag, &matrix[..1]));
        }
    }
    write_tensors(path, &parts)
}

/// Writes named arrays as one safetensors file and waits until it is on disk.
pub(super) fn write_tensors(path: &Path, parts: &[(&str, &[f32], &[usize])]) -> Result<()> {
    let failed =
        |e: &dyn std::fmt::Display| exec_datafusion_err!("sae: write {}: {e}", path.display());
    let mut tensors = HashMap::new();
    for (name, values, dims) in parts {
        let tensor = Tensor::from_slice(values, *dims, &Device::Cpu).map_err(|e| failed(&e))?;
        tensors.insert(name.to_string(), tensor);
    }
    safetensors::save(&tensors, path).map_err(|e| failed(&e))?;
    let synced = std::fs::File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|e| failed(&e))
}

/// The tensors of a file by name, each taken once and checked.
pub(super) struct Tensors<'a> {
    path: &'a Path,
    tensors: HashMap<String, Tensor>,
}

impl<'a> Tensors<'a> {
    pub(super) fn read(path: &'a Path) -> Result<Self> {
        let tensors = safetensors::load(path, &Device::Cpu)
            .map_err(|e| exec_datafusion_err!("sae: read {}: {e}", path.display()))?;
        Ok(Self { path, tensors })
    }

    /// A tensor of this shape with finite values.
    pub(super) fn take(&mut self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        let path = self.path.display();
        let Some(tensor) = self.tensors.remove(name) else {
            let mut known: Vec<_> = self.tensors.keys().map(String::as_str).collect();
            known.sort_unstable();
            return exec_err!(
                "sae: a tensor {name} is required in {path}, got {}",
                known.join(", ")
            );
        };
        if tensor.dims() != dims {
            return exec_err!(
                "sae: {name} of shape {dims:?} is required in {path}, got {:?}",
                tensor.dims()
            );
        }
        let values = tensor
            .to_dtype(DType::F32)
            .and_then(|tensor| tensor.flatten_all())
            .and_then(|tensor| tensor.to_vec1::<f32>())
            .map_err(|e| exec_datafusion_err!("sae: read {name} of {path}: {e}"))?;
        match first_non_finite(&values) {
            Some(at) => exec_err!(
                "sae: finite values are required in {name} of {path}, got {} at {at}",
                values[at]
            ),
            None => Ok(values),
        }
    }
}

/// Reads the parameters of a committed sparse autoencoder.
///
/// Errors: the file is missing, cut or changed; a tensor is missing, of another shape or not finite.
pub fn load(stored: &StoredSae) -> Result<Sae> {
    let facts = &stored.manifest;
    let mut tensors = Tensors::read(stored.weights()?)?;
    let (n, d) = (facts.d_sae, facts.d_in);
    let variant = match (facts.variant.as_str(), facts.k) {
        ("relu", _) => Variant::Relu,
        ("topk", Some(k)) => Variant::TopK { k },
        ("batch_topk", Some(k)) => Variant::BatchTopK {
            k,
            threshold: tensors.take("threshold", &[1])?[0],
        },
        ("jump_relu", _) => Variant::JumpRelu {
            threshold: tensors.take("threshold", &[n])?,
        },
        ("gated", _) => Variant::Gated {
            b_gate: tensors.take("b_gate", &[n])?,
            r_mag: tensors.take("r_mag", &[n])?,
            b_mag: tensors.take("b_mag", &[n])?,
        },
        (name, _) => {
            return exec_err!(
                "sae: a variant of {} (with its k) is required in '{}', got {name}",
                Variant::NAMES.join(", "),
                facts.name
            );
        }
    };
    Ok(Sae {
        d_in: d,
        d_sae: n,
        variant,
        centered: facts.centered,
        w_enc: tensors.take("w_enc", &[n, d])?,
        b_enc: tensors.take("b_enc", &[n])?,
        w_dec: tensors.take("w_dec", &[n, d])?,
        b_dec: tensors.take("b_dec", &[d])?,
    })
}
