//! Pairs of feature clusters of different neurons whose examples share tokens more often than chance would have it.
//!
//! ```text
//! count = |A ∩ B|    expected = |A| |B| / N    lift = count / expected
//! A, B: the (doc_id, pos) of the two clusters' examples; N: the distinct (doc_id, pos) of all examples of the
//! layer (of both layers)
//! ```
//!
//! Chance is independence: each cluster a random subset, of its size, of the N key tokens. Examples are what the run
//! keeps, at most max_examples a neuron, so a lift tells about these, not about every token of the corpus.
//!
//! Errors: an example without doc_id or pos. Cost: the clustering of the layer, then the sum over key tokens of the
//! squared number of clusters that fire there; memory for the examples and the pairs given.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::arrow::tables;
use crate::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, RUN, TableFunction,
};
use crate::per_neuron::{CLUSTERING, KeyArguments, LayerRef, NeuronCheck, joined, only};
use crate::scan_by_plan;
use crate::similarity::coactivation::{CoactivationExec, Pairs, schema};
use crate::similarity::members::MEMBERS;

static DOC: FunctionDoc = FunctionDoc {
    name: "coactivation",
    chapter: "similarity",
    summary: "Pairs of feature clusters of different neurons that fire on the same tokens more often than chance.",
    arguments: &[Parameter {
        name: "layer",
        kind: "whole number or text",
        summary: "the layer's number or name",
    }],
    required: 1,
    options: &joined::<10>(&[
        &[
            Parameter {
                name: "with_layer",
                kind: "whole number",
                summary: "layer of the second cluster; default the same layer",
            },
            Parameter {
                name: "min_count",
                kind: "whole number, at least 1",
                summary: "fewest shared tokens; default 2",
            },
            Parameter {
                name: "min_lift",
                kind: "number from 0",
                summary: "lift above which a pair is given; default 1, which is chance",
            },
        ],
        CLUSTERING,
        &[RUN],
    ]),
    returns: "layer1 (of the first cluster), neuron1 (of the first cluster), cluster1 (its number), layer2 (of the \
              second), neuron2 (of the second), cluster2 (its number), count (examples at the same doc_id and pos), \
              size1 (distinct places of the first), size2 (distinct places of the second), expected (size1 * size2 / \
              N, with N the distinct places of all examples of the layers), lift (count / expected); by lift, then \
              count, highest first",
    example: "SELECT neuron1, cluster1, neuron2, cluster2, \"count\", lift FROM coactivation(0, {min_count: 1}) LIMIT 5",
    replaces: None,
};

/// The catalogue entry.
pub fn function() -> Function {
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(Coactivation)),
    }
}

#[derive(Debug)]
struct Coactivation;

impl TableFunction for Coactivation {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        MEMBERS.check(&arguments)?;
        if arguments.get("layer").is_none() {
            return plan_err!("{}: layer must be given, got NULL", DOC.name);
        }
        let min_count = match arguments.integer("min_count")?.unwrap_or(2) {
            n if n >= 1 => u32::try_from(n).unwrap_or(u32::MAX),
            n => return plan_err!("{}: min_count must be at least 1, got {n}", DOC.name),
        };
        let min_lift = match arguments.number("min_lift")?.unwrap_or(1.0) {
            lift if lift >= 0.0 => lift,
            lift => return plan_err!("{}: min_lift must be from 0, got {lift}", DOC.name),
        };
        Ok(Arc::new(CoactivationTable {
            keys: KeyArguments::new(&arguments)?,
            with_layer: arguments.integer("with_layer")?,
            min_count,
            min_lift,
            arguments,
        }))
    }
}

#[derive(Debug, Clone)]
struct CoactivationTable {
    arguments: Arguments,
    keys: KeyArguments,
    with_layer: Option<i64>,
    min_count: u32,
    min_lift: f64,
}

impl CoactivationTable {
    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let name = DOC.name;
        let examples = tables::table(state, name, "examples").await?;
        let neurons = tables::table(state, name, "neurons").await?;
        let Some(layer) = self.keys.layer(state, &neurons)? else {
            return plan_err!("{name}: layer must be given, got NULL");
        };
        let mut required = vec![(layer.clone(), None)];
        let with_layer = self.with_layer.map(LayerRef::Number);
        required.extend(with_layer.map(|other| (other, None)));
        let check = NeuronCheck::plan(state, name, &neurons, required).await?;
        let other = self.with_layer.map(|other| only("layer", other));
        let mut selection = self.keys.select(state, &neurons, &[]).await?;
        selection.check = None;
        // The keys filter by number, or look the name up.
        let by_number = selection.filters.pop().map(|own| match other {
            Some(other) => own.or(other),
            None => own,
        });
        selection.filters.extend(by_number);
        let number = self.with_layer.and_then(|other| i32::try_from(other).ok());
        selection.lookup = selection.lookup.map(|lookup| lookup.and(number));
        let members = MEMBERS.call(&self.arguments, state)?;
        let tables = [&examples, &neurons];
        let members = members.plan(state, tables, None, selection).await?;
        let pairs = Pairs {
            layer,
            with_layer: number,
            min_count: self.min_count,
            min_lift: self.min_lift,
        };
        let projection = projection.cloned();
        Ok(Arc::new(CoactivationExec::try_new(
            name, pairs, members, check, projection,
        )?))
    }
}

impl TableProvider for CoactivationTable {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_plan!(CoactivationTable);
}
