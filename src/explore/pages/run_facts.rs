//! What two runs are, beside each other: their models, their corpora, the options in which they differ.

use serde::Deserialize;

use crate::explore::show;

/// Something about both runs, and whether it is the same.
pub struct Fact {
    /// What it is.
    pub name: &'static str,
    /// Of the first run and of the second.
    pub values: [String; 2],
    /// Whether they mean the same.
    pub is_same: bool,
}

/// A run among those of the store.
#[derive(Deserialize)]
pub struct RunFacts {
    /// Its name.
    pub run: String,
    architecture: Option<String>,
    model: Option<String>,
    model_hash: Option<String>,
    corpus: Option<String>,
    corpus_hash: Option<String>,
    layer_norm: Option<String>,
    documents: Option<i64>,
    tokens: Option<i64>,
    examples: Option<i64>,
    options: Option<String>,
}

/// What both runs are, and the options in which they differ.
pub fn facts(a: &RunFacts, b: &RunFacts) -> Vec<Fact> {
    let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "–".to_string());
    let named = |name: &Option<String>, hash: &Option<String>| {
        let hash = word(hash);
        format!("{} {}", word(name), hash.get(..12).unwrap_or(&hash))
    };
    let count = |n: Option<i64>| n.map_or("–".to_string(), show::count);
    let fact = |name, values: [String; 2], is_same| Fact {
        name,
        values,
        is_same,
    };
    let both = |name, of: &dyn Fn(&RunFacts) -> String| {
        let values = [of(a), of(b)];
        let is_same = values[0] == values[1];
        fact(name, values, is_same)
    };
    // A place says nothing: the same weights and texts may lie in two.
    let by_hash =
        |name, of: &dyn Fn(&RunFacts) -> String, hash: &dyn Fn(&RunFacts) -> Option<String>| {
            fact(
                name,
                [of(a), of(b)],
                hash(a).is_some() && hash(a) == hash(b),
            )
        };
    vec![
        both("Family", &|run| word(&run.architecture)),
        by_hash("Model", &|run| named(&run.model, &run.model_hash), &|run| {
            run.model_hash.clone()
        }),
        by_hash(
            "Corpus",
            &|run| named(&run.corpus, &run.corpus_hash),
            &|run| run.corpus_hash.clone(),
        ),
        both("Documents", &|run| count(run.documents)),
        both("Tokens", &|run| count(run.tokens)),
        both("Examples", &|run| count(run.examples)),
        both("Layer norm", &|run| word(&run.layer_norm)),
        differing(a, b),
    ]
}

fn differing(a: &RunFacts, b: &RunFacts) -> Fact {
    type Options = serde_json::Map<String, serde_json::Value>;
    let options = |run: &RunFacts| {
        let text = run.options.as_deref().unwrap_or("{}");
        serde_json::from_str::<Options>(text).unwrap_or_default()
    };
    let (of_a, of_b) = (options(a), options(b));
    let differs = |name: &&String| {
        let of = |options: &Options| options.get(*name).cloned().unwrap_or_default();
        of(&of_a) != of(&of_b)
    };
    let mut names: Vec<_> = of_a.keys().chain(of_b.keys()).filter(differs).collect();
    names.sort();
    names.dedup();
    let said = |options: &Options| {
        let given = names.iter().map(|name| match options.get(*name) {
            Some(value) if !value.is_null() => format!("{name}: {value}"),
            _ => format!("{name}: –"),
        });
        match given.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "the same".to_string(),
            said => said,
        }
    };
    Fact {
        name: "Options",
        values: [said(&of_a), said(&of_b)],
        is_same: names.is_empty(),
    }
}
