//! What an ingest is made of, by which one that was interrupted is known again.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::options::{CHECKPOINT_EVERY, MaxActivations, REPLACE, RESUME};
use crate::corpus::Documents;
use crate::store::{RunManifest, Versions};

/// What an ingest is made of: two of the same give the same run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    options: Map<String, Value>,
    sources: Map<String, Value>,
}

impl Identity {
    /// That of an ingest whose corpus is not known yet, by the options that its manifest records.
    pub(super) fn new(
        mut options: Map<String, Value>,
        model_hash: &str,
        maxima: Option<&MaxActivations>,
    ) -> Self {
        for option in [REPLACE.spec, RESUME.spec, CHECKPOINT_EVERY.spec] {
            options.remove(option.name);
        }
        let Versions {
            polysema, store, ..
        } = Versions::default();
        let mut sources = Map::new();
        sources.insert("model".into(), model_hash.into());
        sources.insert(
            "the version of polysema".into(),
            json!([polysema, store, std::env::consts::ARCH]),
        );
        let maxima = maxima.map(MaxActivations::hash);
        sources.insert("the rows of max_activations".into(), json!(maxima));
        Self { options, sources }
    }

    /// The same of one shard.
    pub(super) fn of_documents(mut self, documents: &Range<usize>) -> Self {
        let documents = json!([documents.start, documents.end]);
        self.sources.insert("the shard".into(), documents);
        self
    }

    /// Whether a run was made by the same ingest.
    pub(super) fn has_made(&self, run: &RunManifest, maxima: Option<&MaxActivations>) -> bool {
        let made = Self::new(run.options.clone(), &run.model.hash, maxima);
        let corpus = |hash: &Value| hash[0].as_str() == Some(run.corpus.hash.as_str());
        made.difference(self).is_empty() && self.sources.get("corpus").is_some_and(corpus)
    }

    /// The same with its corpus, by its hash and the documents it was cut into.
    pub(super) fn of_corpus(&mut self, hash: &str, documents: &Documents) {
        let starts = blake3::hash(bytemuck::cast_slice(&documents.starts));
        let corpus = json!([hash, starts.to_hex().as_str()]);
        self.sources.insert("corpus".into(), corpus);
    }

    /// The names of what is another one in `other`, as far as both are known.
    pub(super) fn difference(&self, other: &Self) -> Vec<String> {
        let parts = [
            (&self.options, &other.options),
            (&self.sources, &other.sources),
        ];
        let differs = |(a, b): (&Map<String, Value>, &Map<String, Value>)| {
            let changed = a.iter().filter(|(name, value)| {
                let known = b.get(*name);
                known.is_some_and(|other| other != *value)
            });
            changed.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        parts.into_iter().flat_map(differs).collect()
    }
}
