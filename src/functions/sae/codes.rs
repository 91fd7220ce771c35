//! `sae_encode` and `sae_decode`: a vector as the latents of a sparse autoencoder that are active on it, and back.
//!
//! They stand in one file because each is the other's inverse and they share the type of a code.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Int32Array, ListArray, StructArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Float32Type, Int32Type};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use polysema_udfs::arrow::vectors::{VectorBuilder, VectorColumn, is_vector, vector_type};
use polysema_udfs::calls::{Function, FunctionDoc, Implementation, Parameter};

use crate::saes::{LoadedSae, SaeLibrary};

/// Numbers of a block of dense codes, of which one is in memory: 4 MiB.
const BLOCK_NUMBERS: usize = 1 << 20;

const NAME: Parameter = Parameter {
    name: "name",
    kind: "text",
    summary: "name of a sparse autoencoder of the store",
};

static ENCODE: FunctionDoc = FunctionDoc {
    name: "sae_encode",
    chapter: "sae",
    summary: "The latents of a sparse autoencoder that are active on a vector.",
    arguments: &[
        NAME,
        Parameter {
            name: "v",
            kind: "list of numbers [d_in]",
            summary: "a vector as the autoencoder was trained on",
        },
    ],
    required: 2,
    options: &[],
    returns: "List<Struct{latent Int32, activation Float32}>, by latent, active ones only; NULL for a NULL vector or \
              element",
    example: "SELECT example, sae_encode('letters', pre_mlp) AS code FROM examples WHERE layer = 0 AND neuron = 1 \
              AND example < 2",
    replaces: None,
};

static DECODE: FunctionDoc = FunctionDoc {
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
    example: "SELECT sae_decode('letters', [{latent: 3, activation: 0.5}])",
    replaces: None,
};

/// The catalogue entries.
pub(super) fn functions(saes: &Arc<SaeLibrary>) -> Vec<Function> {
    [(&ENCODE, Direction::Encode), (&DECODE, Direction::Decode)]
        .into_iter()
        .map(|(doc, direction)| {
            let documentation = LazyLock::new(
                Box::new(|| doc.to_datafusion()) as Box<dyn FnOnce() -> Documentation + Send>
            );
            let udf = Codes {
                doc,
                direction,
                saes: Arc::clone(saes),
                signature: Signature::user_defined(Volatility::Stable),
                documentation,
            };
            Function {
                doc,
                implementation: Implementation::Scalar(Arc::new(ScalarUDF::new_from_impl(udf))),
            }
        })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Encode,
    Decode,
}

#[derive(Debug)]
struct Codes {
    doc: &'static FunctionDoc,
    direction: Direction,
    saes: Arc<SaeLibrary>,
    signature: Signature,
    documentation: LazyLock<Documentation, Box<dyn FnOnce() -> Documentation + Send>>,
}

impl PartialEq for Codes {
    fn eq(&self, other: &Self) -> bool {
        self.direction == other.direction && Arc::ptr_eq(&self.saes, &other.saes)
    }
}

impl Eq for Codes {}

impl Hash for Codes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.doc.name.hash(state);
    }
}

fn code_fields() -> Fields {
    Fields::from(vec![
        Field::new("latent", DataType::Int32, false),
        Field::new("activation", DataType::Float32, false),
    ])
}

fn codes_type() -> DataType {
    DataType::new_list(DataType::Struct(code_fields()), true)
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

impl ScalarUDFImpl for Codes {
    fn name(&self) -> &str {
        self.doc.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.direction {
            Direction::Encode => codes_type(),
            Direction::Decode => vector_type(),
        })
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.doc.name;
        let [sae, value] = types else {
            let (usage, n) = (self.doc.signature(), types.len());
            return plan_err!("{name}: usage is {usage}, got {n} arguments");
        };
        if !sae.is_string() {
            return plan_err!("{name}: name must be text, got {sae}");
        }
        let (fits, required) = match self.direction {
            Direction::Encode => (is_vector(value), "v must be a list of numbers"),
            Direction::Decode => (
                is_codes(value),
                "codes must be a list of struct{latent, activation}",
            ),
        };
        match fits {
            true => Ok(vec![DataType::Utf8, value.clone()]),
            false => plan_err!("{name}: {required}, got {value}"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let n = if constant { 1 } else { args.number_rows };
        let name = match &args.args[0] {
            ColumnarValue::Scalar(name) => name.try_as_str().flatten(),
            ColumnarValue::Array(_) => {
                return exec_err!("{}: name must be a literal, got a column", self.doc.name);
            }
        };
        let Some(name) = name else {
            return plan_err!("{}: name must be text, got NULL", self.doc.name);
        };
        let loaded = self.saes.get(name)?;
        let values = args.args[1].to_array(n)?;
        let out = match self.direction {
            Direction::Encode => encode(&loaded, &values)?,
            Direction::Decode => decode(&loaded, &values)?,
        };
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?)),
            false => Ok(ColumnarValue::Array(out)),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

fn encode(loaded: &LoadedSae, values: &ArrayRef) -> Result<ArrayRef> {
    let sae = &loaded.sae;
    let column = VectorColumn::<Float32Type>::try_new(ENCODE.name, "v", values)?;
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
            if vector.len() != sae.d_in {
                return exec_err!(
                    "sae_encode: v must have width {}, that of '{}', got {}",
                    sae.d_in,
                    loaded.stored.manifest.name,
                    vector.len()
                );
            }
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
                    "sae_decode: codes must be a list of struct{{latent, activation}}, got none of {name}"
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
                        "sae_decode: a latent from 0 to {} and an activation are required, got {latent:?} and \
                         {activation:?} in row {row}",
                        sae.d_sae - 1
                    );
                };
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
