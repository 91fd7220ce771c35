//! Our nodes as bytes and back. A scan is what it reads, and a worker reads it in its own store; what a node is told while it
//! runs goes with the node that tells it.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::{internal_datafusion_err, internal_err, plan_datafusion_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::DynamicFilterPhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use polysema_kernels::similarity::search::Query;
use polysema_udfs::arrow::key_filter::{self, KeyFilter};
use polysema_udfs::arrow::tables::SmallTable;
use polysema_udfs::calls::Function;
use polysema_udfs::catalog;
use polysema_udfs::per_neuron::{LayerChoice, LayerFilterExec, LayerLookup, PerNeuronExec};
use polysema_udfs::similarity::nearest::{Search, SimilarityExec, Target};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::payload::SentNode;
use crate::store::{RunScan, Store};

/// Reads plans in this store, with these functions.
#[derive(Clone)]
pub struct PlanCodec {
    store: Arc<Store>,
    functions: Arc<[Function]>,
}

impl std::fmt::Debug for PlanCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("PlanCodec")
    }
}

const SCAN: &str = "scan";
const PER_NEURON: &str = "per_neuron";
const LAYERS: &str = "layers";
const SIMILARITY: &str = "similarity";

/// A call and which of its columns are made.
#[derive(Serialize, Deserialize)]
struct PerNeuronRecipe {
    call: Vec<(String, String)>,
    projection: Option<Vec<usize>>,
}

/// Which layers a function means.
#[derive(Serialize, Deserialize)]
struct LayersRecipe {
    function: String,
    named: Option<String>,
    of_kind: Option<(String, bool)>,
    also: Option<i32>,
}

/// A search. Numbers are bits, since JSON rounds.
#[derive(Serialize, Deserialize)]
struct SimilarityRecipe {
    function: String,
    column: String,
    k: usize,
    min_similarity: u64,
    others_only: bool,
    any_width: bool,
    with_vector: bool,
    vector: Option<Vec<u32>>,
    cluster: Option<i32>,
}

impl PlanCodec {
    /// Reads plans in this store, with these functions.
    pub fn new(store: Arc<Store>, functions: &[Function]) -> Self {
        Self {
            store,
            functions: functions.into(),
        }
    }

    fn known_name(&self, name: &str) -> Result<&'static str> {
        let unknown = || plan_datafusion_err!("a known function is required, got '{name}'");
        catalog::known_name(name, &self.functions).ok_or_else(unknown)
    }

    /// What a node is made from, and its expressions.
    fn written(&self, node: &dyn ExecutionPlan) -> Result<(&'static str, String, Expressions)> {
        if let Some(scan) = node.downcast_ref::<RunScan>() {
            return Ok((SCAN, json(&scan.recipe())?, predicate(scan.keys())));
        }
        if let Some(operator) = node.downcast_ref::<PerNeuronExec>() {
            let recipe = PerNeuronRecipe {
                call: operator.call().texts(),
                projection: operator.projection().cloned(),
            };
            return Ok((PER_NEURON, json(&recipe)?, predicate(operator.keys())));
        }
        if let Some(filter) = node.downcast_ref::<LayerFilterExec>() {
            let (function, choice, also) = filter.lookup().parts();
            let (named, of_kind) = match choice {
                LayerChoice::Named(name) => (Some(name.clone()), None),
                LayerChoice::OfKind { kind, or_all } => (None, Some((kind.clone(), *or_all))),
            };
            let recipe = LayersRecipe {
                function: function.to_string(),
                named,
                of_kind,
                also,
            };
            return Ok((
                LAYERS,
                json(&recipe)?,
                vec![Arc::clone(filter.filter()) as _],
            ));
        }
        if let Some(operator) = node.downcast_ref::<SimilarityExec>() {
            let (search, target, with_vector) = operator.parts();
            let bits = |query: &Query| query.unit().iter().map(|x| x.to_bits()).collect();
            let recipe = SimilarityRecipe {
                function: search.function.to_string(),
                column: search.column.clone(),
                k: search.k,
                min_similarity: search.min_similarity.to_bits(),
                others_only: search.others_only,
                any_width: search.any_width,
                with_vector,
                vector: match target {
                    Target::Vector(query) => Some(bits(query)),
                    _ => None,
                },
                cluster: match target {
                    Target::OfCluster(_, cluster) => Some(*cluster),
                    _ => None,
                },
            };
            return Ok((SIMILARITY, json(&recipe)?, vec![]));
        }
        internal_err!("workers do no {}", node.name())
    }

    fn similarity(
        &self,
        recipe: SimilarityRecipe,
        inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<SimilarityExec> {
        let (rows, target) = match (inputs, recipe.vector, recipe.cluster) {
            ([rows], Some(bits), _) => {
                let unit = bits.into_iter().map(f32::from_bits).collect();
                (rows, Target::Vector(Query::of_unit(unit)))
            }
            ([rows, found], None, Some(cluster)) => {
                let table = SmallTable::of(Arc::clone(found));
                (rows, Target::OfCluster(table, cluster))
            }
            ([rows, found], None, None) => {
                (rows, Target::OnlyRow(SmallTable::of(Arc::clone(found))))
            }
            _ => return internal_err!("a search with its inputs is required"),
        };
        let search = Search {
            function: self.known_name(&recipe.function)?,
            column: recipe.column,
            k: recipe.k,
            min_similarity: f64::from_bits(recipe.min_similarity),
            others_only: recipe.others_only,
            any_width: recipe.any_width,
        };
        SimilarityExec::of((search, target, recipe.with_vector), Arc::clone(rows))
    }
}

type Expressions = Vec<Arc<dyn PhysicalExpr>>;

fn predicate(keys: Option<&KeyFilter>) -> Expressions {
    keys.map(|keys| Arc::clone(keys.predicate()))
        .into_iter()
        .collect()
}

fn json(recipe: &impl Serialize) -> Result<String> {
    serde_json::to_string(recipe).map_err(|e| internal_datafusion_err!("a plan as bytes: {e}"))
}

fn parsed<T: DeserializeOwned>(recipe: &str) -> Result<T> {
    serde_json::from_str(recipe).map_err(|e| plan_datafusion_err!("a plan is required, got {e}"))
}

impl PhysicalExtensionCodec for PlanCodec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let (kind, recipe, expressions) = self.written(node.as_ref())?;
        let expressions = expressions.iter();
        let expressions = expressions
            .map(|expression| converter.physical_expr_to_proto(expression, self))
            .collect::<Result<_>>()?;
        let kind = kind.to_string();
        SentNode {
            kind,
            recipe,
            expressions,
        }
        .write(bytes)
    }

    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let node = SentNode::read(bytes)?;
        let decoding = PhysicalPlanDecodeContext::new(context, self);
        let expressions = |schema: &Schema| -> Result<Expressions> {
            let expressions = node.expressions.iter();
            expressions
                .map(|proto| converter.proto_to_physical_expr(proto, schema, &decoding))
                .collect()
        };
        let keys = || -> Result<Option<KeyFilter>> {
            let predicates = expressions(&key_filter::keys())?;
            match predicates.is_empty() {
                true => Ok(None),
                false => KeyFilter::and(None, predicates).map(Some),
            }
        };
        match (node.kind.as_str(), inputs) {
            (SCAN, []) => {
                let scan = RunScan::of_recipe(&self.store, &parsed(&node.recipe)?)?;
                Ok(Arc::new(scan.with_keys(keys()?)))
            }
            (PER_NEURON, [examples, neurons]) => {
                let recipe: PerNeuronRecipe = parsed(&node.recipe)?;
                let call = catalog::call_of_texts(&recipe.call, &self.functions)?;
                let n_columns = call.function.columns.len();
                let mut places = recipe.projection.iter().flatten();
                if let Some(place) = places.find(|place| **place >= n_columns) {
                    return internal_err!("one of {n_columns} columns is required, got {place}");
                }
                let (examples, neurons) = (Arc::clone(examples), Arc::clone(neurons));
                let call = Arc::new(call);
                let operator = PerNeuronExec::try_new(call, recipe.projection, examples, neurons)?;
                Ok(Arc::new(operator.with_keys(keys()?)))
            }
            (LAYERS, [input, layers]) => {
                let recipe: LayersRecipe = parsed(&node.recipe)?;
                let choice = match (recipe.named, recipe.of_kind) {
                    (Some(name), None) => LayerChoice::Named(name),
                    (None, Some((kind, or_all))) => LayerChoice::OfKind { kind, or_all },
                    _ => return internal_err!("a name or a kind of layers is required"),
                };
                let of = (self.known_name(&recipe.function)?, choice, recipe.also);
                let lookup = LayerLookup::of(of, Arc::clone(layers));
                let filter = expressions(&input.schema())?.into_iter().next();
                let filter = filter.map(|filter| filter as Arc<dyn Any + Send + Sync>);
                let Some(Ok(filter)) = filter.map(|f| f.downcast::<DynamicFilterPhysicalExpr>())
                else {
                    return internal_err!("a filter of layers is required");
                };
                let input = Arc::clone(input);
                Ok(Arc::new(LayerFilterExec::with_filter(
                    input, lookup, filter,
                )))
            }
            (SIMILARITY, inputs) => {
                let operator = self.similarity(parsed(&node.recipe)?, inputs)?;
                Ok(Arc::new(operator))
            }
            (kind, inputs) => internal_err!(
                "a known node is required, got '{kind}' of {} inputs",
                inputs.len()
            ),
        }
    }
}
