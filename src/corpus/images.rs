//! Labelled images as a corpus: MNIST's four idx files in a folder, or one file of images.
//!
//! An image is a document, of one position or of a model's patches. The images stay in memory, a byte a value.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, UInt8Array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_udfs::arrow::memory::hold;

use super::image_files::{ImageArray, find, is_npy, one_file};
use super::kind::FileKind;
use super::options::{MAX_DOCUMENTS, OF_TEXTS, SPLIT, Split, check_vectors};
use super::tables::document_schema;
use crate::files::idx::Idx;
use crate::models::{LoadedModel, PatchGrid, Pixels};
use crate::options::{Options, Word};
use crate::store::{RunWriter, Table, schema};

/// Mean and standard deviation of MNIST's training pixels, as its classifiers are commonly given them.
const MEAN: f32 = 0.1307;
const DEVIATION: f32 = 0.3081;
/// What a classifier receives of a pixel of 0, and of one of 255.
pub const BLACK_AND_WHITE: [f32; 2] = [-MEAN / DEVIATION, (1.0 - MEAN) / DEVIATION];
/// Rows of a record batch of `documents` or `tokens`.
const BATCH_ROWS: usize = 4096;

/// Images in memory.
pub(crate) struct Images {
    /// blake3 of the arrays, in hexadecimal digits.
    pub(crate) hash: String,
    /// Values of an image.
    pub(crate) width: usize,
    /// Shape of an image.
    dims: Vec<usize>,
    /// How a model of images reads them.
    read: Option<(PatchGrid, Pixels)>,
    /// The digit of each image, where there are labels.
    pub(crate) labels: Option<Vec<u32>>,
    pixels: Vec<u8>,
    /// Of which file, of which split and how many, in order.
    splits: Vec<(String, Option<Split>, usize)>,
    /// Of all of them.
    memory: MemoryReservation,
}

/// Whether a corpus is images: a folder with a file that is called as those of MNIST, a `.npy` file, or one that begins as
/// an idx file does. One without an ending of texts may say so by its name alone, so that a damaged one is answered as what it is.
pub(crate) fn are_images(corpus: &Path) -> bool {
    let named = |path: &Path, part: &str| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        FileKind::of(path).is_none() && name.is_some_and(|name| name.contains(part))
    };
    if corpus.is_dir() {
        let entries = std::fs::read_dir(corpus).into_iter().flatten().flatten();
        return entries
            .into_iter()
            .any(|entry| named(&entry.path(), "-ubyte"));
    }
    is_npy(corpus) || Idx::begins(corpus) || named(corpus, "idx")
}

impl Images {
    /// Reads the images of one split, or of one file, whose bytes are reserved in `memory`.
    pub(crate) fn open(
        corpus: &Path,
        options: &Options,
        memory: MemoryReservation,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Self> {
        if let Some(name) = options.any_given(&OF_TEXTS) {
            return plan_err!(
                "{name} must come with a corpus of texts, got the images of {}",
                corpus.display()
            );
        }
        let mut hasher = blake3::Hasher::new();
        let mut all = Self {
            hash: String::new(),
            width: 0,
            dims: vec![],
            read: None,
            labels: Some(vec![]),
            pixels: vec![],
            splits: vec![],
            memory,
        };
        if corpus.is_dir() {
            for (split, prefix) in [(Split::Train, "train"), (Split::Test, "t10k")] {
                if ![None, Some(Split::All), Some(split)].contains(&options.get(SPLIT)) {
                    continue;
                }
                let images = find(corpus, &format!("{prefix}-images"), 3)?;
                let labels = find(corpus, &format!("{prefix}-labels"), 1)?;
                let files = (images, Some(labels));
                let part = ImageArray::read(Some(split), files, &mut hasher, &all.memory, tick)?;
                all.add(part, options)?;
            }
        } else {
            let part = one_file(corpus, options, &mut hasher, &all.memory, tick)?;
            all.add(part, options)?;
        }
        if all.len() == 0 {
            return exec_err!("{}: images are required, got none", corpus.display());
        }
        if i32::try_from(all.len()).is_err() {
            return exec_err!("{}: fewer than 2^31 images are required", corpus.display());
        }
        all.hash = hasher.finalize().to_hex().to_string();
        Ok(all)
    }

    /// Adds the images of a part, those of them that the options ask for.
    fn add(&mut self, mut part: ImageArray, options: &Options) -> Result<()> {
        let most = options.get(MAX_DOCUMENTS).unwrap_or(usize::MAX);
        let width = part.dims.iter().product();
        if self.splits.is_empty() {
            (self.width, self.dims) = (width, part.dims);
        } else if width != self.width {
            return exec_err!(
                "{}: images of {} pixels, as the other images, are required, got {width}",
                part.path.display(),
                self.width
            );
        }
        let n = part.n.min(most - self.len());
        part.pixels.truncate(n * width);
        // What is added to others is there twice for a moment, and a label is four bytes.
        let copied = if self.pixels.is_empty() { 0 } else { width };
        let more = n * (copied + size_of::<u32>());
        let of = format_args!("the images of {}", part.path.display());
        hold(&self.memory, self.memory.size().saturating_add(more), of)?;
        let file = part.path.file_name().unwrap_or_default().to_string_lossy();
        self.splits.push((file.into_owned(), part.split, n));
        match self.pixels.is_empty() {
            true => self.pixels = part.pixels,
            false => self.pixels.extend_from_slice(&part.pixels),
        }
        self.labels = match (self.labels.take(), part.labels) {
            (Some(mut labels), Some(more)) => {
                labels.extend_from_slice(&more[..n]);
                Some(labels)
            }
            _ => None,
        };
        let held = self.pixels.len() + self.len() * size_of::<u32>();
        hold(&self.memory, held, "the images")
    }

    /// Refuses a model that cannot read them; what a model of images reads has its channels first.
    pub(crate) fn fit(&mut self, loaded: &LoadedModel, corpus: &Path) -> Result<()> {
        let Some(grid) = loaded.model.image() else {
            return check_vectors(loaded, corpus, self.width);
        };
        let (channels, [height, width]) = (grid.channels, grid.image);
        let first = self.dims == [channels, height, width];
        let last = self.dims == [height, width, channels];
        let gray = channels == 1 && self.dims == [height, width];
        if first && last && channels > 1 || !(first || last || gray) {
            return exec_err!(
                "images of {height} x {width} pixels with {channels} channels before or behind these are required, since \
                 nothing is resized, got images of shape {:?} in {}",
                self.dims,
                corpus.display()
            );
        }
        let Some(pixels) = loaded.pixels.clone() else {
            return exec_err!(
                "a preprocessor_config.json is required in {}, which says what architecture {} makes of bytes, got none",
                loaded.folder.display(),
                loaded.model.architecture()
            );
        };
        if last && channels > 1 {
            let mut image = vec![0; self.width];
            for behind in self.pixels.chunks_exact_mut(self.width) {
                for (i, byte) in behind.iter().enumerate() {
                    image[i % channels * (height * width) + i / channels] = *byte;
                }
                behind.copy_from_slice(&image);
            }
        }
        self.read = Some((grid, pixels));
        Ok(())
    }

    /// Positions of each.
    pub(crate) fn positions(&self) -> usize {
        self.read.as_ref().map_or(1, |(grid, _)| grid.positions())
    }

    /// Where each begins among the positions of all.
    pub(crate) fn starts(&self) -> Result<Vec<u32>> {
        let positions = self.positions();
        let starts = (0..=self.len()).map(|image| u32::try_from(image.saturating_mul(positions)));
        let starts: std::result::Result<_, _> = starts.collect();
        starts.map_err(|_| {
            exec_datafusion_err!(
                "fewer than 2^32 positions are required, got {positions} of {} images",
                self.len()
            )
        })
    }

    /// Number of images.
    pub(crate) fn len(&self) -> usize {
        self.pixels.len() / self.width.max(1)
    }

    /// Number of images of one split.
    pub(crate) fn count(&self, split: Split) -> usize {
        let splits = self
            .splits
            .iter()
            .filter(|(_, found, _)| *found == Some(split));
        splits.map(|(.., n)| n).sum()
    }

    /// Adds an image's normalised pixels to `out`.
    pub(crate) fn normalised(&self, image: usize, out: &mut Vec<f32>) {
        let pixels = &self.pixels[image * self.width..][..self.width];
        if let Some((_, read)) = &self.read {
            return read.values(pixels, out);
        }
        let normalised = |x: &u8| (f32::from(*x) / 255.0 - MEAN) / DEVIATION;
        out.extend(pixels.iter().map(normalised));
    }

    /// Writes the tables `documents` and `tokens`; the token of an image is its label, those of patches are their places.
    pub(crate) fn write(
        &self,
        run: &mut RunWriter,
        advance: &mut super::documents::Advance<'_>,
    ) -> Result<()> {
        let byte = Arc::new(Field::new_list_field(DataType::UInt8, false));
        let fields = document_schema(&[
            Field::new("label", DataType::Int32, true),
            Field::new("split", DataType::Utf8, true),
            Field::new("pixels", DataType::List(Arc::clone(&byte)), false),
        ]);
        let mut documents = run.table(Table::Documents, None, Arc::clone(&fields))?;
        let mut tokens = run.table(Table::Tokens, None, schema::tokens())?;
        // The file, the row in it and the split of each.
        let splits = self.splits.iter();
        let origins: Vec<_> = splits
            .flat_map(|(file, split, n)| {
                (0..*n).map(|row| (file.as_str(), row as i64, split.map(Split::name)))
            })
            .collect();
        // The rows of a batch, and those of the file they are written to.
        let batch = self.memory.new_empty();
        let bytes = 2 * self.len().min(BATCH_ROWS) * (self.width + 64 * self.positions());
        hold(&batch, bytes, "a batch of the table documents")?;
        for first in (0..self.len()).step_by(BATCH_ROWS) {
            let rows = first..self.len().min(first + BATCH_ROWS);
            let (n, origins) = (rows.len(), &origins[rows.clone()]);
            let label = |image: usize| self.labels.as_ref().map(|labels| labels[image]);
            let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(
                rows.clone().map(|image| image as i32),
            ));
            let labels: ArrayRef = Arc::new(Int32Array::from_iter(
                rows.clone().map(|image| label(image).map(|l| l as i32)),
            ));
            let texts: ArrayRef = Arc::new(StringArray::from_iter(
                rows.clone()
                    .map(|image| label(image).map(|l| l.to_string())),
            ));
            let pixels = &self.pixels[rows.start * self.width..rows.end * self.width];
            let pixels = ListArray::try_new(
                Arc::clone(&byte),
                OffsetBuffer::from_repeated_length(self.width, n),
                Arc::new(UInt8Array::from(pixels.to_vec())),
                None,
            )?;
            let columns: Vec<ArrayRef> = vec![
                Arc::clone(&ids),
                Arc::clone(&texts),
                Arc::new(Int32Array::from(vec![self.positions() as i32; n])),
                Arc::new(StringArray::from_iter_values(
                    origins.iter().map(|(file, ..)| *file),
                )),
                Arc::new(Int64Array::from_iter_values(
                    origins.iter().map(|(_, row, _)| *row),
                )),
                Arc::new(Int32Array::from(vec![0; n])),
                Arc::clone(&labels),
                Arc::new(StringArray::from_iter(
                    origins.iter().map(|(.., split)| *split),
                )),
                Arc::new(pixels),
            ];
            documents.write(&RecordBatch::try_new(Arc::clone(&fields), columns)?)?;
            let columns: Vec<ArrayRef> = match &self.read {
                None => vec![ids, Arc::new(Int32Array::from(vec![0; n])), labels, texts],
                Some((grid, _)) => places(*grid, rows),
            };
            tokens.write(&RecordBatch::try_new(schema::tokens(), columns)?)?;
            advance(n as u64, (n * self.positions()) as u64)?;
        }
        documents.finish()?;
        tokens.finish()
    }
}

/// The rows of `tokens` of some images whose positions are patches.
fn places(grid: PatchGrid, images: Range<usize>) -> Vec<ArrayRef> {
    let n = grid.positions();
    let words: Vec<_> = (0..n).map(|pos| grid.token(pos)).collect();
    let all = images.flat_map(|image| (0..n).map(move |pos| (image, pos)));
    let all: Vec<(usize, usize)> = all.collect();
    let numbers = |of: fn(&(usize, usize)) -> usize| -> ArrayRef {
        let numbers = all.iter().map(|place| of(place) as i32);
        Arc::new(Int32Array::from_iter_values(numbers))
    };
    let words = all.iter().map(|(_, pos)| &words[*pos]);
    vec![
        numbers(|(image, _)| *image),
        numbers(|(_, pos)| *pos),
        numbers(|(_, pos)| *pos),
        Arc::new(StringArray::from_iter_values(words)),
    ]
}
