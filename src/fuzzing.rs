//! Doors for the fuzzer to readers that no other crate sees; `fuzz/` calls them. The library's tests have them too, so that
//! they are compiled whenever what they call is changed.

use std::path::Path;

use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, UnboundedMemoryPool};

use crate::files::idx::Idx;
use crate::files::tensors::Tensors;
use crate::files::{arrays, pickle};

/// Reads every tensor of a file in every way there is.
///
/// Panics: two ways give other numbers.
pub fn tensors(path: &Path) -> Result<()> {
    let all = || match path.extension().is_some_and(|e| e == "npy") {
        true => Ok(Tensors::of_arrays(path, vec![arrays::npy(path)?])),
        false => Tensors::read(path),
    };
    let mut tensors = all()?;
    tensors.unwrap_names();
    let _ = (
        tensors.bytes(),
        tensors.bytes_as_floats(),
        tensors.matrix_types(),
    );
    for name in tensors.names() {
        let dims = tensors.dims(&name)?.to_vec();
        let _ = tensors.dtype(&name);
        let lying = tensors.weight(&name, &dims).map(|weight| weight.to_vec());
        let mut again = all()?;
        again.unwrap_names();
        let taken = again.take(&name, &dims);
        if let (Ok(lying), Ok(taken)) = (&lying, &taken) {
            assert_eq!(lying, taken, "{name} of {dims:?}");
        }
        if let (Ok(taken), &[rows, columns]) = (&taken, dims.as_slice()) {
            let mut again = all()?;
            again.unwrap_names();
            let turned = again.take_transposed(&name, [rows, columns])?;
            let same = (0..rows * columns)
                .all(|i| taken[i].to_bits() == turned[i % columns * rows + i / columns].to_bits());
            assert!(same, "{name} of {dims:?} turned");
        }
        let _ = tensors.take_count(&name);
        let _ = tensors.take_counts(&name);
    }
    tensors.finish()
}

/// Reads a pickled state dict.
pub fn pickle(bytes: &[u8]) -> std::result::Result<(), String> {
    pickle::state_dict(bytes).map(|_| ())
}

/// Reads an idx file, plain or zipped.
///
/// Panics: it has other values than its shape says.
pub fn idx(path: &Path, rank: usize) -> Result<()> {
    let pool: std::sync::Arc<dyn MemoryPool> = std::sync::Arc::new(UnboundedMemoryPool::default());
    let memory = MemoryConsumer::new("idx").register(&pool);
    let found = Idx::read(path, rank, &mut blake3::Hasher::new(), &memory, &mut || {
        Ok(())
    })?;
    assert_eq!(found.values.len(), found.dims.iter().product::<usize>());
    assert!(Idx::begins(path));
    Ok(())
}
