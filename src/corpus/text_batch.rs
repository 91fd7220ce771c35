//! Rows of a corpus on their way from its file to the tokenizer.

use datafusion::arrow::array::ArrayRef;

/// Some rows of a corpus.
#[derive(Debug)]
pub(super) struct TextBatch {
    /// The rows' texts.
    pub(super) texts: Vec<String>,
    /// The rows' other columns, as in [`super::text::Corpus::fields`].
    pub(super) columns: Vec<ArrayRef>,
}
