//! Where the demo's model and corpus are put, for the demo and for examples that name them.

use std::path::{Path, PathBuf};

/// The folder of a store that has them once the demo was run.
pub fn data_folder(store: &Path) -> PathBuf {
    store.join("demo-data")
}
