//! From the rows of a corpus to documents and their token ids.

use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use rayon::prelude::*;

use super::chunker::{Chunker, Chunks, Limits};
use super::documents::{Advance, Documents, Target};
use super::objects::MOST_ROW;
use super::options::{BOS, CONTEXT, MAX_DOCUMENTS, MAX_TOKENS, MIN_TOKENS, SHUFFLE, has_special};
use super::row_batch::{Contents, RowBatch};
use super::rows::Corpus;
use super::shuffle::Unordered;
use super::tables::{DocumentTables, RunTables, document_schema};
use super::text_cuts::{SEGMENT_BYTES, first_cut};
use crate::files::spool::Spool;
use crate::models::{LoadedModel, Tokenizer};
use crate::options::Options;
use crate::store::RowSpool;

/// Bytes of text encoded between two looks at the clock.
const GROUP_BYTES: usize = 1 << 19;

/// Cuts a corpus into documents and their token ids; what is in memory of them is reserved in `memory`. `written` is what
/// the corpus is called.
pub(super) fn tokenize(
    corpus: &mut Corpus<'_>,
    written: &str,
    loaded: &LoadedModel,
    options: &Options,
    memory: &MemoryReservation,
    target: &mut Target<'_>,
    advance: &mut Advance<'_>,
) -> Result<(Documents, Spool)> {
    let tokenizer = match corpus.of_ids {
        true => loaded.tokenizer.as_ref(),
        false => Some(loaded.required_tokenizer()?),
    };
    let [bos, eos] = around(loaded, tokenizer, options)?;
    let limits = Limits {
        documents: options.get(MAX_DOCUMENTS),
        tokens: options.get(MAX_TOKENS),
    };
    let seed = options.get(SHUFFLE);
    let chunks = Chunks {
        d_vocab: loaded.model.d_vocab(),
        bos,
        eos,
        context: options.get(CONTEXT),
        min_tokens: options.get(MIN_TOKENS),
        // Of a random order of all documents.
        limits: seed.map_or(limits, |_| Limits::NONE),
    };
    let schema = document_schema(&corpus.fields);
    let tables = match (&mut *target, seed) {
        (Target::Scratch(_), _) => None,
        (Target::Run(run), None) => Some(DocumentTables::Written(Box::new(RunTables::new(
            &schema, run,
        )?))),
        (Target::Run(run), Some(_)) => {
            let waiting = RowSpool::create(run.scratch(), "documents", &schema)?;
            Some(DocumentTables::Waiting(Box::new(waiting)))
        }
    };
    let ids = Spool::create(target.scratch(), "ids", 1)?;
    let of_ids = corpus.of_ids;
    let mut encoder = Encoder {
        tokenizer,
        chunker: Chunker::new(chunks, tokenizer, of_ids, ids, tables, memory),
        begins: true,
        rest: String::new(),
        from: SEGMENT_BYTES,
    };
    while let Some(batch) = corpus.next_batch()?
        && !encoder.chunker.full()
    {
        encoder.batch(&batch, advance)?;
    }
    let Chunker {
        documents,
        mut ids,
        tables,
        ..
    } = encoder.chunker;
    ids.flush()?;
    let (documents, ids) = match (seed, tables) {
        (Some(seed), tables) => {
            let waiting = match tables {
                Some(DocumentTables::Waiting(waiting)) => Some(waiting.finish()?),
                _ => None,
            };
            let unordered = Unordered {
                documents,
                ids,
                rows: waiting,
            };
            unordered.shuffled(seed, limits, tokenizer, memory, target, advance)?
        }
        (None, Some(DocumentTables::Written(tables))) => {
            tables.finish()?;
            (documents, ids)
        }
        (None, _) => (documents, ids),
    };
    if documents.len() == 0 {
        let what = match limits.tokens {
            Some(most) => format!(" and at most max_tokens, {most},"),
            None => String::new(),
        };
        return exec_err!(
            "a corpus with a document of at least min_tokens, {},{what} is required, got none in {written}",
            chunks.min_tokens
        );
    }
    Ok((documents, ids))
}

/// The tokens that each document gets before and after its own.
pub(crate) fn around(
    loaded: &LoadedModel,
    tokenizer: Option<&Tokenizer>,
    options: &Options,
) -> Result<[Option<u32>; 2]> {
    if !has_special(options, loaded.model.as_ref()) {
        return Ok([None; 2]);
    }
    if loaded.model.causal() {
        return match tokenizer.and_then(Tokenizer::bos) {
            Some(id) => Ok([Some(id), None]),
            None => exec_err!(
                "bos must come with a bos_token in tokenizer_config.json or special_tokens_map.json, or a bos_token_id \
                 the tokenizer knows in config.json, got none"
            ),
        };
    }
    let context = options.get(CONTEXT);
    if context < 3 {
        return plan_err!(
            "context must be at least 3 with a token before and one after each document, got {context}"
        );
    }
    match tokenizer.and_then(Tokenizer::around) {
        Some(ids) => Ok(ids.map(Some)),
        None => exec_err!(
            "bos: false is required for documents of architecture {} without a tokenizer that puts a token before and one \
             after a text, got {}",
            loaded.model.architecture(),
            options.get(BOS).map_or("none", |_| "true")
        ),
    }
}

/// Rows on their way to documents.
struct Encoder<'a> {
    tokenizer: Option<&'a Tokenizer>,
    chunker: Chunker<'a>,
    /// Whether the next segment begins a text.
    begins: bool,
    /// What of a text that goes on was not encoded yet.
    rest: String,
    /// Where in it the next cut is looked for.
    from: usize,
}

/// Part of a row's text.
struct Segment<'t> {
    text: &'t str,
    row: usize,
    /// Whether it ends the text.
    last: bool,
}

impl Encoder<'_> {
    fn batch(&mut self, batch: &RowBatch, advance: &mut Advance<'_>) -> Result<()> {
        match &batch.contents {
            Contents::Texts(texts) => self.texts(batch, texts, advance),
            Contents::Ids(rows) => {
                self.chunker.hold_ids(rows.iter().map(Vec::len).sum())?;
                let before = self.counts();
                for (row, ids) in rows.iter().enumerate() {
                    let last = row + 1 < rows.len() || !batch.goes_on;
                    self.chunker
                        .add(batch, row, ids.iter().copied(), false, last)?;
                }
                self.written(batch, before, advance)
            }
        }
    }

    fn texts(
        &mut self,
        batch: &RowBatch,
        texts: &[String],
        advance: &mut Advance<'_>,
    ) -> Result<()> {
        let Some(tokenizer) = self.tokenizer else {
            return exec_err!("a tokenizer is required, got none");
        };
        let encode = |text: &str| tokenizer.encode(text);
        // The first row may go on from the last batch.
        let joined = match texts.first() {
            Some(first) if !self.rest.is_empty() => Some(std::mem::take(&mut self.rest) + first),
            _ => None,
        };
        let mut group: Vec<Segment<'_>> = vec![];
        let (mut size_bytes, mut kept) = (0, "");
        for (row, text) in texts.iter().enumerate() {
            let mut rest = joined.as_deref().filter(|_| row == 0).unwrap_or(text);
            let goes_on = batch.goes_on && row + 1 == texts.len();
            while !rest.is_empty() {
                let cut = first_cut(rest, &mut self.from, goes_on, &encode)?;
                if cut.is_none() && goes_on {
                    kept = rest;
                    break;
                }
                let (text, after) = rest.split_at(cut.unwrap_or(rest.len()));
                (rest, self.from) = (after, SEGMENT_BYTES);
                size_bytes += text.len();
                group.push(Segment {
                    text,
                    row,
                    last: rest.is_empty(),
                });
                if size_bytes >= GROUP_BYTES {
                    self.group(batch, tokenizer, &mut group, advance)?;
                    size_bytes = 0;
                    if self.chunker.full() {
                        return Ok(());
                    }
                }
            }
        }
        self.group(batch, tokenizer, &mut group, advance)?;
        self.hold(kept.len())?;
        self.rest = match joined {
            // Where there was no cut at all, it is what is kept already.
            Some(joined) if joined.len() == kept.len() => joined,
            _ => kept.to_string(),
        };
        Ok(())
    }

    /// Reserves so many bytes of a text that goes on, which are encoded with the next batch.
    fn hold(&self, kept: usize) -> Result<()> {
        if kept > MOST_ROW {
            return exec_err!(
                "a text that can be cut between two words every {MOST_ROW} bytes is required, got a longer one (rows of \
                 other files than .txt need no cuts)"
            );
        }
        self.chunker.hold_text(kept)
    }

    fn group(
        &mut self,
        batch: &RowBatch,
        tokenizer: &Tokenizer,
        group: &mut Vec<Segment<'_>>,
        advance: &mut Advance<'_>,
    ) -> Result<()> {
        let size_bytes = group.iter().map(|segment| segment.text.len()).sum();
        self.chunker.hold_text(size_bytes)?;
        let encoded = group
            .par_iter()
            .map(|segment| tokenizer.encode(segment.text));
        let encoded = encoded.collect::<Result<Vec<_>>>()?;
        let before = self.counts();
        for (segment, ids) in group.drain(..).zip(encoded) {
            let begins = std::mem::replace(&mut self.begins, segment.last);
            let added_space = begins && tokenizer.adds_space(segment.text);
            let ids = ids.into_iter().map(i64::from);
            self.chunker
                .add(batch, segment.row, ids, added_space, segment.last)?;
        }
        self.written(batch, before, advance)
    }

    fn counts(&self) -> (usize, usize) {
        let documents = &self.chunker.documents;
        (documents.len(), documents.total_tokens())
    }

    fn written(
        &mut self,
        batch: &RowBatch,
        before: (usize, usize),
        advance: &mut Advance<'_>,
    ) -> Result<()> {
        self.chunker.write_documents(batch)?;
        let (documents, tokens) = self.counts();
        advance((documents - before.0) as u64, (tokens - before.1) as u64)
    }
}
