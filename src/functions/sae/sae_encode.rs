//! `sae_encode(name, v)`: the latents of a sparse autoencoder that are active on a vector.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float32Array, Int32Array, ListArray, StructArray};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Float32Type};
use datafusion::common::Result;
use polysema_udfs::arrow::vectors::{VectorColumn, is_vector};
use polysema_udfs::calls::{Function, FunctionDoc, Parameter};

use crate::functions::codes::{Codec, NAME, check_vector, code_fields, codec_function, codes_type};
use crate::jobs::of_another;
use crate::saes::{LoadedSae, SaeLibrary};

/// Numbers of a block of dense codes, of which one is in memory: 4 MiB.
const BLOCK_NUMBERS: usize = 1 << 20;

static DOC: FunctionDoc = FunctionDoc {
    name: "sae_encode",
    chapter: "sae",
    summary: "The latents of a sparse autoencoder that are active on a vector.",
    arguments: &[
        NAME,
        Parameter {
            name: "v",
            kind: "list of numbers [d_in]",
            summary: "a vector as the autoencoder was trained on, of a transcoder one that it reads",
        },
    ],
    required: 2,
    options: &[],
    returns: "List<Struct{latent Int32, activation Float32}>, by latent, active ones only; NULL for a NULL vector or \
              element",
    example: "SELECT unnest(sae_encode('foreign', [1.0, 0.0, 0.0, 2.0, 0.5, 0.25])) AS code",
    replaces: None,
};

static CODEC: Codec = Codec {
    doc: &DOC,
    returns: codes_type,
    takes: is_vector,
    required: "v must be a list of numbers",
    more: None,
    apply: encode,
};

/// The catalogue entry.
pub(super) fn function(saes: &Arc<SaeLibrary>) -> Function {
    codec_function(&CODEC, saes)
}

fn encode(loaded: &LoadedSae, values: &ArrayRef, _: Option<&ArrayRef>) -> Result<ArrayRef> {
    let sae = &loaded.sae;
    let column = VectorColumn::<Float32Type>::try_new(DOC.name, "v", values).map_err(of_another)?;
    let (mut latents, mut activations) = (vec![], vec![]);
    let mut lengths = vec![0; column.len()];
    let mut valid = vec![false; column.len()];
    let (mut rows, mut x, mut dense) = (vec![], vec![], vec![]);
    let most = (BLOCK_NUMBERS / sae.d_sae).max(1);
    for first in (0..column.len()).step_by(most) {
        rows.clear();
        x.clear();
        for row in first..column.len().min(first + most) {
            let Some(vector) = column.row(row) else {
                continue;
            };
            check_vector(loaded, vector, row)?;
            rows.push(row);
            x.extend_from_slice(vector);
        }
        sae.encode(&x, &mut dense);
        for (row, code) in rows.iter().zip(dense.chunks_exact(sae.d_sae)) {
            valid[*row] = true;
            for (latent, activation) in code.iter().enumerate().filter(|(_, a)| **a != 0.0) {
                latents.push(latent as i32);
                activations.push(*activation);
                lengths[*row] += 1;
            }
        }
    }
    let items = StructArray::new(
        code_fields(),
        vec![
            Arc::new(Int32Array::from(latents)),
            Arc::new(Float32Array::from(activations)),
        ],
        None,
    );
    let DataType::List(field) = codes_type() else {
        unreachable!("codes are lists");
    };
    let nulls = NullBuffer::from(valid);
    let nulls = (nulls.null_count() > 0).then_some(nulls);
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(
        field,
        offsets,
        Arc::new(items),
        nulls,
    )?))
}
