//! Corpora: texts, token ids and images, cut into documents and sent through a model batch by batch.

mod activations;
mod arrow_rows;
mod binary_ids;
mod cells;
mod chunker;
mod csv;
mod documents;
mod image_files;
mod images;
mod ipc;
mod json;
mod kind;
mod losses;
mod objects;
mod of_hub;
mod options;
mod plain_text;
mod reader;
mod row_batch;
mod rows;
mod shards;
mod shuffle;
mod tables;
mod text_cuts;
mod tokenize;
mod vectors;

pub use activations::ActivationBatch;
pub(crate) use documents::{Documents, Target};
pub use images::BLACK_AND_WHITE;
pub(crate) use images::Images;
pub use losses::LossBatch;
pub use of_hub::{FoundCorpus, find_corpus};
pub(crate) use options::has_special;
pub use options::{
    BATCH_SIZE, BOS, COLUMN, CONTEXT, CORPUS, DTYPE, Dtype, MAX_DOCUMENTS, MAX_TOKENS, MIN_TOKENS,
    MOST_TOKENS, SHUFFLE, SPLIT, Split, check_lengths,
};
pub(crate) use reader::ReadFrom;
pub use reader::{CorpusReader, ReadBatch};
pub(crate) use rows::CorpusPlace;
pub use shards::is_there;
pub(crate) use tables::{document_schema, no_origins};
pub(crate) use tokenize::around;
pub(crate) use vectors::Pair;
pub use vectors::{ModelVectors, VectorBatch, VectorSource};
