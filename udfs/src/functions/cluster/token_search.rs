//! Where a word is a key token: the feature clusters whose examples have it.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{AsArray, Float64Array, Int32Array};
use datafusion::common::{Result, plan_err};

use crate::calls::{Arguments, Function, FunctionDoc, Parameter};
use crate::per_neuron::{
    BoundOptions, CLUSTER, CLUSTERS_OF_LAYERS, Column, Group, LAYER, LAYER_NEURON, MEAN_ACTIVATION,
    N_TOKENS, NEURON, PerNeuron, SIGN_COLUMN, SIZE, TOP_TOKENS, Value, double, int, joined,
    n_tokens, table_function,
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

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: PER_NEURON.name,
    chapter: "cluster",
    summary: "One row per feature cluster that has a word among its key tokens: in how many of its examples.",
    arguments: const { &joined::<3>(&[&[WORD], LAYER_NEURON]) },
    required: 1,
    options: const { &joined::<10>(&[CLUSTERS_OF_LAYERS, &[PART, N_TOKENS]]) },
    returns: PER_NEURON.returns(""),
    example: "SELECT layer, neuron, n_matches, share FROM token_search('the') \
              ORDER BY n_matches * share DESC, layer, neuron LIMIT 3",
    replaces: None,
});

static PER_NEURON: PerNeuron = PerNeuron {
    columns: &[
        LAYER,
        NEURON,
        CLUSTER,
        SIZE,
        Column::new(
            "n_matches",
            int,
            "those whose key token is the word",
            |rows| {
                let matches = rows.members()?;
                let numbers = matches.iter().map(|rows| rows.len() as i32);
                Ok(Arc::new(Int32Array::from_iter_values(numbers)))
            },
        ),
        Column::new("share", double, "n_matches / size", |rows| {
            let (sizes, matches) = (&rows.clustering()?.clusters.sizes, rows.members()?);
            let shares = (rows.clusters.iter().zip(matches))
                .map(|(&cluster, rows)| rows.len() as f64 / f64::from(sizes[cluster]));
            Ok(Arc::new(Float64Array::from_iter_values(shares)))
        }),
        TOP_TOKENS.meaning("of the matches, by count"),
        MEAN_ACTIVATION.meaning("of the matches"),
        SIGN_COLUMN,
    ],
    reads: &["token"],
    settle: |arguments, settings, options| {
        n_tokens(arguments, settings, options)?;
        options.add(WORD, Value::Text(word(arguments)?));
        if arguments.boolean(PART.name)? == Some(true) {
            options.add(PART, Value::Flag(true));
        }
        Ok(())
    },
    concerns: |group, options| Ok(matches(group, options)?.contains(&true)),
    choose: |rows| {
        let matches = matches(rows.group, rows.options)?;
        let members = rows.clustering()?.members().into_iter().enumerate();
        let of_word = members.map(|(cluster, rows)| {
            let rows: Vec<_> = rows.into_iter().filter(|&row| matches[row]).collect();
            (cluster, rows)
        });
        let (clusters, counted) = of_word.filter(|(_, rows)| !rows.is_empty()).unzip();
        (rows.clusters, rows.counted) = (clusters, Some(counted));
        Ok(())
    },
    ..PerNeuron::new("token_search")
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&DOC, &PER_NEURON)
}

fn folded(token: &str) -> String {
    token.trim().to_lowercase()
}

fn word(arguments: &Arguments) -> Result<String> {
    let given = arguments.text(WORD.name)?.unwrap_or_default();
    match folded(&given) {
        word if word.is_empty() => plan_err!(
            "{}: {} must be a text with a letter, digit or sign, got '{given}'",
            PER_NEURON.name,
            WORD.name
        ),
        word => Ok(word),
    }
}

/// Which examples have the word as key token.
fn matches(group: &Group, options: &BoundOptions) -> Result<Vec<bool>> {
    let (word, part) = (options.text(WORD.name)?, options.is_set(PART.name));
    let tokens = group.column("token")?.as_string::<i32>().iter();
    let is_it = |token: &str| {
        let token = folded(token);
        token == word || part && token.contains(word)
    };
    Ok(tokens.map(|token| token.is_some_and(is_it)).collect())
}
