//! The polysemanticity metrics of any group of vectors.
//!
//! Average linkage on cosine distances. The vectors are put into an order of their own first, so the result is a
//! function of the set and not of how rows arrived. Cost: n^2 d a group; memory n d, and n^2 up to 4,096 vectors.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use datafusion::arrow::array::{ArrayRef, AsArray, Float32Array, StructArray, UInt64Array};
use datafusion::arrow::array::{Float64Array, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Float32Type, Float64Type, Schema, UInt64Type,
};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, ColumnarValue};

use crate::arrow::vectors::VectorColumn;
use crate::calls::aggregate::{Aggregate, a_vector_then_numbers, aggregate_function};
use crate::calls::{Function, FunctionDoc, Parameter};
use crate::per_neuron::{Cut, by_means, matrix_bytes, require_threshold};
use polysema_kernels::clustering::metrics;
use polysema_kernels::{
    CosineDistances, Linkage, Linker, MeanLinker, NonFinite, Polysemanticity,
    cophenetic_correlation, silhouette,
};

static DOC: FunctionDoc = FunctionDoc {
    name: "polysemanticity",
    chapter: "polysemanticity",
    summary: "How many clusters the group's vectors form and how far apart they lie.",
    arguments: &[
        Parameter {
            name: "v",
            kind: "list of numbers [d]",
            summary: "a vector; NULL rows are left out",
        },
        Parameter {
            name: "threshold",
            kind: "number in [0, 2], a literal",
            summary: "largest merge height inside a cluster; default 0.5",
        },
    ],
    required: 1,
    options: &[],
    returns: "a struct of n_examples, n_clusters, max_distance, mean_distance, intra_cluster_distance, \
              inter_cluster_distance, silhouette, cophenetic_correlation, with the NULL rules of neuron_polysemanticity",
    example: "SELECT polysemanticity(v)['n_clusters'] AS n_clusters FROM (VALUES ([1.0, 0.0]), ([0.0, 1.0])) AS t(v)",
    replaces: None,
};

/// The catalogue entry.
pub fn function() -> Function {
    aggregate_function(Aggregate {
        doc: &DOC,
        takes: a_vector_then_numbers,
        returns,
        accumulator,
        groups: None,
        state: state_fields,
    })
}

fn fields() -> Fields {
    let integer = ["n_examples", "n_clusters"].map(|name| Field::new(name, DataType::Int64, true));
    let number = [
        "max_distance",
        "mean_distance",
        "intra_cluster_distance",
        "inter_cluster_distance",
        "silhouette",
        "cophenetic_correlation",
    ]
    .map(|name| Field::new(name, DataType::Float64, true));
    integer.into_iter().chain(number).collect()
}

fn returns() -> DataType {
    DataType::Struct(fields())
}

fn state_fields(args: &StateFieldsArgs) -> Vec<FieldRef> {
    let values = DataType::new_list(DataType::Float32, true);
    vec![
        Arc::new(Field::new(format!("{}[values]", args.name), values, true)),
        Arc::new(Field::new(
            format!("{}[count]", args.name),
            DataType::UInt64,
            false,
        )),
    ]
}

fn accumulator(args: &AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
    let mut threshold = 0.5;
    if let Some(expr) = args.exprs.get(1) {
        // A literal of another library is no `Literal`, and gives its value without a column.
        let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let value = match expr.evaluate(&nothing) {
            Ok(ColumnarValue::Scalar(value)) => value,
            _ => return plan_err!("{}: threshold must be a literal, got {expr}", DOC.name),
        };
        let array = ColumnarValue::Scalar(value).to_array(1)?;
        let array = datafusion::arrow::compute::cast(&array, &DataType::Float64)?;
        threshold = array
            .as_primitive::<Float64Type>()
            .iter()
            .flatten()
            .next()
            .unwrap_or(threshold);
        require_threshold(DOC.name, threshold)?;
    }
    Ok(Box::new(VectorSet {
        threshold,
        values: Vec::new(),
        count: 0,
    }))
}

/// The group's vectors, one after another.
#[derive(Debug)]
struct VectorSet {
    threshold: f64,
    values: Vec<f32>,
    count: usize,
}

impl VectorSet {
    fn width(&self) -> Option<usize> {
        self.values.len().checked_div(self.count)
    }

    fn add(&mut self, values: &[f32], count: usize) -> Result<()> {
        let came = values.len() / count.max(1);
        if let Some(width) = self.width()
            && width != came
        {
            return exec_err!(
                "{}: v must have one width, got {width} and {came}",
                DOC.name
            );
        }
        self.values.extend_from_slice(values);
        self.count += count;
        Ok(())
    }

    fn rows(&self) -> Vec<&[f32]> {
        let width = self.width().unwrap_or(0);
        let mut rows: Vec<_> = (0..self.count)
            .map(|i| &self.values[i * width..][..width])
            .collect();
        rows.sort_by(|a, b| {
            a.iter()
                .map(|x| x.to_bits())
                .cmp(b.iter().map(|x| x.to_bits()))
        });
        rows
    }
}

/// What is said of a group.
struct Found {
    metrics: Polysemanticity,
    silhouette: Option<f64>,
    cophenetic_correlation: Option<f64>,
}

impl VectorSet {
    fn by_means(&self) -> bool {
        by_means(self.count, self.width().unwrap_or(0), usize::MAX)
    }

    fn found(&self) -> Result<Found, NonFinite> {
        let (rows, cut) = (self.rows(), Cut::Threshold(self.threshold));
        if self.by_means() {
            let mut linker = MeanLinker::default();
            linker.link(&rows, None, &AtomicBool::new(false))?;
            let clusters = cut.flat(linker.steps(), linker.live().len(), false);
            let sums = linker.sums(&clusters);
            return Ok(Found {
                metrics: sums.polysemanticity(linker.max_distance()),
                silhouette: sums.silhouette(),
                cophenetic_correlation: linker.cophenetic_correlation(),
            });
        }
        let mut distances = CosineDistances::new();
        distances.compute(&rows, None)?;
        let (condensed, n) = (distances.condensed(), distances.live().len());
        let mut linker = Linker::new();
        let steps = linker.link(condensed, n, Linkage::Average);
        let clusters = cut.flat(steps, n, false);
        Ok(Found {
            metrics: metrics::polysemanticity(condensed, &clusters),
            silhouette: silhouette(condensed, &clusters),
            cophenetic_correlation: cophenetic_correlation(condensed, steps, n),
        })
    }
}

impl Accumulator for VectorSet {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let column = VectorColumn::<Float32Type>::try_new(DOC.name, "v", &values[0])?;
        for vector in (0..column.len()).filter_map(|i| column.row(i)) {
            self.add(vector, 1)?;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let values = VectorColumn::<Float32Type>::try_new(DOC.name, "v", &states[0])?;
        for (i, &count) in states[1]
            .as_primitive::<UInt64Type>()
            .values()
            .iter()
            .enumerate()
        {
            if let Some(part) = values.row(i).filter(|_| count > 0) {
                self.add(part, count as usize)?;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: ArrayRef = Arc::new(Float32Array::from(std::mem::take(&mut self.values)));
        let list = SingleRowListArrayBuilder::new(values).build_list_scalar();
        let count: ArrayRef = Arc::new(UInt64Array::from(vec![self.count as u64]));
        Ok(vec![list, ScalarValue::try_from_array(&count, 0)?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let found = self.found().map_err(|_| {
            exec_datafusion_err!("{}: v must be finite, got NaN or infinity", DOC.name)
        })?;
        let metrics = found.metrics;
        let integer = |value: Option<i64>| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
        let number = |value: Option<f64>| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
        let columns = vec![
            integer(Some(self.count as i64)),
            integer(metrics.n_clusters.map(i64::from)),
            number(metrics.max_distance),
            number(metrics.mean_distance),
            number(metrics.intra_cluster_distance),
            number(metrics.inter_cluster_distance),
            number(found.silhouette),
            number(found.cophenetic_correlation),
        ];
        Ok(ScalarValue::Struct(Arc::new(StructArray::new(
            fields(),
            columns,
            None,
        ))))
    }

    fn size(&self) -> usize {
        // The clustering at the end holds the distances, or means, besides the vectors.
        let width = self.width().unwrap_or(0);
        let clustering = match self.by_means() {
            true => MeanLinker::bytes(self.count, width),
            false => matrix_bytes(self.count, width),
        };
        size_of_val(self) + self.values.capacity() * size_of::<f32>() + clustering
    }
}
