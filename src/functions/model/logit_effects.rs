//! `logit_effects(layer[, neuron])`: which tokens or classes a neuron makes more likely, and which less, by what it
//! writes alone.
//!
//! ```text
//! effect = U N w_out - mean over all tokens        folded
//! effect = U w_out                                 raw, and where no norm stands before the logits
//! N: the last norm at a standard deviation (root mean square) of 1: its scale, after the mean of w_out is taken off where
//!    it is a layer norm; the same of a norm of what the MLP gives
//! ```
//!
//! Source: `docs/definitions.md` section 10; folded is what TransformerLens' processed weights give. Numbers:
//! tests/reference/logit_effects.py. Cost: `d_model * d_vocab` multiplications a neuron.

use std::cmp::Ordering;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Int32Array, RecordBatch, StringArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Float32Type, Int32Type, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, plan_err};
use polysema_kernels::network::matmul::{Layout, Output, product};
use polysema_udfs::arrow::memory::hold;
use polysema_udfs::arrow::vectors::VectorColumn;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::functions::arguments::run_parameters;
use crate::functions::run_model::{AskedRun, GivenNeuron, LAYER, NEURON, RunCall, RunQuestion};
use crate::jobs::JobContext;
use crate::models::{HookPoint, LoadedModel, LogitWriter, Site};
use crate::options::{Key, Options, Spec, Usual, Word};
use crate::saes::{MOVED_MODEL, SaeLibrary};
use crate::store::LayerRow;

/// Neurons whose effects are made at a time. Chosen, not tuned.
const NEURONS: usize = 32;

/// Whether the last norm's scale is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unembedding {
    Folded,
    Raw,
}

impl Word for Unembedding {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("folded", Self::Folded), ("raw", Self::Raw)]
    }
}

const K: Key<usize> = Key::count(
    "k",
    1,
    (1 << 31) - 1,
    10,
    "tokens given of each side, at most half of all",
);
const LAYER_NORM: Key<Option<Unembedding>> = Key::some_word(
    "layer_norm",
    Usual::Said("folded where a norm stands before the logits"),
    "whether norms between the neuron and the logits count (folded: their scales, a layer norm's centring, and effects \
     less their mean over all tokens, as with TransformerLens' processed weights) or the unembedding alone (raw)",
);
const OPTIONS: [Spec; 3] = [K.spec, LAYER_NORM.spec, MOVED_MODEL.spec];

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "logit_effects",
    chapter: "model",
    summary: "The tokens that a neuron promotes and suppresses most: the direct effect of its output weights on the logits.",
    arguments: &[
        LAYER,
        Parameter {
            summary: "index in the layer; left out, every neuron of the layer",
            ..NEURON
        },
    ],
    required: 1,
    options: run_parameters(&OPTIONS),
    returns: "layer, neuron, side (top: the largest effects, or bottom: the least), rank (from 1, the strongest of its \
              side), token_id (of a classifier the class), token (its text, NULL where the model has no tokenizer), \
              effect (what an activation of 1 adds to the logit directly, through no other layer, where what the last \
              norm reads has a standard deviation or root mean square of 1; before a cap of the logits); latents count \
              with their decoder's row, where it writes to the residual stream or to neurons' activations",
    example: "SELECT side, rank, token, effect FROM logit_effects(3, 1, {k: 3})",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(saes: &Arc<SaeLibrary>) -> Function {
    let saes = Arc::clone(saes);
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(LogitEffects { saes })),
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("layer", DataType::Int32, false),
        Field::new("neuron", DataType::Int32, false),
        Field::new("side", DataType::Utf8, false),
        Field::new("rank", DataType::Int32, false),
        Field::new("token_id", DataType::Int32, false),
        Field::new("token", DataType::Utf8, true),
        Field::new("effect", DataType::Float32, false),
    ]))
}

#[derive(Debug)]
struct LogitEffects {
    saes: Arc<SaeLibrary>,
}

impl TableFunction for LogitEffects {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let given = GivenNeuron::of(&arguments, true)?;
        let options = Options::of_call(&OPTIONS, &arguments)?;
        let (k, counted) = (options.get(K), options.get(LAYER_NORM));
        let operator = [DOC.name, "LogitEffectsExec"];
        let question = RunQuestion::new(operator, schema(), &self.saes, &options, move |run| {
            let (layer, neuron) = given.resolve(run)?;
            let call = Call {
                layer,
                neuron,
                k,
                counted,
            };
            Ok(RunCall {
                detail: call.detail(),
                answer: Arc::new(move |asked, context| call.answer(asked, context)),
            })
        });
        Ok(Arc::new(question))
    }
}

struct Call {
    layer: LayerRow,
    neuron: Option<i32>,
    k: usize,
    counted: Option<Unembedding>,
}

/// How vectors of a layer's table `w_out` come to the residual stream or the logits.
struct Way {
    writer: LogitWriter,
    /// Of latents whose decoder writes activations: the output weights of their neurons. `[n_neurons, d_out]`
    through: Option<Vec<f32>>,
}

impl Call {
    fn detail(&self) -> String {
        let layer = self.layer.layer;
        match self.neuron {
            Some(neuron) => format!("layer={layer}, neuron={neuron}, k={}", self.k),
            None => format!("layer={layer}, k={}", self.k),
        }
    }

    fn answer(&self, asked: &AskedRun, context: &JobContext) -> Result<()> {
        let loaded = asked.model(context)?;
        let model = loaded.model.as_ref();
        let normed = model.norm_before_logits();
        if let (Some(word), false) = (self.counted, normed) {
            return plan_err!(
                "layer_norm must come with a model that has a norm before its logits, got '{}' and architecture {}",
                word.name(),
                model.architecture()
            );
        }
        let folded = normed && self.counted != Some(Unembedding::Raw);
        let way = self.way(asked)?;
        let of_one = self
            .neuron
            .map_or(String::new(), |n| format!(" AND neuron = {n}"));
        let rows = asked.rows(
            &format!(
                "SELECT neuron, w_out FROM neurons WHERE layer = {}{of_one} ORDER BY neuron",
                self.layer.layer
            ),
            context,
        )?;
        let memory = context.memory("logit effects");
        let bytes = 2 * model.logits_bytes(NEURONS, 1);
        hold(
            &memory,
            bytes,
            format_args!("the effects of {NEURONS} neurons"),
        )?;
        for batch in rows.read()? {
            let batch = batch?;
            for first in (0..batch.num_rows()).step_by(NEURONS) {
                let part = batch.slice(first, NEURONS.min(batch.num_rows() - first));
                let neurons = part.column(0).as_primitive::<Int32Type>().values();
                let written = way.written(part.column(1))?;
                let mut effects = model.logit_effects(way.writer, &written, folded)?;
                let n = effects.len() / neurons.len();
                if folded {
                    effects.chunks_exact_mut(n).for_each(centre);
                }
                let found = neurons.iter().zip(effects.chunks_exact(n));
                let found = found.map(|(neuron, effects)| (*neuron, strongest(effects, self.k)));
                context.send(self.rows_of(&loaded, found.collect()));
                context.tick()?;
            }
        }
        Ok(())
    }

    fn way(&self, asked: &AskedRun) -> Result<Way> {
        let layer = &self.layer;
        if layer.kind != "sae" {
            return Ok(Way {
                writer: LogitWriter::Neurons(layer.layer as usize),
                through: None,
            });
        }
        let manifest = asked.saes.store().sae(&layer.name)?.manifest;
        let hook = manifest.hook_out.or(manifest.hook);
        let hook = hook.map(|hook| HookPoint::parse(&hook)).transpose()?;
        match hook.map(|hook| (hook, hook.site)) {
            Some((hook, Site::MlpPost)) => Ok(Way {
                writer: LogitWriter::Neurons(hook.layer),
                through: Some(asked.run.layer_weights(hook.layer as i32)?.w_out),
            }),
            Some((
                _,
                Site::ResidPre | Site::ResidMid | Site::ResidPost | Site::AttnOut | Site::MlpOut,
            )) => Ok(Way {
                writer: LogitWriter::Stream,
                through: None,
            }),
            other => plan_err!(
                "an autoencoder of the residual stream, of what is added to it or of neurons' activations is required \
                 for effects on logits, got '{}' of {}",
                layer.name,
                other.map_or("rows".to_string(), |(hook, _)| hook.to_string())
            ),
        }
    }

    fn rows_of(&self, loaded: &LoadedModel, found: Vec<(i32, Sides)>) -> Result<RecordBatch> {
        let rows = found.iter().flat_map(|(neuron, sides)| {
            let named = ["top", "bottom"].into_iter().zip(sides);
            named.flat_map(move |(side, tokens)| {
                let ranked = tokens.iter().zip(1..);
                ranked.map(move |((id, effect), rank)| (*neuron, side, rank, *id, *effect))
            })
        });
        let rows: Vec<(i32, &str, i32, u32, f32)> = rows.collect();
        let of_tokens = loaded.model.d_vocab() > 0;
        let text = |id: u32| match (&loaded.tokenizer, of_tokens) {
            (Some(tokenizer), true) => Some(tokenizer.token_text(id).into_owned()),
            (None, true) => None,
            (_, false) => Some(id.to_string()),
        };
        let integers = |of: fn(&(i32, &str, i32, u32, f32)) -> i32| -> ArrayRef {
            Arc::new(Int32Array::from_iter_values(rows.iter().map(of)))
        };
        let columns = vec![
            Arc::new(Int32Array::from(vec![self.layer.layer; rows.len()])) as ArrayRef,
            integers(|row| row.0),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
            integers(|row| row.2),
            integers(|row| row.3 as i32),
            Arc::new(StringArray::from_iter(rows.iter().map(|row| text(row.3)))),
            Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row.4))),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}

impl Way {
    /// The vectors of some neurons as the writer writes them. `[n, d]`
    fn written(&self, column: &ArrayRef) -> Result<Vec<f32>> {
        let vectors = VectorColumn::<Float32Type>::try_new(DOC.name, "w_out", column)?;
        let mut rows = vec![];
        for row in 0..column.len() {
            match vectors.row(row) {
                Some(vector) => rows.extend_from_slice(vector),
                None => return plan_err!("output weights are required of every neuron, got NULL"),
            }
        }
        let Some(through) = &self.through else {
            return Ok(rows);
        };
        let d = rows.len() / column.len();
        let mut written = vec![0.0; column.len() * (through.len() / d)];
        product(
            &rows,
            through,
            Layout::InOut,
            d,
            Output::Replace,
            &mut written,
        );
        Ok(written)
    }
}

/// Takes the mean off.
fn centre(effects: &mut [f32]) {
    let mean = effects.iter().map(|x| f64::from(*x)).sum::<f64>() / effects.len() as f64;
    effects
        .iter_mut()
        .for_each(|x| *x = (f64::from(*x) - mean) as f32);
}

/// Tokens and their effects: the largest, then the least, each from the strongest.
type Sides = [Vec<(u32, f32)>; 2];

/// The `k` largest effects and the `k` least, the strongest first, ties by token; no token is on both sides.
fn strongest(effects: &[f32], k: usize) -> Sides {
    let n = effects.len();
    let falling = |a: &u32, b: &u32| {
        let [x, y] = [a, b].map(|i| effects[*i as usize]);
        y.total_cmp(&x).then(a.cmp(b))
    };
    let side = |k: usize, order: &dyn Fn(&u32, &u32) -> Ordering| {
        let mut found: Vec<u32> = (0..n as u32).collect();
        if (1..n).contains(&k) {
            found.select_nth_unstable_by(k - 1, order);
        }
        found.truncate(k);
        found.sort_unstable_by(order);
        let found = found.into_iter();
        found.map(|i| (i, effects[i as usize])).collect()
    };
    [
        side(k.min(n.div_ceil(2)), &falling),
        side(k.min(n / 2), &|a, b| falling(b, a)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_is_on_one_side_at_most() {
        let ids = |side: &[(u32, f32)]| side.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        let [top, bottom] = strongest(&[0.5, -2.0, 3.0, 0.5, 0.0], 2);
        assert_eq!((ids(&top), ids(&bottom)), (vec![2, 0], vec![1, 4]));
        let [top, bottom] = strongest(&[1.0; 5], 9);
        assert_eq!((ids(&top), ids(&bottom)), (vec![0, 1, 2], vec![4, 3]));
        let [top, bottom] = strongest(&[1.0], 1);
        assert_eq!((top.len(), bottom.len()), (1, 0));
    }
}
