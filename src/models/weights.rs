//! The files of a model folder: each counted into the model's hash, its tensors found in one file or in shards.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use datafusion::error::Result;
use serde::Deserialize;

use super::error::invalid;
use crate::files::regular;
use crate::files::tensors::Tensors;

/// What a folder's weights may lie in, the first that is there: one file, or the index of several.
const FILES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];
/// Bytes hashed at a time.
const CHUNK: usize = 1 << 20;

/// Reads a small file of a model and counts it into the model's hash, name and length first.
pub(super) fn read_hashed(path: &Path, hasher: &mut blake3::Hasher) -> Result<Vec<u8>> {
    let bytes = regular::read_configuration(path).map_err(|e| unreadable(path, e))?;
    begin(path, bytes.len() as u64, hasher);
    hasher.update(&bytes);
    Ok(bytes)
}

fn unreadable(path: &Path, error: io::Error) -> datafusion::error::DataFusionError {
    invalid(format!(
        "a readable file {} is required, got {error}",
        path.display()
    ))
}

fn begin(path: &Path, size: u64, hasher: &mut blake3::Hasher) {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    hasher
        .update(&(name.len() as u64).to_le_bytes())
        .update(name);
    hasher.update(&size.to_le_bytes());
}

/// As [`read_hashed`] for files that do not have to fit into memory. After a model was built of them: what is none is
/// refused before that takes time.
pub(super) fn hash(files: &[PathBuf], hasher: &mut blake3::Hasher) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut all_of = |path: &Path| {
        let mut file = regular::open(path)?;
        begin(path, file.metadata()?.len(), hasher);
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(()),
                n => hasher.update(&chunk[..n]),
            };
        }
    };
    files
        .iter()
        .try_for_each(|path| all_of(path).map_err(|e| unreadable(path, e)))
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

/// The tensors of a folder's file, or of the shards that its index names, each of the shard it is named for; and their
/// files, not counted into the hash yet.
pub(super) fn of_folder(
    folder: &Path,
    hasher: &mut blake3::Hasher,
) -> Result<(Tensors, Vec<PathBuf>)> {
    let mut found = FILES.iter().map(|name| folder.join(name));
    let Some(source) = found.find(|path| path.exists()) else {
        return Err(invalid(format!(
            "{} is required in {}, got none of them",
            FILES.join(" or "),
            folder.display()
        )));
    };
    if source.extension().is_none_or(|e| e != "json") {
        return of_file(&source);
    }
    let index: Index = serde_json::from_slice(&read_hashed(&source, hasher)?).map_err(|e| {
        invalid(format!(
            "{}: a weight_map is required, got {e}",
            source.display()
        ))
    })?;
    let (mut tensors, mut files) = (Tensors::new(&source), vec![]);
    // Sorted, so that the hash does not depend on the order of the index.
    for shard in index.weight_map.values().collect::<BTreeSet<_>>() {
        if Path::new(shard).components().count() != 1 {
            return Err(invalid(format!(
                "{}: shards beside the index are required, got {shard:?}",
                source.display()
            )));
        }
        let path = folder.join(shard);
        tensors.add(&path, |name| index.weight_map.get(name) == Some(shard))?;
        files.push(path);
    }
    Ok((tensors, files))
}

/// The tensors of one file, as [`of_folder`].
pub(super) fn of_file(path: &Path) -> Result<(Tensors, Vec<PathBuf>)> {
    Ok((Tensors::read(path)?, vec![path.to_path_buf()]))
}
