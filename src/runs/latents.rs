//! The latents of a sparse autoencoder as a layer of neurons: dataset examples of every latent, exact, in one pass.
//!
//! A latent's received vector is what the autoencoder is given, less its length where that is taken off (not less `b_dec`),
//! its input weights the encoder's row, its output weights the decoder's; the bias makes their sum the pre-activation. Where
//! the autoencoder reads a run's model, the run gets a layer more; where it reads a table, a run of its own is made, each row
//! a document.
//! Above 400 lines with its two ways to a layer, which share every step but where they write.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, ToByteSlice};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_kernels::sae::Sae;
use polysema_kernels::sae::evaluation::{Evaluation, SaeMetrics};
use polysema_udfs::arrow::memory::hold;

use super::context::Context;
use super::layer::Layer;
use super::model::GIVEN;
use super::options::{Pick, Sign};
use super::progress::{Progress, Reporter};
use super::write::{self, write_layer};
use crate::corpus::Documents;
use crate::corpus::VectorSource;
use crate::corpus::{CorpusReader, Pair, ReadBatch, document_schema, no_origins};
use crate::files::clock;
use crate::jobs::JobContext;
use crate::models::{HookPoint, LayerInfo, NeuronWeights};
use crate::options::Options;
use crate::store::{
    Counts, Extension, LayerRow, Run, RunManifest, RunWriter, Source, Store, Table, Versions,
    schema,
};

/// Kind of such a layer in the table `layers`.
pub(super) const KIND: &str = "sae";
/// Rows of a table that are observed between two prunings of candidates. Chosen, not tuned.
const BLOCK_ROWS: usize = 1 << 10;
/// Numbers of the codes that are in memory at once: 32 MiB. Chosen, not tuned.
const BLOCK_NUMBERS: usize = 1 << 23;

/// An autoencoder whose latents become a layer.
#[derive(Clone, Copy)]
pub struct Latents<'a> {
    /// Its name, which becomes the layer's.
    pub name: &'a str,
    /// Its parameters.
    pub sae: &'a Sae,
    /// How examples are picked; what is not about that is left aside.
    pub options: &'a Options,
}

impl Latents<'_> {
    fn info(&self) -> LayerInfo {
        LayerInfo {
            name: self.name.to_string(),
            d_in: self.sae.d_in,
            n_neurons: self.sae.d_sae,
            activation_function: self.sae.variant.name().to_string(),
            gated: false,
        }
    }

    fn row(&self, layer: i32) -> LayerRow {
        LayerRow {
            layer,
            kind: KIND.to_string(),
            name: self.name.to_string(),
            d_in: self.sae.d_in as i32,
            n_neurons: self.sae.d_sae as i32,
            activation_function: self.sae.variant.name().to_string(),
        }
    }

    fn weights(&self) -> NeuronWeights {
        NeuronWeights {
            w_in: self.sae.w_enc.clone(),
            b_in: self.sae.latent_bias(),
            up: None,
            w_out: self.sae.w_dec.clone(),
        }
    }

    /// Writes what the layer has found and the table `layers` with its row.
    fn write(
        &self,
        layer: &mut Layer,
        mut rows: Vec<LayerRow>,
        documents: &Documents,
        run: &mut RunWriter,
        memory: MemoryReservation,
        report: &mut Reporter<'_>,
    ) -> Result<()> {
        let (d, m) = (self.sae.d_in, self.sae.d_sae);
        let context = Context {
            weights: &|_| Ok(self.weights()),
            maxima: None,
            documents,
            weights_bytes: m
                .saturating_mul(d + self.sae.d_out() + 1)
                .saturating_mul(size_of::<f32>()),
            memory,
        };
        write_layer(&context, layer, run, &mut || report.tick())?;
        rows.push(self.row(layer.index as i32));
        write::write_layer_rows(&rows, run)
    }
}

/// Latents that are a layer of a run, which is still to be committed: with its autoencoder.
#[derive(Debug)]
pub struct Attached {
    /// The number of the latents' layer.
    pub layer: i32,
    /// How good the reconstructions of all rows are; none without rows.
    pub metrics: Option<SaeMetrics>,
    /// The run with that layer.
    pub run: RunWriter,
    /// What is said of it at the commit.
    pub facts: RunManifest,
}

/// What is held while rows pass by, reserved before it is allocated, and how good the reconstructions are.
struct Observed<'a> {
    sae: &'a Sae,
    codes: Vec<f32>,
    /// The last rows as they are encoded, where that differs.
    input: Vec<f32>,
    decoded: Vec<f32>,
    evaluation: Evaluation,
    _memory: MemoryReservation,
}

impl<'a> Observed<'a> {
    fn new(sae: &'a Sae, context: &JobContext) -> Result<Self> {
        let memory = context.memory("latents");
        let rows = (BLOCK_NUMBERS / sae.d_sae).clamp(1, BLOCK_ROWS);
        let width = sae
            .d_sae
            .saturating_add(sae.d_in)
            .saturating_add(sae.d_out());
        let codes = rows.saturating_mul(width);
        let bytes = codes.saturating_mul(2 * size_of::<f32>());
        hold(&memory, bytes, format_args!("the codes of {rows} rows"))?;
        Ok(Self {
            sae,
            codes: vec![],
            input: vec![],
            decoded: vec![],
            evaluation: Evaluation::new(sae, 1, 0),
            _memory: memory,
        })
    }

    /// Rows whose codes are in memory at once.
    fn rows(&self) -> usize {
        (BLOCK_NUMBERS / self.sae.d_sae).clamp(1, BLOCK_ROWS)
    }

    /// The codes of the rows `x` `[n, d_in]`.
    fn encode(&mut self, x: &[f32]) {
        self.sae.encode(x, &mut self.codes);
    }

    /// Measures the last rows encoded, those of them in `range`, which are the rows `x`; `targets` is what they should
    /// give back, if that is known.
    fn measure(&mut self, x: &[f32], range: Range<usize>, targets: Option<&[f32]>) {
        let codes = &self.codes[range.start * self.sae.d_sae..range.end * self.sae.d_sae];
        if targets.is_some() {
            self.sae.reconstruct(x, codes, &mut self.decoded);
        }
        let pairs = targets.map(|targets| [targets, self.decoded.as_slice()]);
        let x = self.sae.input(x, &mut self.input);
        self.evaluation.add(x, codes, pairs);
    }

    /// Shows a layer the last rows encoded, which are the rows `x`.
    fn show(&mut self, layer: &mut Layer, rows: &ReadBatch, x: &[f32]) -> Result<()> {
        layer.observe(rows, &self.codes, self.sae.input(x, &mut self.input))
    }

    fn metrics(&self) -> Option<SaeMetrics> {
        self.evaluation.finish(self.sae).ok().flatten()
    }
}

/// Adds the latents to the run whose documents `reader` reads, in place of a layer of the same name if it has one. They
/// read the first place and give back what is at the second.
///
/// `progress` and `context` as in [`super::ingest`]; after an error the run is as it was.
pub fn add_to_run(
    store: &Store,
    run: &str,
    latents: Latents<'_>,
    reader: &mut CorpusReader,
    [hook, target]: [HookPoint; 2],
    context: &JobContext,
    progress: &mut dyn FnMut(Progress),
) -> Result<Attached> {
    let mut report = Reporter::new(progress, context);
    let Extension {
        mut writer,
        mut facts,
        layers,
        number,
    } = store.extend(run, latents.name, KIND, &mut |held| report.wait(held))?;
    let read = [reader.model_hash(), reader.corpus_hash()];
    if read != [facts.model.hash.as_str(), facts.corpus.hash.as_str()] {
        return exec_err!(
            "the model and corpus of run '{run}' are required, got other ones: was it replaced meanwhile?"
        );
    }
    let info = latents.info();
    let pick = Pick {
        options: latents.options,
        maxima: None,
        sign: Sign::Positive,
        longest: reader.documents.longest(),
        skip: usize::from(reader.has_bos()),
    };
    let (candidates, writing) = (context.memory("candidates"), context.memory("writing"));
    let mut layer = Layer::new(number as usize, &info, pick, writer.scratch(), candidates)?;
    report.begin(
        "observe",
        Some(reader.n_documents() as u64),
        format!("looking at the latents of {}", latents.name),
    )?;
    let mut observed = Observed::new(latents.sae, context)?;
    observe_reader(
        &mut layer,
        &mut observed,
        reader,
        [hook, target],
        &mut report,
    )?;
    report.begin("write", None, format!("writing layer {number} of {run}"))?;
    let documents = &reader.documents;
    latents.write(
        &mut layer,
        layers,
        documents,
        &mut writer,
        writing,
        &mut report,
    )?;
    drop(layer);
    facts.counts = writer.counts();
    report.tick()?;
    Ok(Attached {
        layer: number,
        metrics: observed.metrics(),
        run: writer,
        facts,
    })
}

/// Shows the layer what the model gives at `hook` for every document, and measures it with what it gives at `target`.
fn observe_reader(
    layer: &mut Layer,
    observed: &mut Observed<'_>,
    reader: &mut CorpusReader,
    [hook, target]: [HookPoint; 2],
    report: &mut Reporter<'_>,
) -> Result<()> {
    reader.check_hook(hook)?;
    reader.check_hook(target)?;
    let skip = usize::from(reader.has_bos());
    reader.for_each_batch(&mut |model, batch, input| {
        let mut pair = Pair::new(hook, target, true);
        model.forward(input, &mut pair)?;
        let [vectors, targets] = pair.both()?;
        let rows = batch.documents.len() * batch.seq;
        let (d, d_out) = (vectors.len() / rows, targets.len() / rows);
        require_width(observed.sae.d_in, d)?;
        require_width(observed.sae.d_out(), d_out)?;
        // As many documents at once as codes may be in memory.
        let most = (observed.rows() / batch.seq).max(1);
        for (i, documents) in batch.documents.chunks(most).enumerate() {
            let part = ReadBatch {
                documents: documents.to_vec(),
                closing: batch.closing,
                seq: batch.seq,
                ends_block: false,
                at_once: 1,
            };
            let first = i * most * batch.seq;
            let x = &vectors[first * d..(first + documents.len() * batch.seq) * d];
            observed.encode(x);
            for (place, (_, n_tokens)) in documents.iter().enumerate() {
                let rows = place * batch.seq + skip..place * batch.seq + n_tokens;
                let given = (first + rows.start) * d_out..(first + rows.end) * d_out;
                let x = &x[rows.start * d..rows.end * d];
                observed.measure(x, rows, Some(&targets[given]));
            }
            observed.show(layer, &part, x)?;
        }
        if batch.ends_block {
            layer.end_block()?;
        }
        let n_tokens: usize = batch.documents.iter().map(|(_, n)| n).sum();
        report.advance(batch.documents.len() as u64, n_tokens as u64);
        report.tick()
    })?;
    layer.flush()
}

/// Refuses vectors of another width than an autoencoder's.
pub fn require_width(width: usize, d: usize) -> Result<()> {
    match d == width {
        true => Ok(()),
        false => {
            exec_err!("vectors of the autoencoder's width, {width}, are required, got {d}")
        }
    }
}

/// Refuses to put a run of latents in the place of another kind of run.
pub fn require_own_run(store: &Store, name: &str) -> Result<()> {
    let is_own = |run: Arc<Run>| run.manifest().architecture == KIND;
    match store.has(name) && !store.run(name).is_ok_and(is_own) {
        false => Ok(()),
        true => plan_err!(
            "a name that no run of a model has is required, got '{name}': latents of a table's rows become a \
             run of their own"
        ),
    }
}

/// Makes a run of the rows of `source`, each a document, with the latents as its only layer.
///
/// `progress` and `context` as in [`super::ingest`]; after an error there is no run.
pub fn make_run(
    store: &Store,
    latents: Latents<'_>,
    source: &mut dyn VectorSource,
    context: &JobContext,
    progress: &mut dyn FnMut(Progress),
) -> Result<Attached> {
    let mut report = Reporter::new(progress, context);
    let sae = latents.sae;
    require_own_run(store, latents.name)?;
    // One of its own is replaced: an older one of this autoencoder's.
    let mut run = store.begin(latents.name, true)?;
    let pick = Pick {
        options: latents.options,
        maxima: None,
        sign: Sign::Positive,
        longest: 1,
        skip: 0,
    };
    let (candidates, writing) = (context.memory("candidates"), context.memory("writing"));
    let mut layer = Layer::new(0, &latents.info(), pick, run.scratch(), candidates)?;
    let message = format!("looking at the latents of {}", latents.name);
    report.begin("observe", None, message)?;
    let mut rows = RowTables::new(&mut run)?;
    let (mut observed, mut n_rows) = (Observed::new(sae, context)?, 0_usize);
    let mut hasher = blake3::Hasher::new();
    source.read(&mut |batch| {
        require_width(sae.d_in, batch.d)?;
        let most = observed.rows();
        for first in (0..batch.n()).step_by(most) {
            let end = batch.n().min(first + most);
            let x = &batch.values[first * sae.d_in..end * sae.d_in];
            hasher.update(x.to_byte_slice());
            observed.encode(x);
            observed.measure(x, 0..end - first, (!sae.transcodes).then_some(x));
            let documents = (first..end).map(|row| ((n_rows + row) as u32, 1)).collect();
            let read = ReadBatch {
                documents,
                closing: 0,
                seq: 1,
                ends_block: true,
                at_once: 1,
            };
            observed.show(&mut layer, &read, x)?;
            layer.end_block()?;
            report.advance((end - first) as u64, (end - first) as u64);
            report.tick()?;
        }
        rows.write(n_rows, batch)?;
        n_rows += batch.n();
        Ok(())
    })?;
    rows.finish()?;
    layer.flush()?;
    report.begin("write", None, format!("writing run {}", latents.name))?;
    let documents = Documents {
        starts: (0..=n_rows as u32).collect(),
        closing: 0,
    };
    latents.write(
        &mut layer,
        vec![],
        &documents,
        &mut run,
        writing,
        &mut report,
    )?;
    drop(layer);
    let facts = row_run(&latents, source.describe(), hasher, run.counts(), &report);
    report.tick()?;
    Ok(Attached {
        layer: 0,
        metrics: observed.metrics(),
        run,
        facts,
    })
}

fn row_run(
    latents: &Latents<'_>,
    source: String,
    hasher: blake3::Hasher,
    counts: Counts,
    report: &Reporter<'_>,
) -> RunManifest {
    RunManifest {
        run: latents.name.to_string(),
        model: Source {
            path: latents.name.to_string(),
            ..Source::default()
        },
        architecture: KIND.to_string(),
        weight_types: vec![],
        corpus: Source {
            path: source,
            hash: hasher.finalize().to_hex().to_string(),
            written: None,
        },
        layer_norm: GIVEN.to_string(),
        options: latents.options.to_json(),
        versions: Versions::default(),
        counts,
        seconds: report.seconds(),
        created_at: clock::seconds(),
    }
}

/// The tables `documents` and `tokens` of a run whose documents are rows.
struct RowTables {
    documents: crate::store::TableWriter,
    tokens: crate::store::TableWriter,
    schema: Arc<Schema>,
}

impl RowTables {
    fn new(run: &mut RunWriter) -> Result<Self> {
        let given = |name| Field::new(name, DataType::Int64, true);
        let schema = document_schema(&[given("corpus_doc_id"), given("corpus_pos")]);
        Ok(Self {
            documents: run.table(Table::Documents, None, Arc::clone(&schema))?,
            tokens: run.table(Table::Tokens, None, schema::tokens())?,
            schema,
        })
    }

    fn write(&mut self, first: usize, batch: &crate::corpus::VectorBatch<'_>) -> Result<()> {
        let n = batch.n();
        let ids = || Int32Array::from_iter_values((first..first + n).map(|row| row as i32));
        let text = |row: usize| batch.texts.as_ref().and_then(|texts| texts[row].as_deref());
        let texts: ArrayRef = Arc::new(StringArray::from_iter((0..n).map(text)));
        let ones: ArrayRef = Arc::new(Int32Array::from(vec![1; n]));
        let given = |values: Option<&[Option<i64>]>| -> ArrayRef {
            let value = |row: usize| values.and_then(|values| values[row]);
            Arc::new(Int64Array::from_iter((0..n).map(value)))
        };
        let mut columns = vec![Arc::new(ids()) as ArrayRef, Arc::clone(&texts), ones];
        columns.extend(no_origins(n));
        columns.push(given(batch.doc_ids.as_deref()));
        columns.push(given(batch.pos.as_deref()));
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        self.documents.write(&rows)?;
        let columns = vec![
            Arc::new(ids()) as ArrayRef,
            Arc::new(Int32Array::from(vec![0; n])),
            Arc::new(Int32Array::from(vec![None; n])),
            texts,
        ];
        let rows = RecordBatch::try_new(schema::tokens(), columns)?;
        self.tokens.write(&rows)
    }

    fn finish(self) -> Result<()> {
        self.documents.finish()?;
        self.tokens.finish()
    }
}
