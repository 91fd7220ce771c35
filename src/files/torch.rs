//! Tensors of a file that `torch.save` wrote: a zip container of one pickled state dict and the numbers of each storage.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use datafusion::error::{DataFusionError, Result};
use zip::{CompressionMethod, ZipArchive};

use super::arrays::{Array, n_bytes};
use super::pickle::{self, Pickled, StateDict, StoredTensor};
use super::{invalid, regular};

/// A state dict of a hundred tensors takes 20 kB; chosen, not tuned.
const MAX_PICKLE: u64 = 1 << 24;
/// How many times the bytes of a file are looked through for numbers that do not lie in order; chosen, not tuned.
const MOST_LOOKS: u64 = 64;

/// The tensors; nothing of the file is executed. One whose numbers lie uncompressed and in order waits in the file until
/// somebody asks for it.
pub fn read(path: &Path) -> Result<Vec<Array>> {
    let (tensors, words) = read_with_words(path)?;
    match words.first() {
        None => Ok(tensors),
        Some((name, _)) => Err(refuse(
            path,
            &format!("entry {name}: a tensor is required, got another value"),
        )),
    }
}

/// What a file says beside its tensors, by name.
pub type Words = Vec<(String, Pickled)>;

/// The same of a file that may say something beside its tensors.
pub fn read_with_words(path: &Path) -> Result<(Vec<Array>, Words)> {
    let refused = |message: String| refuse(path, &message);
    let file = regular::open(path).map_err(|e| {
        invalid(format!(
            "{}: a readable file is required, got {e}",
            path.display()
        ))
    })?;
    let file_len = file.metadata().map_err(|e| refused(e.to_string()))?.len();
    let mut archive = ZipArchive::new(BufReader::new(file))
        .map_err(|e| refused(format!("torch's zip container is required, got {e}")))?;
    let folder = folder_of(&mut archive).map_err(refused)?;
    let order = entry(&mut archive, &format!("{folder}byteorder"), 16);
    if order.is_ok_and(|order| order != b"little") {
        return Err(refused(
            "little-endian numbers are required, got others".into(),
        ));
    }
    let pickle = entry(&mut archive, &format!("{folder}data.pkl"), MAX_PICKLE).map_err(refused)?;
    let (mut total, mut looked_through) = (0_u64, 0_u64);
    let mut tensors = vec![];
    let StateDict {
        tensors: found,
        words,
    } = pickle::state_dict(&pickle).map_err(refused)?;
    for (name, stored) in found {
        let len = n_bytes(&stored.dims, stored.kind.width());
        let len = len.ok_or_else(|| refused(format!("tensor {name} is too large")))?;
        let lying = lying(&mut archive, &folder, &stored, file_len);
        if let Some(start) = lying.map_err(|e| refused(format!("tensor {name}: {e}")))? {
            tensors.push(Array::in_file(path, &name, stored.dims, stored.kind, start));
            continue;
        }
        // Each number of a state dict is in the file once; more would be a small file that fills the memory.
        total = total.saturating_add(len);
        if total > file_len {
            return Err(refused(format!(
                "tensors of at most the file's {file_len} bytes are required, got {total} with {name}"
            )));
        }
        // Many small parts of one large storage would take for ever.
        let storage = stored.storage_len.saturating_mul(stored.kind.width());
        looked_through = looked_through.saturating_add(storage as u64);
        if looked_through > file_len.saturating_mul(MOST_LOOKS) {
            return Err(refused(format!(
                "tensors whose numbers lie in order are required, got more than {MOST_LOOKS} of the same that do not, {name} \
                 among them"
            )));
        }
        let bytes = numbers(&mut archive, &folder, &stored)
            .map_err(|e| refused(format!("tensor {name}: {e}")))?;
        let (dims, kind) = (stored.dims, stored.kind);
        tensors.push(Array::in_memory(path, &name, dims, kind, bytes));
    }
    Ok((tensors, words))
}

/// The folder in the container, with its slash.
fn folder_of(archive: &mut ZipArchive<BufReader<File>>) -> std::result::Result<String, String> {
    for name in archive.file_names() {
        let name = name.map_err(|e| e.to_string())?;
        if let Some(folder) = name.strip_suffix("data.pkl")
            && (folder.is_empty() || folder.ends_with('/'))
        {
            return Ok(folder.to_string());
        }
    }
    Err("an entry data.pkl is required, got none".into())
}

/// An entry of at most `limit` bytes.
fn entry(
    archive: &mut ZipArchive<BufReader<File>>,
    name: &str,
    limit: u64,
) -> std::result::Result<Vec<u8>, String> {
    let entry = archive
        .by_name(name)
        .map_err(|e| format!("entry {name}: {e}"))?;
    let mut bytes = vec![];
    entry
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| format!("entry {name}: {e}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!(
            "entry {name}: at most {limit} bytes are required, got more"
        ));
    }
    Ok(bytes)
}

/// The byte of the file from which a tensor's numbers lie one after the other, if they do.
fn lying(
    archive: &mut ZipArchive<BufReader<File>>,
    folder: &str,
    stored: &StoredTensor,
    file_len: u64,
) -> std::result::Result<Option<u64>, String> {
    let mut n = 1_usize;
    for (dim, stride) in stored.dims.iter().zip(&stored.strides).rev() {
        if *dim != 1 && *stride != n {
            return Ok(None);
        }
        n = n
            .checked_mul(*dim)
            .ok_or("a tensor of a possible size is required")?;
    }
    let fits = stored
        .offset
        .checked_add(n)
        .is_some_and(|end| end <= stored.storage_len);
    let bytes = stored.storage_len.checked_mul(stored.kind.width());
    let name = format!("{folder}data/{}", stored.storage);
    let entry = archive
        .by_name(&name)
        .map_err(|e| format!("entry {name}: {e}"))?;
    let whole = bytes.is_some_and(|bytes| bytes as u64 == entry.size());
    let plain = entry.compression() == CompressionMethod::Stored;
    if !fits || !whole || !plain || stored.strides.len() != stored.dims.len() {
        return Ok(None);
    }
    // The archive's directory may say anything.
    let size = entry.size();
    let start = entry.data_start();
    if start.is_none_or(|start| start.saturating_add(size) > file_len) {
        return Err(format!(
            "bytes within the file's {file_len} are required, got {size} of entry {name}"
        ));
    }
    let first = stored.offset * stored.kind.width();
    Ok(start.map(|start| start + first as u64))
}

/// Gathers a tensor from its storage: a transposed one is stored as it was before.
fn numbers(
    archive: &mut ZipArchive<BufReader<File>>,
    folder: &str,
    stored: &StoredTensor,
) -> std::result::Result<Vec<u8>, String> {
    let width = stored.kind.width();
    if stored.strides.len() != stored.dims.len() {
        return Err(format!(
            "a stride for each of {} dimensions is required, got {}",
            stored.dims.len(),
            stored.strides.len()
        ));
    }
    let outside = || {
        format!(
            "numbers within a storage of {} are required, got dims {:?}, strides {:?} from {}",
            stored.storage_len, stored.dims, stored.strides, stored.offset
        )
    };
    let len = stored.storage_len.checked_mul(width).ok_or_else(outside)? as u64;
    let bytes = entry(archive, &format!("{folder}data/{}", stored.storage), len)?;
    if bytes.len() as u64 != len {
        return Err(format!("{len} bytes are required, got {}", bytes.len()));
    }
    let mut gathered = vec![];
    if !stored.dims.contains(&0) {
        let last = stored
            .dims
            .iter()
            .zip(&stored.strides)
            .try_fold(stored.offset, |last, (dim, stride)| {
                last.checked_add((dim - 1).checked_mul(*stride)?)
            });
        if last.is_none_or(|last| last >= stored.storage_len) {
            return Err(outside());
        }
        gather(stored, &bytes, width, stored.offset, 0, &mut gathered);
    }
    Ok(gathered)
}

/// Appends the numbers below one index of the first `depth` dimensions; all lie within `bytes`.
fn gather(
    stored: &StoredTensor,
    bytes: &[u8],
    width: usize,
    at: usize,
    depth: usize,
    gathered: &mut Vec<u8>,
) {
    let Some(dim) = stored.dims.get(depth) else {
        gathered.extend_from_slice(&bytes[at * width..(at + 1) * width]);
        return;
    };
    for i in 0..*dim {
        let at = at + i * stored.strides[depth];
        gather(stored, bytes, width, at, depth + 1, gathered);
    }
}

/// What to do with a file that only torch can read belongs to the message.
fn refuse(path: &Path, message: &str) -> DataFusionError {
    let shown = path.display();
    invalid(format!(
        "{shown}: {message}; if you trust the file, convert it: python -c \"import torch, safetensors.torch as s; \
         s.save_file({{k: v.contiguous() for k, v in torch.load('{shown}', map_location='cpu', \
         weights_only=True).items()}}, '{}')\"",
        path.with_extension("safetensors").display()
    ))
}
