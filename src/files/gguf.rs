//! GGUF files: what they say of a model, and its tensors, whose numbers are read when they are asked for.
//!
//! Source: the format's specification in ggml's `docs/gguf.md`, versions 2 and 3. Counts and lengths are held against
//! what is left of the file before anything is made of that size. Above 400 lines with the table of ggml's types.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use datafusion::error::{DataFusionError, Result};

use super::arrays::{Array, ElementType, n_elements, require_apart};
use super::{file_error, invalid, regular};

/// ggml's types by number; those with an element type are read.
const TYPES: [(u32, &str, Option<ElementType>); 35] = [
    (0, "F32", Some(ElementType::F32)),
    (1, "F16", Some(ElementType::F16)),
    (2, "Q4_0", Some(ElementType::Blocks(GgmlDType::Q4_0))),
    (3, "Q4_1", Some(ElementType::Blocks(GgmlDType::Q4_1))),
    (6, "Q5_0", Some(ElementType::Blocks(GgmlDType::Q5_0))),
    (7, "Q5_1", Some(ElementType::Blocks(GgmlDType::Q5_1))),
    (8, "Q8_0", Some(ElementType::Blocks(GgmlDType::Q8_0))),
    (9, "Q8_1", None),
    (10, "Q2_K", Some(ElementType::Blocks(GgmlDType::Q2K))),
    (11, "Q3_K", Some(ElementType::Blocks(GgmlDType::Q3K))),
    (12, "Q4_K", Some(ElementType::Blocks(GgmlDType::Q4K))),
    (13, "Q5_K", Some(ElementType::Blocks(GgmlDType::Q5K))),
    (14, "Q6_K", Some(ElementType::Blocks(GgmlDType::Q6K))),
    (15, "Q8_K", None),
    (16, "IQ2_XXS", None),
    (17, "IQ2_XS", None),
    (18, "IQ3_XXS", None),
    (19, "IQ1_S", None),
    (20, "IQ4_NL", None),
    (21, "IQ3_S", None),
    (22, "IQ2_S", None),
    (23, "IQ4_XS", None),
    (24, "I8", None),
    (25, "I16", None),
    (26, "I32", Some(ElementType::I32)),
    (27, "I64", Some(ElementType::I64)),
    (28, "F64", Some(ElementType::F64)),
    (29, "IQ1_M", None),
    (30, "BF16", Some(ElementType::Bf16)),
    (34, "TQ1_0", None),
    (35, "TQ2_0", None),
    (39, "MXFP4", None),
    (40, "NVFP4", None),
    (41, "Q1_0", None),
    (42, "Q2_0", None),
];
/// Most dimensions of a tensor, as ggml has it.
const MOST_DIMS: u32 = 4;
/// Where tensors begin, unless the file says otherwise.
const ALIGNMENT: u64 = 32;

/// What a file says under one name.
#[derive(Debug, Clone, PartialEq)]
pub enum GgufValue {
    /// A whole number.
    Integer(i128),
    /// Another number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A text.
    Text(String),
    /// Numbers or truths.
    Integers(Vec<i64>),
    /// Other numbers.
    Floats(Vec<f64>),
    /// Texts.
    Texts(Vec<String>),
}

/// A file whose header was read.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    metadata: BTreeMap<String, GgufValue>,
    tensors: Vec<Array>,
}

impl Gguf {
    /// Reads what a file says and where its tensors lie.
    pub fn read(path: &Path) -> Result<Self> {
        let file = regular::open(path).map_err(|e| file_error("open", path, e))?;
        let size = file.metadata().map_err(|e| file_error("read", path, e))?;
        let mut reader = Reader {
            file: BufReader::new(file),
            at: 0,
            size: size.len(),
        };
        let (metadata, tensors) = header(&mut reader, path)
            .map_err(|what| invalid(format!("{}: {what}", path.display())))?;
        Ok(Self {
            path: path.to_path_buf(),
            metadata,
            tensors,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors; columns of the file are rows here: `[out, in]`.
    pub fn tensors(&self) -> &[Array] {
        &self.tensors
    }

    /// Everything it says something under.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.metadata.keys().map(String::as_str)
    }

    /// A text, if the file has it.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.get(key, "a text", |value| match value {
            GgufValue::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A count, if the file has it.
    pub fn count(&self, key: &str) -> Result<Option<usize>> {
        self.get(key, "a count", |value| match value {
            GgufValue::Integer(n) => usize::try_from(*n).ok(),
            _ => None,
        })
    }

    /// A number, if the file has it.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.get(key, "a number", |value| match value {
            GgufValue::Integer(n) => Some(*n as f64),
            GgufValue::Float(x) => Some(*x),
            _ => None,
        })
    }

    /// True or false, if the file says so.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.get(key, "true or false", |value| match value {
            GgufValue::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    /// Texts, if the file has them.
    pub fn texts(&self, key: &str) -> Result<Option<&[String]>> {
        self.get(key, "a list of texts", |value| match value {
            GgufValue::Texts(texts) => Some(texts.as_slice()),
            _ => None,
        })
    }

    /// Whole numbers, if the file has them; one alone is a list of one.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<i64>>> {
        self.get(key, "a list of whole numbers", |value| match value {
            GgufValue::Integers(list) => Some(list.clone()),
            GgufValue::Integer(n) => Some(vec![i64::try_from(*n).ok()?]),
            _ => None,
        })
    }

    /// Numbers, if the file has them.
    pub fn floats(&self, key: &str) -> Result<Option<&[f64]>> {
        self.get(key, "a list of numbers", |value| match value {
            GgufValue::Floats(list) => Some(list.as_slice()),
            _ => None,
        })
    }

    /// What must be there.
    pub fn required<T>(&self, key: &str, found: Result<Option<T>>) -> Result<T> {
        found?.ok_or_else(|| self.invalid(format!("{key} is required, got none")))
    }

    /// An error about this file.
    pub fn invalid(&self, what: impl std::fmt::Display) -> DataFusionError {
        invalid(format!("{}: {what}", self.path.display()))
    }

    fn get<'a, T>(
        &'a self,
        key: &str,
        what: &str,
        read: impl FnOnce(&'a GgufValue) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.metadata.get(key) else {
            return Ok(None);
        };
        let got = || match value {
            GgufValue::Integer(n) => n.to_string(),
            GgufValue::Float(x) => x.to_string(),
            GgufValue::Bool(flag) => flag.to_string(),
            GgufValue::Text(text) => format!("{text:?}"),
            GgufValue::Integers(_) | GgufValue::Floats(_) | GgufValue::Texts(_) => {
                "a list".to_string()
            }
        };
        match read(value) {
            Some(found) => Ok(Some(found)),
            None => Err(self.invalid(format!("{key}: {what} is required, got {}", got()))),
        }
    }
}

type Parsed<T> = std::result::Result<T, String>;

/// A file being read from its beginning.
struct Reader {
    file: BufReader<File>,
    at: u64,
    size: u64,
}

impl Reader {
    fn take<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Parsed<()> {
        self.file
            .read_exact(bytes)
            .map_err(|_| self.cut("its header"))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn cut(&self, what: &str) -> String {
        let size = self.size;
        format!("a whole GGUF file is required, got one of {size} bytes that ends in {what}")
    }

    fn u32(&mut self) -> Parsed<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Parsed<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// A number of things of at least so many bytes each, which the file must have room for.
    fn count(&mut self, least: u64, what: &str) -> Parsed<usize> {
        let n = self.u64()?;
        let left = self.size.saturating_sub(self.at);
        match n.checked_mul(least).is_some_and(|bytes| bytes <= left) {
            true => usize::try_from(n).map_err(|e| e.to_string()),
            false => Err(format!(
                "{what} within the {left} bytes that are left are required, got {n}"
            )),
        }
    }

    fn text(&mut self) -> Parsed<String> {
        let length = self.count(1, "bytes of a text")?;
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|e| {
            let shown = String::from_utf8_lossy(&e.as_bytes()[..length.min(40)]).into_owned();
            format!("UTF-8 text is required, got other bytes in {shown:?}")
        })
    }

    fn value(&mut self, kind: u32) -> Parsed<GgufValue> {
        Ok(match kind {
            6 => GgufValue::Float(f32::from_le_bytes(self.take()?).into()),
            7 => GgufValue::Bool(self.take::<1>()? != [0]),
            8 => GgufValue::Text(self.text()?),
            9 => return self.list(),
            12 => GgufValue::Float(f64::from_le_bytes(self.take()?)),
            _ => GgufValue::Integer(self.integer(kind)?),
        })
    }

    fn integer(&mut self, kind: u32) -> Parsed<i128> {
        Ok(match kind {
            0 => self.take::<1>()?[0].into(),
            1 => i8::from_le_bytes(self.take()?).into(),
            2 => u16::from_le_bytes(self.take()?).into(),
            3 => i16::from_le_bytes(self.take()?).into(),
            4 => self.u32()?.into(),
            5 => i32::from_le_bytes(self.take()?).into(),
            7 => self.take::<1>()?[0].into(),
            10 => self.u64()?.into(),
            11 => i64::from_le_bytes(self.take()?).into(),
            other => return Err(format!("a known type of value is required, got {other}")),
        })
    }

    fn list(&mut self) -> Parsed<GgufValue> {
        let kind = self.u32()?;
        let least = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            other => {
                return Err(format!(
                    "a list of single values is required, got type {other}"
                ));
            }
        };
        let n = self.count(least, "values of a list")?;
        Ok(match kind {
            8 => GgufValue::Texts((0..n).map(|_| self.text()).collect::<Parsed<_>>()?),
            6 => {
                let floats = (0..n).map(|_| Ok(f32::from_le_bytes(self.take()?).into()));
                GgufValue::Floats(floats.collect::<Parsed<_>>()?)
            }
            12 => {
                let floats = (0..n).map(|_| Ok(f64::from_le_bytes(self.take()?)));
                GgufValue::Floats(floats.collect::<Parsed<_>>()?)
            }
            _ => {
                let numbers = (0..n).map(|_| {
                    let number = self.integer(kind)?;
                    i64::try_from(number)
                        .map_err(|_| format!("numbers below 2^63 are required, got {number}"))
                });
                GgufValue::Integers(numbers.collect::<Parsed<_>>()?)
            }
        })
    }
}

fn header(reader: &mut Reader, path: &Path) -> Parsed<(BTreeMap<String, GgufValue>, Vec<Array>)> {
    let magic: [u8; 4] = reader.take()?;
    if &magic != b"GGUF" {
        return Err("a GGUF file is required, got other bytes at its beginning".to_string());
    }
    match reader.u32()? {
        2 | 3 => {}
        other if other.swap_bytes() <= 3 => {
            return Err("a little-endian GGUF file is required, got a big-endian one".to_string());
        }
        other => return Err(format!("GGUF version 2 or 3 is required, got {other}")),
    }
    // The least that a tensor and a value take: lengths, types, places.
    let n_tensors = reader.count(24, "tensors")?;
    let n_values = reader.count(13, "values")?;
    let mut metadata = BTreeMap::new();
    for _ in 0..n_values {
        let key = reader.text()?;
        let kind = reader.u32()?;
        let value = reader.value(kind).map_err(|e| format!("{key}: {e}"))?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(format!("each name once is required, got {key} twice"));
        }
    }
    let mut stored = vec![];
    for _ in 0..n_tensors {
        stored.push(Stored::read(reader)?);
    }
    let alignment = match metadata.get("general.alignment") {
        None => ALIGNMENT,
        Some(GgufValue::Integer(n)) if (8..=1 << 20).contains(n) && n % 8 == 0 => *n as u64,
        Some(_) => {
            return Err(
                "general.alignment of a multiple of 8 up to 1048576 is required".to_string(),
            );
        }
    };
    let first = reader.at.next_multiple_of(alignment);
    let mut names = HashSet::new();
    let mut tensors = vec![];
    for tensor in stored {
        if !names.insert(tensor.name.clone()) {
            return Err(format!(
                "each name once is required, got tensor {} twice",
                tensor.name
            ));
        }
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(format!(
                "tensors that begin at a multiple of {alignment} are required, got {} at {}",
                tensor.name, tensor.offset
            ));
        }
        tensors.push(tensor.array(path, first, reader)?);
    }
    require_apart(&tensors)?;
    Ok((metadata, tensors))
}

/// What the header says of a tensor.
struct Stored {
    name: String,
    dims: Vec<usize>,
    kind: u32,
    offset: u64,
}

impl Stored {
    fn read(reader: &mut Reader) -> Parsed<Self> {
        let name = reader.text()?;
        let n_dims = reader.u32()?;
        if n_dims > MOST_DIMS {
            return Err(format!(
                "tensor {name}: at most {MOST_DIMS} dimensions are required, got {n_dims}"
            ));
        }
        let mut dims = vec![];
        for _ in 0..n_dims {
            dims.push(usize::try_from(reader.u64()?).map_err(|e| e.to_string())?);
        }
        // The file names the dimension first whose elements lie side by side.
        dims.reverse();
        Ok(Self {
            name,
            dims,
            kind: reader.u32()?,
            offset: reader.u64()?,
        })
    }

    /// The array, which must lie within the file; of a type that is not read nobody knows its bytes.
    fn array(self, path: &Path, first: u64, reader: &Reader) -> Parsed<Array> {
        let Self {
            name,
            dims,
            kind,
            offset,
        } = self;
        let place = |what: String| format!("tensor {name}: {what}");
        let known = TYPES.iter().find(|(number, ..)| *number == kind);
        let (stored, kind) = match known {
            Some((_, stored, kind)) => ((*stored).to_string(), *kind),
            None => (format!("type {kind} of ggml"), None),
        };
        let n = n_elements(&dims);
        let n = n.ok_or_else(|| place(format!("a shape in memory is required, got {dims:?}")))?;
        let start = first.checked_add(offset);
        if let Some(kind) = kind {
            let row = dims.last().copied().unwrap_or(1);
            if !row.is_multiple_of(kind.block()) {
                return Err(place(format!(
                    "rows of whole blocks of {} are required of type {stored}, got {row}",
                    kind.block()
                )));
            }
            let bytes = (n / kind.block()).checked_mul(kind.width());
            let end = start
                .zip(bytes)
                .and_then(|(start, n)| start.checked_add(n as u64));
            if end.is_none_or(|end| end > reader.size) {
                return Err(place(format!(
                    "the bytes of shape {dims:?} within the file's {} are required, got a beginning at {offset} after \
                     {first}",
                    reader.size
                )));
            }
        }
        let start = start.unwrap_or(u64::MAX);
        let array = Array::in_file(path, &name, dims, ElementType::U8, start);
        Ok(array.of_type(kind, &stored))
    }
}

#[cfg(test)]
#[path = "gguf_tests.rs"]
mod tests;
