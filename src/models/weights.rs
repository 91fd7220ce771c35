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
pub(super) const FILES: [&str; 4] = [
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

impl Index {
    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|e| {
            let shown = path.display();
            invalid(format!("{shown}: a weight_map is required, got {e}"))
        })
    }

    /// The names of its shards, sorted, so that the hash does not depend on the order of the index.
    fn shards(&self, path: &Path) -> Result<BTreeSet<&String>> {
        let shards: BTreeSet<_> = self.weight_map.values().collect();
        match shards
            .iter()
            .find(|shard| Path::new(shard).components().count() != 1)
        {
            None => Ok(shards),
            Some(other) => Err(invalid(format!(
                "{}: shards beside the index are required, got {other:?}",
                path.display()
            ))),
        }
    }
}

/// Of the files that `has` knows, those with the weights; the shards once their index lies in `folder`.
pub(super) fn wanted(folder: &Path, has: impl Fn(&str) -> bool) -> Result<Option<Vec<String>>> {
    let Some(source) = FILES.into_iter().find(|name| has(name)) else {
        return Ok(None);
    };
    let mut files = vec![source.to_string()];
    let path = folder.join(source);
    if source.ends_with(".json") && path.exists() {
        let bytes = regular::read_configuration(&path).map_err(|e| unreadable(&path, e))?;
        let index = Index::parse(&path, &bytes)?;
        files.extend(index.shards(&path)?.into_iter().cloned());
    }
    Ok(Some(files))
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
    let index = Index::parse(&source, &read_hashed(&source, hasher)?)?;
    let (mut tensors, mut files) = (Tensors::new(&source), vec![]);
    for shard in index.shards(&source)? {
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
