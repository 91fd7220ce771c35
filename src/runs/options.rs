//! The options of ingest: one table that says what each is, one parser that every front end uses. Above 400 lines
//! because the table, the fields and their tests are one list three times and are read side by side.

use std::collections::HashMap;
use std::str::FromStr;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float32Type, Int64Type};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use serde_json::{Map, Value, json};

use crate::corpus::{CorpusOptions, OptionDoc, Split};
use crate::models::LayerNorm;

/// Every option of ingest.
pub const OPTIONS: &[OptionDoc] = &[
    OptionDoc {
        name: "context",
        range: "integer from 1 to the model's positions",
        default: "128",
        meaning: "tokens a document has at most; longer texts are cut into consecutive documents",
    },
    OptionDoc {
        name: "activation_threshold",
        range: "number in (0, 1]",
        default: "0.75",
        meaning: "share of a neuron's maximum at which a document is a dataset example",
    },
    OptionDoc {
        name: "max_examples",
        range: "integer from 1",
        default: "100",
        meaning: "dataset examples a neuron keeps at most",
    },
    OptionDoc {
        name: "order",
        range: "'corpus' or 'top'",
        default: "corpus",
        meaning: "which examples are kept: the first ones of the corpus, or those of highest activation",
    },
    OptionDoc {
        name: "min_tokens",
        range: "integer from 1 to context",
        default: "1",
        meaning: "documents of fewer tokens are dropped",
    },
    OptionDoc {
        name: "min_activation",
        range: "number above 0",
        default: "",
        meaning: "activation at which a document is an example, in place of activation_threshold",
    },
    OptionDoc {
        name: "batch_size",
        range: "integer from 1",
        default: "16",
        meaning: "documents the model reads at once; changes speed and memory, not results",
    },
    OptionDoc {
        name: "max_documents",
        range: "integer from 1",
        default: "",
        meaning: "documents after which the rest of the corpus is left out",
    },
    OptionDoc {
        name: "bos",
        range: "true or false",
        default: "false",
        meaning: "begin each document with the model's first token, which is never a key token",
    },
    OptionDoc {
        name: "window",
        range: "integer from 0",
        default: "10",
        meaning: "tokens kept before and after the key token, for display",
    },
    OptionDoc {
        name: "window_vectors",
        range: "true or false",
        default: "false",
        meaning: "keep what neurons received at the tokens before the key token too, for embedding: 'weighted'; \
                  the store grows by up to every token's vector",
    },
    OptionDoc {
        name: "layer_norm",
        range: "'folded', 'raw' or 'tl_folded'",
        default: "folded",
        meaning: "whether the layer norm's scale and bias count as weights (folded) or as input (raw)",
    },
    OptionDoc {
        name: "column",
        range: "name of a column",
        default: "text",
        meaning: "where .jsonl and .parquet hold the text; their other columns are kept in documents",
    },
    OptionDoc {
        name: "split",
        range: "'train', 'test' or 'all'",
        default: "",
        meaning: "which images of a folder are read: the training ones, the test ones, or the one after the other (when left out)",
    },
    OptionDoc {
        name: "replace",
        range: "true or false",
        default: "false",
        meaning: "whether a run of the same name is replaced",
    },
    OptionDoc {
        name: "max_activations",
        range: "table or (SELECT ...)",
        default: "",
        meaning: "maxima that take the place of those found in the corpus: layer, neuron, max_activation",
    },
];

/// The options as a Markdown table.
pub fn options_markdown() -> String {
    let mut table = "| option | value | default | meaning |\n|---|---|---|---|\n".to_string();
    for option in OPTIONS {
        let OptionDoc {
            name,
            range,
            default,
            meaning,
        } = option;
        table += &format!("| `{name}` | {range} | {default} | {meaning} |\n");
    }
    table
}

/// Which of a neuron's examples are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The first ones of the corpus.
    Corpus,
    /// Those of highest activation, the earlier one on ties.
    Top,
}

/// Maxima given by the user: `(layer, neuron)` to activation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MaxActivations(HashMap<(usize, usize), f32>);

impl MaxActivations {
    /// The maxima of `(layer, neuron, max_activation)`.
    pub fn new(rows: impl IntoIterator<Item = (usize, usize, f32)>) -> Self {
        let rows = rows.into_iter();
        Self(rows.map(|(l, n, max)| ((l, n), max)).collect())
    }

    /// Reads the columns `layer`, `neuron` and `max_activation`.
    pub fn from_batches(batches: &[RecordBatch]) -> Result<Self> {
        let mut maxima = HashMap::new();
        for batch in batches {
            let column = |name: &str, kind: DataType| match batch.column_by_name(name) {
                Some(column) => Ok(cast(column, &kind)?),
                None => plan_err!(
                    "max_activations requires the columns layer, neuron, max_activation, got no {name}"
                ),
            };
            let layers = column("layer", DataType::Int64)?;
            let neurons = column("neuron", DataType::Int64)?;
            let values = column("max_activation", DataType::Float32)?;
            let rows = layers
                .as_primitive::<Int64Type>()
                .iter()
                .zip(neurons.as_primitive::<Int64Type>())
                .zip(values.as_primitive::<Float32Type>());
            for ((layer, neuron), value) in rows {
                let index = |v: Option<i64>| v.and_then(|v| usize::try_from(v).ok());
                match (index(layer), index(neuron), value) {
                    (Some(layer), Some(neuron), Some(value)) if value.is_finite() => {
                        if maxima.insert((layer, neuron), value).is_some() {
                            return exec_err!(
                                "max_activations requires one row per neuron, got two for layer {layer} \
                                 neuron {neuron}"
                            );
                        }
                    }
                    _ => {
                        return exec_err!(
                            "max_activations requires a layer, a neuron and a finite max_activation in \
                             every row, got {layer:?}, {neuron:?}, {value:?}"
                        );
                    }
                }
            }
        }
        Ok(Self(maxima))
    }

    /// The maximum given for a neuron.
    pub(super) fn get(&self, layer: usize, neuron: usize) -> Result<f32> {
        match self.0.get(&(layer, neuron)) {
            Some(max) => Ok(*max),
            None => exec_err!(
                "max_activations requires a row for every neuron, got none for layer {layer} neuron {neuron}"
            ),
        }
    }
}

/// The options of one ingest; [`OPTIONS`] says what each is.
#[derive(Debug, Clone, PartialEq)]
pub struct IngestOptions {
    /// Most tokens of a document.
    pub context: usize,
    /// Share of the maximum that makes an example.
    pub activation_threshold: f64,
    /// Most examples of a neuron.
    pub max_examples: usize,
    /// Which examples are kept.
    pub order: Order,
    /// Fewest tokens of a document.
    pub min_tokens: usize,
    /// Activation that makes an example, in place of the share.
    pub min_activation: Option<f64>,
    /// Documents the model reads at once.
    pub batch_size: usize,
    /// Most documents.
    pub max_documents: Option<usize>,
    /// Whether each document begins with the model's first token.
    pub bos: bool,
    /// Tokens kept before and after the key token.
    pub window: usize,
    /// Whether the vectors before the key token are kept, too.
    pub window_vectors: bool,
    /// Where the layer norm's scale and bias are counted.
    pub layer_norm: LayerNorm,
    /// The column that holds the text.
    pub column: String,
    /// Which images of a folder are read.
    pub split: Option<Split>,
    /// Whether a run of the same name is replaced.
    pub replace: bool,
    /// Name of the table of maxima, as given; whoever can read tables puts its rows into `max_activations`.
    pub max_activations_table: Option<String>,
    /// Maxima that take the place of the corpus's.
    pub max_activations: Option<MaxActivations>,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            context: 128,
            activation_threshold: 0.75,
            max_examples: 100,
            order: Order::Corpus,
            min_tokens: 1,
            min_activation: None,
            batch_size: 16,
            max_documents: None,
            bos: false,
            window: 10,
            window_vectors: false,
            layer_norm: LayerNorm::Folded,
            column: "text".to_string(),
            split: None,
            replace: false,
            max_activations_table: None,
            max_activations: None,
        }
    }
}

fn out_of_range<T>(name: &str, value: &str) -> Result<T> {
    let option = OPTIONS.iter().find(|o| o.name == name);
    let range = option.map_or("a known option", |o| o.range);
    plan_err!("{name} requires {range}, got '{value}'")
}

fn parse<T: FromStr>(name: &str, value: &str, allowed: impl Fn(&T) -> bool) -> Result<T> {
    match value.trim().parse::<T>() {
        Ok(parsed) if allowed(&parsed) => Ok(parsed),
        _ => out_of_range(name, value),
    }
}

fn word<T: Copy>(name: &str, value: &str, known: &[(&str, T)]) -> Result<T> {
    match known.iter().find(|(word, _)| *word == value.trim()) {
        Some((_, meaning)) => Ok(*meaning),
        None => out_of_range(name, value),
    }
}

impl IngestOptions {
    /// The defaults, changed by `(name, value)` pairs.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut options = Self::default();
        for (name, value) in pairs {
            options.set(name, value)?;
        }
        options.check()?;
        Ok(options)
    }

    /// Sets one option from text.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let count = |value: &str| parse::<usize>(name, value, |&n| n >= 1);
        match name {
            "context" => self.context = count(value)?,
            "activation_threshold" => {
                self.activation_threshold = parse(name, value, |&t: &f64| t > 0.0 && t <= 1.0)?;
            }
            "max_examples" => self.max_examples = count(value)?,
            "order" => {
                let known = [("corpus", Order::Corpus), ("top", Order::Top)];
                self.order = word(name, value, &known)?;
            }
            "min_tokens" => self.min_tokens = count(value)?,
            "min_activation" => {
                let above = |&a: &f64| a > 0.0 && a.is_finite();
                self.min_activation = Some(parse(name, value, above)?);
            }
            "batch_size" => self.batch_size = count(value)?,
            "max_documents" => self.max_documents = Some(count(value)?),
            "bos" => self.bos = parse(name, value, |_| true)?,
            "window" => self.window = parse(name, value, |_| true)?,
            "window_vectors" => self.window_vectors = parse(name, value, |_| true)?,
            "layer_norm" => {
                let known = [LayerNorm::Folded, LayerNorm::Raw, LayerNorm::TlFolded];
                self.layer_norm = word(name, value, &known.map(|n| (layer_norm_name(n), n)))?;
            }
            "column" => self.column = value.to_string(),
            "split" => self.split = Some(word(name, value, &Split::NAMES)?),
            "replace" => self.replace = parse(name, value, |_| true)?,
            "max_activations" => self.max_activations_table = Some(value.to_string()),
            _ => {
                let known: Vec<_> = OPTIONS.iter().map(|o| o.name).collect();
                return plan_err!(
                    "an option of {} is required, got '{name}'",
                    known.join(", ")
                );
            }
        }
        Ok(())
    }

    /// Refuses what no single option can know of itself, and fields set without [`IngestOptions::set`].
    pub fn check(&self) -> Result<()> {
        let at_least_one = [
            ("context", self.context),
            ("max_examples", self.max_examples),
            ("min_tokens", self.min_tokens),
            ("batch_size", self.batch_size),
            ("max_documents", self.max_documents.unwrap_or(1)),
        ];
        for (name, value) in at_least_one {
            parse::<usize>(name, &value.to_string(), |&n| n >= 1)?;
        }
        let mut probe = self.clone();
        probe.set(
            "activation_threshold",
            &self.activation_threshold.to_string(),
        )?;
        if let Some(least) = self.min_activation {
            probe.set("min_activation", &least.to_string())?;
        }
        if self.min_tokens > self.context {
            return plan_err!(
                "min_tokens requires at most context, {}, got {}",
                self.context,
                self.min_tokens
            );
        }
        if self.bos && self.context < 2 {
            return plan_err!("bos requires a context of at least 2, got {}", self.context);
        }
        let given = self.max_activations.is_some() || self.max_activations_table.is_some();
        if self.min_activation.is_some() && given {
            return plan_err!("one of min_activation and max_activations is required, got both");
        }
        Ok(())
    }

    /// Those of them that say how the corpus is read.
    pub fn corpus(&self) -> CorpusOptions {
        CorpusOptions {
            context: self.context,
            min_tokens: self.min_tokens,
            max_documents: self.max_documents,
            bos: self.bos,
            column: self.column.clone(),
            split: self.split,
            batch_size: self.batch_size,
        }
    }

    /// Every option, given or default, for the manifest.
    pub fn to_json(&self) -> Map<String, Value> {
        let given = self.max_activations.as_ref().map(|_| "given");
        let maxima = self.max_activations_table.as_deref().or(given);
        let values = [
            ("context", json!(self.context)),
            ("activation_threshold", json!(self.activation_threshold)),
            ("max_examples", json!(self.max_examples)),
            ("order", json!(order_name(self.order))),
            ("min_tokens", json!(self.min_tokens)),
            ("min_activation", json!(self.min_activation)),
            ("batch_size", json!(self.batch_size)),
            ("max_documents", json!(self.max_documents)),
            ("bos", json!(self.bos)),
            ("window", json!(self.window)),
            ("window_vectors", json!(self.window_vectors)),
            ("layer_norm", json!(layer_norm_name(self.layer_norm))),
            ("column", json!(self.column)),
            ("split", json!(self.split.map(Split::name))),
            ("replace", json!(self.replace)),
            ("max_activations", json!(maxima)),
        ];
        let values = values.into_iter();
        values.map(|(k, v)| (k.to_string(), v)).collect()
    }
}

fn order_name(order: Order) -> &'static str {
    match order {
        Order::Corpus => "corpus",
        Order::Top => "top",
    }
}

/// The option's word for a layer norm convention.
pub(super) fn layer_norm_name(layer_norm: LayerNorm) -> &'static str {
    match layer_norm {
        LayerNorm::Folded => "folded",
        LayerNorm::Raw => "raw",
        LayerNorm::TlFolded => "tl_folded",
    }
}

/// What a user may know of the options of a corpus: those of ingest, with ingest's meaning.
pub fn corpus_option_docs() -> impl Iterator<Item = OptionDoc> {
    let docs = OPTIONS.iter().copied();
    docs.filter(|option| CorpusOptions::NAMES.contains(&option.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, value: &str) -> String {
        let error = IngestOptions::from_pairs([(name, value)]).unwrap_err();
        error.strip_backtrace()
    }

    #[test]
    fn documented_defaults_are_the_defaults() {
        let pairs = OPTIONS.iter().filter(|o| !o.default.is_empty());
        let spelled = IngestOptions::from_pairs(pairs.map(|o| (o.name, o.default))).unwrap();
        assert_eq!(spelled, IngestOptions::default());
    }

    #[test]
    fn the_manifest_and_the_documentation_list_the_same_options() {
        let recorded = IngestOptions::default().to_json();
        let mut documented: Vec<_> = OPTIONS.iter().map(|o| o.name).collect();
        documented.sort_unstable();
        let mut recorded: Vec<_> = recorded.keys().map(String::as_str).collect();
        recorded.sort_unstable();
        assert_eq!(recorded, documented);
    }

    #[test]
    fn values_outside_the_range_are_refused_with_the_range() {
        for (name, value) in [
            ("context", "0"),
            ("context", "x"),
            ("activation_threshold", "0"),
            ("activation_threshold", "1.01"),
            ("activation_threshold", "NaN"),
            ("max_examples", "0"),
            ("batch_size", "0"),
            ("min_tokens", "0"),
            ("min_activation", "-1"),
            ("max_documents", "0"),
            ("bos", "yes"),
            ("order", "random"),
            ("layer_norm", "none"),
            ("window", "-1"),
            ("window_vectors", "yes"),
            ("split", "validation"),
        ] {
            let range = OPTIONS.iter().find(|o| o.name == name).unwrap().range;
            let expected = format!("Error during planning: {name} requires {range}, got '{value}'");
            assert_eq!(refused(name, value), expected);
        }
        let message = refused("min_tokens", "129");
        assert!(message.ends_with("min_tokens requires at most context, 128, got 129"));
    }

    #[test]
    fn an_unknown_option_is_answered_with_the_known_ones() {
        let message = refused("treshold", "1");
        assert!(message.contains("context, activation_threshold, max_examples"));
        assert!(message.ends_with("got 'treshold'"));
    }

    #[test]
    fn two_rules_at_once_are_refused() {
        let pairs = [("min_activation", "1"), ("max_activations", "t")];
        assert!(IngestOptions::from_pairs(pairs).is_err());
    }
}
