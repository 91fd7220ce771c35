//! Vectors that can be read again and again, wherever they come from: a model over a corpus, or a table.

use std::sync::Arc;

use datafusion::common::exec_err;
use datafusion::error::Result;

use super::reader::CorpusReader;
use crate::models::{HookPoint, Hooks};

/// Some rows of a source.
#[derive(Debug, Default)]
pub struct VectorBatch<'a> {
    /// `[n, d]`, row-major, finite
    pub values: std::borrow::Cow<'a, [f32]>,
    /// Width of a vector.
    pub d: usize,
    /// The document each row is from, if that is known. `[n]`
    pub doc_ids: Option<Vec<Option<i64>>>,
    /// Its position there, if that is known. `[n]`
    pub pos: Option<Vec<Option<i64>>>,
    /// What people read of each row, if there is something. `[n]`
    pub texts: Option<Vec<Option<String>>>,
}

impl VectorBatch<'_> {
    /// Number of rows.
    pub fn n(&self) -> usize {
        self.values.len() / self.d.max(1)
    }
}

/// Rows of equal width in an order that is the same at every reading.
pub trait VectorSource {
    /// Calls `f` with all rows from the first on, some at a time; an error of `f` ends the reading.
    fn read(&mut self, f: &mut dyn FnMut(&VectorBatch<'_>) -> Result<()>) -> Result<()>;

    /// Where they come from, in words.
    fn describe(&self) -> String;
}

/// Keeps the values at two places, which may be the same: what is read, and what is to be given back.
pub(crate) struct Pair {
    /// The places.
    pub(crate) hooks: [HookPoint; 2],
    /// The values there.
    pub(crate) seen: [Option<Arc<Vec<f32>>>; 2],
    /// Whether the pass ends behind the later one.
    pub(crate) ends: bool,
}

impl Pair {
    pub(crate) fn new(hook: HookPoint, target: HookPoint, ends: bool) -> Self {
        Self {
            hooks: [hook, target],
            seen: [None, None],
            ends,
        }
    }

    /// The values; an error names a place that the pass did not reach.
    pub(crate) fn both(self) -> Result<[Arc<Vec<f32>>; 2]> {
        let [hook, target] = self.hooks;
        match self.seen {
            [Some(x), Some(y)] => Ok([x, y]),
            [None, _] => exec_err!("a pass that reaches {hook} is required, got none"),
            [_, None] => exec_err!("a pass that reaches {target} is required, got none"),
        }
    }
}

impl Hooks for Pair {
    fn wants(&self, hook: HookPoint) -> bool {
        self.hooks.contains(&hook)
    }

    fn visit(
        &mut self,
        hook: HookPoint,
        values: &Arc<Vec<f32>>,
        _: &[usize],
    ) -> Result<Option<Vec<f32>>> {
        for (place, seen) in self.hooks.iter().zip(&mut self.seen) {
            if *place == hook {
                *seen = Some(Arc::clone(values));
            }
        }
        Ok(None)
    }

    fn done(&self) -> bool {
        self.ends && self.seen.iter().all(Option::is_some)
    }
}

/// What a model gives at one place for the tokens of a corpus.
pub struct ModelVectors {
    /// The model and its documents.
    pub reader: CorpusReader,
    /// The place.
    pub hook: HookPoint,
    /// Where they come from, in words.
    pub description: String,
}

impl VectorSource for ModelVectors {
    fn read(&mut self, f: &mut dyn FnMut(&VectorBatch<'_>) -> Result<()>) -> Result<()> {
        self.reader.activations(self.hook, &mut |batch| {
            let integers = |values: &[u32]| values.iter().map(|v| Some(i64::from(*v))).collect();
            f(&VectorBatch {
                values: batch.values.into(),
                d: batch.d,
                doc_ids: Some(integers(batch.doc_ids)),
                pos: Some(integers(batch.pos)),
                texts: None,
            })
        })
    }

    fn describe(&self) -> String {
        self.description.clone()
    }
}
