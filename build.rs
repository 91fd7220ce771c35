//! One number for what computes the relations that a store caches: the sources of the kernels and of the plugin, and
//! the versions they are built with. A changed kernel then finds none of the old rows.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Files and folders below the root.
const SOURCES: [&str; 3] = ["kernels/src", "udfs/src", "Cargo.lock"];

fn main() {
    let root = env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .unwrap_or_default();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    match computed_by(&root) {
        Ok(hash) => println!("cargo::rustc-env=POLYSEMA_COMPUTED_BY={hash}"),
        Err(error) => {
            println!("cargo::error=the sources of kernels and udfs are required, got {error}")
        }
    }
}

/// The number, in hexadecimal digits.
pub fn computed_by(root: &Path) -> io::Result<String> {
    let mut hasher = DefaultHasher::new();
    for source in SOURCES {
        add(&root.join(source), &mut hasher)?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// Adds a file, or those of a folder by name; nothing where there is none.
fn add(path: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    if path.is_dir() {
        let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            path.file_name().hash(hasher);
            add(&path, hasher)?;
        }
    } else if path.exists() {
        fs::read(path)?.hash(hasher);
    }
    Ok(())
}
