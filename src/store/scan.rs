//! The physical scan of a run's table: partitions are ranges of neurons, each in order, decoded batch by batch.
//! Over 400 lines because the plan, its partitions and its stream share one state.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{Int32Type, Schema, SchemaRef, UInt32Type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ScalarValue, SplitPoint, Statistics, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    AcrossPartitions, ConstExpr, EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr,
    PhysicalSortExpr, RangePartitioning,
};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::stream;
use polysema_udfs::arrow::key_filter::KeyFilter;
use polysema_udfs::arrow::vectors::shared_vector_type;

mod recipe;

use super::file::TableFile;
use super::gather::{TokenColumn, VectorColumn};
use super::manifest::FileEntry;
use super::partitions::{self, NeuronKey, Piece};
use super::pushdown;
use super::run::Run;
use super::scan_columns::{OutputColumn, outputs, signs};
use super::selection::Selection;
use super::table::Table;
use super::turns::InTurns;
pub use recipe::LayerNeurons;

/// Bytes of vectors gathered for one output batch: chosen, not tuned.
const GATHERED_BYTES: usize = 4 << 20;

/// Reads a selection of one table of a run.
#[derive(Debug, Clone)]
pub struct RunScan {
    read: Arc<Read>,
    /// Neurons that are wanted, as far as the selection does not say it.
    keys: Option<KeyFilter>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// Files of a table, what each partition reads of them, and where partitions begin.
type Divided<'a> = (Vec<&'a FileEntry>, Vec<Vec<Piece>>, Option<Vec<NeuronKey>>);

/// What a scan reads, shared by its partitions.
#[derive(Debug, Clone)]
struct Read {
    run: Arc<Run>,
    table: Table,
    selection: Selection,
    /// Layers of the files.
    layers: Vec<i32>,
    schema: SchemaRef,
    files: Vec<Arc<TableFile>>,
    /// One per file where vectors are asked for.
    vectors: Vec<Arc<VectorColumn>>,
    tokens: Option<Arc<TokenColumn>>,
    /// Stored columns to decode.
    stored: Vec<usize>,
    columns: Vec<OutputColumn>,
    partitions: Vec<Vec<Piece>>,
    /// Where partitions begin, but for the first; none for tables without neurons.
    points: Option<Vec<NeuronKey>>,
    /// Where it begins and ends, if it is one partition of a scan.
    part: Option<[Option<NeuronKey>; 2]>,
    /// The neurons that it was narrowed to.
    only: Option<Vec<LayerNeurons>>,
    /// Record batches of the table that no partition reads.
    pruned: usize,
}

impl RunScan {
    /// Maps the files a selection needs, so that the scan outlives a replacement of its run.
    pub(super) fn try_new(
        run: &Arc<Run>,
        table: Table,
        schema: &SchemaRef,
        projection: Vec<usize>,
        selection: Selection,
        target: usize,
    ) -> Result<Self> {
        let (entries, partitions, points) = if table.by_neuron() {
            let points = partitions::split_points(run, &selection, target);
            let (entries, partitions) = partitions::by_neuron(run, table, &selection, &points);
            (entries, partitions, Some(points))
        } else {
            let entries = run.files(table);
            let partitions = partitions::by_rows(&entries, target);
            (entries, partitions, None)
        };
        Self::of(
            run,
            table,
            schema,
            projection,
            selection,
            (entries, partitions, points),
        )
    }

    /// Of files with what each partition reads of them.
    fn of(
        run: &Arc<Run>,
        table: Table,
        schema: &SchemaRef,
        projection: Vec<usize>,
        selection: Selection,
        (entries, partitions, points): Divided,
    ) -> Result<Self> {
        let files = entries
            .iter()
            .map(|entry| run.map(table, entry))
            .collect::<Result<Vec<_>>>()?;
        let total: usize = run.files(table).iter().map(|f| f.batches.len()).sum();
        let mut batches: Vec<_> = partitions
            .iter()
            .flatten()
            .map(|p| (p.file, p.batch))
            .collect();
        batches.dedup();

        let schema = Arc::new(schema.project(&projection)?);
        let (stored, columns) = outputs(table, &schema, files.first())?;
        let has = |output| columns.contains(&output);
        let tokens = match has(OutputColumn::Token) || has(OutputColumn::WindowTokens) {
            true if !files.is_empty() => Some(run.tokens()?),
            _ => None,
        };
        let vectors = match has(OutputColumn::PreMlp) || has(OutputColumn::WeightedPreMlp) {
            true => entries
                .iter()
                .filter_map(|entry| entry.layer)
                .map(|layer| Ok(Arc::new(run.vectors(layer)?)))
                .collect::<Result<Vec<_>>>()?,
            false => vec![],
        };
        let read = Read {
            run: Arc::clone(run),
            table,
            selection,
            layers: entries.iter().filter_map(|entry| entry.layer).collect(),
            schema,
            files,
            vectors,
            tokens,
            stored,
            columns,
            partitions,
            points,
            part: None,
            only: None,
            pruned: total - batches.len(),
        };
        Self::reading(read)
    }

    fn reading(read: Read) -> Result<Self> {
        Ok(Self {
            properties: Arc::new(read.properties()?),
            read: Arc::new(read),
            keys: None,
            limit: None,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The same scan with `pre_mlp` as places in the mapped file; none where the column is not read.
    ///
    /// For operators that read list views: most of the engine's functions do not.
    pub fn with_shared_vectors(&self) -> Result<Option<Self>> {
        let position = |output| self.read.columns.iter().position(|c| *c == output);
        let Some(column) = position(OutputColumn::PreMlp) else {
            return Ok(None);
        };
        let mut read = self.read.as_ref().clone();
        read.columns[column] = OutputColumn::SharedPreMlp;
        let mut fields = read.schema.fields().to_vec();
        let field = fields[column].as_ref().clone();
        fields[column] = Arc::new(field.with_data_type(shared_vector_type()));
        read.schema = Arc::new(Schema::new(fields));
        let scan = Self::reading(read)?.with_keys(self.keys.clone());
        Ok(Some(scan.with_limit(self.limit)))
    }

    /// At most this many rows of each partition.
    pub(super) fn with_limit(mut self, limit: Option<usize>) -> Self {
        self.limit = limit;
        self.metrics = ExecutionPlanMetricsSet::new();
        self
    }
}

impl Read {
    fn properties(&self) -> Result<PlanProperties> {
        let schema = &self.schema;
        let column = |name: &str| -> Option<Arc<dyn PhysicalExpr>> {
            let index = schema.index_of(name).ok()?;
            Some(Arc::new(Column::new(name, index)))
        };
        let options = SortOptions {
            descending: false,
            nulls_first: false,
        };
        let layer = match self.layers.as_slice() {
            [layer] if self.table.by_neuron() => Some(*layer),
            _ => None,
        };
        let neuron = match self.selection.neurons.ranges() {
            [(first, last)] if first == last && self.table.by_neuron() => {
                i32::try_from(*first).ok()
            }
            _ => None,
        };
        // A key column with one value only does not interrupt the order.
        let constants = [("layer", layer), ("neuron", neuron)];
        let constant = |name: &str| constants.iter().any(|(n, v)| *n == name && v.is_some());
        let ordering = self
            .table
            .keys()
            .iter()
            .filter(|key| column(key).is_some() || !constant(key))
            .map_while(|key| Some(PhysicalSortExpr::new(column(key)?, options)))
            .collect::<Vec<_>>();
        let mut equivalence =
            EquivalenceProperties::new_with_orderings(Arc::clone(schema), [ordering]);
        equivalence.add_constants(constants.iter().filter_map(|(name, value)| {
            let value = AcrossPartitions::Uniform(Some(ScalarValue::Int32(Some((*value)?))));
            Some(ConstExpr::new(column(name)?, value))
        }))?;

        let keys = [column("layer"), column("neuron")]
            .into_iter()
            .flatten()
            .map(|key| PhysicalSortExpr::new(key, options))
            .collect::<Vec<_>>();
        let partitioning = match (&self.points, LexOrdering::new(keys)) {
            (Some(points), Some(keys)) if keys.len() == 2 && self.partitions.len() > 1 => {
                let int = |value: i32| ScalarValue::Int32(Some(value));
                let points = points
                    .iter()
                    .map(|(layer, neuron)| SplitPoint::new(vec![int(*layer), int(*neuron)]))
                    .collect();
                Partitioning::Range(RangePartitioning::try_new(keys, points)?)
            }
            _ => Partitioning::UnknownPartitioning(self.partitions.len()),
        };
        Ok(PlanProperties::new(
            equivalence,
            partitioning,
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        // Said here, so that no plan puts a node between this one and the operator that shares its vectors.
        .with_scheduling_type(SchedulingType::Cooperative))
    }
}

impl ExecutionPlan for RunScan {
    fn name(&self) -> &str {
        "RunScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match &self.keys {
            Some(keys) => visit(keys.predicate()),
            None => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let schema = &self.read.schema;
        let keys = match self.read.table.by_neuron() {
            true => pushdown::taken(self.keys.as_ref(), &result, schema)?,
            false => None,
        };
        if keys.is_none() {
            return Ok(FilterPushdownPropagation::all_unsupported(result));
        }
        // A filter above would copy vectors; where there are none it joins small batches.
        let vectors = !self.read.vectors.is_empty();
        let answer = FilterPushdownPropagation::with_parent_pushdown_result(
            result
                .parent_filters
                .iter()
                .map(
                    |offered| match vectors && pushdown::is_kept(&offered.filter, schema) {
                        true => PushedDown::Yes,
                        false => PushedDown::No,
                    },
                )
                .collect(),
        );
        let scan = self.clone().with_limit(self.limit);
        Ok(answer.with_updated_node(Arc::new(Self { keys, ..scan })))
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.len() {
            0 => Ok(self),
            n => internal_err!("a scan without inputs is required, got {n}"),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if partition >= self.read.partitions.len() {
            return internal_err!("a partition of the scan is required, got {partition}");
        }
        let metrics = Metrics {
            baseline: BaselineMetrics::new(&self.metrics, partition),
            batches_read: MetricBuilder::new(&self.metrics).counter("batches_read", partition),
            pruned: MetricBuilder::new(&self.metrics).counter("batches_pruned", partition),
        };
        if partition == 0 {
            metrics.pruned.add(self.read.pruned);
        }
        let reader = PartitionReader {
            read: Arc::clone(&self.read),
            keys: self.keys.clone(),
            partition,
            piece: 0,
            open: None,
            remaining: self.limit.unwrap_or(usize::MAX),
            batch_size: context.session_config().batch_size(),
            metrics,
        };
        let batches = InTurns::new(stream::iter(reader));
        let schema = Arc::clone(&self.read.schema);
        let batches = RecordBatchStreamAdapter::new(schema, batches);
        Ok(Box::pin(cooperative(batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let partitions = &self.read.partitions;
        let chosen = match args.partition() {
            Some(p) if p >= partitions.len() => {
                return internal_err!("a partition of the scan is required, got {p}");
            }
            Some(p) => &partitions[p..=p],
            None => &partitions[..],
        };
        let limited = |pieces: &Vec<Piece>| {
            let rows: u64 = pieces.iter().map(|p| p.rows).sum();
            self.limit
                .map_or(rows as usize, |limit| limit.min(rows as usize))
        };
        let rows = chosen.iter().map(limited).sum();
        let whole = chosen.iter().flatten().all(|p| p.keep.is_none());
        let exact = whole && self.keys.is_none();
        let rows = match exact {
            true => Precision::Exact(rows),
            false => Precision::Inexact(rows),
        };
        Ok(Arc::new(
            Statistics::new_unknown(&self.read.schema).with_num_rows(rows),
        ))
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(self.clone().with_limit(limit)))
    }
}

#[derive(Debug)]
struct Metrics {
    baseline: BaselineMetrics,
    batches_read: Count,
    pruned: Count,
}

/// The rows of one partition, one output batch per step.
struct PartitionReader {
    read: Arc<Read>,
    keys: Option<KeyFilter>,
    partition: usize,
    /// The next piece.
    piece: usize,
    open: Option<Open>,
    remaining: usize,
    batch_size: usize,
    metrics: Metrics,
}

/// A decoded batch with what is still to be read of it, last range first.
struct Open {
    file: usize,
    batch: RecordBatch,
    rows: Vec<Range<usize>>,
}

impl Iterator for PartitionReader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let time = self.metrics.baseline.elapsed_compute().clone();
        let _timer = time.timer();
        let batch = self.advance();
        if batch.is_err() {
            self.remaining = 0;
        }
        Some(
            batch
                .transpose()?
                .map(|b| b.record_output(&self.metrics.baseline)),
        )
    }
}

impl PartitionReader {
    fn advance(&mut self) -> Result<Option<RecordBatch>> {
        while self.remaining > 0 {
            if let Some(open) = &mut self.open
                && let Some(rows) = open.rows.pop()
            {
                let most = self.batch_size.min(self.read.most_rows(open.file));
                let end = rows.end.min(rows.start + most.min(self.remaining));
                if end < rows.end {
                    open.rows.push(end..rows.end);
                }
                let out = self
                    .read
                    .output(open.file, &open.batch.slice(rows.start, end - rows.start))?;
                self.remaining -= out.num_rows();
                return Ok(Some(out));
            }
            let Some(piece) = self.read.partitions[self.partition].get(self.piece) else {
                return Ok(None);
            };
            self.piece += 1;
            let Some(piece) = pushdown::narrowed(piece, self.keys.as_ref())? else {
                self.metrics.pruned.add(1);
                continue;
            };
            self.metrics.batches_read.add(1);
            self.open = Some(self.read.open(&piece)?);
        }
        Ok(None)
    }
}

impl Read {
    fn open(&self, piece: &Piece) -> Result<Open> {
        let batch = self.files[piece.file].read(piece.batch, &self.stored)?;
        let mut rows = vec![];
        match &piece.keep {
            None => rows.push(0..batch.num_rows()),
            Some(keep) => {
                let neurons = self
                    .column(&batch, "neuron")?
                    .as_primitive::<Int32Type>()
                    .values();
                for (first, last) in keep.ranges() {
                    let start = neurons.partition_point(|n| i64::from(*n) < *first);
                    let end = neurons.partition_point(|n| i64::from(*n) <= *last);
                    if start < end {
                        rows.push(start..end);
                    }
                }
            }
        }
        rows.reverse();
        Ok(Open {
            file: piece.file,
            batch,
            rows,
        })
    }

    /// Most rows of an output batch: gathered vectors are copies.
    fn most_rows(&self, file: usize) -> usize {
        let copied = [OutputColumn::PreMlp, OutputColumn::WeightedPreMlp];
        if !copied.iter().any(|output| self.columns.contains(output)) {
            return usize::MAX;
        }
        self.vectors.get(file).map_or(usize::MAX, |vectors| {
            (GATHERED_BYTES / (size_of::<f32>() * vectors.d_in().max(1))).max(1)
        })
    }

    fn column<'a>(&self, batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
        match batch.column_by_name(name) {
            Some(column) => Ok(column),
            None => internal_err!("column {name} of {} is required, got none", self.table),
        }
    }

    /// The output columns of some stored rows.
    fn output(&self, file: usize, rows: &RecordBatch) -> Result<RecordBatch> {
        let token_row = || Ok::<_, DataFusionError>(self.column(rows, "token_row")?.as_primitive());
        let int =
            |name| Ok::<_, DataFusionError>(self.column(rows, name)?.as_primitive::<Int32Type>());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            columns.push(match (column, &self.tokens) {
                (OutputColumn::Stored(i), _) => Arc::clone(rows.column(*i)),
                (OutputColumn::Token, Some(tokens)) => tokens.tokens(token_row()?)?,
                (OutputColumn::WindowTokens, Some(tokens)) => tokens.windows(
                    token_row()?,
                    int("pos")?,
                    int("window_start")?,
                    self.column(rows, "window_activations")?.as_list(),
                )?,
                (OutputColumn::PreMlp, _) => {
                    let vector = self.column(rows, "vector")?.as_primitive::<UInt32Type>();
                    self.vectors[file].gather(vector)?
                }
                (OutputColumn::SharedPreMlp, _) => {
                    let vector = self.column(rows, "vector")?.as_primitive::<UInt32Type>();
                    self.vectors[file].share(vector)?
                }
                (OutputColumn::WeightedPreMlp, _) => self.vectors[file].weighted(
                    self.column(rows, "window_vectors")?.as_list(),
                    self.column(rows, "window_activations")?.as_list(),
                )?,
                (OutputColumn::Sign, _) => signs(self.column(rows, "activation")?),
                _ => return internal_err!("tokens are required, got none"),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            columns,
            &options,
        )?)
    }
}
