//! Runs to look at, and the definition of dataset examples applied to all activations at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Float32Type, Int32Type};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use polysema::corpus::{BOS, CONTEXT, MAX_DOCUMENTS, MIN_TOKENS};
use polysema::jobs::JobContext;
use polysema::models::{HookPoint, Hooks, Input, Site, load};
use polysema::options::Options;
use polysema::runs::{
    ACTIVATION_THRESHOLD, IngestRequest, MAX_EXAMPLES, MIN_ACTIVATION, ORDER, Order, Progress,
    WINDOW, ingest,
};
use polysema::store::{RunManifest, RunTable, Store, Table};

pub fn demo_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/demo/model")
}

pub fn demo_corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/demo/corpus.jsonl")
}

pub fn demo_texts() -> Vec<String> {
    let lines = fs::read_to_string(demo_corpus()).unwrap();
    let text = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        row["text"].as_str().unwrap().to_string()
    };
    lines.lines().map(text).collect()
}

pub fn request(run: &str, options: Options) -> IngestRequest {
    IngestRequest {
        run: run.to_string(),
        model: demo_model(),
        corpus: demo_corpus(),
        options,
        max_activations: None,
    }
}

pub fn close(a: f32, b: f32, relative: f32) -> bool {
    (a - b).abs() <= relative * a.abs().max(b.abs())
}

pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum()
}

pub fn gelu_new(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    0.5 * x * (1.0 + inner.tanh())
}

#[derive(Debug, Clone)]
pub struct Example {
    pub doc_id: i32,
    pub pos: i32,
    pub activation: f32,
    pub window_start: i32,
    pub window: Vec<f32>,
    pub token: String,
    pub pre_mlp: Vec<f32>,
}

#[derive(Debug, Clone)]
pub struct Neuron {
    pub max: f32,
    pub mean: f32,
    pub frac_active: f32,
    pub n_examples: i32,
    pub w_in: Vec<f32>,
    pub b_in: f32,
}

/// A run in a store of its own.
pub struct Ingested {
    pub manifest: RunManifest,
    pub progress: Vec<Progress>,
    ctx: SessionContext,
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

impl Ingested {
    pub fn demo(options: Options) -> Self {
        Self::of(&request("r", options))
    }

    pub fn of(request: &IngestRequest) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut progress = vec![];
        let cancelled = JobContext::default();
        let manifest = ingest(&store, request, &cancelled, &mut |p| progress.push(p)).unwrap();
        let ctx = SessionContext::new();
        let run = store.run(&request.run).unwrap();
        for table in Table::CANONICAL {
            let provider = RunTable::new(Arc::clone(&run), table).unwrap();
            ctx.register_table(table.name(), Arc::new(provider))
                .unwrap();
        }
        Self {
            manifest,
            progress,
            ctx,
            runtime: tokio::runtime::Runtime::new().unwrap(),
            _folder: folder,
        }
    }

    pub fn query(&self, sql: &str) -> Vec<RecordBatch> {
        let rows = async { self.ctx.sql(sql).await?.collect().await };
        self.runtime.block_on(rows).unwrap()
    }

    /// Every cell as text.
    pub fn strings(&self, sql: &str) -> Vec<Vec<String>> {
        let mut rows = vec![];
        for batch in self.query(sql) {
            for row in 0..batch.num_rows() {
                let columns = batch.columns().iter();
                let cell = |c: &ArrayRef| array_value_to_string(c, row).unwrap();
                rows.push(columns.map(cell).collect());
            }
        }
        rows
    }

    /// The examples of every neuron that has some, in order.
    pub fn examples(&self) -> BTreeMap<(i32, i32), Vec<Example>> {
        let mut lists: BTreeMap<_, Vec<Example>> = BTreeMap::new();
        let batches = self.query(
            "SELECT layer, neuron, example, doc_id, pos, activation, window_start, window_activations, token, pre_mlp
             FROM examples ORDER BY layer, neuron, example",
        );
        for batch in batches {
            let int = |c: usize, row| batch.column(c).as_primitive::<Int32Type>().value(row);
            for row in 0..batch.num_rows() {
                let list = lists.entry((int(0, row), int(1, row))).or_default();
                assert_eq!(int(2, row) as usize, list.len(), "example ids count up");
                list.push(Example {
                    doc_id: int(3, row),
                    pos: int(4, row),
                    activation: batch.column(5).as_primitive::<Float32Type>().value(row),
                    window_start: int(6, row),
                    window: floats(batch.column(7), row),
                    token: array_value_to_string(batch.column(8), row).unwrap(),
                    pre_mlp: floats(batch.column(9), row),
                });
            }
        }
        lists
    }

    pub fn neurons(&self) -> BTreeMap<(i32, i32), Neuron> {
        let mut neurons = BTreeMap::new();
        let batches = self.query(
            "SELECT layer, neuron, max_activation, mean_activation, frac_active, n_examples, w_in, b_in FROM neurons",
        );
        for batch in batches {
            let int = |c: usize, row| batch.column(c).as_primitive::<Int32Type>().value(row);
            let float = |c: usize, row| batch.column(c).as_primitive::<Float32Type>().value(row);
            for row in 0..batch.num_rows() {
                let neuron = Neuron {
                    max: float(2, row),
                    mean: float(3, row),
                    frac_active: float(4, row),
                    n_examples: int(5, row),
                    w_in: floats(batch.column(6), row),
                    b_in: float(7, row),
                };
                neurons.insert((int(0, row), int(1, row)), neuron);
            }
        }
        neurons
    }
}

fn floats(column: &ArrayRef, row: usize) -> Vec<f32> {
    let values = column.as_list::<i32>().value(row);
    values.as_primitive::<Float32Type>().values().to_vec()
}

/// All activations of one document. `[n_layers][seq * n_neurons]`
struct Recorder(Vec<Vec<f32>>);

impl Hooks for Recorder {
    fn wants(&self, hook: HookPoint) -> bool {
        hook.site == Site::MlpPost
    }

    fn visit(
        &mut self,
        hook: HookPoint,
        values: &Arc<Vec<f32>>,
        _: &[usize],
    ) -> Result<Option<Vec<f32>>> {
        assert_eq!(hook.layer, self.0.len());
        self.0.push(values.to_vec());
        Ok(None)
    }
}

pub struct Brute {
    pub examples: BTreeMap<(i32, i32), Vec<Example>>,
    pub neurons: BTreeMap<(i32, i32), Neuron>,
    /// Neurons whose list hangs on a rounding: an activation at the threshold, or two nearly equal peaks.
    pub borderline: BTreeSet<(i32, i32)>,
}

/// Chunks of every text, as token ids.
fn chunks(model: &Path, texts: &[String], options: &Options) -> Vec<Vec<u32>> {
    let loaded = load(model).unwrap();
    let tokenizer = loaded.tokenizer.as_ref().unwrap();
    let mut chunks = vec![];
    for text in texts {
        let ids = tokenizer.encode(text).unwrap();
        for chunk in ids.chunks(options.get(CONTEXT) - usize::from(options.get(BOS) == Some(true)))
        {
            let mut chunk = chunk.to_vec();
            if options.get(BOS) == Some(true) {
                chunk.insert(0, 0);
            }
            if chunk.len() >= options.get(MIN_TOKENS) {
                chunks.push(chunk);
            }
        }
    }
    chunks.truncate(options.get(MAX_DOCUMENTS).unwrap_or(usize::MAX));
    chunks
}

/// `docs/definitions.md` section 3, with every activation in memory.
pub fn brute_force(texts: &[String], request: &IngestRequest) -> Brute {
    let (model, options) = (request.model.as_path(), &request.options);
    let chunks = chunks(model, texts, options);
    let loaded = load(model).unwrap();
    let documents: Vec<Vec<Vec<f32>>> = chunks
        .iter()
        .map(|ids| {
            let mut recorder = Recorder(vec![]);
            let input = Input::Tokens {
                ids,
                seq: ids.len(),
            };
            loaded.model.forward(input, &mut recorder).unwrap();
            recorder.0
        })
        .collect();
    let mut brute = Brute {
        examples: BTreeMap::new(),
        neurons: BTreeMap::new(),
        borderline: BTreeSet::new(),
    };
    for (layer, info) in loaded.model.layers().iter().enumerate() {
        for neuron in 0..info.n_neurons {
            let column = |document: &Vec<Vec<f32>>| -> Vec<f32> {
                let values = document[layer].iter().skip(neuron);
                values.step_by(info.n_neurons).copied().collect()
            };
            let columns: Vec<Vec<f32>> = documents.iter().map(column).collect();
            one_neuron(&mut brute, (layer, neuron), &columns, request);
        }
    }
    brute
}

fn one_neuron(
    brute: &mut Brute,
    (layer, neuron): (usize, usize),
    columns: &[Vec<f32>],
    request: &IngestRequest,
) {
    let options = &request.options;
    let key = (layer as i32, neuron as i32);
    let skip = usize::from(options.get(BOS) == Some(true));
    let all = || columns.iter().flat_map(|c| &c[skip..]);
    let n = all().count() as f64;
    let mut max = all().copied().fold(f32::NEG_INFINITY, f32::max);
    if request.max_activations.is_some() {
        max = (neuron % 5) as f32 - 1.0;
    }
    let floor = match options.get(MIN_ACTIVATION) {
        Some(least) => least as f32,
        None => options.get(ACTIVATION_THRESHOLD) as f32 * max,
    };
    let mut examples = vec![];
    for (doc_id, column) in columns.iter().enumerate() {
        let peak = column[skip..].iter().copied().fold(f32::MIN, f32::max);
        let pos = column[skip..].iter().position(|v| *v == peak).unwrap() + skip;
        let near = |v: f32| (v - peak).abs() <= 1e-5 * peak.abs();
        let peaks = column[skip..].iter().filter(|v| near(**v)).count();
        if near(floor) || (peaks > 1 && peak >= 0.99 * floor) {
            brute.borderline.insert(key);
        }
        if max > 0.0 && peak > 0.0 && peak >= floor {
            let start = pos.saturating_sub(options.get(WINDOW));
            let end = (pos + options.get(WINDOW) + 1).min(column.len());
            examples.push(Example {
                doc_id: doc_id as i32,
                pos: pos as i32,
                activation: peak,
                window_start: start as i32,
                window: column[start..end].to_vec(),
                token: String::new(),
                pre_mlp: vec![],
            });
        }
    }
    if options.get(ORDER) == Order::Top {
        examples.sort_by(|a, b| b.activation.total_cmp(&a.activation));
        let close_pair = |p: &[Example]| close(p[0].activation, p[1].activation, 1e-5);
        if examples.windows(2).any(close_pair) {
            brute.borderline.insert(key);
        }
    }
    examples.truncate(options.get(MAX_EXAMPLES));
    let neuron = Neuron {
        max,
        mean: (all().map(|v| f64::from(*v)).sum::<f64>() / n) as f32,
        frac_active: (all().filter(|v| **v > 0.0).count() as f64 / n) as f32,
        n_examples: examples.len() as i32,
        w_in: vec![],
        b_in: 0.0,
    };
    brute.neurons.insert(key, neuron);
    if !examples.is_empty() {
        brute.examples.insert(key, examples);
    }
}
