//! `sae_decode(name, codes)`: the vector that active latents of a sparse autoencoder stand for.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float32Type, Int32Type};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use polysema_udfs::arrow::vectors::{VectorBuilder, vector_type};
use polysema_udfs::calls::{Function, FunctionDoc, Parameter};

use crate::functions::codes::{Codec, NAME, codec_function};
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
    ],
    required: 2,
    options: &[],
    returns: "List<Float32> [d_in], the sum of activation * w_dec[latent], plus b_dec; NULL for a NULL code",
    example: "SELECT unnest(sae_decode('foreign', [{latent: 3, activation: 0.5}])) AS x",
    replaces: None,
};

static CODEC: Codec = Codec {
    doc: &DOC,
    returns: vector_type,
    takes: is_codes,
    required: "codes must be a list of struct{latent, activation}",
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

fn decode(loaded: &LoadedSae, codes: &ArrayRef) -> Result<ArrayRef> {
    let sae = &loaded.sae;
    let codes = cast(codes, &codes_type_of(codes.data_type()))?;
    let mut out = VectorBuilder::new();
    if codes.data_type() == &DataType::Null {
        (0..codes.len()).for_each(|_| out.append_null());
        return Ok(Arc::new(out.finish()));
    }
    let lists = codes.as_list::<i32>();
    for row in 0..lists.len() {
        if lists.is_null(row) {
            out.append_null();
            continue;
        }
        let items = lists.value(row);
        let mut vector = sae.b_dec.clone();
        if let Some(items) = items.as_struct_opt() {
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
            for (latent, activation) in pairs {
                let known = latent
                    .and_then(|l| usize::try_from(l).ok())
                    .filter(|l| *l < sae.d_sae);
                let (Some(latent), Some(activation)) = (known, activation) else {
                    return exec_err!(
                        "a latent from 0 to {} and an activation are required, got {latent:?} and \
                         {activation:?} in row {row}",
                        sae.d_sae - 1
                    );
                };
                if !activation.is_finite() {
                    return exec_err!(
                        "activations must be finite, got {activation} of latent {latent} in row {row}"
                    );
                }
                let written = &sae.w_dec[latent * sae.d_in..][..sae.d_in];
                vector
                    .iter_mut()
                    .zip(written)
                    .for_each(|(v, w)| *v += activation * w);
            }
        }
        out.append(&vector);
    }
    Ok(Arc::new(out.finish()))
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
