//! How a corpus is to be read, and which model can read it. Every function that reads one takes these options.

use std::path::Path;

use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;

use crate::models::{LoadedModel, Model};
use crate::options::{Key, Kind, Options, Spec, Usual, Word};

/// Which images of a folder are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// The training images.
    Train,
    /// The test images.
    Test,
    /// The training images, then the test images.
    All,
}

impl Word for Split {
    fn words() -> Vec<(&'static str, Self)> {
        vec![
            ("train", Self::Train),
            ("test", Self::Test),
            ("all", Self::All),
        ]
    }
}

/// How wide the token ids of a `.bin` are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// Two bytes.
    Uint16,
    /// Four bytes.
    Uint32,
}

impl Dtype {
    /// The one that the tokens of a vocabulary are written with.
    pub(super) fn of(d_vocab: usize) -> Self {
        match d_vocab <= 1 << 16 {
            true => Self::Uint16,
            false => Self::Uint32,
        }
    }

    /// Bytes of an id.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Uint16 => 2,
            Self::Uint32 => 4,
        }
    }
}

impl Word for Dtype {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("uint16", Self::Uint16), ("uint32", Self::Uint32)]
    }
}

/// An option a line.
#[rustfmt::skip]
#[expect(missing_docs, reason = "an option's line says what it means")]
mod keys {
    use super::*;

    pub const CONTEXT: Key<usize> = Key::count("context", 1, MOST_TOKENS, 128, "tokens a document has at most, at most the model's positions; longer texts are cut into consecutive documents");
    pub const MIN_TOKENS: Key<usize> = Key::count("min_tokens", 1, MOST_TOKENS, 1, "documents of fewer tokens are dropped; at most context");
    pub const BATCH_SIZE: Key<usize> = Key::count("batch_size", 1, 65_536, 16, "documents the model reads at once; changes speed and memory, not results");
    pub const MAX_DOCUMENTS: Key<Option<usize>> = Key::new("max_documents", Kind::Whole { from: 1, to: (1 << 31) - 1 }, Usual::Nothing, "documents after which the rest of the corpus is left out");
    pub const MAX_TOKENS: Key<Option<usize>> = Key::new("max_tokens", Kind::Whole { from: 1, to: (1 << 32) - 1 }, Usual::Nothing, "tokens of all documents at most: the corpus ends before the first document that would make them more");
    pub const SHUFFLE: Key<Option<u64>> = Key::new("shuffle", Kind::Whole { from: 0, to: (1 << 32) - 1 }, Usual::Nothing, "seed of a random order of all documents, for corpora sorted by topic; max_documents and max_tokens then take the first of that order");
    pub const BOS: Key<Option<bool>> = Key::new("bos", Kind::Flag, Usual::Nothing, "begin each document with the model's first token, which is never a key token; documents of an encoder have [CLS] before and [SEP] behind them unless this is false");
    pub const COLUMN: Key<String> = Key::new("column", Kind::Text, Usual::Text("text"), "the column of rows that holds the text, or lists of token ids, which are taken as they are; the other columns are kept in documents");
    pub const DTYPE: Key<Option<Dtype>> = Key::some_word("dtype", Usual::Nothing, "how wide the token ids of a .bin are; when left out 16 bits where the model's vocabulary has room in them, and what contradicts is refused");
    pub const SPLIT: Key<Option<Split>> = Key::some_word("split", Usual::Nothing, "which images of a folder are read: the training ones, the test ones, or the one after the other (when left out)");

    /// The options that say how a corpus is cut into documents, and how many of them the model reads at once.
    pub const CORPUS: [Spec; 10] = [
        CONTEXT.spec, MIN_TOKENS.spec, BATCH_SIZE.spec, MAX_DOCUMENTS.spec, MAX_TOKENS.spec, SHUFFLE.spec,
        BOS.spec, COLUMN.spec, DTYPE.spec, SPLIT.spec,
    ];
}

pub use keys::*;

/// No model reads more positions. Chosen: eight times those of today's longest.
pub const MOST_TOKENS: u64 = 1 << 20;

/// Those of them that say something of texts.
pub(super) const OF_TEXTS: [Spec; 7] = [
    CONTEXT.spec,
    MIN_TOKENS.spec,
    MAX_TOKENS.spec,
    SHUFFLE.spec,
    BOS.spec,
    COLUMN.spec,
    DTYPE.spec,
];

/// Refuses lengths of documents that exclude each other.
pub fn check_lengths(options: &Options) -> Result<()> {
    let (context, min_tokens) = (options.get(CONTEXT), options.get(MIN_TOKENS));
    if min_tokens > context {
        return plan_err!("min_tokens must be at most context, {context}, got {min_tokens}");
    }
    if options.get(BOS) == Some(true) && context < 2 {
        return plan_err!("context must be at least 2 with bos, got {context}");
    }
    Ok(())
}

/// Whether documents get the tokens that the model was trained to find around a text.
pub(crate) fn has_special(options: &Options, model: &dyn Model) -> bool {
    let encoder = model.d_vocab() > 0 && !model.causal();
    options.get(BOS).unwrap_or(encoder)
}

/// Refuses a model that cannot read images of this width.
pub(super) fn check_vectors(loaded: &LoadedModel, corpus: &Path, width: usize) -> Result<()> {
    let model = loaded.model.as_ref();
    if model.d_vocab() > 0 {
        return exec_err!(
            "a model that reads vectors is required for the images of {}, got architecture {} in {}",
            corpus.display(),
            model.architecture(),
            loaded.folder.display()
        );
    }
    let d_in = model.layers().first().map_or(width, |layer| layer.d_in);
    if d_in != width {
        return exec_err!(
            "images of the {d_in} pixels that the model in {} reads are required, got {width} pixels in {}",
            loaded.folder.display(),
            corpus.display()
        );
    }
    Ok(())
}

/// Refuses a model that cannot read the documents of a text.
pub(super) fn check_tokens(loaded: &LoadedModel, corpus: &str, options: &Options) -> Result<()> {
    let model = loaded.model.as_ref();
    let folder = loaded.folder.display();
    if model.d_vocab() == 0 {
        let of_images = model.image().map_or("", |_| ", a model of images");
        return exec_err!(
            "a model that reads token ids is required for {corpus}, got architecture {} in {folder}{of_images}",
            model.architecture()
        );
    }
    if options.given(SPLIT) {
        return plan_err!("split must come with images, got the texts of {corpus}");
    }
    let context = options.get(CONTEXT);
    if context > model.n_ctx() {
        return plan_err!(
            "context must be at most the model's {} positions, got {context}",
            model.n_ctx()
        );
    }
    Ok(())
}
