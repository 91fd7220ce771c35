//! The tables of `polysema.info` that tell what a store holds, built from its manifests when they are scanned.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampSecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::kept::{KeptName, KeptTable};
use super::manifest::{Counts, RunManifest};
use super::snapshot::Snapshot;
use super::{Run, SaeManifest, info_training};
use crate::policy::Policy;

/// Names of these tables.
pub(super) const INFO_TABLES: [&str; 5] = ["models", "runs", "sae_training", "saes", "tables"];

/// One of these tables.
#[derive(Debug)]
pub struct InfoTable {
    runs: Arc<Snapshot>,
    kind: Listing,
}

#[derive(Debug, Clone, Copy)]
enum Listing {
    Models,
    Runs,
    Saes,
    SaeTraining,
    Tables,
}

impl InfoTable {
    /// The table of this name, if there is one.
    pub fn new(runs: &Arc<Snapshot>, name: &str) -> Option<Self> {
        let kind = match name {
            "models" => Listing::Models,
            "runs" => Listing::Runs,
            "saes" => Listing::Saes,
            "sae_training" => Listing::SaeTraining,
            "tables" => Listing::Tables,
            _ => return None,
        };
        Some(Self {
            runs: Arc::clone(runs),
            kind,
        })
    }

    fn batch(&self, state: &dyn Session, filters: &[Expr]) -> Result<RecordBatch> {
        let policy = &Policy::of(state);
        let runs = match self.kind {
            Listing::Saes => return self.saes(policy),
            Listing::SaeTraining => return info_training::rows(self.runs.store(), state, filters),
            Listing::Tables => return self.tables(policy),
            Listing::Models | Listing::Runs => self.runs.names()?,
        };
        let runs: Vec<_> = runs
            .into_iter()
            .map(|name| {
                let run = self.runs.run(&name);
                (name, run)
            })
            .collect();
        let columns = match self.kind {
            Listing::Models => models(&runs, policy),
            _ => run_columns(&runs, policy),
        };
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }

    /// One row per sparse autoencoder.
    fn saes(&self, policy: &Policy) -> Result<RecordBatch> {
        let saes: Vec<_> = (self.runs.store().stored_saes()?.into_values())
            .map(|sae| sae.manifest)
            .collect();
        let text = |of: fn(&SaeManifest) -> Option<&str>| -> ArrayRef {
            Arc::new(StringArray::from_iter(saes.iter().map(of)))
        };
        let int = |of: fn(&SaeManifest) -> Option<i64>| -> ArrayRef {
            Arc::new(Int64Array::from_iter(saes.iter().map(of)))
        };
        let layers = saes.iter().map(|sae| sae.layer);
        let options = saes
            .iter()
            .map(|sae| serde_json::Value::Object(sae.options.clone()));
        let created = saes.iter().map(|sae| Some(sae.created_at));
        let columns: Vec<ArrayRef> = vec![
            text(|sae| sae.run.as_deref()),
            Arc::new(Int32Array::from_iter(layers)),
            text(|sae| Some(&sae.name)),
            int(|sae| Some(sae.d_in as i64)),
            int(|sae| Some(sae.d_out.unwrap_or(sae.d_in) as i64)),
            int(|sae| Some(sae.d_sae as i64)),
            text(|sae| Some(&sae.variant)),
            text(|sae| sae.format.as_deref()),
            text(|sae| sae.hook.as_deref()),
            text(|sae| sae.hook_out.as_deref()),
            Arc::new(StringArray::from_iter_values(
                saes.iter().map(|sae| policy.shown_path(&sae.source)),
            )),
            Arc::new(StringArray::from_iter_values(
                options.map(|o| policy.shown(o.to_string())),
            )),
            int(|sae| Some(sae.steps as i64)),
            int(|sae| Some(sae.rows as i64)),
            Arc::new(Float64Array::from_iter(saes.iter().map(|sae| sae.mse))),
            Arc::new(Float64Array::from_iter(
                saes.iter().map(|sae| Some(sae.seconds)),
            )),
            Arc::new(TimestampSecondArray::from_iter(created).with_timezone("UTC")),
        ];
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}

impl InfoTable {
    /// One row per table that lasts; one that cannot be read says why in `problem`.
    fn tables(&self, policy: &Policy) -> Result<RecordBatch> {
        let store = self.runs.store();
        let mut names = vec![];
        for schema in store.schemas()? {
            let tables = store.kept_tables(&schema)?.into_iter();
            names.extend(tables.map(|table| KeptName::new(&schema, &table)));
        }
        let opened: Vec<_> = (names.into_iter())
            .filter_map(|name| match self.runs.kept(&name) {
                Ok(table) => table.map(|table| (name, Ok(table))),
                Err(error) => Some((name, Err(error.strip_backtrace()))),
            })
            .collect();
        let tables = || opened.iter().map(|(_, table)| table.as_ref().ok());
        let int = |of: fn(&KeptTable) -> u64| -> ArrayRef {
            let values = tables().map(|table| table.map(|table| of(table) as i64));
            Arc::new(Int64Array::from_iter(values))
        };
        let written = tables().map(|table| table.map(|table| table.written_at()));
        let problems = opened
            .iter()
            .map(|(_, table)| Some(policy.shown(table.as_ref().err()?.clone())));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(
                opened.iter().map(|(name, _)| &name.schema),
            )),
            Arc::new(StringArray::from_iter_values(
                opened.iter().map(|(name, _)| &name.table),
            )),
            int(KeptTable::rows),
            int(KeptTable::size_bytes),
            Arc::new(TimestampSecondArray::from_iter(written).with_timezone("UTC")),
            Arc::new(StringArray::from_iter(problems)),
        ];
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}

type Opened = [(String, Result<Arc<Run>>)];

/// One row per run; one that cannot be read says why in `problem`.
fn run_columns(runs: &Opened, policy: &Policy) -> Vec<ArrayRef> {
    fn facts(run: &Result<Arc<Run>>) -> Option<&RunManifest> {
        run.as_ref().ok().map(|run| run.manifest())
    }
    fn column(runs: &Opened, of: impl Fn(&RunManifest) -> String) -> ArrayRef {
        let values = runs.iter().map(|(_, run)| facts(run).map(&of));
        Arc::new(StringArray::from_iter(values))
    }
    let text = |of: fn(&RunManifest) -> String| column(runs, of);
    let count = |of: fn(&Counts) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter(
            runs.iter()
                .map(|(_, run)| facts(run).map(|m| of(&m.counts) as i64)),
        ))
    };
    let seconds = runs.iter().map(|(_, run)| facts(run).map(|m| m.seconds));
    let created = runs.iter().map(|(_, run)| facts(run).map(|m| m.created_at));
    let problems = runs
        .iter()
        .map(|(_, run)| Some(policy.shown(run.as_ref().err()?.strip_backtrace())));
    vec![
        Arc::new(StringArray::from_iter_values(
            runs.iter().map(|(name, _)| name),
        )),
        column(runs, |m| policy.shown_path(&m.model.path)),
        text(|m| m.model.hash.clone()),
        text(|m| m.architecture.clone()),
        weight_types(runs.iter().map(|(_, run)| facts(run))),
        column(runs, |m| policy.shown_path(&m.corpus.path)),
        text(|m| m.corpus.hash.clone()),
        text(|m| m.layer_norm.clone()),
        column(runs, |m| {
            policy.shown(serde_json::Value::Object(m.options.clone()).to_string())
        }),
        count(|c| c.documents),
        count(|c| c.tokens),
        count(|c| c.layers),
        count(|c| c.neurons),
        count(|c| c.examples),
        count(|c| c.vectors),
        Arc::new(Float64Array::from_iter(seconds)),
        Arc::new(TimestampSecondArray::from_iter(created).with_timezone("UTC")),
        text(|m| m.versions.polysema.clone()),
        text(|m| m.versions.datafusion.clone()),
        Arc::new(StringArray::from_iter(problems)),
    ]
}

/// The types of the models' numbers in their files, NULL where that is not known.
fn weight_types<'a>(runs: impl Iterator<Item = Option<&'a RunManifest>>) -> ArrayRef {
    let types =
        runs.map(|run| Some(run?.weight_types.join(", ")).filter(|types| !types.is_empty()));
    Arc::new(StringArray::from_iter(types))
}

/// One row per model that some run was made from.
fn models(runs: &Opened, policy: &Policy) -> Vec<ArrayRef> {
    let mut models: BTreeMap<&str, (&RunManifest, i64)> = BTreeMap::new();
    for (_, run) in runs {
        if let Ok(run) = run {
            let facts = run.manifest();
            models.entry(&facts.model.hash).or_insert((facts, 0)).1 += 1;
        }
    }
    let text = |of: fn(&RunManifest) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(
            models.values().map(|(m, _)| of(m)),
        ))
    };
    let int = |of: fn(&(&RunManifest, i64)) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(models.values().map(of)))
    };
    vec![
        text(|m| &m.model.hash),
        Arc::new(StringArray::from_iter_values(
            models
                .values()
                .map(|(m, _)| policy.shown_path(&m.model.path)),
        )),
        text(|m| &m.architecture),
        weight_types(models.values().map(|(m, _)| Some(*m))),
        int(|(m, _)| m.counts.layers as i64),
        int(|(m, _)| m.counts.neurons as i64),
        int(|(_, runs)| *runs),
    ]
}

#[async_trait]
impl TableProvider for InfoTable {
    fn schema(&self) -> SchemaRef {
        let text = DataType::Utf8;
        let int = DataType::Int64;
        let float = DataType::Float64;
        let time = DataType::Timestamp(TimeUnit::Second, Some("UTC".into()));
        let columns = match self.kind {
            Listing::Models => vec![
                ("model_hash", text.clone()),
                ("model", text.clone()),
                ("architecture", text.clone()),
                ("weight_types", text),
                ("layers", int.clone()),
                ("neurons", int.clone()),
                ("runs", int),
            ],
            Listing::Runs => vec![
                ("run", text.clone()),
                ("model", text.clone()),
                ("model_hash", text.clone()),
                ("architecture", text.clone()),
                ("weight_types", text.clone()),
                ("corpus", text.clone()),
                ("corpus_hash", text.clone()),
                ("layer_norm", text.clone()),
                ("options", text.clone()),
                ("documents", int.clone()),
                ("tokens", int.clone()),
                ("layers", int.clone()),
                ("neurons", int.clone()),
                ("examples", int.clone()),
                ("vectors", int),
                ("seconds", float),
                ("created_at", time),
                ("polysema_version", text.clone()),
                ("datafusion_version", text.clone()),
                ("problem", text),
            ],
            Listing::Saes => vec![
                ("run", text.clone()),
                ("layer", DataType::Int32),
                ("name", text.clone()),
                ("d_in", int.clone()),
                ("d_out", int.clone()),
                ("d_sae", int.clone()),
                ("variant", text.clone()),
                ("format", text.clone()),
                ("hook", text.clone()),
                ("hook_out", text.clone()),
                ("source", text.clone()),
                ("options", text),
                ("steps", int.clone()),
                ("rows", int),
                ("mse", float.clone()),
                ("seconds", float),
                ("created_at", time),
            ],
            Listing::SaeTraining => return info_training::sql_columns(),
            Listing::Tables => vec![
                ("schema", text.clone()),
                ("table", text.clone()),
                ("rows", int.clone()),
                ("size_bytes", int),
                ("written_at", time),
                ("problem", text),
            ],
        };
        let fields = columns
            .into_iter()
            .map(|(name, kind)| Field::new(name, kind, true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let use_of = match self.kind {
            Listing::SaeTraining => TableProviderFilterPushDown::Inexact,
            _ => TableProviderFilterPushDown::Unsupported,
        };
        Ok(vec![use_of; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let batch = self.batch(state, filters)?;
        let plan =
            MemorySourceConfig::try_new_exec(&[vec![batch]], self.schema(), projection.cloned())?;
        Ok(plan)
    }
}
