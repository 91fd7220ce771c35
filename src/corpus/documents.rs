//! Which rows of a corpus are which document's, and where a corpus's documents go as they are read.

use std::ops::Range;
use std::path::Path;

use crate::store::RunWriter;

/// The documents of a corpus, by their lengths.
pub(crate) struct Documents {
    /// Row of each document's first token in `tokens`, and the number of rows. `[n_documents + 1]`
    pub(crate) starts: Vec<u32>,
    /// Tokens at the end of each that are no rows of it.
    pub(crate) closing: usize,
}

impl Documents {
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn n_tokens(&self, document: usize) -> usize {
        (self.starts[document + 1] - self.starts[document]) as usize
    }

    /// Tokens of the longest document.
    pub(crate) fn longest(&self) -> usize {
        let lengths = (0..self.len()).map(|document| self.n_tokens(document));
        lengths.max().unwrap_or(0)
    }

    pub(crate) fn total_tokens(&self) -> usize {
        self.starts[self.len()] as usize
    }

    /// Tokens of all without the first `skip` and the closing ones of each.
    pub(crate) fn total_rows(&self, skip: usize) -> usize {
        self.rows(0..self.len(), skip)
    }

    /// The same of a range of documents.
    pub(crate) fn rows(&self, documents: Range<usize>, skip: usize) -> usize {
        let tokens = self.starts[documents.end] - self.starts[documents.start];
        tokens as usize - (skip + self.closing) * documents.len()
    }
}

/// Where the documents go.
pub(crate) enum Target<'a> {
    /// The tables `documents` and `tokens` of a run.
    Run(&'a mut RunWriter),
    /// No tables: a folder for what does not stay in memory.
    Scratch(&'a Path),
}

impl Target<'_> {
    pub(crate) fn scratch(&self) -> &Path {
        match self {
            Self::Run(run) => run.scratch(),
            Self::Scratch(folder) => folder,
        }
    }
}

/// Called often while a corpus is read, with the documents and tokens read since; an error ends the work.
pub(crate) type Advance<'a> = dyn FnMut(u64, u64) -> datafusion::error::Result<()> + 'a;
