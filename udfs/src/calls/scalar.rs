//! Scalar functions of vectors: a function file gives its document and arithmetic, this file does the rest.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, ArrowPrimitiveType, Float64Array};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::document::FunctionDoc;
use super::function::{Function, Implementation};
use crate::arrow::vectors::{VectorBuilder, VectorColumn, is_wide, require_vectors, vector_type};

/// The arithmetic of a scalar function.
#[derive(Debug, Clone, Copy)]
pub enum Arithmetic {
    /// One vector to a `Float64`, in the two precisions.
    Unary(fn(&[f32]) -> Option<f64>, fn(&[f64]) -> Option<f64>),
    /// Two vectors of equal width to a `Float64`, in the two precisions.
    Binary(
        fn(&[f32], &[f32]) -> Option<f64>,
        fn(&[f64], &[f64]) -> Option<f64>,
    ),
    /// Two vectors of equal width to a vector of that width.
    Elementwise(fn(&[f32], &[f32], &mut [f32])),
}

/// The catalogue entry of a scalar function of vectors.
pub fn vector_function(doc: &'static FunctionDoc, arithmetic: Arithmetic) -> Function {
    let signature = Signature::user_defined(Volatility::Immutable);
    let documentation = LazyLock::new(
        Box::new(|| doc.to_datafusion()) as Box<dyn FnOnce() -> Documentation + Send>
    );
    let udf = VectorFunction {
        doc,
        arithmetic,
        signature,
        documentation,
    };
    Function {
        doc,
        implementation: Implementation::Scalar(Arc::new(ScalarUDF::new_from_impl(udf))),
    }
}

type Lazy<T> = LazyLock<T, Box<dyn FnOnce() -> T + Send>>;

#[derive(Debug)]
struct VectorFunction {
    doc: &'static FunctionDoc,
    arithmetic: Arithmetic,
    signature: Signature,
    documentation: Lazy<Documentation>,
}

impl PartialEq for VectorFunction {
    fn eq(&self, other: &Self) -> bool {
        self.doc.name == other.doc.name
    }
}

impl Eq for VectorFunction {}

impl Hash for VectorFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.doc.name.hash(state);
    }
}

impl ScalarUDFImpl for VectorFunction {
    fn name(&self) -> &str {
        self.doc.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.arithmetic {
            Arithmetic::Elementwise(_) => vector_type(),
            _ => DataType::Float64,
        })
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let names: Vec<_> = self
            .doc
            .arguments
            .iter()
            .map(|argument| argument.name)
            .collect();
        if types.len() != names.len() {
            return plan_err!(
                "{}: usage is {}, got {} arguments",
                self.doc.name,
                self.doc.signature(),
                types.len()
            );
        }
        require_vectors(self.doc.name, &names, types)?;
        Ok(types.to_vec())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let n = if constant { 1 } else { args.number_rows };
        let arrays = args
            .args
            .iter()
            .map(|arg| arg.to_array(n))
            .collect::<Result<Vec<_>>>()?;
        let wide = arrays.iter().any(|array| is_wide(array.data_type()));
        let out: ArrayRef = match self.arithmetic {
            Arithmetic::Elementwise(f) => self.elementwise(&arrays, f)?,
            Arithmetic::Unary(_, f) if wide => self.reduce::<Float64Type>(&arrays, |v| f(v[0]))?,
            Arithmetic::Unary(f, _) => self.reduce::<Float32Type>(&arrays, |v| f(v[0]))?,
            Arithmetic::Binary(_, f) if wide => {
                self.reduce::<Float64Type>(&arrays, |v| f(v[0], v[1]))?
            }
            Arithmetic::Binary(f, _) => self.reduce::<Float32Type>(&arrays, |v| f(v[0], v[1]))?,
        };
        if constant {
            let value = datafusion::common::ScalarValue::try_from_array(&out, 0)?;
            return Ok(ColumnarValue::Scalar(value));
        }
        Ok(ColumnarValue::Array(out))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

impl VectorFunction {
    fn columns<T: ArrowPrimitiveType>(&self, arrays: &[ArrayRef]) -> Result<Vec<VectorColumn<T>>> {
        self.doc
            .arguments
            .iter()
            .zip(arrays)
            .map(|(argument, array)| VectorColumn::try_new(self.doc.name, argument.name, array))
            .collect()
    }

    /// The vectors of row `i`, none if one is NULL, checked to be of equal width.
    fn row<'a, T: ArrowPrimitiveType>(
        &self,
        columns: &'a [VectorColumn<T>],
        i: usize,
    ) -> Result<Option<Vec<&'a [T::Native]>>> {
        let Some(vectors) = columns
            .iter()
            .map(|column| column.row(i))
            .collect::<Option<Vec<_>>>()
        else {
            return Ok(None);
        };
        if let [a, b] = vectors.as_slice()
            && a.len() != b.len()
        {
            let names = self.doc.arguments;
            return exec_err!(
                "{}: {} and {} must have equal width, got {} and {}",
                self.doc.name,
                names[0].name,
                names[1].name,
                a.len(),
                b.len()
            );
        }
        Ok(Some(vectors))
    }

    fn reduce<T: ArrowPrimitiveType>(
        &self,
        arrays: &[ArrayRef],
        f: impl Fn(&[&[T::Native]]) -> Option<f64>,
    ) -> Result<ArrayRef> {
        let columns = self.columns::<T>(arrays)?;
        let values = (0..arrays[0].len())
            .map(|i| Ok(self.row(&columns, i)?.and_then(|vectors| f(&vectors))))
            .collect::<Result<Float64Array>>()?;
        Ok(Arc::new(values))
    }

    fn elementwise(
        &self,
        arrays: &[ArrayRef],
        f: fn(&[f32], &[f32], &mut [f32]),
    ) -> Result<ArrayRef> {
        let columns = self.columns::<Float32Type>(arrays)?;
        let mut out = VectorBuilder::new();
        for i in 0..arrays[0].len() {
            match self.row(&columns, i)? {
                Some(vectors) => {
                    out.append_with(vectors[0].len(), |row| f(vectors[0], vectors[1], row))
                }
                None => out.append_null(),
            }
        }
        Ok(Arc::new(out.finish()))
    }
}
