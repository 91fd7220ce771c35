//! Arrays in `.npy` and `.safetensors` files: the header is read and checked at once, numbers when they are asked for, a
//! stretch at a time, so that nothing is in memory that nobody wants. Above 400 lines, since both formats share the checks of a header.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::common::exec_datafusion_err;
use datafusion::error::{DataFusionError, Result};
use memmap2::Mmap;
use serde::Deserialize;

pub use super::elements::ElementType;
use super::weight::Weight;
use super::{file_error, regular};

/// Numbers that are converted at a time.
const STRETCH: usize = 1 << 18;
/// Most bytes of a safetensors header, as the format has it.
const MOST_HEADER: u64 = 100_000_000;

/// Where the elements lie.
#[derive(Debug, Clone)]
enum Place {
    /// In the array's file from a byte on.
    File {
        start: u64,
        open: Option<Arc<File>>,
    },
    Memory(Arc<Vec<u8>>),
}

/// One array in a file.
#[derive(Debug, Clone)]
pub struct Array {
    path: PathBuf,
    name: String,
    dims: Vec<usize>,
    /// None for a type that is not read.
    kind: Option<ElementType>,
    /// The file's word for the type.
    stored: String,
    /// Whether columns lie one after the other in place of rows.
    by_columns: bool,
    /// The rows that lie there in its rows' places, where they lie in another order.
    order: Option<Arc<Vec<usize>>>,
    place: Place,
}

impl Array {
    /// Numbers in memory that belong to a file.
    pub fn in_memory(
        path: &Path,
        name: &str,
        dims: Vec<usize>,
        kind: ElementType,
        bytes: Vec<u8>,
    ) -> Self {
        let of_kind = ElementType::SAFETENSORS
            .iter()
            .find(|(_, known)| *known == kind);
        Self {
            path: path.to_path_buf(),
            name: name.to_string(),
            dims,
            kind: Some(kind),
            stored: of_kind.map_or("", |(name, _)| name).to_string(),
            by_columns: false,
            order: None,
            place: Place::Memory(Arc::new(bytes)),
        }
    }

    /// Numbers of a file from a byte on, one after the other.
    pub(super) fn in_file(
        path: &Path,
        name: &str,
        dims: Vec<usize>,
        kind: ElementType,
        start: u64,
    ) -> Self {
        Self {
            place: Place::File { start, open: None },
            ..Self::in_memory(path, name, dims, kind, vec![])
        }
    }

    /// The same of the type that the file calls `stored`, none if that is not read.
    pub(super) fn of_type(self, kind: Option<ElementType>, stored: &str) -> Self {
        Self {
            kind,
            stored: stored.to_string(),
            ..self
        }
    }

    /// The same under another name.
    pub fn renamed(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// The same with each row taken from where `order` says. Of one whose rows lie in their order.
    pub fn reordered(self, order: Vec<usize>) -> Self {
        Self {
            order: Some(Arc::new(order)),
            ..self
        }
    }

    /// Its name in the folder's layout.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its shape.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The type of its elements, if that is read.
    pub fn kind(&self) -> Option<ElementType> {
        self.kind
    }

    /// The file's word for the type of its elements.
    pub fn stored_as(&self) -> &str {
        &self.stored
    }

    /// Number of its elements.
    pub fn n_elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// Bytes of its elements in memory: none of an array that waits in its file.
    pub(super) fn bytes_in_memory(&self) -> usize {
        match &self.place {
            Place::Memory(bytes) => bytes.len(),
            Place::File { .. } => 0,
        }
    }

    /// An error about this array.
    pub fn invalid(&self, what: impl std::fmt::Display) -> DataFusionError {
        exec_datafusion_err!("{} of {}: {what}", self.name, self.path.display())
    }

    fn row_len(&self) -> usize {
        self.dims[1..].iter().product()
    }

    fn known(&self) -> Result<ElementType> {
        self.kind.ok_or_else(|| {
            let known: Vec<_> = ElementType::SAFETENSORS
                .iter()
                .map(|(name, _)| *name)
                .collect();
            self.invalid(format!(
                "type {} is required, got {}",
                known.join(", "),
                self.stored
            ))
        })
    }

    /// Refuses another type of elements than floats, or than whole numbers.
    pub fn require_floats(&self, floats: bool) -> Result<()> {
        match (floats, self.known()?.is_float()) {
            (true, false) => Err(self.invalid("floats are required, got whole numbers")),
            (false, true) => Err(self.invalid("whole numbers are required, got floats")),
            _ => Ok(()),
        }
    }

    /// Rows as float32, in place of what `out` holds.
    pub fn floats(&mut self, rows: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        self.require_floats(true)?;
        let kind = self.known()?;
        out.clear();
        if self.by_columns {
            return self.rows_of_columns(rows, kind, out);
        }
        let row_len = self.row_len();
        if let Some(order) = self.order.clone() {
            return order[rows].iter().try_for_each(|row| {
                self.each(row * row_len..(row + 1) * row_len, &mut |bytes| {
                    kind.floats(bytes, out);
                })
            });
        }
        self.each(rows.start * row_len..rows.end * row_len, &mut |bytes| {
            kind.floats(bytes, out);
        })
    }

    /// Rows of a matrix whose columns lie one after the other.
    fn rows_of_columns(
        &mut self,
        rows: Range<usize>,
        kind: ElementType,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let (n_rows, n_columns) = (self.dims[0], self.dims[1]);
        out.resize(rows.len() * n_columns, 0.0);
        let mut column_values = vec![];
        for column in 0..n_columns {
            column_values.clear();
            let first = column * n_rows;
            self.each(first + rows.start..first + rows.end, &mut |bytes| {
                kind.floats(bytes, &mut column_values);
            })?;
            for (row, value) in column_values.iter().enumerate() {
                out[row * n_columns + column] = *value;
            }
        }
        Ok(())
    }

    /// All elements as float32, row-major.
    pub fn all_floats(&mut self) -> Result<Vec<f32>> {
        self.require_floats(true)?;
        let (kind, n) = (self.known()?, self.n_elements());
        let mut out = Vec::with_capacity(n);
        if self.by_columns {
            self.rows_of_columns(0..self.dims[0], kind, &mut out)?;
            return Ok(out);
        }
        self.each(0..n, &mut |bytes| kind.floats(bytes, &mut out))?;
        if let Some(order) = &self.order {
            let len = self.row_len();
            let rows = order.iter().map(|row| &out[row * len..(row + 1) * len]);
            out = rows.collect::<Vec<_>>().concat();
        }
        Ok(out)
    }

    /// All elements where they lie; `map` maps a file into memory.
    pub(super) fn weight(&self, map: impl FnOnce(&Path) -> Result<Arc<Mmap>>) -> Result<Weight> {
        self.require_floats(true)?;
        let (kind, n) = (self.known()?, self.n_elements());
        if self.by_columns {
            return Err(self.invalid("rows one after the other are required, got columns"));
        }
        let lying = match &self.place {
            Place::Memory(bytes) => Some(Weight::of_memory(Arc::clone(bytes), kind, n)),
            Place::File { start, .. } => {
                let start = usize::try_from(*start).unwrap_or(usize::MAX);
                Weight::of_file(map(&self.path)?, start, kind, n)
            }
        };
        let cut = "the bytes of its header are required, got a file cut since";
        let lying = lying.ok_or_else(|| self.invalid(cut))?;
        Ok(match &self.order {
            None => lying,
            Some(order) => {
                let len = self.row_len();
                lying.pieces(order.iter().map(|row| row * len), len)
            }
        })
    }

    /// Some elements as whole numbers.
    pub fn integers(&mut self, elements: Range<usize>) -> Result<Vec<i64>> {
        self.require_floats(false)?;
        let kind = self.known()?;
        let mut out = Vec::with_capacity(elements.len());
        self.each(elements, &mut |bytes| match kind {
            ElementType::I32 => {
                let narrow = bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b));
                out.extend(narrow.map(i64::from));
            }
            ElementType::I64 => {
                out.extend(bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)))
            }
            _ => out.extend(bytes.iter().map(|b| i64::from(*b))),
        })?;
        Ok(out)
    }

    /// Shows the bytes of some elements, a stretch at a time.
    fn each(&mut self, elements: Range<usize>, f: &mut dyn FnMut(&[u8])) -> Result<()> {
        let kind = self.known()?;
        let Place::File { start, open } = &mut self.place else {
            let Place::Memory(bytes) = &self.place else {
                return Ok(());
            };
            f(&bytes[kind.bytes(elements.start)..kind.bytes(elements.end)]);
            return Ok(());
        };
        let failed = |e| file_error("read", &self.path, e);
        if open.is_none() {
            *open = Some(Arc::new(regular::open(&self.path).map_err(failed)?));
        }
        let Some(file) = open else { return Ok(()) };
        let mut file = file.as_ref();
        file.seek(SeekFrom::Start(*start + kind.bytes(elements.start) as u64))
            .map_err(failed)?;
        let mut bytes = vec![];
        for first in elements.clone().step_by(STRETCH) {
            bytes.resize(kind.bytes((elements.end - first).min(STRETCH)), 0);
            file.read_exact(&mut bytes).map_err(failed)?;
            f(&bytes);
        }
        Ok(())
    }
}

/// The array of a `.npy` file, called as the file is.
pub fn npy(path: &Path) -> Result<Array> {
    let (mut file, size) = open(path)?;
    let invalid = |what: String| exec_datafusion_err!("{}: {what}", path.display());
    let (header, start) = npy_header(&mut file).map_err(invalid)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    npy_in(path, &name, &header, start, 0, size).map_err(invalid)
}

/// The array whose `.npy` file lies in `path` from byte `first` on and is `size` bytes long, `start` of them its header.
pub(super) fn npy_in(
    path: &Path,
    name: &str,
    header: &str,
    start: u64,
    first: u64,
    size: u64,
) -> std::result::Result<Array, String> {
    let (kind, stored, dims, by_columns) = npy_array(header)?;
    let needed = n_bytes(&dims, kind.width()).and_then(|n| n.checked_add(start));
    if needed != Some(size) {
        return Err(format!(
            "{} bytes are required for shape {dims:?}, got {size}",
            needed.map_or("more".to_string(), |n| n.to_string()),
        ));
    }
    Ok(Array {
        path: path.to_path_buf(),
        name: name.to_string(),
        dims,
        kind: Some(kind),
        stored,
        by_columns,
        order: None,
        place: Place::File {
            start: first + start,
            open: None,
        },
    })
}

fn open(path: &Path) -> Result<(File, u64)> {
    let file = regular::open(path).map_err(|e| file_error("open", path, e))?;
    let size = file.metadata().map_err(|e| file_error("read", path, e))?;
    Ok((file, size.len()))
}

/// Elements of a shape. None where a part of it has more than any memory, be it that the whole has none: rows of such a
/// matrix could not be counted.
pub(super) fn n_elements(dims: &[usize]) -> Option<usize> {
    let mut sizes = dims.iter().map(|dim| (*dim).max(1));
    let n = sizes.try_fold(1_usize, usize::checked_mul)?;
    isize::try_from(n).ok()?;
    Some(if dims.contains(&0) { 0 } else { n })
}

pub(super) fn n_bytes(dims: &[usize], width: usize) -> Option<u64> {
    let n = n_elements(dims)?.checked_mul(width)?;
    u64::try_from(n).ok()
}

/// The header's text and where the data begins.
pub(super) fn npy_header(file: &mut impl Read) -> std::result::Result<(String, u64), String> {
    let cut = |_| "a whole .npy file is required, got one that ends in its header".to_string();
    let mut head = [0; 8];
    file.read_exact(&mut head).map_err(cut)?;
    if &head[..6] != b"\x93NUMPY" {
        return Err("a .npy file is required, got other bytes at its beginning".to_string());
    }
    let (length, start) = match head[6] {
        1 => {
            let mut length = [0; 2];
            file.read_exact(&mut length).map_err(cut)?;
            (usize::from(u16::from_le_bytes(length)), 10)
        }
        2 | 3 => {
            let mut length = [0; 4];
            file.read_exact(&mut length).map_err(cut)?;
            (u32::from_le_bytes(length) as usize, 12)
        }
        version => return Err(format!(".npy version 1, 2 or 3 is required, got {version}")),
    };
    let mut header = vec![];
    let read = file.by_ref().take(length as u64).read_to_end(&mut header);
    if read.map_err(|e| e.to_string())? < length {
        return Err("a whole .npy file is required, got one that ends in its header".to_string());
    }
    let header =
        String::from_utf8(header).map_err(|_| "a header of text is required".to_string())?;
    Ok((header, (start + length) as u64))
}

/// Type, its name, shape and whether columns lie one after the other, from the Python dictionary that is the header.
type Header = (ElementType, String, Vec<usize>, bool);

fn npy_array(header: &str) -> std::result::Result<Header, String> {
    let field = |key: &str| {
        let (_, after) = header.split_once(&format!("'{key}':"))?;
        Some(after.trim_start())
    };
    let missing = |key: &str| format!("a header with '{key}' is required, got {}", header.trim());
    let descr = field("descr").ok_or_else(|| missing("descr"))?;
    let Some((descr, _)) = descr.strip_prefix('\'').and_then(|d| d.split_once('\'')) else {
        return Err("an array of numbers is required, got records".to_string());
    };
    let Some(kind) = ElementType::find(&ElementType::NPY, descr) else {
        let known = ElementType::NPY.map(|(name, _)| name).join(", ");
        return Err(format!("type {known} is required, got {descr}"));
    };
    let fortran = match field("fortran_order") {
        Some(order) if order.starts_with("True") => true,
        Some(order) if order.starts_with("False") => false,
        _ => return Err(missing("fortran_order")),
    };
    let shape = field("shape").and_then(|s| s.strip_prefix('(')?.split_once(')'));
    let (shape, _) = shape.ok_or_else(|| missing("shape"))?;
    let dims = shape
        .split(',')
        .map(str::trim)
        .filter(|dim| !dim.is_empty());
    let dims = dims.map(|dim| dim.parse::<usize>().map_err(|_| missing("shape")));
    let dims: Vec<usize> = dims.collect::<std::result::Result<_, _>>()?;
    if fortran && dims.len() > 2 {
        return Err(format!(
            "C order of more than two dimensions is required (numpy.ascontiguousarray), got Fortran order of {}",
            dims.len()
        ));
    }
    let by_columns = fortran && dims.len() == 2;
    Ok((kind, descr.to_string(), dims, by_columns))
}

#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// The arrays of a `.safetensors` file under their own names.
pub fn safetensors(path: &Path) -> Result<Vec<Array>> {
    let (mut file, size) = open(path)?;
    let invalid = |what: String| exec_datafusion_err!("{}: {what}", path.display());
    let mut length = [0; 8];
    let header = file.read_exact(&mut length).ok().and_then(|()| {
        let length = u64::from_le_bytes(length);
        if length > MOST_HEADER.min(size) {
            return None;
        }
        let mut header = vec![];
        let read = file.take(length).read_to_end(&mut header).ok()?;
        (read as u64 == length).then_some(header)
    });
    let Some(header) = header else {
        return Err(invalid(format!(
            "a whole safetensors file is required, got {size} bytes"
        )));
    };
    let start = 8 + header.len() as u64;
    let entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&header)
        .map_err(|e| invalid(format!("a safetensors header is required, got {e}")))?;
    let mut arrays = vec![];
    for (name, entry) in entries {
        if name == "__metadata__" {
            continue;
        }
        let place = |what: String| invalid(format!("tensor {name}: {what}"));
        let tensor: Tensor = serde_json::from_value(entry).map_err(|e| {
            place(format!(
                "dtype, shape and data_offsets are required, got {e}"
            ))
        })?;
        let kind = ElementType::find(&ElementType::SAFETENSORS, &tensor.dtype);
        let (first, end) = tensor.data_offsets;
        let n = end.checked_sub(first);
        // Of a type that is not read it is not known how many bytes there should be.
        let needed = match kind {
            Some(kind) => n_bytes(&tensor.shape, kind.width()),
            None => n.filter(|_| n_elements(&tensor.shape).is_some()),
        };
        let inside = start.checked_add(end).is_some_and(|end| end <= size);
        if n.is_none() || n != needed || !inside {
            return Err(place(format!(
                "a whole safetensors file is required with the bytes of shape {:?} within the file's {size}, got {first} to {end} after \
                 byte {start}",
                tensor.shape
            )));
        }
        arrays.push(Array {
            path: path.to_path_buf(),
            name,
            dims: tensor.shape,
            kind,
            stored: tensor.dtype,
            by_columns: false,
            order: None,
            place: Place::File {
                start: start + first,
                open: None,
            },
        });
    }
    require_apart(&arrays).map_err(invalid)?;
    Ok(arrays)
}

/// Refuses two arrays of the same bytes: a small file of many would fill the memory.
pub(super) fn require_apart(arrays: &[Array]) -> std::result::Result<(), String> {
    let mut places: Vec<_> = arrays
        .iter()
        .filter_map(|array| match (&array.place, array.kind) {
            (Place::File { start, .. }, Some(kind)) => {
                let end = start + kind.bytes(array.n_elements()) as u64;
                Some((*start, end, array.name.as_str()))
            }
            _ => None,
        })
        .filter(|(start, end, _)| start < end)
        .collect();
    places.sort_unstable();
    match places.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        None => Ok(()),
        Some(pair) => Err(format!(
            "bytes of its own are required for each tensor, got {} and {} of the same",
            pair[0].2, pair[1].2
        )),
    }
}

#[cfg(test)]
#[path = "arrays_tests.rs"]
mod tests;
