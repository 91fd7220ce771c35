//! The operator behind `project`: takes in all rows, makes coordinates of their vectors, gives the rows with them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::{ArrayRef, Float64Array};
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_err};
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

use super::rows::{on_blocking_pool, row_name};
use crate::arrow::inputs::only_input;
use crate::arrow::memory::hold;
use crate::arrow::tables::in_one_partition;
use crate::arrow::vectors::VectorColumn;
use polysema_kernels::similarity::projection::{bytes, principal_components};

/// What is projected, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Projecting {
    /// The function's name, for messages.
    pub function: &'static str,
    /// Name of the vector column among the rows' columns.
    pub column: String,
    /// Coordinates that are made.
    pub n_components: usize,
    /// Whether vectors are taken at length 1.
    pub normalize: bool,
}

impl Projecting {
    /// The names of the columns that are added: `pc1`, `pc2` and so on.
    pub fn names(n_components: usize) -> impl Iterator<Item = String> {
        (1..=n_components).map(|i| format!("pc{i}"))
    }
}

/// The schema with the coordinates after the last column.
pub fn with_coordinates(schema: &Schema, n_components: usize) -> Schema {
    let mut fields = schema.fields().to_vec();
    let names = Projecting::names(n_components);
    fields.extend(names.map(|name| Arc::new(Field::new(name, DataType::Float64, true))));
    Schema::new(fields)
}

/// See the module.
#[derive(Debug)]
pub struct ProjectExec {
    what: Projecting,
    rows: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ProjectExec {
    /// Over rows that have the column.
    pub fn new(what: Projecting, rows: Arc<dyn ExecutionPlan>) -> Self {
        let schema = with_coordinates(&rows.schema(), what.n_components);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            what,
            rows: in_one_partition(rows),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for ProjectExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let what = &self.what;
        let normalize = if what.normalize { ", normalize" } else { "" };
        write!(
            f,
            "ProjectExec: column={}, n_components={}{normalize}",
            what.column, what.n_components
        )
    }
}

impl ExecutionPlan for ProjectExec {
    fn name(&self) -> &str {
        "ProjectExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.rows]
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
        let rows = only_input(ExecutionPlan::name(self.as_ref()), children)?;
        Ok(Arc::new(Self::new(self.what.clone(), rows)))
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = ExecutionPlan::schema(self);
        let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&schema), 2);
        let mut rows = self.rows.execute(0, Arc::clone(&context))?;
        let memory = MemoryConsumer::new("ProjectExec").register(context.memory_pool());
        let metrics = BaselineMetrics::new(&self.metrics, 0);
        let mut vectors = Vectors::new(self.what.clone(), memory);
        let tx = builder.tx();
        builder.spawn(async move {
            let mut batches = vec![];
            while let Some(batch) = rows.next().await {
                let batch = batch?;
                vectors.take(&batch)?;
                batches.push(batch);
            }
            let time = metrics.elapsed_compute().clone();
            let project = |cancelled: Arc<AtomicBool>| vectors.project(&cancelled);
            let coordinates = on_blocking_pool("ProjectExec", time, project).await?;
            let mut first = 0;
            for batch in batches {
                let n = batch.num_rows();
                let mut columns = batch.columns().to_vec();
                columns.extend(coordinates.columns(first, n));
                first += n;
                let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
                metrics.record_output(n);
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

/// The vectors of all rows.
struct Vectors {
    what: Projecting,
    memory: MemoryReservation,
    /// Bytes of the rows that are kept beside them.
    of_rows: usize,
    /// Whether each row has a vector.
    there: Vec<bool>,
    width: Option<usize>,
    /// `[n, width]` of those that are there.
    values: Vec<f64>,
}

impl Vectors {
    fn new(what: Projecting, memory: MemoryReservation) -> Self {
        Self {
            what,
            memory,
            of_rows: 0,
            there: vec![],
            width: None,
            values: vec![],
        }
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let Projecting {
            function, column, ..
        } = &self.what;
        let vectors = batch.column(batch.schema().index_of(column)?);
        let vectors = VectorColumn::<Float64Type>::try_new(function, column, vectors)?;
        for kept in batch.columns() {
            self.of_rows += kept.to_data().get_slice_memory_size()?;
        }
        let n_rows = self.there.len() + batch.num_rows();
        let most = (0..vectors.len()).filter_map(|row| vectors.row(row).map(<[f64]>::len));
        let values = self.values.len() + most.sum::<usize>();
        let needed = self.of_rows + n_rows + values * size_of::<f64>();
        hold(
            &self.memory,
            needed,
            format_args!("{function} of {n_rows} rows"),
        )?;
        self.values.reserve_exact(values - self.values.len());
        for row in 0..vectors.len() {
            let Some(vector) = vectors.row(row) else {
                self.there.push(false);
                continue;
            };
            let width = *self.width.get_or_insert(vector.len());
            if vector.len() != width {
                return exec_err!(
                    "{function}: column '{column}' must have one width, {width} of the first row, got {} in {}",
                    vector.len(),
                    row_name(batch, row)
                );
            }
            if vector.iter().any(|x| !x.is_finite()) {
                return exec_err!(
                    "{function}: column '{column}' must be finite, got NaN or infinity in {}",
                    row_name(batch, row)
                );
            }
            let largest = vector.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            // A zero vector has no direction to take at length 1.
            let there = !self.what.normalize || largest > 0.0;
            self.there.push(there);
            if there && self.what.normalize {
                let scaled = vector.iter().map(|x| x / largest);
                let length = scaled.clone().map(|x| x * x).sum::<f64>().sqrt();
                self.values.extend(scaled.map(|x| x / length));
            } else if there {
                self.values.extend_from_slice(vector);
            }
        }
        Ok(())
    }

    fn project(self, cancelled: &AtomicBool) -> Result<Coordinates> {
        let (function, k) = (self.what.function, self.what.n_components);
        let width = self.width.unwrap_or(0);
        let n = self.values.len().checked_div(width).unwrap_or(0);
        let held = self.memory.size() + bytes(n, width) + n * k * size_of::<f64>();
        hold(
            &self.memory,
            held,
            format_args!("{function} of {n} vectors of width {width}"),
        )?;
        let stop = || cancelled.load(Ordering::Relaxed);
        let Some(projection) = principal_components(self.values, width, k, &stop) else {
            return exec_err!("{function}: an uncancelled query is required, got none");
        };
        let mut next = 0;
        let place = self.there.into_iter().map(|there| {
            next += usize::from(there);
            // Vectors of width 0 are all in one place.
            there.then(|| next - 1)
        });
        Ok(Coordinates {
            place: place.collect(),
            values: projection.coordinates,
            k,
            _memory: self.memory,
        })
    }
}

struct Coordinates {
    /// Which vector each row has.
    place: Vec<Option<usize>>,
    /// `[n, k]`
    values: Vec<f64>,
    k: usize,
    _memory: MemoryReservation,
}

impl Coordinates {
    fn columns(&self, first: usize, n: usize) -> impl Iterator<Item = ArrayRef> {
        let rows = &self.place[first..first + n];
        (0..self.k).map(move |i| {
            let of = |place: &Option<usize>| {
                let value = self.values.get((*place)? * self.k + i);
                Some(value.copied().unwrap_or(0.0))
            };
            Arc::new(rows.iter().map(of).collect::<Float64Array>()) as ArrayRef
        })
    }
}
