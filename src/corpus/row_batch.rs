//! Rows of a corpus on their way from where they lie to the tokenizer.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;

/// What rows hold.
#[derive(Debug)]
pub(super) enum Contents {
    Texts(Vec<String>),
    /// Token ids as they were written, which may be none of a model's.
    Ids(Vec<Vec<i64>>),
}

impl Contents {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Ids(ids) => ids.len(),
        }
    }
}

/// Some rows of a corpus, at least one.
#[derive(Debug)]
pub(super) struct RowBatch {
    pub(super) contents: Contents,
    /// The rows' other columns.
    pub(super) columns: Vec<ArrayRef>,
    /// The first row's number in its file, from 0.
    pub(super) first: u64,
    /// Whether the last row goes on in the next batch.
    pub(super) goes_on: bool,
    /// The file's name, if they lie in one.
    pub(super) file: Option<Arc<str>>,
}

impl RowBatch {
    /// Whole rows of a file that is not known here.
    pub(super) fn new(contents: Contents, columns: Vec<ArrayRef>, first: u64) -> Self {
        Self {
            contents,
            columns,
            first,
            goes_on: false,
            file: None,
        }
    }
}
