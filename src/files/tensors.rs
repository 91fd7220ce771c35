//! Named tensors of one file or several: each taken out once, of the shape and type it must have; and written so that
//! none changes. A tensor that nobody takes is never read. Above 400 lines, since taking and writing share types and messages.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use datafusion::error::{DataFusionError, Result};
use memmap2::Mmap;
use polysema_kernels::vector::first_non_finite;

use super::arrays::{self, Array, ElementType};
use super::weight::Weight;
use super::{disk, file_error, invalid, npz, regular, torch};

/// Types of parameters, by the names configurations use.
const DTYPES: [(&str, DType, ElementType); 4] = [
    ("float32", DType::F32, ElementType::F32),
    ("float64", DType::F64, ElementType::F64),
    ("float16", DType::F16, ElementType::F16),
    ("bfloat16", DType::BF16, ElementType::Bf16),
];
/// Rows of a matrix that are turned at once: a line of the cache of each column.
const TURNED_ROWS: usize = 16;
/// Names of tensors that a message lists.
const MOST_NAMES: usize = 12;

/// Tensors by name.
pub struct Tensors {
    /// What messages call the whole.
    path: PathBuf,
    tensors: HashMap<String, Array>,
    maps: HashMap<PathBuf, Arc<Mmap>>,
}

impl Tensors {
    /// None yet, of a whole that is called `path`.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            tensors: HashMap::new(),
            maps: HashMap::new(),
        }
    }

    /// Arrays under their names.
    pub fn of_arrays(path: &Path, arrays: Vec<Array>) -> Self {
        let mut tensors = Self::new(path);
        let named = arrays
            .into_iter()
            .map(|array| (array.name().to_string(), array));
        tensors.tensors = named.collect();
        tensors
    }

    /// Those of a `.pt` file of torch, a `.npz` of NumPy, or else of safetensors.
    pub fn read(path: &Path) -> Result<Self> {
        let mut tensors = Self::new(path);
        tensors.add(path, |_| true)?;
        Ok(tensors)
    }

    /// Adds those of a file whose names `wanted` accepts.
    pub fn add(&mut self, path: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
        regular::open(path).map_err(|e| {
            invalid(format!(
                "{}: a readable file is required, got {e}",
                path.display()
            ))
        })?;
        let found = match is_torch(path) {
            true => torch::read(path)?,
            false if path.extension().is_some_and(|e| e == "npz") => npz::read(path)?,
            false => arrays::safetensors(path)?,
        };
        let named = found
            .into_iter()
            .map(|array| (array.name().to_string(), array));
        self.tensors.extend(named.filter(|(name, _)| wanted(name)));
        Ok(())
    }

    /// Bytes that a model of them holds in memory: rows of floats as float32, and what its file is not mapped for.
    pub fn bytes(&self) -> usize {
        let floats = self.tensors.values();
        let floats = floats.filter(|array| array.kind().is_some_and(ElementType::is_float));
        let held = floats.map(|array| match array.dims().len() {
            0 | 1 => 4 * array.n_elements(),
            _ => array.bytes_in_memory(),
        });
        held.fold(0, usize::saturating_add)
    }

    /// Bytes of all floats as float32, and of what waits in memory and not in a file.
    pub fn bytes_as_floats(&self) -> usize {
        let arrays = self.tensors.values();
        let floats = |array: &Array| array.kind().is_some_and(ElementType::is_float);
        let held = arrays.map(|array| {
            let n = if floats(array) {
                4 * array.n_elements()
            } else {
                0
            };
            n.saturating_add(array.bytes_in_memory())
        });
        held.fold(0, usize::saturating_add)
    }

    /// The types of its matrices of floats, as files name them, that of most numbers first.
    pub fn matrix_types(&self) -> Vec<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for array in self
            .tensors
            .values()
            .filter(|array| array.dims().len() == 2)
        {
            let Some(kind) = array.kind().filter(|kind| kind.is_float()) else {
                continue;
            };
            let mut named = ElementType::SAFETENSORS.iter();
            let named = named.find(|(_, known)| *known == kind);
            let name = named.map_or(array.stored_as(), |(name, _)| name);
            *counts.entry(name).or_default() += array.n_elements();
        }
        let mut types: Vec<_> = counts.into_iter().collect();
        types.sort_by_key(|(_, n)| Reverse(*n));
        types
            .into_iter()
            .map(|(name, _)| name.to_string())
            .collect()
    }

    /// Leaves out a tensor that says nothing of what is computed, if there is one.
    pub fn discard(&mut self, name: &str) {
        self.tensors.remove(name);
    }

    /// Number of tensors not taken yet.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Names of the tensors not taken yet, in order.
    #[cfg(any(test, fuzzing))]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.tensors.keys().cloned().collect();
        names.sort();
        names
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Whether there is a tensor whose name begins so.
    pub fn any_begins(&self, start: &str) -> bool {
        self.tensors.keys().any(|name| name.starts_with(start))
    }

    /// Takes what wrappers of training put before names off them, where nothing else has the name.
    pub fn unwrap_names(&mut self) {
        const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];
        let wrapped: Vec<_> = self.tensors.keys().cloned().collect();
        for name in wrapped {
            let mut inner = name.as_str();
            while let Some(rest) = WRAPPERS.iter().find_map(|word| inner.strip_prefix(word)) {
                inner = rest;
            }
            if inner != name
                && !self.tensors.contains_key(inner)
                && let Some(array) = self.tensors.remove(&name)
            {
                self.tensors.insert(inner.to_string(), array);
            }
        }
    }

    /// Gives tensors whose names end so the newer ending, where nothing else has the name.
    pub fn rename_ends(&mut self, ends: &[(&str, &str)]) {
        let names: Vec<_> = self.tensors.keys().cloned().collect();
        for (name, (older, newer)) in names
            .iter()
            .flat_map(|name| ends.iter().map(move |ends| (name, ends)))
        {
            let Some(start) = name.strip_suffix(older) else {
                continue;
            };
            let now = format!("{start}{newer}");
            if !self.tensors.contains_key(&now)
                && let Some(array) = self.tensors.remove(name)
            {
                self.tensors.insert(now, array);
            }
        }
    }

    /// The shape of a tensor.
    pub fn dims(&self, name: &str) -> Result<&[usize]> {
        Ok(self.get(name)?.dims())
    }

    /// The shape of a matrix.
    pub fn matrix(&self, name: &str) -> Result<[usize; 2]> {
        match *self.dims(name)? {
            [rows, columns] => Ok([rows, columns]),
            ref other => Err(self.invalid(name, format!("a matrix is required, got {other:?}"))),
        }
    }

    /// A tensor's type, by the name configurations use.
    pub fn dtype(&self, name: &str) -> Result<String> {
        let array = self.get(name)?;
        match DTYPES.iter().find(|known| Some(known.2) == array.kind()) {
            Some((known, ..)) => Ok((*known).to_string()),
            None => Err(self.wrong_type(array)),
        }
    }

    /// A tensor of floats of the given shape.
    fn floats(&self, name: &str, dims: &[usize]) -> Result<&Array> {
        let array = self.get(name)?;
        if array.dims() != dims {
            let got = array.dims();
            return Err(self.invalid(name, format!("shape {dims:?} is required, got {got:?}")));
        }
        match array.kind().is_some_and(ElementType::is_float) {
            true => Ok(array),
            false => Err(self.wrong_type(array)),
        }
    }

    /// Takes a tensor of the given shape out where it lies; all its values are finite, which reads it once.
    pub fn weight(&mut self, name: &str, dims: &[usize]) -> Result<Weight> {
        let array = self.floats(name, dims)?.clone();
        let weight = array.weight(|path| map(&mut self.maps, path))?;
        let finite = weight.try_each(|start, values| match first_non_finite(values) {
            None => Ok(()),
            Some(i) => Err((start + i, values[i])),
        });
        if let Err((i, got)) = finite {
            let what = format!("finite values are required, got {got} at {i}");
            return Err(self.invalid(name, what));
        }
        self.tensors.remove(name);
        Ok(weight)
    }

    /// Takes a tensor of the given shape out, as finite float32 values in row-major order.
    pub fn take(&mut self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        self.floats(name, dims)?;
        let values = self.array(name)?.all_floats()?;
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

    /// Takes a matrix of the given shape out, with its columns as rows; it is never in memory both ways.
    pub fn take_transposed(&mut self, name: &str, dims: [usize; 2]) -> Result<Vec<f32>> {
        self.floats(name, &dims)?;
        let [rows, columns] = dims;
        let mut turned = vec![0.0; rows * columns];
        let mut some = vec![];
        for first in (0..rows).step_by(TURNED_ROWS) {
            let end = rows.min(first + TURNED_ROWS);
            self.array(name)?.floats(first..end, &mut some)?;
            if let Some(i) = first_non_finite(&some) {
                let (i, got) = (first * columns + i, some[i]);
                let what = format!("finite values are required, got {got} at {i}");
                return Err(self.invalid(name, what));
            }
            for column in 0..columns {
                let to = &mut turned[column * rows + first..column * rows + end];
                for (row, to) in to.iter_mut().enumerate() {
                    *to = some[row * columns + column];
                }
            }
        }
        self.tensors.remove(name);
        Ok(turned)
    }

    /// Takes whole numbers out, one after the other.
    pub fn take_counts(&mut self, name: &str) -> Result<Vec<usize>> {
        let array = self.array(name)?;
        let n = array.n_elements();
        let counts = array.integers(0..n)?;
        let counts = counts.into_iter().map(|n| {
            let what = format!("counts are required, got {n}");
            usize::try_from(n).map_err(|_| self.invalid(name, what))
        });
        let counts = counts.collect::<Result<_>>()?;
        self.tensors.remove(name);
        Ok(counts)
    }

    /// Takes a single number out.
    pub fn take_number(&mut self, name: &str) -> Result<f32> {
        Ok(self.take(name, &[])?[0])
    }

    /// Takes a single count out.
    pub fn take_count(&mut self, name: &str) -> Result<usize> {
        let array = self.get(name)?;
        if !array.dims().is_empty() {
            let got = format!("one integer is required, got shape {:?}", array.dims());
            return Err(self.invalid(name, got));
        }
        let floats = array.kind().is_some_and(ElementType::is_float);
        let array = self.array(name)?;
        let count = match floats {
            true => array.all_floats()?[0] as i64,
            false => array.integers(0..1)?[0],
        };
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

    fn get(&self, name: &str) -> Result<&Array> {
        self.tensors.get(name).ok_or_else(|| self.missing(name))
    }

    fn array(&mut self, name: &str) -> Result<&mut Array> {
        match self.tensors.contains_key(name) {
            true => self
                .tensors
                .get_mut(name)
                .ok_or_else(|| invalid(name.to_string())),
            false => Err(self.missing(name)),
        }
    }

    fn missing(&self, name: &str) -> DataFusionError {
        let mut known: Vec<_> = self.tensors.keys().map(String::as_str).collect();
        known.sort_unstable();
        let more = known.len().saturating_sub(MOST_NAMES);
        known.truncate(MOST_NAMES);
        let known = match (known.is_empty(), more) {
            (true, _) => "none".to_string(),
            (_, 0) => known.join(", "),
            _ => format!("{} and {more} more", known.join(", ")),
        };
        let path = self.path.display();
        invalid(format!("{path}: tensor {name} is required, got {known}"))
    }

    fn wrong_type(&self, array: &Array) -> DataFusionError {
        let known = DTYPES.map(|(name, ..)| name).join(", ");
        let got = array.stored_as().to_lowercase();
        self.invalid(array.name(), format!("type {known} is required, got {got}"))
    }

    fn invalid(&self, name: &str, message: String) -> DataFusionError {
        let path = self.tensors.get(name).map_or(&*self.path, Array::path);
        invalid(format!("{}: tensor {name}: {message}", path.display()))
    }
}

/// A file in memory, mapped once.
fn map(maps: &mut HashMap<PathBuf, Arc<Mmap>>, path: &Path) -> Result<Arc<Mmap>> {
    if let Some(map) = maps.get(path) {
        return Ok(Arc::clone(map));
    }
    let failed = |e| file_error("map", path, e);
    let file = regular::open(path).map_err(failed)?;
    // SAFETY: nobody here writes a model's files in place. Whoever else cuts one short while it is read ends the process,
    // as for every program that maps its weights; a changed value is read as it is.
    let map = Arc::new(unsafe { disk::map(&file) }.map_err(failed)?);
    maps.insert(path.to_path_buf(), Arc::clone(&map));
    Ok(map)
}

/// Whether a file is torch's.
pub fn is_torch(path: &Path) -> bool {
    let kind = path.extension();
    kind.is_some_and(|e| e == "pt" || e == "pth" || e == "bin")
}

/// The short name of a type that a configuration names; an error lists the known ones.
pub fn dtype_name(name: &str) -> std::result::Result<&'static str, String> {
    let short = name.strip_prefix("torch.").unwrap_or(name);
    match DTYPES.iter().find(|(known, ..)| *known == short) {
        Some((known, ..)) => Ok(known),
        None => Err(format!(
            "a dtype of {} is required, got {name}",
            DTYPES.map(|(known, ..)| known).join(", ")
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
pub struct TensorFile {
    path: PathBuf,
    dtype_name: String,
    dtype: DType,
    tensors: HashMap<String, Tensor>,
}

impl TensorFile {
    /// No tensors yet, of the type with this name.
    pub fn new(path: PathBuf, dtype: &str) -> Result<Self> {
        let known = dtype_name(dtype).map_err(|e| invalid(format!("{}: {e}", path.display())))?;
        let dtype = DTYPES.iter().find(|(name, ..)| *name == known);
        Ok(Self {
            dtype: dtype.map_or(DType::F32, |(_, dtype, _)| *dtype),
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
        self.add_whole(name, &[count], &[])
    }

    /// Adds a list of counts.
    pub fn add_counts(&mut self, name: &str, counts: &[usize]) -> Result<()> {
        self.add_whole(name, counts, &[counts.len()])
    }

    fn add_whole(&mut self, name: &str, counts: &[usize], dims: &[usize]) -> Result<()> {
        let place = format!("{}: tensor {name}", self.path.display());
        let narrow = counts.iter().map(|count| i32::try_from(*count));
        let narrow = narrow.collect::<std::result::Result<Vec<_>, _>>();
        let counts = narrow.map_err(|e| invalid(format!("{place}: {e}")))?;
        let tensor = Tensor::from_slice(&counts, dims, &Device::Cpu);
        let tensor = tensor.map_err(|e| invalid(format!("{place}: {e}")))?;
        self.tensors.insert(name.to_string(), tensor);
        Ok(())
    }

    /// Writes the file, down to the disk.
    pub fn finish(self) -> Result<()> {
        let path = &self.path;
        candle_core::safetensors::save(&self.tensors, path)
            .map_err(|e| invalid(format!("{}: write: {e}", path.display())))?;
        disk::sync(path).map_err(|e| invalid(format!("{}: write: {e}", path.display())))
    }
}
