//! `sae_decode(name, codes)`: the vector that active latents of a sparse autoencoder stand for.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float32Type, Int32Type};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use polysema_kernels::sae::Sae;
use polysema_udfs::arrow::vectors::{VectorBuilder, VectorColumn, is_vector, vector_type};
use polysema_udfs::calls::{Function, FunctionDoc, Parameter};

use crate::functions::codes::{Codec, NAME, check_vector, codec_function};
use crate::jobs::of_another;
use crate::saes::{LoadedSae, SaeLibrary};

static DOC: FunctionDoc = FunctionDoc {
    name: "sae_decode",
    chapter: "sae",
    summary: "The vector that active latents of a sparse autoencoder stand for.",
    arguments: &[
        NAME,
        Parameter {
            name: "codes",
            kind: "list of struct{latent, activation}",
            summary: "what sae_encode gives; latents may stand in any order, activations may be changed",
        },
        Parameter {
            name: "v",
            kind: "list of numbers [d_in]",
            summary: "the vector that was encoded, which one with a skip connection or a norm of its own needs; others leave it \
                      aside",
        },
    ],
    required: 2,
    options: &[],
    returns: "List<Float32> [d_out], the sum of activation * w_dec[latent], plus b_dec, and what v adds; of a transcoder what \
              stands at its other place; NULL for a NULL code or vector",
    example: "SELECT unnest(sae_decode('foreign', [{latent: 3, activation: 0.5}])) AS x",
    replaces: None,
};

static CODEC: Codec = Codec {
    doc: &DOC,
    returns: vector_type,
    takes: is_codes,
    required: "codes must be a list of struct{latent, activation}",
    more: Some((is_vector, "v must be a list of numbers")),
    apply: decode,
};

/// The catalogue entry.
pub(super) fn function(saes: &Arc<SaeLibrary>) -> Function {
    codec_function(&CODEC, saes)
}

/// Whether a column of this type can be read as codes.
fn is_codes(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            match item.data_type() {
                DataType::Null => true,
                DataType::Struct(fields) => {
                    let number = |name| {
                        fields
                            .find(name)
                            .is_some_and(|(_, f)| f.data_type().is_numeric())
                    };
                    number("latent") && number("activation")
                }
                _ => false,
            }
        }
        _ => false,
    }
}

fn decode(loaded: &LoadedSae, codes: &ArrayRef, read: Option<&ArrayRef>) -> Result<ArrayRef> {
    let sae = &loaded.sae;
    let codes = cast(codes, &codes_type_of(codes.data_type()))?;
    let mut out = VectorBuilder::new();
    if codes.data_type() == &DataType::Null {
        (0..codes.len()).for_each(|_| out.append_null());
        return Ok(Arc::new(out.finish()));
    }
    let read = match read {
        Some(read) => {
            Some(VectorColumn::<Float32Type>::try_new(DOC.name, "v", read).map_err(of_another)?)
        }
        None if sae.reads_vector_again() => {
            return exec_err!(
                "v, the vector that was encoded, is required for '{}', which gives back {}, got none",
                loaded.stored.manifest.name,
                match sae.w_skip.is_empty() {
                    true => "its mean and length",
                    false => "a part of it",
                }
            );
        }
        None => None,
    };
    let lists = codes.as_list::<i32>();
    let mut dense = vec![0.0; sae.d_sae];
    let mut vector = vec![];
    for row in 0..lists.len() {
        let x = match &read {
            Some(read) => match read.row(row) {
                Some(x) => {
                    check_vector(loaded, x, row)?;
                    Some(x)
                }
                None => {
                    out.append_null();
                    continue;
                }
            },
            None => None,
        };
        if lists.is_null(row) {
            out.append_null();
            continue;
        }
        let active = active(&lists.value(row), sae, row)?;
        match x.filter(|_| sae.reads_vector_again()) {
            Some(x) => {
                dense.fill(0.0);
                active.iter().for_each(|(latent, a)| dense[*latent] += a);
                sae.reconstruct(x, &dense, &mut vector);
            }
            None => {
                vector.clone_from(&sae.b_dec);
                let width = sae.d_out();
                for (latent, activation) in active {
                    let written = &sae.w_dec[latent * width..][..width];
                    vector
                        .iter_mut()
                        .zip(written)
                        .for_each(|(v, w)| *v += activation * w);
                }
            }
        }
        out.append(&vector);
    }
    Ok(Arc::new(out.finish()))
}

/// The latents of one code with their activations.
fn active(items: &ArrayRef, sae: &Sae, row: usize) -> Result<Vec<(usize, f32)>> {
    let Some(items) = items.as_struct_opt() else {
        return Ok(vec![]);
    };
    let part = |name: &str, kind: DataType| match items.column_by_name(name) {
        Some(column) => Ok(cast(column, &kind)?),
        None => Err(exec_datafusion_err!(
            "codes must be a list of struct{{latent, activation}}, got none of {name}"
        )),
    };
    let latents = part("latent", DataType::Int32)?;
    let activations = part("activation", DataType::Float32)?;
    let pairs = latents
        .as_primitive::<Int32Type>()
        .iter()
        .zip(activations.as_primitive::<Float32Type>());
    let known = pairs.map(|(latent, activation)| {
        let known = latent
            .and_then(|l| usize::try_from(l).ok())
            .filter(|l| *l < sae.d_sae);
        match (known, activation) {
            (Some(latent), Some(activation)) if activation.is_finite() => Ok((latent, activation)),
            (Some(latent), Some(activation)) => exec_err!(
                "activations must be finite, got {activation} of latent {latent} in row {row}"
            ),
            _ => exec_err!(
                "a latent from 0 to {} and an activation are required, got {latent:?} and {activation:?} in row {row}",
                sae.d_sae - 1
            ),
        }
    });
    known.collect()
}

/// The list type that codes of another list type are read as, with their own items.
fn codes_type_of(data_type: &DataType) -> DataType {
    match data_type {
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(Arc::clone(item))
        }
        other => other.clone(),
    }
}
