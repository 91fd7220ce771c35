//! Named tensors of a file: each taken out once, of the shape and type it must have; and written so that none changes.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use datafusion::error::{DataFusionError, Result};
use polysema_kernels::vector::first_non_finite;

use super::{invalid, torch};

/// Types of parameters, by the names configurations use.
const DTYPES: [(&str, DType); 4] = [
    ("float32", DType::F32),
    ("float64", DType::F64),
    ("float16", DType::F16),
    ("bfloat16", DType::BF16),
];

/// Tensors of one file.
pub struct Tensors {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl Tensors {
    /// Reads a `.pt` file of torch, or else safetensors.
    pub fn read(path: &Path) -> Result<Self> {
        let is_torch = path.extension().is_some_and(|e| e == "pt" || e == "pth");
        let tensors = if is_torch {
            torch::read(path)?
        } else {
            read_safetensors(path)?
        };
        Ok(Self {
            path: path.to_path_buf(),
            tensors,
        })
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of a matrix.
    pub fn dims(&self, name: &str) -> Result<[usize; 2]> {
        match *self.get(name)?.dims() {
            [rows, columns] => Ok([rows, columns]),
            ref other => Err(self.invalid(name, format!("a matrix is required, got {other:?}"))),
        }
    }

    /// A tensor's type, by the name configurations use.
    pub fn dtype(&self, name: &str) -> Result<String> {
        let dtype = self.get(name)?.dtype();
        match DTYPES.iter().find(|(_, known)| *known == dtype) {
            Some((known, _)) => Ok((*known).to_string()),
            None => Err(self.wrong_type(name, dtype)),
        }
    }

    /// Takes a tensor of the given shape out, as finite float32 values in row-major order.
    pub fn take(&mut self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        let tensor = self.get(name)?;
        if tensor.dims() != dims {
            let got = tensor.dims();
            return Err(self.invalid(name, format!("shape {dims:?} is required, got {got:?}")));
        }
        let dtype = tensor.dtype();
        if !DTYPES.iter().any(|(_, known)| *known == dtype) {
            return Err(self.wrong_type(name, dtype));
        }
        let values: Vec<f32> = tensor
            .to_dtype(DType::F32)
            .and_then(|t| t.flatten_all())
            .and_then(|t| t.to_vec1())
            .map_err(|e| self.invalid(name, e.to_string()))?;
        if let Some(i) = first_non_finite(&values) {
            let got = values[i];
            return Err(self.invalid(
                name,
                format!("finite values are required, got {got} at {i}"),
            ));
        }
        self.tensors.remove(name);
        Ok(values)
    }

    /// Takes a matrix of the given shape out, with its columns as rows.
    pub fn take_transposed(&mut self, name: &str, dims: [usize; 2]) -> Result<Vec<f32>> {
        let [rows, columns] = dims;
        Ok(transposed(&self.take(name, &dims)?, rows, columns))
    }

    /// Takes a single number out.
    pub fn take_number(&mut self, name: &str) -> Result<f32> {
        Ok(self.take(name, &[])?[0])
    }

    /// Takes a single count out.
    pub fn take_count(&mut self, name: &str) -> Result<usize> {
        let tensor = self.get(name)?;
        let count = tensor
            .to_dtype(DType::I64)
            .and_then(|t| t.to_scalar::<i64>());
        let count =
            count.map_err(|e| self.invalid(name, format!("one integer is required, got {e}")))?;
        let count = usize::try_from(count)
            .map_err(|_| self.invalid(name, format!("a count is required, got {count}")))?;
        self.tensors.remove(name);
        Ok(count)
    }

    /// Refuses what nobody took: a parameter that is left out changes what is computed.
    pub fn finish(self) -> Result<()> {
        match self.tensors.keys().min() {
            None => Ok(()),
            Some(name) => {
                Err(self.invalid(name, "no further tensor is required, got this one".into()))
            }
        }
    }

    fn get(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| {
            let mut known: Vec<_> = self.tensors.keys().map(String::as_str).collect();
            known.sort_unstable();
            let known = known.join(", ");
            invalid(format!(
                "{}: tensor {name} is required, got {}",
                self.path.display(),
                if known.is_empty() { "none" } else { &known }
            ))
        })
    }

    fn wrong_type(&self, name: &str, dtype: DType) -> DataFusionError {
        let known = DTYPES.map(|(name, _)| name).join(", ");
        self.invalid(
            name,
            format!("type {known} is required, got {}", dtype.as_str()),
        )
    }

    fn invalid(&self, name: &str, message: String) -> DataFusionError {
        invalid(format!("{}: tensor {name}: {message}", self.path.display()))
    }
}

fn read_safetensors(path: &Path) -> Result<HashMap<String, Tensor>> {
    let bytes = std::fs::read(path).map_err(|e| {
        invalid(format!(
            "{}: a readable file is required, got {e}",
            path.display()
        ))
    })?;
    candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|e| {
        invalid(format!(
            "{}: a whole safetensors file is required, got {} bytes: {e}",
            path.display(),
            bytes.len()
        ))
    })
}

/// The short name of a type that a configuration names; an error lists the known ones.
pub fn dtype_name(name: &str) -> std::result::Result<&'static str, String> {
    let short = name.strip_prefix("torch.").unwrap_or(name);
    match DTYPES.iter().find(|(known, _)| *known == short) {
        Some((known, _)) => Ok(known),
        None => Err(format!(
            "a dtype of {} is required, got {name}",
            DTYPES.map(|(known, _)| known).join(", ")
        )),
    }
}

/// The narrowest type that holds the values of both.
pub fn wider(a: &str, b: &str) -> String {
    let wide = if a == b || b.ends_with("16") && !a.ends_with("16") || a == "float64" {
        a
    } else if a.ends_with("16") && !b.ends_with("16") || b == "float64" {
        b
    } else {
        "float32"
    };
    wide.to_string()
}

/// The columns of a row-major matrix as rows.
pub fn transposed(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(matrix.len());
    for column in 0..columns {
        out.extend((0..rows).map(|row| matrix[row * columns + column]));
    }
    out
}

/// Tensors to be written to one safetensors file, all of one type.
pub struct Written {
    path: PathBuf,
    dtype_name: String,
    dtype: DType,
    tensors: HashMap<String, Tensor>,
}

impl Written {
    /// No tensors yet, of the type with this name.
    pub fn new(path: PathBuf, dtype: &str) -> Result<Self> {
        let known = dtype_name(dtype).map_err(|e| invalid(format!("{}: {e}", path.display())))?;
        let dtype = DTYPES.iter().find(|(name, _)| *name == known);
        Ok(Self {
            dtype: dtype.map_or(DType::F32, |(_, dtype)| *dtype),
            dtype_name: known.to_string(),
            path,
            tensors: HashMap::new(),
        })
    }

    /// Adds a tensor, which the type must hold exactly.
    pub fn add(&mut self, name: &str, values: &[f32], dims: &[usize]) -> Result<()> {
        let place = format!("{}: tensor {name}", self.path.display());
        let cast = || -> candle_core::Result<(Tensor, Vec<f32>)> {
            let tensor = Tensor::from_slice(values, dims, &Device::Cpu)?.to_dtype(self.dtype)?;
            let back = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            Ok((tensor, back))
        };
        let (tensor, back) = cast().map_err(|e| invalid(format!("{place}: {e}")))?;
        if let Some(i) = (0..values.len()).find(|i| back[*i].to_bits() != values[*i].to_bits()) {
            return Err(invalid(format!(
                "{place}: a dtype that holds every value is required, got {}, in which {} is {}: write float32",
                self.dtype_name, values[i], back[i]
            )));
        }
        self.tensors.insert(name.to_string(), tensor);
        Ok(())
    }

    /// Adds a single count.
    pub fn add_count(&mut self, name: &str, count: usize) -> Result<()> {
        let place = format!("{}: tensor {name}", self.path.display());
        let count = i32::try_from(count).map_err(|e| invalid(format!("{place}: {e}")))?;
        let tensor = Tensor::from_slice(&[count], &[] as &[usize], &Device::Cpu);
        let tensor = tensor.map_err(|e| invalid(format!("{place}: {e}")))?;
        self.tensors.insert(name.to_string(), tensor);
        Ok(())
    }

    /// Writes the file, down to the disk.
    pub fn finish(self) -> Result<()> {
        let path = &self.path;
        candle_core::safetensors::save(&self.tensors, path)
            .map_err(|e| invalid(format!("{}: write: {e}", path.display())))?;
        File::open(path)
            .and_then(|file| file.sync_all())
            .map_err(|e| invalid(format!("{}: write: {e}", path.display())))
    }
}
