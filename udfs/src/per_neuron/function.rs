//! A per-neuron function as a declaration, and a call of one as a value: its schema, its document, what it reads, its line in
//! EXPLAIN and its rows follow from the columns that are declared.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::Result;

use super::bound::BoundOptions;
use super::clustering::Scratch;
use super::columns::Column;
use super::group::Group;
use super::inputs::InputColumns;
use super::options::{ClusterOptions, matrix_bytes};
use super::rows::{Each, NeuronRows};
use crate::calls::Arguments;
use crate::calls::settings::PolysemaOptions;

/// What is computed of a neuron for all of a function's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groundwork {
    /// Nothing: its vectors are not read.
    Examples,
    /// The vectors and the weights they are multiplied with.
    Embeddings,
    /// The distances of its examples.
    Distances,
    /// Its feature clusters, by any method.
    Clusters,
    /// Its feature clusters and the merges that make them, so by hierarchical clustering.
    Merges,
}

/// What a per-neuron function is made of.
pub struct PerNeuron {
    /// Name in SQL.
    pub name: &'static str,
    /// What a row is about.
    pub each: Each,
    /// What is computed of a neuron.
    pub groundwork: Groundwork,
    /// Its columns.
    pub columns: &'static [Column],
    /// Columns of `examples` that it is about, whichever of its own are read.
    pub reads: &'static [&'static str],
    /// Settles options that are its own.
    pub settle: fn(&Arguments, &PolysemaOptions, &mut BoundOptions) -> Result<()>,
    /// Whether a neuron can have rows at all; where it cannot nothing is computed.
    pub concerns: fn(&Group, &BoundOptions) -> Result<bool>,
    /// Chooses the rows of a neuron, where they are not all.
    pub choose: fn(&mut NeuronRows) -> Result<()>,
}

impl fmt::Debug for PerNeuron {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}

impl PerNeuron {
    /// One of the clusters of every neuron, a row each, without columns and options of its own.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            each: Each::Cluster,
            groundwork: Groundwork::Clusters,
            columns: &[],
            reads: &[],
            settle: |_, _, _| Ok(()),
            concerns: |_, _| Ok(true),
            choose: |_| Ok(()),
        }
    }

    /// Its columns as Arrow has them.
    pub fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(Column::field);
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Its columns as its document has them, with what there is to say of all rows. Kept for good: a document is made once.
    pub fn returns(&self, remark: &str) -> &'static str {
        let columns: Vec<_> = self.columns.iter().map(Column::text).collect();
        (columns.join(", ") + remark).leak()
    }

    /// Refuses options that no session could make valid.
    pub fn check(&self, arguments: &Arguments) -> Result<()> {
        // The widest threshold that a session may have leaves room for every option that is bounded by it.
        let threshold = 2.0;
        let settings = PolysemaOptions {
            threshold,
            ..PolysemaOptions::default()
        };
        self.bind(arguments, &settings).map(|_| ())
    }

    fn bind(&self, arguments: &Arguments, settings: &PolysemaOptions) -> Result<BoundOptions> {
        let clustering = match self.groundwork {
            // Without vectors no setting of theirs matters.
            Groundwork::Examples => ClusterOptions::bind(arguments, &PolysemaOptions::default())?,
            Groundwork::Merges => ClusterOptions::hierarchical(arguments, settings)?,
            _ => ClusterOptions::bind(arguments, settings)?,
        };
        let mut options = BoundOptions::new(clustering);
        (self.settle)(arguments, settings, &mut options)?;
        Ok(options)
    }

    /// A call of it under the session's settings, which messages call by the name of the function that was called.
    pub fn call(&'static self, arguments: &Arguments, state: &dyn Session) -> Result<BoundCall> {
        let settings = PolysemaOptions::of(state.config_options())?;
        Ok(BoundCall {
            name: arguments.function(),
            options: self.bind(arguments, &settings)?,
            function: self,
        })
    }
}

/// A call of a per-neuron function: all that its rows depend on beside the tables.
#[derive(Debug, Clone)]
pub struct BoundCall {
    /// The function that was called, for messages.
    pub name: &'static str,
    /// The function whose rows these are.
    pub function: &'static PerNeuron,
    /// Its options.
    pub options: BoundOptions,
}

impl BoundCall {
    /// The columns that a projection keeps, in its order.
    pub(super) fn columns(&self, projection: Option<&Vec<usize>>) -> Vec<&'static Column> {
        let columns = self.function.columns;
        match projection {
            None => columns.iter().collect(),
            Some(places) => places.iter().map(|&place| &columns[place]).collect(),
        }
    }

    /// What it reads to make these columns.
    pub(super) fn inputs(&self, columns: &[&Column]) -> InputColumns {
        let mut examples = self.function.reads.to_vec();
        for &name in columns.iter().flat_map(|column| column.reads) {
            if !examples.contains(&name) {
                examples.push(name);
            }
        }
        match self.function.groundwork {
            Groundwork::Examples => InputColumns {
                examples,
                vectors: None,
                weights: &[],
            },
            _ => self.options.clustering.embedding.inputs(examples),
        }
    }

    /// Bytes it will hold for `n` examples of width `d`, reserved before it runs; `limit` is the most that the session may
    /// hold.
    pub(super) fn bytes(&self, n: usize, d: usize, limit: usize) -> usize {
        match self.function.groundwork {
            Groundwork::Examples => 0,
            Groundwork::Embeddings => 2 * n * d * size_of::<f32>(),
            Groundwork::Distances => matrix_bytes(n, d) + n * n * size_of::<[f32; 3]>(),
            Groundwork::Clusters | Groundwork::Merges => self.options.clustering.bytes(n, d, limit),
        }
    }

    /// Where these bytes are refused: what would need fewer, or why nothing does.
    pub(super) fn advice(&self, n: usize, d: usize, limit: usize) -> Option<String> {
        match self.function.groundwork {
            Groundwork::Examples | Groundwork::Embeddings => None,
            Groundwork::Distances => Some("all pairs of a neuron are held at once".to_string()),
            Groundwork::Clusters => self.options.clustering.advice(n, d, limit),
            Groundwork::Merges => self.options.clustering.advice_on_merges(n, d, limit),
        }
    }

    /// Whether a neuron, before its lists of examples are told apart, can have rows.
    pub(super) fn concerns(&self, group: &Group) -> Result<bool> {
        (self.function.concerns)(group, &self.options)
    }

    /// The rows of one list of a neuron's examples, in these columns, and how many clusters and parents were found.
    pub(super) fn rows(
        &self,
        group: &Group,
        columns: &[&Column],
        scratch: &mut Scratch,
    ) -> Result<MadeRows> {
        let (options, each) = (&self.options, self.function.each);
        let mut rows = match self.function.groundwork {
            Groundwork::Examples | Groundwork::Embeddings => {
                NeuronRows::new(group, options, each, None, None)
            }
            Groundwork::Distances => {
                let distances = scratch.distances(group)?;
                NeuronRows::new(group, options, each, None, Some(distances))
            }
            Groundwork::Clusters | Groundwork::Merges => {
                let clustering = scratch.cluster(group, &options.clustering)?;
                NeuronRows::new(group, options, each, Some(clustering), None)
            }
        };
        let n_clusters = rows.clusters.len();
        (self.function.choose)(&mut rows)?;
        let columns = columns.iter().map(|column| (column.make)(&rows));
        Ok(MadeRows {
            n_rows: rows.len(),
            columns: columns.collect::<Result<_>>()?,
            n_clusters,
            n_parents: rows.parents.as_ref().map_or(0, |found| found.sizes.len()),
        })
    }

    /// The options as EXPLAIN shows them.
    pub fn describe(&self) -> String {
        let shared = match self.function.groundwork {
            Groundwork::Examples => None,
            Groundwork::Embeddings | Groundwork::Distances => {
                let embedding = self.options.clustering.embedding;
                Some(format!("embedding={}", embedding.name()))
            }
            Groundwork::Clusters | Groundwork::Merges => Some(self.options.clustering.describe()),
        };
        let options = shared.into_iter().chain(self.options.describe_own());
        options.collect::<Vec<_>>().join(", ")
    }
}

/// The rows of one list of a neuron's examples.
pub(super) struct MadeRows {
    pub(super) n_rows: usize,
    pub(super) columns: Vec<ArrayRef>,
    pub(super) n_clusters: usize,
    pub(super) n_parents: usize,
}
