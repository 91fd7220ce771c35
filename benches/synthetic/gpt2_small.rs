//! A run of GPT-2-small's shape, and where it lies.

use std::path::{Path, PathBuf};

use datafusion::error::Result;
use tempfile::TempDir;

use crate::synthetic::{self, Shape};

/// The shape.
pub const GPT2_SMALL: Shape = Shape {
    layers: 12,
    neurons: 3072,
    examples: 100,
    d: 768,
    positions: 40_000,
};

/// The folder of `POLYSEMA_BENCH_STORE`, which stays between runs since writing the store takes longer than reading it; else
/// one that vanishes with the second value.
pub fn folder() -> Result<(PathBuf, Option<TempDir>)> {
    if let Some(kept) = std::env::var_os("POLYSEMA_BENCH_STORE") {
        return Ok((kept.into(), None));
    }
    let temporary = tempfile::tempdir()?;
    Ok((temporary.path().to_path_buf(), Some(temporary)))
}

/// Writes the run `gpt2_small`, unless it is there.
pub fn write(store: &Path) -> Result<()> {
    match store.join("runs/gpt2_small").exists() {
        true => Ok(()),
        false => synthetic::write(store, "gpt2_small", GPT2_SMALL),
    }
}
