//! `explain_text(text)`: a text through the model of a run, and which feature clusters of the run its tokens make fire.
//!
//! A neuron fires on a token where its activation is at least `activation_threshold` of its maximum in the run; of a run with
//! lists of both signs also where it is at most that share of its minimum. Its feature there is the cluster whose examples
//! have the least mean distance from the token's embedding.
//!
//! ```text
//! u = embedding of the token / |embedding|,   distance(cluster) = 1 - <c, u>,   c: centroid of cluster_centroids
//! ```
//!
//! Cost: a pass of the model, and the clustering of the neurons that are given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    ArrayRef, Float32Array, Float64Array, Int32Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, exec_err};
use polysema_udfs::arrow::memory::at_least;
use polysema_udfs::arrow::tokens::top_tokens_type;
use polysema_udfs::calls::settings::PolysemaOptions;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::corpus::{CONTEXT, CORPUS, around};
use crate::functions::arguments::{THRESHOLD, required, run_parameters};
use crate::functions::fired_features::{
    Extremes, Feature, Firing, LayerFeatures, extremes, weights_of,
};
use crate::functions::layer_reader::{LayerReader, hold_pass, pass, require_text};
use crate::functions::run_model::{AskedRun, RunCall, RunQuestion, within};
use crate::jobs::JobContext;
use crate::models::{Capture, LoadedModel, Tokenizer};
use crate::options::{Key, Kind, Options, Spec, Usual};
use crate::runs::ACTIVATION_THRESHOLD;
use crate::saes::{MOVED_MODEL, SaeLibrary};
use crate::store::{LayerRow, Run};

const LAYERS: Key<Option<Vec<usize>>> = Key::new(
    "layers",
    Kind::Wholes {
        from: 0,
        to: (1 << 31) - 1,
        most: 1024,
    },
    Usual::Said("those of the model, without autoencoders'"),
    "numbers of the layers whose neurons are looked at",
);
const K: Key<usize> = Key::count(
    "k",
    1,
    (1 << 31) - 1,
    5,
    "most neurons given of a token, those nearest to their maximum first",
);
const FIRES: Key<f64> = Key::new(
    ACTIVATION_THRESHOLD.spec.name,
    ACTIVATION_THRESHOLD.spec.kind,
    Usual::Number(0.5),
    "share of a neuron's maximum at which it fires",
);
const OPTIONS: [Spec; 5] = [
    LAYERS.spec,
    K.spec,
    FIRES.spec,
    THRESHOLD.spec,
    MOVED_MODEL.spec,
];

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "explain_text",
    chapter: "model",
    summary: "Which feature clusters a text makes fire: it is sent through the run's model, a row per token and neuron that fires.",
    arguments: &[Parameter {
        name: "text",
        kind: "text",
        summary: "what is read, cut into documents as the run's corpus was",
    }],
    required: 1,
    options: run_parameters(&OPTIONS),
    returns: "pos (of the token in the text), token_id (in the model's vocabulary), token (its text), layer, neuron, cluster (the one whose examples are nearest by \
              the session's embedding; NULL where there is none), activation (of the neuron there), share (activation / the neuron's maximum in \
              the run, or its minimum where both are negative; above 1 it is stronger than anywhere in the corpus), \
              distance (mean cosine distance to the cluster's examples), size (its examples), top_tokens (the most frequent \
              of their key tokens); by pos, then share from the largest. Neurons without examples are left out. The \
              session's settings of clustering hold",
    example: "SELECT pos, token, layer, neuron, cluster, share FROM explain_text('The ship was built in the United States', {k: 1}) \
              ORDER BY pos LIMIT 5",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(saes: &Arc<SaeLibrary>) -> Function {
    let saes = Arc::clone(saes);
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(ExplainText { saes })),
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("pos", DataType::Int32, false),
        Field::new("token_id", DataType::Int32, false),
        Field::new("token", DataType::Utf8, false),
        Field::new("layer", DataType::Int32, false),
        Field::new("neuron", DataType::Int32, false),
        Field::new("cluster", DataType::Int32, true),
        Field::new("activation", DataType::Float32, false),
        Field::new("share", DataType::Float32, false),
        Field::new("distance", DataType::Float64, true),
        Field::new("size", DataType::Int32, true),
        Field::new("top_tokens", top_tokens_type(), true),
    ]))
}

#[derive(Debug)]
struct ExplainText {
    saes: Arc<SaeLibrary>,
}

impl TableFunction for ExplainText {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let text: Arc<str> = required(&arguments, "text")?.into();
        let options = Options::of_call(&OPTIONS, &arguments)?;
        let operator = [DOC.name, "ExplainTextExec"];
        let of_call = options.clone();
        let question = RunQuestion::new(operator, schema(), &self.saes, &of_call, move |run| {
            let call = Call {
                text: Arc::clone(&text),
                layers: layers(run, options.get(LAYERS))?,
                options: options.clone(),
            };
            let (n, k, share) = (call.layers.len(), options.get(K), options.get(FIRES));
            Ok(RunCall {
                detail: format!("{n} layers, k={k}, activation_threshold={share}"),
                answer: Arc::new(move |asked, context| call.answer(asked, context)),
            })
        });
        Ok(Arc::new(question))
    }
}

/// The layers of these numbers, or those of the model.
fn layers(run: &Run, numbers: Option<Vec<usize>>) -> Result<Vec<LayerRow>> {
    let all = run.layers()?;
    let Some(numbers) = numbers else {
        return Ok(all.into_iter().filter(|row| row.kind != "sae").collect());
    };
    let n = all
        .iter()
        .map(|row| row.layer as u64 + 1)
        .max()
        .unwrap_or(0);
    let numbers = numbers
        .into_iter()
        .map(|number| within("layers", number as i64, n));
    let numbers = numbers.collect::<Result<BTreeSet<_>>>()?;
    Ok(all
        .into_iter()
        .filter(|row| numbers.contains(&row.layer))
        .collect())
}

struct Call {
    text: Arc<str>,
    layers: Vec<LayerRow>,
    options: Options,
}

/// A document of the text as the model reads it.
struct Chunk {
    ids: Vec<u32>,
    /// Tokens before its own.
    before: usize,
    /// Its own, and the position of the first.
    own: usize,
    first: usize,
}

impl Call {
    fn answer(&self, asked: &AskedRun, context: &JobContext) -> Result<()> {
        let loaded = asked.model(context)?;
        require_text(&loaded)?;
        let model = loaded.model.as_ref();
        let settings = PolysemaOptions::of(asked.settings())?;
        let weights = weights_of(&settings.embedding)?;
        let tokenizer = loaded.required_tokenizer()?;
        let chunks = self.chunks(asked, &loaded, tokenizer)?;
        let readers = self
            .layers
            .iter()
            .map(|row| LayerReader::open(asked, model, row));
        let readers = readers.collect::<Result<Vec<_>>>()?;
        let extremes = readers
            .iter()
            .map(|reader| extremes(asked, &reader.row, context));
        let extremes = extremes.collect::<Result<Vec<_>>>()?;
        let memory = context.memory("forward pass");
        let kept = context.memory("neurons that fire");
        let widest = self
            .layers
            .iter()
            .map(|row| row.d_in as usize)
            .max()
            .unwrap_or(0);
        for chunk in chunks {
            let n = chunk.ids.len();
            hold_pass(&memory, model, &readers, 1, n)?;
            let most = self.options.get(K);
            let bytes = chunk
                .own
                .saturating_mul(most.min(1 << 16))
                .saturating_mul(widest * 4);
            at_least(
                &kept,
                bytes,
                format_args!(
                    "the {most} neurons of {} tokens (a smaller k needs fewer)",
                    chunk.own
                ),
            )?;
            let places: Vec<_> = readers.iter().flat_map(LayerReader::places).collect();
            let seen = pass(model, &chunk.ids, n, places, context)?;
            let firings = self.firings(&chunk, &readers, &extremes, &seen)?;
            let features = self.features(asked, &firings, weights, context)?;
            context.send(self.rows(&chunk, &firings, &features, tokenizer));
        }
        Ok(())
    }

    /// The text in documents of at most the run's context.
    fn chunks(
        &self,
        asked: &AskedRun,
        loaded: &LoadedModel,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<Chunk>> {
        let ids = tokenizer.encode(&self.text)?;
        if ids.is_empty() {
            return exec_err!(
                "a text of at least one token is required, got '{}'",
                self.text
            );
        }
        let options = Options::recorded(&CORPUS, &asked.run.manifest().options)?;
        let ends = around(loaded, Some(tokenizer), &options)?;
        let context = options.get(CONTEXT).min(loaded.model.n_ctx());
        let own = context.saturating_sub(ends.iter().flatten().count()).max(1);
        let [bos, eos] = ends;
        let chunks = ids.chunks(own).enumerate().map(|(i, part)| Chunk {
            ids: bos.iter().chain(part).chain(&eos).copied().collect(),
            before: usize::from(bos.is_some()),
            own: part.len(),
            first: i * own,
        });
        Ok(chunks.collect())
    }

    /// The neurons that fire most on each token, by token.
    fn firings(
        &self,
        chunk: &Chunk,
        readers: &[LayerReader],
        extremes: &[Vec<Option<Extremes>>],
        seen: &Capture,
    ) -> Result<Vec<Firing>> {
        let (k, least) = (self.options.get(K), self.options.get(FIRES) as f32);
        let rows = chunk.before..chunk.before + chunk.own;
        let mut of_tokens: Vec<Vec<Firing>> = vec![vec![]; chunk.own];
        for (reader, extremes) in readers.iter().zip(extremes) {
            reader.activations(seen, rows.clone(), &mut |row, values| {
                let found = &mut of_tokens[row - chunk.before];
                for (neuron, (activation, extremes)) in values.iter().zip(extremes).enumerate() {
                    let share = extremes.map_or(0.0, |extremes| extremes.share(*activation));
                    if share >= least {
                        found.push(Firing {
                            row,
                            layer: reader.row.layer,
                            neuron: neuron as i32,
                            activation: *activation,
                            share,
                            received: vec![],
                        });
                    }
                }
                // The sort is stable: ties by layer, then neuron.
                found.sort_by(|a, b| b.share.total_cmp(&a.share));
                found.truncate(k);
                Ok(())
            })?;
        }
        let mut firings: Vec<Firing> = of_tokens.into_iter().flatten().collect();
        for firing in &mut firings {
            let reader = readers
                .iter()
                .find(|reader| reader.row.layer == firing.layer);
            if let Some(reader) = reader {
                firing.received = reader.received(seen, firing.row)?;
            }
        }
        Ok(firings)
    }

    fn features(
        &self,
        asked: &AskedRun,
        firings: &[Firing],
        weights: &[&str],
        context: &JobContext,
    ) -> Result<Vec<Option<Feature>>> {
        let options = match self.options.get(THRESHOLD) {
            Some(threshold) => format!(", {{'threshold': {threshold:?}}}"),
            None => String::new(),
        };
        let mut neurons: BTreeMap<i32, BTreeSet<i32>> = BTreeMap::new();
        for firing in firings {
            neurons
                .entry(firing.layer)
                .or_default()
                .insert(firing.neuron);
        }
        let mut of_layers = BTreeMap::new();
        for (layer, neurons) in &neurons {
            let found = LayerFeatures::read(asked, *layer, neurons, &options, weights, context)?;
            of_layers.insert(*layer, found);
        }
        Ok(firings
            .iter()
            .map(|firing| of_layers[&firing.layer].of(firing))
            .collect())
    }

    fn rows(
        &self,
        chunk: &Chunk,
        firings: &[Firing],
        features: &[Option<Feature>],
        tokenizer: &Tokenizer,
    ) -> Result<RecordBatch> {
        let integers = |of: &dyn Fn(&Firing) -> i32| -> ArrayRef {
            Arc::new(Int32Array::from_iter_values(firings.iter().map(of)))
        };
        let numbers = |of: fn(&Firing) -> f32| -> ArrayRef {
            Arc::new(Float32Array::from_iter_values(firings.iter().map(of)))
        };
        let of_features = |of: fn(&Feature) -> i32| -> ArrayRef {
            let features = features.iter().map(|feature| feature.as_ref().map(of));
            Arc::new(Int32Array::from_iter(features))
        };
        let texts = firings
            .iter()
            .map(|f| tokenizer.token_text(chunk.ids[f.row]));
        let distances = features
            .iter()
            .map(|feature| Some(feature.as_ref()?.distance));
        let mut lists = ListBuilder::new(StringBuilder::new());
        for feature in features {
            for token in feature.iter().flat_map(|feature| &feature.tokens) {
                lists.values().append_value(token);
            }
            lists.append(feature.is_some());
        }
        let columns = vec![
            integers(&|f| (chunk.first + f.row - chunk.before) as i32),
            integers(&|f| chunk.ids[f.row] as i32),
            Arc::new(StringArray::from_iter_values(texts)) as ArrayRef,
            integers(&|f| f.layer),
            integers(&|f| f.neuron),
            of_features(|feature| feature.cluster),
            numbers(|f| f.activation),
            numbers(|f| f.share),
            Arc::new(Float64Array::from_iter(distances)),
            of_features(|feature| feature.size),
            Arc::new(lists.finish()),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}
