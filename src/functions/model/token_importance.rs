//! `token_importance(layer, neuron, example)`: how much each token before a key token matters for the neuron's activation
//! there.
//!
//! ```text
//! drop(p) = a - a with the token at p replaced by the pad token,   a: the activation at the key token
//! importance(p) = drop(p) / drop(key), at least 0 and at most 1; NULL where drop(key) <= 0
//! ```
//!
//! Of an example of least activations both signs are turned. Source: `docs/definitions.md` section 10, Foote 2024, first web
//! page. Numbers: tests/reference/token_importance.py. Cost: a pass of the model a token, up to the layer of the neuron; once,
//! since the rows are kept beside the run by who may change the store.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    ArrayRef, AsArray, Float32Array, Float64Array, Int32Array, RecordBatch, StringArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, exec_err, plan_err};
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::corpus::BATCH_SIZE;
use crate::functions::arguments::run_parameters;
use crate::functions::layer_reader::{LayerReader, StoredDocument, hold_pass, pass, require_text};
use crate::functions::run_model::{
    AskedRun, GivenNeuron, LAYER, NEURON, RunCall, RunQuestion, given_integer, within,
};
use crate::jobs::JobContext;
use crate::models::LoadedModel;
use crate::options::{Key, Kind, Options, Spec, Usual};
use crate::saes::{MOVED_MODEL, SaeLibrary};
use crate::store::LayerRow;

const WINDOW: Key<Option<usize>> = Key::new(
    "window",
    Kind::Whole {
        from: 0,
        to: (1 << 31) - 1,
    },
    Usual::Said("all of the document"),
    "tokens before the key token that are replaced, the nearest ones; each costs a pass of the model",
);
const PAD: Key<Option<usize>> = Key::new(
    "pad",
    Kind::Whole {
        from: 0,
        to: (1 << 31) - 1,
    },
    Usual::Said("the tokenizer's padding token, else the one that ends a text"),
    "id of the token that takes the place of each",
);
const OPTIONS: [Spec; 4] = [WINDOW.spec, PAD.spec, BATCH_SIZE.spec, MOVED_MODEL.spec];
const EXAMPLE: Parameter = Parameter {
    name: "example",
    kind: "whole number",
    summary: "a dataset example of the neuron, as table examples numbers them",
};

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "token_importance",
    chapter: "model",
    summary: "One row per token up to the key token of a dataset example: how much of the activation there is lost without it.",
    arguments: &[LAYER, NEURON, EXAMPLE],
    required: 3,
    options: run_parameters(&OPTIONS),
    returns: "layer, neuron, example, pos (of the token that is replaced, in its document), token_id (in the model's vocabulary), token \
              (its text), activation (at the key token when this one is replaced by the pad \
              token), drop (how much less that is), importance (drop / drop of the key token itself, in [0, 1]; NULL where \
              that is not above 0); by pos, the key token last, of an encoder also the tokens behind it",
    example: "SELECT pos, token, importance FROM token_importance(0, 1, 0) ORDER BY importance DESC, pos DESC LIMIT 3",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(saes: &Arc<SaeLibrary>) -> Function {
    let saes = Arc::clone(saes);
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(TokenImportance { saes })),
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("layer", DataType::Int32, false),
        Field::new("neuron", DataType::Int32, false),
        Field::new("example", DataType::Int32, false),
        Field::new("pos", DataType::Int32, false),
        Field::new("token_id", DataType::Int32, false),
        Field::new("token", DataType::Utf8, true),
        Field::new("activation", DataType::Float32, false),
        Field::new("drop", DataType::Float32, false),
        Field::new("importance", DataType::Float64, true),
    ]))
}

#[derive(Debug)]
struct TokenImportance {
    saes: Arc<SaeLibrary>,
}

impl TableFunction for TokenImportance {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let given = GivenNeuron::of(&arguments, false)?;
        let example = given_integer(&arguments, EXAMPLE.name)?;
        let options = Options::of_call(&OPTIONS, &arguments)?;
        let operator = [DOC.name, "TokenImportanceExec"];
        let of_call = options.clone();
        let question = RunQuestion::new(operator, schema(), &self.saes, &of_call, move |run| {
            let (layer, neuron) = given.resolve(run)?;
            let call = Call {
                layer,
                neuron: neuron.unwrap_or(0),
                example: within(EXAMPLE.name, example, 1 << 31)?,
                options: options.clone(),
            };
            Ok(RunCall {
                detail: format!(
                    "layer={}, neuron={}, example={example}",
                    call.layer.layer, call.neuron
                ),
                answer: Arc::new(move |asked, context| call.answer(asked, context)),
            })
        });
        Ok(Arc::new(question))
    }
}

struct Call {
    layer: LayerRow,
    neuron: i32,
    example: i32,
    options: Options,
}

/// The key token of an example.
#[derive(Clone, Copy)]
struct KeyToken {
    doc_id: i32,
    pos: usize,
    /// What activations are multiplied with, so that a drop is a loss: -1 of an example of least activations.
    sign: f32,
}

impl Call {
    fn answer(&self, asked: &AskedRun, context: &JobContext) -> Result<()> {
        let kept = asked.passed_rows(&self.relation());
        if let Some(rows) = kept.read() {
            rows.into_iter().for_each(|batch| context.send(Ok(batch)));
            return Ok(());
        }
        let mut made = vec![];
        self.compute(asked, context, &mut |batch| {
            made.push(batch.clone());
            context.send(Ok(batch));
        })?;
        kept.write(&made);
        Ok(())
    }

    /// What the rows are: with the run they follow from this.
    fn relation(&self) -> String {
        let given = |number: Option<usize>| number.map_or("usual".to_string(), |n| n.to_string());
        format!(
            "{} of layer {}, neuron {}, example {}, window {}, pad {}",
            DOC.name,
            self.layer.layer,
            self.neuron,
            self.example,
            given(self.options.get(WINDOW)),
            given(self.options.get(PAD))
        )
    }

    fn compute(
        &self,
        asked: &AskedRun,
        context: &JobContext,
        send: &mut dyn FnMut(RecordBatch),
    ) -> Result<()> {
        let loaded = asked.model(context)?;
        require_text(&loaded)?;
        let model = loaded.model.as_ref();
        let reader = LayerReader::open(asked, model, &self.layer)?;
        let key = self.key_token(asked, context)?;
        let mut document = StoredDocument::read(&asked.run, key.doc_id)?;
        if key.pos >= document.ids.len() {
            return exec_err!(
                "a document of more than {} tokens is required of the example, got {}",
                key.pos,
                document.ids.len()
            );
        }
        let pad = self.pad(&loaded)?;
        // What stands behind the key token changes nothing at it.
        if model.causal() {
            document.ids.truncate(key.pos + 1);
        }
        let seq = document.ids.len();
        let window = self.options.get(WINDOW).unwrap_or(seq);
        let replaced = key.pos.saturating_sub(window)
            ..seq.min(key.pos.saturating_add(window).saturating_add(1));
        let memory = context.memory("forward pass");
        let layers = std::slice::from_ref(&reader);
        let most = self.options.get(BATCH_SIZE).min(replaced.len() + 1);
        let most = hold_pass(&memory, model, layers, most, seq)?;
        // The activation with some tokens replaced, one a document; of none the document as it is.
        let activations = |replaced: &[Option<usize>]| -> Result<Vec<f32>> {
            let mut ids = document.ids.repeat(replaced.len());
            for (ids, replaced) in ids.chunks_exact_mut(seq).zip(replaced) {
                if let Some(pos) = replaced {
                    ids[*pos] = pad;
                }
            }
            let places = [reader.activation_place()];
            let seen = pass(model, &ids, seq, places, context)?;
            let rows = (0..replaced.len()).map(|document| document * seq + key.pos);
            reader.of_neuron(&seen, rows, self.neuron)
        };
        let mut first = vec![];
        for replaced in [None, Some(key.pos)].chunks(most) {
            first.extend(activations(replaced)?);
        }
        let (whole, without_key) = (first[0], first[1]);
        let drop = |activation: f32| key.sign * (whole - activation);
        let positions: Vec<usize> = replaced.collect();
        let (mut done, of) = (0, positions.len());
        for positions in positions.chunks(most) {
            context.say(format!("{done} of {of} tokens replaced"));
            let others = positions.iter().filter(|pos| **pos != key.pos);
            let others: Vec<_> = others.map(|pos| Some(*pos)).collect();
            let mut found = match others.is_empty() {
                true => vec![],
                false => activations(&others)?,
            };
            if let Some(at) = positions.iter().position(|pos| *pos == key.pos) {
                found.insert(at, without_key);
            }
            let drops: Vec<f32> = found.iter().map(|a| drop(*a)).collect();
            send(self.rows(positions, &document, found, drops, drop(without_key))?);
            done += positions.len();
        }
        Ok(())
    }

    /// Where the example is.
    fn key_token(&self, asked: &AskedRun, context: &JobContext) -> Result<KeyToken> {
        let (layer, neuron, example) = (self.layer.layer, self.neuron, self.example);
        let rows = asked.rows(
            &format!(
                "SELECT example, doc_id, pos, activation < 0 FROM examples
                 WHERE layer = {layer} AND neuron = {neuron} ORDER BY example"
            ),
            context,
        )?;
        let mut n = 0;
        for batch in rows.read()? {
            let batch = batch?;
            let integers = |column: usize| batch.column(column).as_primitive::<Int32Type>();
            if let Some(row) = integers(0).values().iter().position(|e| *e == example) {
                return Ok(KeyToken {
                    doc_id: integers(1).value(row),
                    pos: integers(2).value(row) as usize,
                    sign: if batch.column(3).as_boolean().value(row) {
                        -1.0
                    } else {
                        1.0
                    },
                });
            }
            n += batch.num_rows();
        }
        exec_err!(
            "an example of layer {layer}, neuron {neuron} is required, which has {}, got {example}",
            match n {
                0 => "none".to_string(),
                1 => "number 0 alone".to_string(),
                n => format!("numbers 0 to {}", n - 1),
            }
        )
    }

    fn pad(&self, loaded: &LoadedModel) -> Result<u32> {
        let d_vocab = loaded.model.d_vocab();
        match self.options.get(PAD) {
            Some(id) if id < d_vocab => Ok(id as u32),
            Some(id) => plan_err!("pad must be a token id below {d_vocab}, got {id}"),
            None => {
                let own = loaded
                    .tokenizer
                    .as_ref()
                    .and_then(|tokenizer| tokenizer.pad());
                match own.filter(|id| (*id as usize) < d_vocab) {
                    Some(id) => Ok(id),
                    None => plan_err!(
                        "the option pad, a token id, is required of a model whose files name no token that pads or ends a \
                         text, got none"
                    ),
                }
            }
        }
    }

    fn rows(
        &self,
        positions: &[usize],
        document: &StoredDocument,
        activations: Vec<f32>,
        drops: Vec<f32>,
        of_key: f32,
    ) -> Result<RecordBatch> {
        let n = positions.len();
        let share = |drop: &f32| {
            let share = f64::from(*drop) / f64::from(of_key);
            (of_key > 0.0).then(|| share.clamp(0.0, 1.0))
        };
        let shares = Float64Array::from_iter(drops.iter().map(share));
        let constant = |value| Arc::new(Int32Array::from(vec![value; n])) as ArrayRef;
        let integers = |of: &dyn Fn(usize) -> i32| -> ArrayRef {
            Arc::new(Int32Array::from_iter_values(
                positions.iter().map(|pos| of(*pos)),
            ))
        };
        let texts = positions.iter().map(|pos| document.texts[*pos].as_deref());
        let columns = vec![
            constant(self.layer.layer),
            constant(self.neuron),
            constant(self.example),
            integers(&|pos| pos as i32),
            integers(&|pos| document.ids[pos] as i32),
            Arc::new(StringArray::from_iter(texts)),
            Arc::new(Float32Array::from(activations)),
            Arc::new(Float32Array::from(drops)),
            Arc::new(shares),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}
