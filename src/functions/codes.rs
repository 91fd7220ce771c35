//! What `sae_encode` and `sae_decode` share: the type of a code, and a scalar function over a loaded autoencoder.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use polysema_kernels::vector::first_non_finite;
use polysema_udfs::calls::{Function, FunctionDoc, Implementation, Parameter};

use crate::jobs::named;
use crate::saes::{LoadedSae, SaeLibrary};

/// The first argument of both.
pub const NAME: Parameter = Parameter {
    name: "name",
    kind: "text",
    summary: "name of a sparse autoencoder of the store",
};

/// Whether a column of a type is taken.
pub type Takes = fn(&DataType) -> bool;

/// The parts of a scalar function of an autoencoder's name and a column.
#[derive(Debug)]
pub struct Codec {
    pub doc: &'static FunctionDoc,
    pub returns: fn() -> DataType,
    pub takes: Takes,
    /// What is said of a column that is not.
    pub required: &'static str,
    /// The same of a column more, which may be left out.
    pub more: Option<(Takes, &'static str)>,
    /// The column's results, and those of the other where it is given; its errors are said in the function's name.
    pub apply: fn(&LoadedSae, &ArrayRef, Option<&ArrayRef>) -> Result<ArrayRef>,
}

/// The catalogue entry.
pub fn codec_function(codec: &'static Codec, saes: &Arc<SaeLibrary>) -> Function {
    let doc = codec.doc;
    let documentation = LazyLock::new(
        Box::new(|| doc.to_datafusion()) as Box<dyn FnOnce() -> Documentation + Send>
    );
    let udf = CodecFunction {
        codec,
        saes: Arc::clone(saes),
        signature: Signature::user_defined(Volatility::Stable),
        documentation,
    };
    Function {
        doc,
        implementation: Implementation::Scalar(Arc::new(ScalarUDF::new_from_impl(udf))),
    }
}

#[derive(Debug)]
struct CodecFunction {
    codec: &'static Codec,
    saes: Arc<SaeLibrary>,
    signature: Signature,
    documentation: LazyLock<Documentation, Box<dyn FnOnce() -> Documentation + Send>>,
}

impl PartialEq for CodecFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && Arc::ptr_eq(&self.saes, &other.saes)
    }
}

impl Eq for CodecFunction {}

impl Hash for CodecFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl ScalarUDFImpl for CodecFunction {
    fn name(&self) -> &str {
        self.codec.doc.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok((self.codec.returns)())
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name();
        let (sae, value, more) = match types {
            [sae, value] => (sae, value, None),
            [sae, value, more] if self.codec.more.is_some() => (sae, value, Some(more)),
            _ => {
                let (usage, n) = (self.codec.doc.signature(), types.len());
                return plan_err!("{name}: usage is {usage}, got {n} arguments");
            }
        };
        if !sae.is_string() {
            return plan_err!("{name}: name must be text, got {sae}");
        }
        if !(self.codec.takes)(value) {
            return plan_err!("{name}: {}, got {value}", self.codec.required);
        }
        let mut taken = vec![DataType::Utf8, value.clone()];
        if let (Some(more), Some((takes, required))) = (more, self.codec.more) {
            if !takes(more) {
                return plan_err!("{name}: {required}, got {more}");
            }
            taken.push(more.clone());
        }
        Ok(taken)
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
                return exec_err!("{}: name must be a literal, got a column", self.name());
            }
        };
        let Some(name) = name else {
            return plan_err!("{}: name must be text, got NULL", self.name());
        };
        let values = args.args[1].to_array(n)?;
        let more = args.args.get(2).map(|more| more.to_array(n)).transpose()?;
        let out = self
            .saes
            .get(name)
            .and_then(|loaded| (self.codec.apply)(&loaded, &values, more.as_ref()))
            .map_err(named(self.name()))?;
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?)),
            false => Ok(ColumnarValue::Array(out)),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// Refuses a vector that the autoencoder cannot read.
pub fn check_vector(loaded: &LoadedSae, vector: &[f32], row: usize) -> Result<()> {
    if vector.len() != loaded.sae.d_in {
        return exec_err!(
            "v must have width {}, that of '{}', got {}",
            loaded.sae.d_in,
            loaded.stored.manifest.name,
            vector.len()
        );
    }
    // A ReLU would make 0 of NaN.
    match first_non_finite(vector) {
        Some(_) => exec_err!("v must be finite, got NaN or infinity in row {row}"),
        None => Ok(()),
    }
}

/// The fields of one active latent.
pub fn code_fields() -> Fields {
    Fields::from(vec![
        Field::new("latent", DataType::Int32, false),
        Field::new("activation", DataType::Float32, false),
    ])
}

/// The type of a code.
pub fn codes_type() -> DataType {
    DataType::new_list(DataType::Struct(code_fields()), true)
}
