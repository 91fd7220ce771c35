//! Arrays of a `.npz` file, a zip container of `.npy` files: numbers are read where they lie.

use std::io::BufReader;
use std::path::Path;

use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use zip::{CompressionMethod, ZipArchive};

use super::arrays::{Array, npy_header, npy_in, require_apart};
use super::{file_error, regular};

/// More arrays than any model's parameters are; chosen, not tuned.
const MOST_ARRAYS: usize = 1 << 12;

/// The arrays under the names that they were saved with.
pub fn read(path: &Path) -> Result<Vec<Array>> {
    let refused = |what: String| exec_datafusion_err!("{}: {what}", path.display());
    let file = regular::open(path).map_err(|e| file_error("open", path, e))?;
    let data = file.metadata().map_err(|e| file_error("read", path, e))?;
    let mut archive = ZipArchive::new(BufReader::new(file))
        .map_err(|e| refused(format!("a whole .npz file is required, got {e}")))?;
    if archive.len() > MOST_ARRAYS {
        let n = archive.len();
        return Err(refused(format!(
            "at most {MOST_ARRAYS} arrays are required, got {n}"
        )));
    }
    let mut arrays = vec![];
    for i in 0..archive.len() {
        let mut entry = (archive.by_index_raw(i)).map_err(|e| refused(e.to_string()))?;
        let whole = entry
            .name()
            .map_err(|e| refused(e.to_string()))?
            .to_string();
        let name = whole.strip_suffix(".npy").unwrap_or(&whole);
        let of = |what: String| refused(format!("array {name}: {what}"));
        if entry.compression() != CompressionMethod::Stored {
            return Err(of(
                "numbers as numpy.savez writes them are required, got compressed ones".to_string(),
            ));
        }
        let Some(first) = entry.data_start() else {
            return Err(of("a place in the file is required, got none".to_string()));
        };
        let size = entry.size();
        // The archive's directory may say anything.
        if first.checked_add(size).is_none_or(|end| end > data.len()) {
            return Err(of(format!(
                "bytes within the file's {} are required, got {size} from {first} on",
                data.len()
            )));
        }
        let (header, start) = npy_header(&mut entry).map_err(of)?;
        arrays.push(npy_in(path, name, &header, start, first, size).map_err(of)?);
    }
    require_apart(&arrays).map_err(refused)?;
    Ok(arrays)
}
