//! A corpus through a model without a run: what ingest, training and measuring share.
//!
//! Documents come in an order that depends on the corpus and the options alone: block after block of consecutive
//! documents, within a block the longest first, so that little is padded. Above 400 lines, since reading, reserving and passing share one state.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_udfs::arrow::memory::{at_least, hold};
use serde::{Deserialize, Serialize};

use super::documents::{Advance, Documents, Target};
use super::images::{Images, are_images};
use super::of_hub::find_corpus;
use super::options::{BATCH_SIZE, MAX_DOCUMENTS, check_tokens, has_special};
use super::rows::{Corpus, CorpusPlace};
use super::tokenize::tokenize;
use crate::files::loaded::{Loaded, Resident};
use crate::files::scratch::Scratch;
use crate::files::spool::Spool;
use crate::jobs::{JobContext, Rows};
use crate::models::{Input, LoadedModel, Model, loaded};
use crate::options::Options;
use crate::store::Run;

/// Tokens of a block of texts. Chosen: 512 documents of 128 tokens.
const BLOCK_TOKENS: usize = 1 << 16;
/// Images of a block: many have no padding to save, and ingest drops candidates at the end of a block.
const BLOCK_IMAGES: usize = 1 << 10;

/// A batch of documents as the model reads it: each padded at its end to `seq` tokens, of an encoder none.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadBatch {
    /// Document and number of its tokens but those that close it; padding is behind both.
    pub documents: Vec<(u32, usize)>,
    /// Tokens that close each: the model reads them, and nothing is told of them but by what is around a token.
    pub closing: usize,
    /// Positions of every document, padding included.
    pub seq: usize,
    /// Whether all documents up to the last of this block have been read after this batch.
    pub ends_block: bool,
    /// Documents that are read at once by now, which is fewer than asked for where memory has room for fewer.
    pub at_once: usize,
}

/// Where in the documents a reader goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReadFrom {
    /// Documents that were read.
    pub(crate) documents: usize,
    /// Documents that are read at once, which is fewer than asked for where memory had room for fewer.
    pub(crate) at_once: usize,
}

impl ReadFrom {
    /// Behind the next batch.
    pub(crate) fn pass(&mut self, batch: &ReadBatch) {
        self.documents += batch.documents.len();
        self.at_once = batch.at_once;
    }
}

/// A model and the documents of a corpus it reads.
pub struct CorpusReader {
    loaded: Arc<Resident<LoadedModel>>,
    corpus_hash: String,
    batch_size: usize,
    bos: bool,
    pub(crate) documents: Documents,
    content: Content,
    /// Of the documents' lengths.
    _memory: MemoryReservation,
    /// Of a block and a pass over a batch of it.
    pub(super) pass: MemoryReservation,
    /// Whether the logits of a pass are held, too.
    logits: bool,
    /// Goes after the files in it are closed.
    _scratch: Option<Scratch>,
}

enum Content {
    /// Token ids of all documents, one after the other.
    Tokens(Spool),
    Images(Images),
}

impl CorpusReader {
    /// Loads a model and reads a corpus for it: files of texts or token ids for one that reads tokens, a folder of idx
    /// files or one of them for one that reads vectors. Token ids wait in a temporary folder; what is in memory is
    /// reserved in that of `context` first.
    pub fn open(
        model: &Path,
        corpus: &Path,
        options: &Options,
        context: &JobContext,
    ) -> Result<Self> {
        let model = loaded(&Loaded::default(), model)?;
        Self::over(model, corpus, options, context)
    }

    /// As [`CorpusReader::open`], for a model in memory.
    pub fn over(
        model: Arc<Resident<LoadedModel>>,
        corpus: &Path,
        options: &Options,
        context: &JobContext,
    ) -> Result<Self> {
        Self::over_rows(model, None, corpus, options, context)
    }

    /// The same, of the rows of a relation where these are given, which was written as `corpus`.
    pub(crate) fn over_rows(
        model: Arc<Resident<LoadedModel>>,
        rows: Option<&Rows>,
        corpus: &Path,
        options: &Options,
        context: &JobContext,
    ) -> Result<Self> {
        let scratch = Scratch::new()?;
        let target = Target::Scratch(scratch.path());
        let tick = &mut |_, _| context.tick();
        let (files, written);
        let corpus = match rows {
            Some(rows) => {
                written = corpus.to_string_lossy();
                CorpusPlace::Relation(rows, &written)
            }
            None => {
                files = find_corpus(corpus, &mut context.fetch())?.place;
                CorpusPlace::Files(&files)
            }
        };
        let mut reader = Self::read(model, corpus, options, target, context, tick)?;
        reader._scratch = Some(scratch);
        Ok(reader)
    }

    /// The documents of a run whose corpus cannot be read again: those of its tokens, at most [`MAX_DOCUMENTS`].
    pub(crate) fn of_run(
        loaded: Arc<Resident<LoadedModel>>,
        run: &Run,
        options: &Options,
        context: &JobContext,
    ) -> Result<Self> {
        check_tokens(&loaded, run.name(), options)?;
        let facts = run.manifest();
        let most = options.get(MAX_DOCUMENTS).unwrap_or(usize::MAX);
        let memory = context.memory("documents");
        let lengths = (facts.counts.documents as usize + 1) * size_of::<u32>();
        hold(&memory, lengths, "the documents' lengths")?;
        let scratch = Scratch::new()?;
        let mut ids = Spool::create(scratch.path(), "ids", 1)?;
        let mut starts = vec![];
        run.token_ids(|documents, token_ids| {
            let first = ids.len();
            let kept = documents.iter().take_while(|id| (**id as usize) < most);
            let kept = kept.count();
            for (row, document) in documents[..kept].iter().enumerate() {
                if *document as usize == starts.len() {
                    starts.push((first + row) as u32);
                }
            }
            ids.append(&token_ids[..kept])?;
            context.tick()
        })?;
        starts.push(ids.len() as u32);
        ids.flush()?;
        let model = loaded.model.as_ref();
        let (special, causal) = (has_special(options, model), model.causal());
        Ok(Self {
            loaded,
            corpus_hash: facts.corpus.hash.clone(),
            batch_size: options.get(BATCH_SIZE),
            bos: special,
            documents: Documents {
                starts,
                closing: usize::from(special && !causal),
            },
            content: Content::Tokens(ids),
            _memory: memory,
            pass: context.memory("forward pass"),
            logits: false,
            _scratch: Some(scratch),
        })
    }

    /// As [`CorpusReader::open`], with a say in where the documents go; `advance` may end the work with an error.
    pub(crate) fn read(
        loaded: Arc<Resident<LoadedModel>>,
        corpus: CorpusPlace<'_>,
        options: &Options,
        mut target: Target<'_>,
        context: &JobContext,
        advance: &mut Advance<'_>,
    ) -> Result<Self> {
        let memory = context.memory("documents");
        let tick = &mut || advance(0, 0);
        let (corpus_hash, documents, content) = match corpus {
            CorpusPlace::Files(corpus) if are_images(corpus) => {
                let mut images = Images::open(corpus, options, context.memory("images"), tick)?;
                images.fit(&loaded, corpus)?;
                if let Target::Run(run) = &mut target {
                    images.write(run, advance)?;
                }
                let starts = images.starts()?;
                let hash = images.hash.clone();
                (
                    hash,
                    Documents { starts, closing: 0 },
                    Content::Images(images),
                )
            }
            _ => {
                let (written, of_texts) = (corpus.written(), context.memory("texts"));
                check_tokens(&loaded, &written, options)?;
                let d_vocab = loaded.model.d_vocab();
                let mut rows = Corpus::open(corpus, options, d_vocab, of_texts, tick)?;
                let model: &LoadedModel = &loaded;
                let (documents, ids) = tokenize(
                    &mut rows,
                    &written,
                    model,
                    options,
                    &memory,
                    &mut target,
                    advance,
                )?;
                (rows.hash(), documents, Content::Tokens(ids))
            }
        };
        let lengths = (documents.len() + 1) * size_of::<u32>();
        hold(&memory, lengths, "the documents' lengths")?;
        let bos = has_special(options, loaded.model.as_ref());
        Ok(Self {
            loaded,
            corpus_hash,
            batch_size: options.get(BATCH_SIZE),
            bos,
            documents,
            content,
            _memory: memory,
            pass: context.memory("forward pass"),
            logits: false,
            _scratch: None,
        })
    }

    /// The model.
    pub fn model(&self) -> &dyn Model {
        self.loaded.model.as_ref()
    }

    /// Reserves the logits of a pass from now on as what else it takes, for who asks for them, one pass after the other.
    pub(crate) fn hold_logits(&mut self) {
        self.logits = true;
    }

    /// Before a document that begins a block.
    pub(crate) fn start(&self, document: usize) -> ReadFrom {
        ReadFrom {
            documents: document,
            at_once: self.batch_size,
        }
    }

    /// Number of documents.
    pub fn n_documents(&self) -> usize {
        self.documents.len()
    }

    /// Number of tokens of all documents, those of `bos` included.
    pub fn n_tokens(&self) -> usize {
        self.documents.total_tokens()
    }

    /// Number of rows [`CorpusReader::activations`] gives.
    pub fn n_rows(&self) -> usize {
        self.documents.total_rows(usize::from(self.bos))
    }

    /// Whether documents begin with a token that is no row of theirs.
    pub fn has_bos(&self) -> bool {
        self.bos
    }

    /// blake3 of the model, in hexadecimal digits.
    pub fn model_hash(&self) -> &str {
        &self.loaded.hash
    }

    /// Types of the model's numbers in its files, that of most weights first.
    pub fn weight_types(&self) -> &[String] {
        &self.loaded.weight_types
    }

    /// blake3 of the corpus, in hexadecimal digits.
    pub fn corpus_hash(&self) -> &str {
        &self.corpus_hash
    }

    /// The class of every document, where the corpus is images with labels.
    pub fn labels(&self) -> Option<&[u32]> {
        match &self.content {
            Content::Tokens(_) => None,
            Content::Images(images) => images.labels.as_deref(),
        }
    }

    /// Token ids of a range of documents, one after the other; none where the corpus is images.
    pub fn token_ids(&mut self, documents: Range<usize>) -> Result<Option<Vec<u32>>> {
        match &mut self.content {
            Content::Images(_) => Ok(None),
            Content::Tokens(ids) => {
                let starts = &self.documents.starts;
                let rows = starts[documents.start] as usize..starts[documents.end] as usize;
                Ok(Some(ids.read(rows.start, rows.len())?.to_vec()))
            }
        }
    }

    /// Calls `f` with the model and every batch, in an order that depends on corpus and options alone.
    pub fn for_each_batch(
        &mut self,
        f: &mut dyn FnMut(&dyn Model, &ReadBatch, Input<'_>) -> Result<()>,
    ) -> Result<()> {
        self.for_each_batch_in(self.start(0), self.documents.len(), f)
    }

    /// The same with the batches that come behind those which led to `from`, up to a document that begins a block.
    pub(crate) fn for_each_batch_in(
        &mut self,
        from: ReadFrom,
        until: usize,
        f: &mut dyn FnMut(&dyn Model, &ReadBatch, Input<'_>) -> Result<()>,
    ) -> Result<()> {
        let model = Arc::clone(&self.loaded.model);
        let mut most = from.at_once;
        let mut first = 0;
        while first < until {
            let end = self.block_end(first);
            if end <= from.documents {
                first = end;
                continue;
            }
            let block_bytes = self.hold_block(first..end)?;
            let block = self.token_ids(first..end)?;
            let mut members: Vec<usize> = (first..end).collect();
            members.sort_by_key(|d| std::cmp::Reverse(self.documents.n_tokens(*d)));
            let mut rest = &members[from.documents.saturating_sub(first)..];
            while !rest.is_empty() {
                let alike = self.alike(model.as_ref(), rest);
                most = self.hold_batch(model.as_ref(), &rest[..alike], most, block_bytes)?;
                let members;
                (members, rest) = rest.split_at(most.min(alike));
                let lengths = members.iter().map(|d| self.documents.n_tokens(*d));
                let closing = self.documents.closing;
                let own = members
                    .iter()
                    .map(|d| self.documents.n_tokens(*d) - closing);
                let batch = ReadBatch {
                    seq: lengths.max().unwrap_or(0),
                    documents: members.iter().map(|d| *d as u32).zip(own).collect(),
                    closing,
                    ends_block: rest.is_empty(),
                    at_once: most,
                };
                match &self.content {
                    Content::Images(images) => {
                        let mut values = Vec::with_capacity(members.len() * images.width);
                        for image in members {
                            images.normalised(*image, &mut values);
                        }
                        let width = images.width;
                        let values = &values;
                        f(model.as_ref(), &batch, Input::Vectors { values, width })?;
                    }
                    Content::Tokens(_) => {
                        let start = self.documents.starts[first] as usize;
                        let block = block.as_deref().unwrap_or_default();
                        let ids = padded(&self.documents, &batch, block, start);
                        let (ids, seq) = (&ids, batch.seq);
                        f(model.as_ref(), &batch, Input::Tokens { ids, seq })?;
                    }
                }
            }
            first = end;
        }
        self.pass.free();
        Ok(())
    }

    /// How many of `documents`, the longest first, may be in one batch: padding would change what an encoder gives, so
    /// that only documents as long as the first of them go with it.
    fn alike(&self, model: &dyn Model, documents: &[usize]) -> usize {
        if model.causal() {
            return documents.len();
        }
        let length = |document: &usize| self.documents.n_tokens(*document);
        documents.partition_point(|document| length(document) == length(&documents[0]))
    }

    /// Reserves what a block of documents takes: its token ids and its order.
    fn hold_block(&self, block: Range<usize>) -> Result<usize> {
        let starts = &self.documents.starts;
        let ids = match &self.content {
            Content::Images(_) => 0,
            Content::Tokens(_) => (starts[block.end] - starts[block.start]) as usize,
        };
        let bytes = ids * size_of::<u32>() + 2 * block.len() * size_of::<usize>();
        at_least(&self.pass, bytes, "the token ids of a block of documents")?;
        Ok(bytes)
    }

    /// Reserves what a pass over the next of `documents`, the longest first, takes beside their block; how many of them
    /// fit, at most `most`.
    fn hold_batch(
        &self,
        model: &dyn Model,
        documents: &[usize],
        most: usize,
        block: usize,
    ) -> Result<usize> {
        let seq = self.documents.n_tokens(documents[0]);
        let width = match &self.content {
            Content::Images(images) => images.width,
            Content::Tokens(_) => seq,
        };
        let mut n = most.min(documents.len());
        loop {
            let input = n * width * size_of::<f32>();
            let logits = match self.logits {
                true => model.logits_bytes(n, seq),
                false => 0,
            };
            let bytes = block + input + model.pass_bytes(n, seq).saturating_add(logits);
            let of = format_args!(
                "a pass over {n} documents of {seq} positions (a smaller context needs fewer)"
            );
            match at_least(&self.pass, bytes, of) {
                // A batch changes no result, only the time.
                Err(_) if n > 1 => n = n.div_ceil(2),
                Err(error) => return Err(error),
                // A short last batch says nothing of those to come.
                Ok(()) if n == documents.len() => return Ok(most),
                Ok(()) => return Ok(n),
            }
        }
    }

    /// Its documents as consecutive ranges of about as many tokens, cut between blocks.
    ///
    /// Errors (planning): there are fewer blocks.
    pub(crate) fn shards(&self, n: usize) -> Result<Vec<Range<usize>>> {
        let n_documents = self.documents.len();
        let next = |first: &usize| {
            let end = self.block_end(*first);
            (end < n_documents).then_some(end)
        };
        let blocks: Vec<_> = std::iter::successors(Some(0), next).collect();
        if n > blocks.len() {
            let (content, most) = match &self.content {
                Content::Images(_) => ("images", BLOCK_IMAGES),
                Content::Tokens(_) => ("tokens", BLOCK_TOKENS),
            };
            return plan_err!(
                "shards must be at most {}, since a corpus is cut between blocks of {most} {content}, got {n}",
                blocks.len()
            );
        }
        Ok(cut(&self.documents.starts, &blocks, n))
    }

    /// The document after the block that begins with `first`.
    fn block_end(&self, first: usize) -> usize {
        match &self.content {
            Content::Images(_) => self.documents.len().min(first + BLOCK_IMAGES),
            Content::Tokens(_) => block_end(&self.documents.starts, first),
        }
    }
}

/// The document after the block of texts that begins with `first`.
fn block_end(starts: &[u32], first: usize) -> usize {
    let limit = starts[first] as usize + BLOCK_TOKENS;
    let end = starts.partition_point(|start| *start as usize <= limit);
    (end - 1).max(first + 1)
}

/// Cuts documents into `n` ranges of about as many rows, each of whole blocks and at least one.
fn cut(starts: &[u32], blocks: &[usize], n: usize) -> Vec<Range<usize>> {
    let n_documents = starts.len() - 1;
    let rows = starts[n_documents] as usize;
    let mut cuts = vec![0];
    for shard in 1..n {
        // Those after it have a block each.
        let possible = cuts[shard - 1] + 1..=blocks.len() - (n - shard);
        let off = |block: &usize| (starts[blocks[*block]] as usize * n).abs_diff(rows * shard);
        cuts.extend(possible.min_by_key(off));
    }
    let ends = cuts[1..].iter().map(|block| blocks[*block]);
    let firsts = cuts.iter().map(|block| blocks[*block]);
    let cut = firsts.zip(ends.chain([n_documents]));
    cut.map(|(first, end)| first..end).collect()
}

/// The token ids of some documents, padded at the end, which a causal model never looks at from before and an encoder
/// never gets. `block` holds the ids of the rows from `start` on.
fn padded(documents: &Documents, batch: &ReadBatch, block: &[u32], start: usize) -> Vec<u32> {
    let mut rows = vec![0; batch.documents.len() * batch.seq];
    for (row, (document, _)) in rows.chunks_exact_mut(batch.seq).zip(&batch.documents) {
        let at = documents.starts[*document as usize] as usize - start;
        let n_tokens = documents.n_tokens(*document as usize);
        row[..n_tokens].copy_from_slice(&block[at..at + n_tokens]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_whole_blocks_of_about_as_many_rows() {
        // Blocks of 1, 1, 6, 1, 1 and 2 rows, a document each but the third.
        let starts = [0, 1, 2, 5, 8, 9, 10, 12];
        let blocks = [0, 1, 2, 4, 5, 6];
        let all = 0..7;
        assert_eq!(cut(&starts, &blocks, 1), std::slice::from_ref(&all));
        assert_eq!(cut(&starts, &blocks, 2), [0..4, 4..7]);
        assert_eq!(cut(&starts, &blocks, 3), [0..2, 2..4, 4..7]);
        let each = [0..1, 1..2, 2..4, 4..5, 5..6, 6..7];
        assert_eq!(cut(&starts, &blocks, 6), each);
    }

    #[test]
    fn blocks_end_at_documents_and_always_move_on() {
        let big = BLOCK_TOKENS as u32;
        assert_eq!(block_end(&[0, 10, 20], 0), 2);
        assert_eq!(block_end(&[0, big, big + 1], 0), 1);
        assert_eq!(block_end(&[0, 2 * big, 2 * big + 1], 0), 1);
        assert_eq!(block_end(&[0, 10, 10 + big, 20 + big], 1), 2);
    }
}
