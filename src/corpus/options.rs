//! How a corpus is to be read, and which model can read it.

use std::path::Path;

use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;

use crate::models::LoadedModel;

/// What a user may know of one option; the SQL function, the shell and the README show these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionDoc {
    /// Name, in SQL and on the command line.
    pub name: &'static str,
    /// What values there are.
    pub range: &'static str,
    /// The value if it is not given; empty if there is none.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

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

impl Split {
    /// The option's words.
    pub const NAMES: [(&str, Split); 3] = [
        ("train", Self::Train),
        ("test", Self::Test),
        ("all", Self::All),
    ];

    /// The option's word.
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, split)| *split == self);
        found.map_or("all", |(name, _)| name)
    }
}

/// How a corpus is cut into documents, and how many of them the model reads at once.
#[derive(Debug, Clone, PartialEq)]
pub struct CorpusOptions {
    /// Most tokens of a document.
    pub context: usize,
    /// Fewest tokens of a document.
    pub min_tokens: usize,
    /// Most documents.
    pub max_documents: Option<usize>,
    /// Whether each document begins with the model's first token.
    pub bos: bool,
    /// The column that holds the text.
    pub column: String,
    /// Which images of a folder are read; all where it is left out.
    pub split: Option<Split>,
    /// Documents the model reads at once.
    pub batch_size: usize,
}

impl Default for CorpusOptions {
    fn default() -> Self {
        Self {
            context: 128,
            min_tokens: 1,
            max_documents: None,
            bos: false,
            column: "text".to_string(),
            split: None,
            batch_size: 16,
        }
    }
}

impl CorpusOptions {
    /// Their names.
    pub const NAMES: [&str; 7] = [
        "context",
        "min_tokens",
        "batch_size",
        "max_documents",
        "bos",
        "column",
        "split",
    ];
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
pub(super) fn check_tokens(
    loaded: &LoadedModel,
    corpus: &Path,
    options: &CorpusOptions,
) -> Result<()> {
    let model = loaded.model.as_ref();
    let folder = loaded.folder.display();
    if model.d_vocab() == 0 {
        return exec_err!(
            "a model that reads token ids is required for {}, got architecture {} in {folder}",
            corpus.display(),
            model.architecture()
        );
    }
    if let Some(split) = options.split {
        return plan_err!("split requires images, got '{}' for texts", split.name());
    }
    if options.context > model.n_ctx() {
        return plan_err!(
            "context requires at most the model's {} positions, got {}",
            model.n_ctx(),
            options.context
        );
    }
    match &loaded.tokenizer {
        Some(_) => Ok(()),
        None => Err(exec_datafusion_err!(
            "a tokenizer is required, got no tokenizer.json in {folder}"
        )),
    }
}
