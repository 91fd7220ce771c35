//! The operator behind `coactivation`: takes in all members of a layer's clusters, counts the places that clusters
//! share, gives the pairs that share more than chance would have it. Over 400 lines because the plan and the counting
//! are one operator.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_err, project_schema};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements,
    Partitioning, PlanProperties,
};
use futures::StreamExt;

use super::rows::on_blocking_pool;
use crate::arrow::inputs::only_input;
use crate::arrow::memory::refused;
use crate::arrow::tables::in_one_partition;
use crate::per_neuron::{LayerRef, NeuronCheck};
use polysema_kernels::similarity::coactivation::{Counts, Occurrences, expected};

/// Which pairs are given.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs {
    /// The first cluster's layer.
    pub layer: LayerRef,
    /// The second's, if it is another.
    pub with_layer: Option<i32>,
    /// Fewest shared places.
    pub min_count: u32,
    /// Lift above which a pair is given.
    pub min_lift: f64,
}

/// See the module.
#[derive(Debug)]
pub struct CoactivationExec {
    name: &'static str,
    pairs: Pairs,
    members: Arc<dyn ExecutionPlan>,
    check: NeuronCheck,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl CoactivationExec {
    /// `members` has the columns of [`super::members::MEMBERS`]; `check` is asked where a layer has none.
    pub fn try_new(
        name: &'static str,
        pairs: Pairs,
        members: Arc<dyn ExecutionPlan>,
        check: NeuronCheck,
        projection: Option<Vec<usize>>,
    ) -> Result<Self> {
        let kept = project_schema(&schema(), projection.as_ref())?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(kept),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self {
            name,
            pairs,
            members: in_one_partition(members),
            check,
            projection,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

/// The columns of a pair.
pub fn schema() -> SchemaRef {
    let integers = [
        "layer1", "neuron1", "cluster1", "layer2", "neuron2", "cluster2", "count", "size1", "size2",
    ];
    let mut fields: Vec<_> = integers
        .iter()
        .map(|name| Field::new(*name, DataType::Int32, false))
        .collect();
    fields.extend(["expected", "lift"].map(|name| Field::new(name, DataType::Float64, false)));
    Arc::new(Schema::new(fields))
}

impl DisplayAs for CoactivationExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let Pairs {
            layer,
            with_layer,
            min_count,
            min_lift,
        } = &self.pairs;
        let layer = match layer {
            LayerRef::Number(number) => number.to_string(),
            LayerRef::Name(name) => name.clone(),
        };
        let other = with_layer.map_or_else(|| layer.clone(), |other| other.to_string());
        write!(
            f,
            "CoactivationExec: layers={layer} and {other}, min_count={min_count}, min_lift={min_lift}"
        )
    }
}

impl ExecutionPlan for CoactivationExec {
    fn name(&self) -> &str {
        "CoactivationExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.members]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let members = only_input(ExecutionPlan::name(self.as_ref()), children)?;
        let (pairs, check) = (self.pairs.clone(), self.check.clone());
        let projection = self.projection.clone();
        let operator = Self::try_new(self.name, pairs, members, check, projection)?;
        Ok(Arc::new(operator))
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut builder = RecordBatchReceiverStream::builder(ExecutionPlan::schema(self), 2);
        let members = self.members.execute(0, Arc::clone(&context))?;
        let reservation = MemoryConsumer::new("CoactivationExec").register(context.memory_pool());
        let mut work = PairCounting {
            name: self.name,
            pairs: self.pairs.clone(),
            reservation,
            members: vec![],
            layers: BTreeSet::new(),
            cancelled: Arc::default(),
        };
        let metrics = BaselineMetrics::new(&self.metrics, 0);
        let batch_size = context.session_config().batch_size().max(1);
        let (check, projection) = (self.check.clone(), self.projection.clone());
        let tx = builder.tx();
        builder.spawn(async move {
            work.collect(members).await?;
            if !check.has_layers(&work.layers) {
                check.require(context).await?;
            }
            let time = metrics.elapsed_compute().clone();
            let found = on_blocking_pool("CoactivationExec", time, |cancelled| {
                work.cancelled = cancelled;
                work.run()
            });
            let found = found.await?;
            for pairs in found.pairs.chunks(batch_size) {
                let mut batch = found.batch(pairs)?;
                if let Some(projection) = &projection {
                    batch = batch.project(projection)?;
                }
                metrics.record_output(batch.num_rows());
                if tx.send(Ok(batch)).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        Ok(builder.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// A cluster: layer, neuron, number.
type Key = (i32, i32, i32);
/// A document and a position in it.
type TokenPlace = (i32, i32);

struct PairCounting {
    name: &'static str,
    pairs: Pairs,
    reservation: MemoryReservation,
    /// One entry an example; no cluster for a zero vector.
    members: Vec<(TokenPlace, Option<Key>)>,
    /// The layers they are of.
    layers: BTreeSet<i32>,
    cancelled: Arc<AtomicBool>,
}

/// Two clusters, by their place among the keys, and how many places they share.
#[derive(Debug, Clone, Copy)]
struct Pair {
    first: u32,
    second: u32,
    count: u32,
}

struct Found {
    keys: Vec<Key>,
    occurrences: Occurrences,
    pairs: Vec<Pair>,
    _reservation: MemoryReservation,
}

impl PairCounting {
    async fn collect(&mut self, mut stream: SendableRecordBatchStream) -> Result<()> {
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            // The rows, then the same rows again while they are put in order.
            let row =
                size_of::<(TokenPlace, Option<Key>)>() + size_of::<TokenPlace>() + size_of::<Key>();
            self.grow(batch.num_rows() * row)?;
            self.members.reserve_exact(batch.num_rows());
            let column = |i: usize| batch.column(i).as_primitive::<Int32Type>();
            for row in 0..batch.num_rows() {
                let [layer, neuron, cluster, doc_id, pos] = [0, 1, 2, 3, 4].map(column);
                self.layers.insert(layer.value(row));
                let key = cluster
                    .is_valid(row)
                    .then(|| (layer.value(row), neuron.value(row), cluster.value(row)));
                self.members
                    .push(((doc_id.value(row), pos.value(row)), key));
            }
        }
        Ok(())
    }

    fn run(mut self) -> Result<Found> {
        let mut keys: Vec<Key> = self.members.iter().filter_map(|member| member.1).collect();
        keys.sort_unstable();
        keys.dedup();
        self.members.sort_unstable();
        let mut n_places = 0;
        let mut entries = Vec::with_capacity(self.members.len());
        let mut last = None;
        for &(place, key) in &self.members {
            if last.replace(place) != Some(place) {
                n_places += 1;
            }
            if let Some(key) = key
                && let Ok(cluster) = keys.binary_search(&key)
            {
                entries.push((cluster as u32, n_places as u32 - 1));
            }
        }
        self.grow(Occurrences::bytes(entries.len(), keys.len(), n_places))?;
        self.members = vec![];
        let mut neurons: Vec<u32> = Vec::with_capacity(keys.len());
        for (i, key) in keys.iter().enumerate() {
            let same = i > 0 && (keys[i - 1].0, keys[i - 1].1) == (key.0, key.1);
            neurons.push(neurons.last().map_or(0, |n| n + u32::from(!same)));
        }
        let occurrences = Occurrences::new(entries, neurons, n_places);
        let pairs = self.count(&keys, &occurrences)?;
        Ok(Found {
            keys,
            occurrences,
            pairs,
            _reservation: self.reservation,
        })
    }

    /// The pairs that are given, those of highest lift first.
    fn count(&mut self, keys: &[Key], occurrences: &Occurrences) -> Result<Vec<Pair>> {
        let layers = self.layers();
        let (min_count, min_lift) = (self.pairs.min_count, self.pairs.min_lift);
        // The smaller layer's clusters come first among the keys; a pair's first cluster is of the layer asked for.
        let turned = layers.0 > layers.1;
        let low = layers.0.min(layers.1);
        let of_low = keys.partition_point(|key| key.0 <= low) as u32;
        let first = if layers.0 == layers.1 { 0 } else { of_low };
        let sizes = |pair: &Pair| [pair.first, pair.second].map(|c| occurrences.size(c));
        let lift = |pair: &Pair| {
            let [size1, size2] = sizes(pair);
            f64::from(pair.count) / expected(size1, size2, occurrences.n_places())
        };
        let (mut pairs, mut counts) = (Vec::<Pair>::new(), Counts::default());
        for cluster in 0..of_low {
            if self.cancelled.load(Ordering::Relaxed) {
                return exec_err!("{}: an uncancelled query is required, got none", self.name);
            }
            let room = pairs.capacity() - pairs.len();
            if room < occurrences.n_clusters() {
                // For more than one cluster can need, so that it is seldom made.
                let wanted = pairs.len().max(2 * occurrences.n_clusters());
                self.grow((wanted - room) * size_of::<Pair>())?;
                pairs.reserve_exact(wanted);
            }
            occurrences.partners(cluster, first, &mut counts, |partner, count| {
                let (first, second) = match turned {
                    false => (cluster, partner),
                    true => (partner, cluster),
                };
                let pair = Pair {
                    first,
                    second,
                    count,
                };
                if count >= min_count && lift(&pair) > min_lift {
                    pairs.push(pair);
                }
            });
        }
        // As fractions: equal lifts are equal, whatever their counts, and the counts decide.
        let product = |count: u32, pair: &Pair| {
            let [size1, size2] = sizes(pair);
            u128::from(count) * u128::from(size1) * u128::from(size2)
        };
        pairs.sort_unstable_by(|a, b| {
            let by_lift = product(b.count, a).cmp(&product(a.count, b));
            let keys = |p: &Pair| (Reverse(p.count), p.first, p.second);
            by_lift.then_with(|| keys(a).cmp(&keys(b)))
        });
        Ok(pairs)
    }

    /// The first cluster's layer and the second's. A layer known by name is the one that came beside the other, or alone.
    fn layers(&self) -> (i32, i32) {
        let other = self.pairs.with_layer;
        let first = match self.pairs.layer {
            LayerRef::Number(number) => i32::try_from(number).ok(),
            LayerRef::Name(_) => {
                let mut came = self.layers.iter().copied();
                came.rfind(|layer| Some(*layer) != other).or(other)
            }
        };
        let first = first.unwrap_or_default();
        (first, other.unwrap_or(first))
    }

    fn grow(&mut self, bytes: usize) -> Result<()> {
        let held = self.reservation.size();
        self.reservation.try_grow(bytes).map_err(|error| {
            let (name, needed) = (self.name, held + bytes);
            let needs = format!(
                "{name}: {needed} bytes are needed (a higher min_count or min_lift gives fewer pairs)"
            );
            refused(needs, error)
        })
    }
}

impl Found {
    fn batch(&self, pairs: &[Pair]) -> Result<RecordBatch> {
        let integers = |of: &dyn Fn(&Pair) -> i32| -> ArrayRef {
            Arc::new(Int32Array::from_iter_values(pairs.iter().map(of)))
        };
        let key = |cluster: u32| self.keys[cluster as usize];
        let size = |cluster: u32| self.occurrences.size(cluster);
        let chance =
            |p: &Pair| expected(size(p.first), size(p.second), self.occurrences.n_places());
        let lifts = pairs.iter().map(|p| f64::from(p.count) / chance(p));
        let columns: Vec<ArrayRef> = vec![
            integers(&|p| key(p.first).0),
            integers(&|p| key(p.first).1),
            integers(&|p| key(p.first).2),
            integers(&|p| key(p.second).0),
            integers(&|p| key(p.second).1),
            integers(&|p| key(p.second).2),
            integers(&|p| p.count as i32),
            integers(&|p| size(p.first) as i32),
            integers(&|p| size(p.second) as i32),
            Arc::new(Float64Array::from_iter_values(pairs.iter().map(chance))),
            Arc::new(Float64Array::from_iter_values(lifts)),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};

    use super::*;

    /// Neurons of one cluster each, of which every two share two tokens.
    #[test]
    fn what_is_reserved_is_what_few_pairs_of_many_clusters_take() -> Result<()> {
        const NEURONS: i32 = 20_000;
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(4 << 20));
        let members = (0..NEURONS)
            .flat_map(|neuron| [0, 1].map(|pos| ((neuron / 2, pos), Some((0, neuron, 0)))));
        let counting = PairCounting {
            name: "coactivation",
            pairs: Pairs {
                layer: LayerRef::Number(0),
                with_layer: None,
                min_count: 2,
                min_lift: 1.0,
            },
            reservation: MemoryConsumer::new("coactivation").register(&pool),
            members: members.collect(),
            layers: BTreeSet::from([0]),
            cancelled: Arc::default(),
        };
        let found = counting.run()?;
        let pairs = found
            .pairs
            .iter()
            .map(|pair| (pair.first, pair.second, pair.count));
        let expected = (0..NEURONS as u32 / 2).map(|pair| (2 * pair, 2 * pair + 1, 2));
        assert!(pairs.eq(expected));
        Ok(())
    }
}
