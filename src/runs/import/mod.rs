//! Activations and weights that were made elsewhere, read from a folder of arrays into a run: the same rule that
//! ingest follows picks the examples, and everything that works on an ingested run works on it.
//!
//! Memory: a block of rows of one layer, a histogram per neuron and the candidates of one layer's examples.

mod check;
mod folder;
mod rows;
mod tokens;

use std::path::PathBuf;

use datafusion::arrow::datatypes::ToByteSlice;
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_kernels::network::activation::Activation;
use polysema_kernels::vector::first_non_finite;
use polysema_udfs::arrow::memory::hold;

use super::context::Context;
use super::layer::Layer;
use super::model::GIVEN;
use super::options::{
    ACTIVATION_FUNCTION, IMPORT_RUN, MAX_ACTIVATIONS, MaxActivations, Pick, REPLACE, Sign,
};
use super::progress::{Progress, Reporter};
use super::write::{write_layer, write_layers};
use crate::corpus::{Documents, ReadBatch};
use crate::files::arrays::Array;
use crate::files::clock;
use crate::jobs::JobContext;
use crate::models::{LayerInfo, NeuronWeights, neuron_activations};
use crate::options::Options;
use crate::store::{Counts, RunManifest, Source, Store, Versions};
use folder::{Folder, LayerArrays};

/// Numbers of a block of activations, of which one is in memory: 16 MiB.
const BLOCK_NUMBERS: usize = 1 << 22;
/// Documents times neurons that are observed at once, each of which may become a candidate. Chosen, not tuned.
const BATCH_PEAKS: usize = 1 << 16;

/// What to import.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// Name of the run.
    pub run: String,
    /// Folder of the arrays.
    pub folder: PathBuf,
    /// How.
    pub options: Options,
    /// The rows of the table that the options name.
    pub max_activations: Option<MaxActivations>,
}

/// Reads a folder of arrays and commits what its neurons respond to as a run.
///
/// `progress` is called several times a second. Once `context` is cancelled the work ends within a second or two, with
/// an error; after any error there is no run, and one that was to be replaced is untouched.
pub fn import_run(
    store: &Store,
    request: &ImportRequest,
    context: &JobContext,
    progress: &mut dyn FnMut(Progress),
) -> Result<RunManifest> {
    request.options.check(&IMPORT_RUN)?;
    let report = &mut Reporter::new(progress, context);
    let options = &request.options;
    let maxima = request.max_activations.as_ref();
    if let (None, Some(table)) = (maxima, options.get(MAX_ACTIVATIONS)) {
        return plan_err!("the rows of max_activations are required, got '{table}' unread");
    }
    let given = options.get(ACTIVATION_FUNCTION);
    let mut run = store.begin(&request.run, options.get(REPLACE))?;
    let message = format!("reading {}", request.folder.display());
    report.begin("read", None, message)?;
    let mut folder = Folder::open(&request.folder, given.is_some())?;
    let (mut model_hash, mut data_hash) = (blake3::Hasher::new(), blake3::Hasher::new());
    let of_documents = context.memory("documents");
    let documents = rows::write_rows(&mut folder, &mut run, &of_documents, &mut data_hash, report)?;
    let function = given.map_or("unknown", Activation::name);
    let pick = Pick {
        options,
        maxima,
        sign: Sign::Positive,
        longest: documents.longest(),
        skip: 0,
    };
    let infos: Vec<LayerInfo> = (folder.layers.iter().enumerate())
        .map(|(layer, arrays)| LayerInfo {
            name: format!("layer_{layer}"),
            d_in: arrays.d_in(),
            n_neurons: arrays.n_neurons(),
            activation_function: function.to_string(),
            gated: false,
        })
        .collect();
    write_layers(&infos, &run)?;
    let n_documents = Some(documents.len() as u64);
    for (index, (arrays, info)) in folder.layers.iter_mut().zip(&infos).enumerate() {
        let message = format!("reading layer {index}");
        report.begin("observe", n_documents, message)?;
        let memory = context.memory("a block of activations");
        hold_layer(&memory, index, arrays, &documents)?;
        let weights = weights(arrays, &mut model_hash)?;
        let candidates = context.memory("candidates");
        let mut layer = Layer::new(index, info, pick, run.scratch(), candidates)?;
        let mut activations = Activations {
            arrays,
            weights: &weights,
            function: given,
            hasher: &mut data_hash,
            checked: false,
        };
        observe(&mut layer, &mut activations, &documents, report)?;
        let message = format!("writing layer {index}");
        report.begin("write", n_documents, message)?;
        let parts = Context {
            weights: &|_| Ok(weights.clone()),
            maxima,
            documents: &documents,
            weights_bytes: arrays.weights_bytes(),
            memory: context.memory("writing"),
        };
        write_layer(&parts, &layer, &run, &mut || report.tick())?;
    }
    let counts = run.counts();
    let manifest = manifest(request, [model_hash, data_hash], counts, report.seconds())?;
    report.tick()?;
    run.commit(manifest.clone())?;
    report.finish(
        &counts,
        format!(
            "run {}: {} examples of {} neurons",
            request.run, counts.examples, counts.neurons
        ),
    );
    Ok(manifest)
}

fn manifest(
    request: &ImportRequest,
    hashes: [blake3::Hasher; 2],
    counts: Counts,
    seconds: f64,
) -> Result<RunManifest> {
    let [model, corpus] =
        hashes.map(|hasher| Source::of(&request.folder, hasher.finalize().to_hex().as_str()));
    let mut options = Options::usual(&IMPORT_RUN).to_json();
    options.extend(request.options.to_json());
    Ok(RunManifest {
        run: request.run.clone(),
        model: model?,
        architecture: "imported".to_string(),
        weight_types: vec![],
        corpus: corpus?,
        layer_norm: GIVEN.to_string(),
        options,
        versions: Versions::default(),
        counts,
        seconds,
        created_at: clock::seconds(),
    })
}

/// A block of rows, finite, hashed.
fn read(
    array: &mut Array,
    rows: std::ops::Range<usize>,
    hasher: &mut blake3::Hasher,
    out: &mut Vec<f32>,
) -> Result<()> {
    let first = rows.start;
    array.floats(rows, out)?;
    if let Some(at) = first_non_finite(out) {
        let width = array.dims()[1..].iter().product::<usize>().max(1);
        return Err(array.invalid(format!(
            "finite values are required, got {} in row {}, column {}",
            out[at],
            first + at / width,
            at % width
        )));
    }
    hasher.update(out.to_byte_slice());
    Ok(())
}

/// The most rows of a block, unless one document has more.
fn block_rows(arrays: &LayerArrays) -> usize {
    (BLOCK_NUMBERS / arrays.d_in().max(arrays.n_neurons())).max(1)
}

/// Reserves the weights of a layer and a block of what its neurons received and how they responded.
fn hold_layer(
    memory: &MemoryReservation,
    index: usize,
    arrays: &LayerArrays,
    documents: &Documents,
) -> Result<()> {
    let rows = block_rows(arrays)
        .min(documents.total_tokens())
        .max(documents.longest());
    let numbers = rows.saturating_mul(arrays.d_in() + arrays.n_neurons());
    let block = numbers.saturating_mul(size_of::<f32>());
    let needed = arrays.weights_bytes().saturating_add(block);
    let of = format_args!("the weights of layer {index} and {rows} rows of its activations");
    hold(memory, needed, of)
}

fn weights(arrays: &mut LayerArrays, hasher: &mut blake3::Hasher) -> Result<NeuronWeights> {
    let n = arrays.n_neurons();
    let mut all = |array: Option<&mut Array>| -> Result<Vec<f32>> {
        let mut values = vec![];
        if let Some(array) = array {
            read(array, 0..n, hasher, &mut values)?;
        }
        Ok(values)
    };
    let w_in = all(Some(&mut arrays.w_in))?;
    let mut b_in = all(arrays.b_in.as_mut())?;
    // No bias is a bias of zero.
    b_in.resize(n, 0.0);
    let w_out = all(arrays.w_out.as_mut())?;
    Ok(NeuronWeights {
        w_in,
        b_in,
        up: None,
        w_out,
    })
}

/// Where a layer's activations come from.
struct Activations<'a> {
    arrays: &'a mut LayerArrays,
    weights: &'a NeuronWeights,
    function: Option<Activation>,
    hasher: &'a mut blake3::Hasher,
    /// Whether the weights have been held against the activations.
    checked: bool,
}

impl Activations<'_> {
    /// What the neurons received in some rows, and how they responded.
    fn block(
        &mut self,
        rows: std::ops::Range<usize>,
        received: &mut Vec<f32>,
        values: &mut Vec<f32>,
    ) -> Result<()> {
        read(&mut self.arrays.h, rows.clone(), self.hasher, received)?;
        match (&mut self.arrays.activations, self.function) {
            (Some(array), function) => {
                read(array, rows, self.hasher, values)?;
                match std::mem::replace(&mut self.checked, true) {
                    true => Ok(()),
                    false => check::weights(self.weights, function, received, values)
                        .map_err(|what| self.arrays.w_in.invalid(what)),
                }
            }
            (None, Some(function)) => {
                neuron_activations(self.weights, function, received, values);
                Ok(())
            }
            (None, None) => Err(self.arrays.h.invalid("activations are required, got none")),
        }
    }
}

/// Shows a layer every document, some whole documents at a time.
fn observe(
    layer: &mut Layer,
    activations: &mut Activations<'_>,
    documents: &Documents,
    report: &mut Reporter<'_>,
) -> Result<()> {
    let starts = &documents.starts;
    let (d_in, n_neurons) = (layer.d_in, layer.n_neurons);
    let most = block_rows(activations.arrays);
    let at_once = (BATCH_PEAKS / n_neurons).max(1);
    let (mut received, mut values) = (vec![], vec![]);
    let mut first = 0;
    while first < documents.len() {
        let limit = starts[first] as usize + most;
        let end = starts.partition_point(|start| *start as usize <= limit);
        let end = (end - 1).max(first + 1);
        let rows = starts[first] as usize..starts[end] as usize;
        activations.block(rows.clone(), &mut received, &mut values)?;
        // Documents of one length lie in memory as a batch without padding.
        let mut from = first;
        while from < end {
            let seq = documents.n_tokens(from);
            let same =
                (from..end.min(from + at_once)).take_while(|d| documents.n_tokens(*d) == seq);
            let to = from + same.count();
            let batch = ReadBatch {
                documents: (from..to).map(|d| (d as u32, seq)).collect(),
                closing: 0,
                seq,
                ends_block: to == end,
                at_once: 1,
            };
            let at = starts[from] as usize - rows.start..starts[to] as usize - rows.start;
            layer.observe(
                &batch,
                &values[at.start * n_neurons..at.end * n_neurons],
                &received[at.start * d_in..at.end * d_in],
            )?;
            report.tick()?;
            from = to;
        }
        layer.end_block()?;
        report.advance((end - first) as u64, rows.len() as u64);
        report.tick()?;
        first = end;
    }
    layer.flush()
}
