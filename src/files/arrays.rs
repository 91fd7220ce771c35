//! Arrays in `.npy` and `.safetensors` files: the header is read and checked at once, rows when they are asked for,
//! so that an import holds a block of rows and no file as a whole. Over 400 lines with its tests, which write headers
//! byte by byte.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use datafusion::arrow::datatypes::{ArrowPrimitiveType, Float16Type};
use datafusion::common::exec_datafusion_err;
use datafusion::error::{DataFusionError, Result};
use serde::Deserialize;

use super::file_error;

/// Types of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    F16,
    Bf16,
    F32,
    F64,
    I32,
    I64,
}

impl Kind {
    const NPY: [(&str, Kind); 5] = [
        ("<f2", Kind::F16),
        ("<f4", Kind::F32),
        ("<f8", Kind::F64),
        ("<i4", Kind::I32),
        ("<i8", Kind::I64),
    ];
    const SAFETENSORS: [(&str, Kind); 6] = [
        ("F16", Kind::F16),
        ("BF16", Kind::Bf16),
        ("F32", Kind::F32),
        ("F64", Kind::F64),
        ("I32", Kind::I32),
        ("I64", Kind::I64),
    ];

    fn parse(known: &[(&str, Kind)], name: &str) -> std::result::Result<Kind, String> {
        match known.iter().find(|(known, _)| *known == name) {
            Some((_, kind)) => Ok(*kind),
            None => {
                let known: Vec<_> = known.iter().map(|(name, _)| *name).collect();
                Err(format!("type {} is required, got {name}", known.join(", ")))
            }
        }
    }

    fn width(self) -> usize {
        match self {
            Kind::F16 | Kind::Bf16 => 2,
            Kind::F32 | Kind::I32 => 4,
            Kind::F64 | Kind::I64 => 8,
        }
    }

    fn is_integer(self) -> bool {
        matches!(self, Kind::I32 | Kind::I64)
    }
}

/// One array, row-major, in a file.
#[derive(Debug)]
pub struct Array {
    path: PathBuf,
    name: String,
    dims: Vec<usize>,
    kind: Kind,
    /// Where the first element lies.
    start: u64,
    file: Option<File>,
    bytes: Vec<u8>,
}

impl Array {
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

    /// An error about this array.
    pub fn invalid(&self, what: impl std::fmt::Display) -> DataFusionError {
        exec_datafusion_err!("{} of {}: {what}", self.name, self.path.display())
    }

    fn row_len(&self) -> usize {
        self.dims[1..].iter().product()
    }

    /// Refuses another type of elements than floats, or than whole numbers.
    pub fn require_floats(&self, floats: bool) -> Result<()> {
        match (floats, self.kind.is_integer()) {
            (true, true) => Err(self.invalid("floats are required, got whole numbers")),
            (false, false) => Err(self.invalid("whole numbers are required, got floats")),
            _ => Ok(()),
        }
    }

    /// Rows as float32, in place of what `out` holds.
    pub fn floats(&mut self, rows: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        self.read(rows)?;
        let bytes = &self.bytes;
        out.clear();
        match self.kind {
            Kind::F32 => out.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
            Kind::F64 => {
                let wide = bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b));
                out.extend(wide.map(|x| x as f32));
            }
            Kind::F16 => {
                type Half = <Float16Type as ArrowPrimitiveType>::Native;
                let half = bytes.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b));
                out.extend(half.map(|bits| Half::from_bits(bits).to_f32()));
            }
            Kind::Bf16 => {
                let upper = bytes.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b));
                out.extend(upper.map(|bits| f32::from_bits(u32::from(bits) << 16)));
            }
            Kind::I32 | Kind::I64 => return self.require_floats(true),
        }
        Ok(())
    }

    /// All elements as whole numbers.
    pub fn integers(&mut self) -> Result<Vec<i64>> {
        self.require_floats(false)?;
        self.read(0..self.dims[0])?;
        let bytes = &self.bytes;
        Ok(match self.kind {
            Kind::I32 => {
                let narrow = bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b));
                narrow.map(i64::from).collect()
            }
            _ => {
                let wide = bytes.as_chunks().0.iter();
                wide.map(|b| i64::from_le_bytes(*b)).collect()
            }
        })
    }

    /// The bytes of some rows.
    fn read(&mut self, rows: Range<usize>) -> Result<()> {
        let width = self.row_len() * self.kind.width();
        let offset = self.start + (rows.start * width) as u64;
        let mut file = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.path).map_err(|e| file_error("open", &self.path, e))?,
        };
        self.bytes.resize(rows.len() * width, 0);
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(&mut self.bytes))
            .map_err(|e| file_error("read", &self.path, e))?;
        self.file = Some(file);
        Ok(())
    }
}

/// The array of a `.npy` file, called as the file is.
pub fn npy(path: &Path) -> Result<Array> {
    let (mut file, size) = open(path)?;
    let invalid = |what: String| exec_datafusion_err!("{}: {what}", path.display());
    let (header, start) = npy_header(&mut file).map_err(invalid)?;
    let (kind, dims) = npy_array(&header).map_err(invalid)?;
    let name = path.file_stem().unwrap_or_default();
    let array = Array {
        path: path.to_path_buf(),
        name: name.to_string_lossy().into_owned(),
        dims,
        kind,
        start,
        file: None,
        bytes: vec![],
    };
    let needed = n_bytes(&array.dims, kind).and_then(|n| n.checked_add(start));
    match needed == Some(size) {
        true => Ok(array),
        false => Err(invalid(format!(
            "{} bytes are required for shape {:?}, got {size}",
            needed.map_or("more".to_string(), |n| n.to_string()),
            array.dims
        ))),
    }
}

fn open(path: &Path) -> Result<(File, u64)> {
    let file = File::open(path).map_err(|e| file_error("open", path, e))?;
    let size = file.metadata().map_err(|e| file_error("read", path, e))?;
    Ok((file, size.len()))
}

fn n_bytes(dims: &[usize], kind: Kind) -> Option<u64> {
    let n = dims
        .iter()
        .try_fold(kind.width(), |n, d| n.checked_mul(*d))?;
    u64::try_from(n).ok()
}

/// The header's text and where the data begins.
fn npy_header(file: &mut File) -> std::result::Result<(String, u64), String> {
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
    let read = file.take(length as u64).read_to_end(&mut header);
    if read.map_err(|e| e.to_string())? < length {
        return Err("a whole .npy file is required, got one that ends in its header".to_string());
    }
    let header =
        String::from_utf8(header).map_err(|_| "a header of text is required".to_string())?;
    Ok((header, (start + length) as u64))
}

/// Type and shape, from the Python dictionary that is the header.
fn npy_array(header: &str) -> std::result::Result<(Kind, Vec<usize>), String> {
    let field = |key: &str| {
        let (_, after) = header.split_once(&format!("'{key}':"))?;
        Some(after.trim_start())
    };
    let missing = |key: &str| format!("a header with '{key}' is required, got {}", header.trim());
    let descr = field("descr").ok_or_else(|| missing("descr"))?;
    let kind = match descr.strip_prefix('\'').and_then(|d| d.split_once('\'')) {
        Some((descr, _)) => Kind::parse(&Kind::NPY, descr)?,
        None => return Err("an array of numbers is required, got records".to_string()),
    };
    if !field("fortran_order").is_some_and(|order| order.starts_with("False")) {
        return Err("C order is required (numpy.ascontiguousarray), got Fortran order".to_string());
    }
    let shape = field("shape").and_then(|s| s.strip_prefix('(')?.split_once(')'));
    let (shape, _) = shape.ok_or_else(|| missing("shape"))?;
    let dims = shape
        .split(',')
        .map(str::trim)
        .filter(|dim| !dim.is_empty());
    let dims = dims.map(|dim| dim.parse::<usize>().map_err(|_| missing("shape")));
    Ok((kind, dims.collect::<std::result::Result<_, _>>()?))
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
        let mut header = vec![];
        // A length beyond the file is read to the file's end, and found to be cut.
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
        let kind = Kind::parse(&Kind::SAFETENSORS, &tensor.dtype).map_err(place)?;
        let (first, end) = tensor.data_offsets;
        let whole = end
            .checked_sub(first)
            .is_some_and(|n| Some(n) == n_bytes(&tensor.shape, kind))
            && start.checked_add(end).is_some_and(|end| end <= size);
        if !whole {
            return Err(place(format!(
                "the bytes of shape {:?} within the file's {size} are required, got {first} to {end} after byte {start}",
                tensor.shape
            )));
        }
        arrays.push(Array {
            path: path.to_path_buf(),
            name,
            dims: tensor.shape,
            kind,
            start: start + first,
            file: None,
            bytes: vec![],
        });
    }
    Ok(arrays)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `.npy` file of a header and data.
    fn written(version: u8, header: &str, data: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend([version, 0]);
        match version {
            1 => bytes.extend((header.len() as u16).to_le_bytes()),
            _ => bytes.extend((header.len() as u32).to_le_bytes()),
        }
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn header(descr: &str, order: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n")
    }

    #[test]
    fn every_version_and_type_is_read() {
        let floats = [1.5f32, -2.0, 0.25, 3.0, 0.0, -0.5];
        let f4: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
        let f8: Vec<u8> = floats
            .iter()
            .flat_map(|x| f64::from(*x).to_le_bytes())
            .collect();
        // 1.5, -2, 0.25, 3, 0, -0.5 as IEEE half precision.
        let f2: Vec<u8> = [0x3e00u16, 0xc000, 0x3400, 0x4200, 0, 0xb800]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        for version in [1, 2, 3] {
            for (descr, data) in [("<f2", &f2), ("<f4", &f4), ("<f8", &f8)] {
                let (_folder, path) = written(version, &header(descr, "False", "(3, 2)"), data);
                let mut array = npy(&path).unwrap();
                assert_eq!((array.name(), array.dims()), ("a", &[3, 2][..]));
                let mut out = vec![9.0];
                array.floats(1..3, &mut out).unwrap();
                assert_eq!(out, floats[2..]);
                array.floats(0..1, &mut out).unwrap();
                assert_eq!(out, floats[..2]);
                assert!(array.integers().is_err());
            }
        }
        for (descr, data) in [
            (
                "<i4",
                [7i32, -1]
                    .iter()
                    .flat_map(|x| x.to_le_bytes())
                    .collect::<Vec<_>>(),
            ),
            (
                "<i8",
                [7i64, -1].iter().flat_map(|x| x.to_le_bytes()).collect(),
            ),
        ] {
            let (_folder, path) = written(1, &header(descr, "False", "(2,)"), &data);
            let mut array = npy(&path).unwrap();
            assert_eq!(array.integers().unwrap(), [7, -1]);
            assert!(array.floats(0..2, &mut vec![]).is_err());
        }
    }

    #[test]
    fn other_headers_are_refused_with_what_was_found() {
        let f4 = header("<f4", "False", "(2,)");
        for (version, header, data, part) in [
            (
                1,
                header(">f4", "False", "(2,)"),
                8,
                "type <f2, <f4, <f8, <i4, <i8 is required, got >f4",
            ),
            (1, header("<f4", "True", "(2,)"), 8, "got Fortran order"),
            (1, header("<c8", "False", "(2,)"), 16, "got <c8"),
            (1, f4.clone(), 7, "bytes are required for shape [2]"),
            (1, f4.clone(), 9, "bytes are required for shape [2]"),
            (
                4,
                f4.clone(),
                8,
                ".npy version 1, 2 or 3 is required, got 4",
            ),
            (
                1,
                "{'fortran_order': False}".to_string(),
                0,
                "a header with 'descr' is required",
            ),
            (
                1,
                header("<f4", "False", "(2, x)"),
                8,
                "a header with 'shape' is required",
            ),
            (
                1,
                header("<f4", "False", "(99999999999, 99999999999)"),
                8,
                "more bytes are required",
            ),
            (
                2,
                "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}".to_string(),
                4,
                "got records",
            ),
        ] {
            let (_folder, path) = written(version, &header, &vec![0; data]);
            let error = npy(&path).expect_err(part).strip_backtrace();
            assert!(error.contains(part) && error.contains("a.npy"), "{error}");
        }
        let (_folder, path) = written(1, &f4, &[0; 8]);
        let whole = std::fs::read(&path).unwrap();
        for cut in [0, 5, 9, 20] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(npy(&path).is_err(), "{cut} bytes");
        }
    }

    #[test]
    fn damaged_safetensors_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensor = |dtype: &str, shape: &str, offsets: &str| {
            format!(
                r#"{{"x": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}}}"#
            )
        };
        let write = |header: &str, data: usize| {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            bytes.extend(vec![0; data]);
            std::fs::write(&path, bytes).unwrap();
        };
        write(&tensor("F32", "[1, 2]", "[0, 8]"), 8);
        let arrays = safetensors(&path).unwrap();
        assert_eq!((arrays[0].name(), arrays[0].dims()), ("x", &[1, 2][..]));
        for (header, data, part) in [
            (tensor("F32", "[1, 2]", "[0, 8]"), 7, "within the file's"),
            (
                tensor("F32", "[1, 3]", "[0, 8]"),
                8,
                "the bytes of shape [1, 3]",
            ),
            (tensor("F32", "[1, 2]", "[8, 0]"), 8, "got 8 to 0"),
            (
                tensor("U8", "[8]", "[0, 8]"),
                8,
                "tensor x: type F16, BF16, F32",
            ),
            ("[1]".to_string(), 0, "a safetensors header is required"),
            (
                r#"{"x": 3}"#.to_string(),
                0,
                "dtype, shape and data_offsets are required",
            ),
        ] {
            write(&header, data);
            let error = safetensors(&path).expect_err(part).strip_backtrace();
            assert!(
                error.contains(part) && error.contains("a.safetensors"),
                "{error}"
            );
        }
        std::fs::write(&path, [255; 8]).unwrap();
        assert!(safetensors(&path).is_err());
        std::fs::write(&path, [1; 3]).unwrap();
        assert!(safetensors(&path).is_err());
    }
}
