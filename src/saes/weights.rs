//! The parameters of a sparse autoencoder on disk: one safetensors file, a row a latent, in its run.

use std::path::Path;

use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_kernels::sae::{InputNorm, Sae, Variant};
use polysema_udfs::arrow::memory;

use crate::files::tensors::{TensorFile, Tensors};
use crate::store::StoredSae;

/// Reserves an autoencoder, what is written of it, and once more one of its matrices, which is compared with that.
pub(super) fn hold(memory: &MemoryReservation, sae: &Sae) -> Result<()> {
    let (d_in, d_sae) = (sae.d_in, sae.d_sae);
    let numbers = numbers(d_in, sae.d_out(), d_sae, !sae.w_skip.is_empty()).saturating_mul(5) / 2;
    let needed = numbers.saturating_mul(size_of::<f32>());
    let of = format_args!("an autoencoder of {d_sae} latents of width {d_in} and its file");
    memory::hold(memory, needed, of)
}

/// Numbers of an autoencoder's parameters: beside two matrices a latent has at most four more.
pub(super) fn numbers(d_in: usize, d_out: usize, d_sae: usize, skip: bool) -> usize {
    let of_latent = d_in.saturating_add(d_out).saturating_add(4);
    let skipped = if skip { d_in.saturating_mul(d_out) } else { 0 };
    d_sae
        .saturating_mul(of_latent)
        .saturating_add(d_out)
        .saturating_add(skipped)
}

/// Writes the parameters as a file and waits until they are on disk.
pub(super) fn save(path: &Path, sae: &Sae) -> Result<()> {
    let (n, d, d_out) = (sae.d_sae, sae.d_in, sae.d_out());
    let (matrix, decoder, skip) = ([n, d], [n, d_out], [d_out, d]);
    let mut parts: Vec<(&str, &[f32], &[usize])> = vec![
        ("w_enc", &sae.w_enc, &matrix),
        ("b_enc", &sae.b_enc, &matrix[..1]),
        ("w_dec", &sae.w_dec, &decoder),
        ("b_dec", &sae.b_dec, &decoder[1..]),
    ];
    if !sae.w_skip.is_empty() {
        parts.push(("w_skip", &sae.w_skip, &skip));
    }
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
    let mut file = TensorFile::new(path.to_path_buf(), "float32")?;
    for (name, values, dims) in parts {
        file.add(name, values, dims)?;
    }
    file.finish()
}

/// Reads the parameters of a committed sparse autoencoder.
///
/// Errors: the file is missing, cut or changed; a tensor is missing, of another shape or not finite.
pub fn load(stored: &StoredSae) -> Result<Sae> {
    let facts = &stored.manifest;
    let mut tensors = Tensors::read(stored.weights()?)?;
    let (n, d) = (facts.d_sae, facts.d_in);
    let d_out = facts.d_out.unwrap_or(d);
    let norm = facts.norm.as_deref().unwrap_or("none");
    let known = InputNorm::NAMES.into_iter().find(|(name, _)| *name == norm);
    let Some((_, norm)) = known else {
        return exec_err!(
            "sae: a norm of rms, standard is required in '{}', got {norm}",
            facts.name
        );
    };
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
        w_dec: tensors.take("w_dec", &[n, d_out])?,
        b_dec: tensors.take("b_dec", &[d_out])?,
        norm,
        w_skip: match facts.skip {
            true => tensors.take("w_skip", &[d_out, d])?,
            false => vec![],
        },
        transcodes: facts.transcodes,
    })
}
