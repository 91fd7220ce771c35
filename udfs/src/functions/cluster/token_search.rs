//! Where a word is a key token: the feature clusters whose examples have it.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::{Result, plan_err};

use crate::arrow::tokens::{top_tokens, top_tokens_type};
use crate::calls::{Arguments, Function, FunctionDoc, Parameter};
use crate::per_neuron::{
    CLUSTERS_OF_LAYERS, ClusterOptions, Group, InputColumns, LAYER_NEURON, N_TOKENS,
    NeuronFunction, OutputColumns, PerNeuron, Scratch, fields, joined, n_tokens, table_function,
};

const WORD: Parameter = Parameter {
    name: "word",
    kind: "text",
    summary: "what the key token is, without regard to case and to spaces around it",
};

const PART: Parameter = Parameter {
    name: "part",
    kind: "true or false",
    summary: "whether a key token that has the word within it counts too; default false",
};

static DOC: FunctionDoc = FunctionDoc {
    name: "token_search",
    chapter: "cluster",
    summary: "One row per feature cluster that has a word among its key tokens: in how many of its examples.",
    arguments: &joined::<3>(&[&[WORD], LAYER_NEURON]),
    required: 1,
    options: &joined::<10>(&[CLUSTERS_OF_LAYERS, &[PART, N_TOKENS]]),
    returns: "layer, neuron, cluster (0 is the largest), size (its examples), n_matches (those whose key token is the \
              word), share (n_matches / size), top_tokens (of the matches, by count), mean_activation (of \
              the matches), sign (as neuron_polysemanticity gives it)",
    example: "SELECT layer, neuron, n_matches, share FROM token_search('the') \
              ORDER BY n_matches * share DESC, layer, neuron LIMIT 3",
    replaces: None,
};

static PER_NEURON: PerNeuron = PerNeuron {
    doc: &DOC,
    schema,
    check: |arguments| {
        ClusterOptions::check(arguments)?;
        n_tokens(arguments)?;
        word(arguments).map(|_| ())
    },
    bind: |arguments, state| {
        Ok(Arc::new(TokenSearch {
            options: ClusterOptions::resolve(arguments, state)?,
            n_tokens: n_tokens(arguments)?,
            word: word(arguments)?,
            part: arguments.boolean(PART.name)?.unwrap_or(false),
        }))
    },
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&PER_NEURON)
}

fn folded(token: &str) -> String {
    token.trim().to_lowercase()
}

fn word(arguments: &Arguments) -> Result<String> {
    let given = arguments.text(WORD.name)?.unwrap_or_default();
    match folded(&given) {
        word if word.is_empty() => plan_err!(
            "{}: {} must be a text with a letter, digit or sign, got '{given}'",
            DOC.name,
            WORD.name
        ),
        word => Ok(word),
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(fields(&[
        ("layer", DataType::Int32, false),
        ("neuron", DataType::Int32, false),
        ("cluster", DataType::Int32, false),
        ("size", DataType::Int32, false),
        ("n_matches", DataType::Int32, false),
        ("share", DataType::Float64, false),
        ("top_tokens", top_tokens_type(), false),
        ("mean_activation", DataType::Float64, true),
        ("sign", DataType::Utf8, true),
    ])))
}

#[derive(Debug)]
struct TokenSearch {
    options: ClusterOptions,
    n_tokens: usize,
    word: String,
    part: bool,
}

impl TokenSearch {
    fn matches(&self, token: &str) -> bool {
        let token = folded(token);
        token == self.word || self.part && token.contains(&self.word)
    }
}

impl NeuronFunction for TokenSearch {
    fn inputs(&self, _: &OutputColumns) -> InputColumns {
        self.options.embedding.inputs(vec!["token", "activation"])
    }

    fn clustering(&self) -> Option<&ClusterOptions> {
        Some(&self.options)
    }

    fn rows(
        &self,
        group: &Group,
        _: &OutputColumns,
        scratch: &mut Scratch,
    ) -> Result<Vec<ArrayRef>> {
        let tokens = group.column("token")?;
        let texts = tokens.as_string::<i32>();
        let matches: Vec<bool> = (0..texts.len())
            .map(|row| texts.is_valid(row) && self.matches(texts.value(row)))
            .collect();
        let (mut clusters, mut sizes, mut found) = (vec![], vec![], vec![]);
        // Most neurons never fire on the word, and need no clusters.
        if matches.contains(&true) {
            let members = scratch.cluster(group, &self.options)?.members();
            for (cluster, rows) in members.into_iter().enumerate() {
                let size = rows.len() as i32;
                let rows: Vec<usize> = rows.into_iter().filter(|&row| matches[row]).collect();
                if !rows.is_empty() {
                    clusters.push(cluster as i32);
                    sizes.push(size);
                    found.push(rows);
                }
            }
        }
        let n = clusters.len();
        let shares: Vec<_> = (found.iter().zip(&sizes))
            .map(|(rows, &size)| rows.len() as f64 / f64::from(size))
            .collect();
        let [layer, neuron] = group.key_columns(n);
        Ok(vec![
            layer,
            neuron,
            Arc::new(Int32Array::from(clusters)),
            Arc::new(Int32Array::from(sizes)),
            Arc::new(Int32Array::from_iter_values(
                found.iter().map(|rows| rows.len() as i32),
            )),
            Arc::new(Float64Array::from(shares)),
            top_tokens(tokens, &found, self.n_tokens),
            group.mean_activations(&found)?,
            group.sign_column(n),
        ])
    }

    fn describe(&self) -> String {
        let part = if self.part { ", part=true" } else { "" };
        format!("{}, word='{}'{part}", self.options.describe(), self.word)
    }
}
