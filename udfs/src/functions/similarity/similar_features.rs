//! The feature clusters of other neurons that respond to something alike.
//!
//! Clusters are compared by the vector their central example's neuron received, not by the neuron embedding, which
//! lives in its neuron's own scale. All clusters of the run are compared, exactly.
//!
//! Errors: a layer, neuron or cluster that is not there. Cost: the clustering of the whole run, the first time where
//! the session keeps it, else each time; then d multiplications a cluster.
//! Source: Foote 2024, section 3.2, and its first web page: 20 nearest, above a similarity of 0.5, 0.2, 0.2, 0.1, 0.1
//! in GPT-2-small's layers 0 to 4 and 0.05 in the others.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::arrow::tables::SmallTable;
use crate::arrow::{cache, tables};
use crate::calls::{Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction};
use crate::per_neuron::{CLUSTERS_OF_LAYERS, KeyArguments, joined};
use crate::scan_by_plan;
use crate::similarity::central_examples::{CENTRAL_EXAMPLES, VECTOR};
use crate::similarity::nearest::{SIMILARITY, Search, Target, nearest_rows};

static DOC: FunctionDoc = FunctionDoc {
    name: "similar_features",
    chapter: "similarity",
    summary: "The feature clusters of other neurons most similar to one of this neuron's.",
    arguments: &[
        Parameter {
            name: "layer",
            kind: "whole number or text",
            summary: "the layer's number or name",
        },
        Parameter {
            name: "neuron",
            kind: "whole number",
            summary: "index in the layer",
        },
        Parameter {
            name: "cluster",
            kind: "whole number",
            summary: "a cluster of the neuron, as feature_clusters numbers them with the same options",
        },
    ],
    required: 3,
    options: &joined::<10>(&[
        &[
            Parameter {
                name: "k",
                kind: "whole number, at least 1",
                summary: "most clusters given; default 20",
            },
            Parameter {
                name: "min_similarity",
                kind: "number in [-1, 1]",
                summary: "least similarity given; default 0.05, the authors' for most layers (0.5 in the first, where \
                      vectors are more alike)",
            },
        ],
        CLUSTERS_OF_LAYERS,
    ]),
    returns: "layer, neuron, cluster (0 is the neuron's largest), similarity (cosine of the vectors that the two \
              central examples' neurons received), size (its examples), example (the central one), doc_id, pos, \
              token, context (the key token between « and »); the most similar first. Layers of another width are \
              left out",
    example: "SELECT similarity, layer, neuron, token, context FROM similar_features(0, 1, 0, {k: 5, \
              min_similarity: -1})",
    replaces: None,
};

/// The catalogue entry.
pub fn function() -> Function {
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(SimilarFeatures)),
    }
}

/// Place of the similarity among the columns, after the keys.
const SIMILARITY_AT: usize = 3;
/// Place of the vector among the central examples' columns, the last.
const VECTOR_AT: usize = 9;

/// The columns of the central examples but the vector, with the similarity after the keys.
fn schema() -> SchemaRef {
    let index = CENTRAL_EXAMPLES.schema();
    let mut fields = index.fields()[..VECTOR_AT].to_vec();
    let similarity = Field::new(SIMILARITY, DataType::Float64, false);
    fields.insert(SIMILARITY_AT, Arc::new(similarity));
    Arc::new(Schema::new(fields))
}

#[derive(Debug)]
struct SimilarFeatures;

impl TableFunction for SimilarFeatures {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        CENTRAL_EXAMPLES.check(&arguments)?;
        for name in ["layer", "neuron", "cluster"] {
            if arguments.get(name).is_none() {
                return plan_err!("{}: {name} must be given, got NULL", DOC.name);
            }
        }
        let at_least = |name: &str, least: i64, default: i64| match arguments.integer(name)? {
            Some(n) if n < least => {
                plan_err!("{}: {name} must be at least {least}, got {n}", DOC.name)
            }
            n => Ok(n.unwrap_or(default) as usize),
        };
        let min_similarity = match arguments.number("min_similarity")?.unwrap_or(0.05) {
            least if (-1.0..=1.0).contains(&least) => least,
            least => {
                return plan_err!(
                    "{}: min_similarity must be in [-1, 1], got {least}",
                    DOC.name
                );
            }
        };
        Ok(Arc::new(SimilarTable {
            keys: KeyArguments::new(&arguments)?,
            // No neuron has as many clusters.
            cluster: i32::try_from(at_least("cluster", 0, 0)?).unwrap_or(i32::MAX),
            search: Search {
                function: DOC.name,
                column: VECTOR.to_string(),
                k: at_least("k", 1, 20)?,
                min_similarity,
                others_only: true,
                any_width: true,
            },
            arguments,
        }))
    }
}

#[derive(Debug, Clone)]
struct SimilarTable {
    arguments: Arguments,
    keys: KeyArguments,
    cluster: i32,
    search: Search,
}

impl SimilarTable {
    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let name = DOC.name;
        let features = CENTRAL_EXAMPLES.call(&self.arguments, state)?;
        let examples = tables::table(state, name, "examples").await?;
        let neurons = tables::table(state, name, "neurons").await?;
        let tables = [&examples, &neurons];
        let own = self.keys.select(state, &neurons, &[]).await?;
        let keys_and_vector = vec![0, 1, 2, VECTOR_AT];
        let own = features
            .clone()
            .plan(state, tables, Some(&keys_and_vector), own)
            .await?;
        let others = self.keys.without_layer();

        let all = (0..schema().fields().len()).collect();
        let wanted = projection.unwrap_or(&all);
        let needed = needed_columns(wanted);
        let key = format!(
            "central_examples({}, kind={})",
            features.describe(),
            others.kind()
        );
        let entry = cache::entry(state, &tables, &key)?;
        let partitions = state.config().target_partitions();
        let read = match &entry {
            Some(entry) => entry.read(&needed, partitions)?,
            None => None,
        };
        let others = others.select(state, &neurons, &[]).await?;
        // What is cached is cached whole; what is not has only what this query reads.
        let (index, places) = match (read, entry) {
            (Some(index), _) => (index, needed),
            (None, Some(entry)) => {
                let plan = features.plan(state, tables, None, others).await?;
                (entry.write(plan)?, (0..=VECTOR_AT).collect())
            }
            (None, None) => {
                let plan = features.plan(state, tables, Some(&needed), others).await?;
                (plan, needed)
            }
        };
        let target = Target::OfCluster(SmallTable::of(own), self.cluster);
        let output = output_places(wanted, &places);
        nearest_rows(self.search.clone(), target, index, &output)
    }
}

impl TableProvider for SimilarTable {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_plan!(SimilarTable);
}

/// The central examples' column behind a column of the result; none behind the similarity.
fn source(column: usize) -> Option<usize> {
    match column {
        SIMILARITY_AT => None,
        column if column < SIMILARITY_AT => Some(column),
        column => Some(column - 1),
    }
}

/// Columns of the central examples that are read: the keys, the vector and what is wanted.
fn needed_columns(wanted: &[usize]) -> Vec<usize> {
    let mut needed = vec![0, 1, 2, VECTOR_AT];
    needed.extend(wanted.iter().filter_map(|&column| source(column)));
    needed.sort_unstable();
    needed.dedup();
    needed
}

/// Where each wanted column stands among the columns read, the similarity after them.
fn output_places(wanted: &[usize], read: &[usize]) -> Vec<usize> {
    let place = |column: usize| read.iter().position(|&r| r == column).unwrap_or(read.len());
    let wanted = wanted.iter();
    wanted
        .map(|&column| source(column).map_or(read.len(), place))
        .collect()
}
