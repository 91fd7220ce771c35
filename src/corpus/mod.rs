//! Corpora: texts and images on disk, cut into documents and sent through a model batch by batch.

mod documents;
mod images;
mod jsonl;
mod options;
mod reader;
mod text;
mod text_batch;
mod text_cuts;
mod tokenize;
mod vectors;

pub(crate) use documents::{Documents, Target};
pub(crate) use images::{Images, are_images};
pub use options::{
    BATCH_SIZE, BOS, COLUMN, CONTEXT, CORPUS, MAX_DOCUMENTS, MIN_TOKENS, MOST_TOKENS, SPLIT, Split,
    check_lengths,
};
pub(crate) use reader::Capture;
pub use reader::{ActivationBatch, CorpusReader, ReadBatch};
pub use vectors::{ModelVectors, VectorBatch, VectorSource};
