//! Files of images: MNIST's idx, with a file of labels beside it, and NumPy's arrays of bytes.

use std::path::{Path, PathBuf};

use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_udfs::arrow::memory::hold;

use super::options::{SPLIT, Split};
use crate::files::arrays::{self, ElementType};
use crate::files::idx::Idx;
use crate::options::Options;

/// Bytes read between two looks at the clock.
const CHUNK: usize = 1 << 20;

/// Whether a file is an array of NumPy's, by its name.
pub(super) fn is_npy(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "npy")
}

/// An array of bytes, images one after the other.
fn bytes_of_npy(
    path: &Path,
    hasher: &mut blake3::Hasher,
    memory: &MemoryReservation,
    tick: &mut dyn FnMut() -> Result<()>,
) -> Result<Idx> {
    let mut array = arrays::npy(path)?;
    let dims = array.dims().to_vec();
    if array.kind() != Some(ElementType::U8) || !(3..=4).contains(&dims.len()) {
        return exec_err!(
            "{}: images of bytes, of shape (n, height, width) or with channels behind or before these, are required, got \
             type {} of shape {dims:?}",
            path.display(),
            array.stored_as()
        );
    }
    hasher.update(format!("{dims:?}").as_bytes());
    let n = array.n_elements();
    let all = memory.size().saturating_add(n);
    hold(
        memory,
        all,
        format_args!("the values of {}", path.display()),
    )?;
    let mut values = Vec::with_capacity(n);
    for first in (0..n).step_by(CHUNK) {
        let bytes = array.integers(first..n.min(first + CHUNK))?;
        values.extend(bytes.into_iter().map(|byte| byte as u8));
        tick()?;
    }
    hasher.update(&values);
    Ok(Idx { dims, values })
}

/// A list of classes.
fn labels_of_npy(
    path: &Path,
    hasher: &mut blake3::Hasher,
    memory: &MemoryReservation,
) -> Result<Vec<u32>> {
    let mut array = arrays::npy(path)?;
    let (n, rank) = (array.n_elements(), array.dims().len());
    if rank != 1 || array.kind().is_none_or(ElementType::is_float) {
        return exec_err!(
            "{}: whole numbers of shape (n) are required, got type {} of shape {:?}",
            path.display(),
            array.stored_as(),
            array.dims()
        );
    }
    let bytes = n.saturating_mul(size_of::<i64>() + size_of::<u32>());
    let of = format_args!("the labels of {}", path.display());
    hold(memory, memory.size().saturating_add(bytes), of)?;
    let labels = array.integers(0..n)?.into_iter().map(|label| {
        hasher.update(&label.to_le_bytes());
        let fits = u32::try_from(label);
        fits.or_else(|_| {
            exec_err!(
                "{}: classes from 0 on are required, got {label}",
                path.display()
            )
        })
    });
    labels.collect()
}

/// One array of images, with its labels if there are some.
pub(super) struct ImageArray {
    pub(super) path: PathBuf,
    pub(super) split: Option<Split>,
    pub(super) n: usize,
    /// Of one image.
    pub(super) dims: Vec<usize>,
    pub(super) pixels: Vec<u8>,
    pub(super) labels: Option<Vec<u32>>,
}

impl ImageArray {
    pub(super) fn read(
        split: Option<Split>,
        (path, labels): (PathBuf, Option<PathBuf>),
        hasher: &mut blake3::Hasher,
        memory: &MemoryReservation,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Self> {
        let images = match is_npy(&path) {
            true => bytes_of_npy(&path, hasher, memory, tick)?,
            false => Idx::read(&path, 3, hasher, memory, tick)?,
        };
        let n = images.dims[0];
        let labels = match labels {
            None => None,
            Some(file) => {
                let labels = match is_npy(&file) {
                    true => labels_of_npy(&file, hasher, memory)?,
                    false => {
                        let idx = Idx::read(&file, 1, hasher, memory, tick)?;
                        idx.values.into_iter().map(u32::from).collect()
                    }
                };
                if labels.len() != n {
                    return exec_err!(
                        "{}: a label for each of the {n} images of {} is required, got {}",
                        file.display(),
                        path.display(),
                        labels.len()
                    );
                }
                Some(labels)
            }
        };
        Ok(Self {
            path,
            split,
            n,
            dims: images.dims[1..].to_vec(),
            pixels: images.values,
            labels,
        })
    }
}

/// A file of images, and the file of labels beside it if there is one.
pub(super) fn one_file(
    corpus: &Path,
    options: &Options,
    hasher: &mut blake3::Hasher,
    memory: &MemoryReservation,
    tick: &mut dyn FnMut() -> Result<()>,
) -> Result<ImageArray> {
    let name = corpus.file_name().unwrap_or_default().to_string_lossy();
    let split = match name.as_ref() {
        name if name.starts_with("train-") => Some(Split::Train),
        name if name.starts_with("t10k-") => Some(Split::Test),
        _ => None,
    };
    if ![None, Some(Split::All), split].contains(&options.get(SPLIT)) {
        return plan_err!(
            "split must come with a folder of idx files or a file of that split, got {}",
            corpus.display()
        );
    }
    let beside = match (is_npy(corpus), name.strip_suffix(".npy")) {
        (true, Some(stem)) => format!("{stem}.labels.npy"),
        _ => name.replace("images", "labels").replace("idx3", "idx1"),
    };
    let labels = corpus.with_file_name(&beside);
    let labels = (beside != name && labels.exists()).then_some(labels);
    ImageArray::read(split, (corpus.to_path_buf(), labels), hasher, memory, tick)
}

/// A file of the folder by its canonical name, or with a dot in it, as some mirrors have it.
pub(super) fn find(folder: &Path, stem: &str, rank: usize) -> Result<PathBuf> {
    let name = format!("{stem}-idx{rank}-ubyte");
    let dotted = format!("{stem}.idx{rank}-ubyte");
    for name in [&name, &dotted] {
        for ending in ["", ".gz"] {
            let path = folder.join(format!("{name}{ending}"));
            if path.exists() {
                return Ok(path);
            }
        }
    }
    Err(exec_datafusion_err!(
        "{}: a file {name} or {name}.gz is required, got neither",
        folder.display()
    ))
}
