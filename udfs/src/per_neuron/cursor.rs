//! Walks two streams ordered by (layer, neuron) side by side and cuts the examples into one group a neuron.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{Float32Type, Int32Type, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result, exec_err};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use super::group::Group;
use super::inputs::InputColumns;
use crate::arrow::key_filter::KeyFilter;
use crate::arrow::vectors::VectorColumn;

/// A batch with its (layer, neuron) columns at hand.
struct Keyed {
    batch: RecordBatch,
    layers: PrimitiveArray<Int32Type>,
    neurons: PrimitiveArray<Int32Type>,
    at: usize,
}

impl Keyed {
    fn new(function: &str, table: &str, batch: RecordBatch) -> Result<Self> {
        let [layers, neurons] = [0, 1].map(|i| batch.column(i).as_primitive::<Int32Type>().clone());
        for (name, column) in [("layer", &layers), ("neuron", &neurons)] {
            if column.null_count() > 0 {
                return exec_err!(
                    "{function}: {name} of table '{table}' must be a number, got NULL"
                );
            }
        }
        Ok(Self {
            batch,
            layers,
            neurons,
            at: 0,
        })
    }

    fn key(&self) -> (i32, i32) {
        (self.layers.value(self.at), self.neurons.value(self.at))
    }

    /// End of the run of rows that share the current key.
    fn run_end(&self) -> usize {
        let key = self.key();
        let mut end = self.at + 1;
        while end < self.layers.len() && (self.layers.value(end), self.neurons.value(end)) == key {
            end += 1;
        }
        end
    }
}

/// A stream of keyed batches.
struct Side {
    function: &'static str,
    table: &'static str,
    schema: SchemaRef,
    stream: SendableRecordBatchStream,
    current: Option<Keyed>,
    /// The key before, which none may fall below: another engine may have lost the sort this operator requires.
    last: Option<(i32, i32)>,
}

impl Side {
    fn new(function: &'static str, table: &'static str, stream: SendableRecordBatchStream) -> Self {
        Self {
            function,
            table,
            schema: stream.schema(),
            stream,
            current: None,
            last: None,
        }
    }

    /// Makes `current` point at a row; false at the end of the stream.
    async fn fill(&mut self) -> Result<bool> {
        while self
            .current
            .as_ref()
            .is_none_or(|keyed| keyed.at >= keyed.batch.num_rows())
        {
            match self.stream.next().await {
                Some(batch) => self.current = Some(Keyed::new(self.function, self.table, batch?)?),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn key(&mut self) -> Result<Option<(i32, i32)>> {
        if !self.fill().await? {
            return Ok(None);
        }
        let key = self.current.as_ref().expect("a key was read").key();
        if let Some(last) = self.last.replace(key)
            && key < last
        {
            return exec_err!(
                "{}: rows of table '{}' must come in the order of layer and neuron, got layer {}, neuron {} after layer \
                 {}, neuron {}",
                self.function,
                self.table,
                key.0,
                key.1,
                last.0,
                last.1
            );
        }
        Ok(Some(key))
    }

    /// Goes past one row.
    fn pass_row(&mut self) {
        self.current.as_mut().expect("a key was read").at += 1;
    }

    /// Goes past all rows of the current key.
    async fn pass_run(&mut self) -> Result<()> {
        let key = self.key().await?;
        while key.is_some() && self.key().await? == key {
            let keyed = self.current.as_mut().expect("a key was read");
            keyed.at = keyed.run_end();
        }
        Ok(())
    }

    /// Takes all rows of the current key, over as many batches as they span: the rows without their vectors, and the
    /// vectors as they come, since joining them would copy the buffer they may share with the rest of the table.
    async fn take_run(&mut self, vector_column: &str) -> Result<(RecordBatch, Vec<ArrayRef>)> {
        let mut parts = Vec::with_capacity(1);
        let mut vectors = Vec::new();
        let key = self.key().await?;
        while key.is_some() && self.key().await? == key {
            let keyed = self.current.as_mut().expect("a key was read");
            let end = keyed.run_end();
            let mut part = keyed.batch.slice(keyed.at, end - keyed.at);
            if let Some((column, _)) = part.schema().column_with_name(vector_column) {
                vectors.push(part.remove_column(column));
            }
            parts.push(part);
            keyed.at = end;
        }
        match parts.len() {
            1 => Ok((parts.pop().expect("one part"), vectors)),
            _ => Ok((concat_batches(&parts[0].schema(), &parts)?, vectors)),
        }
    }
}

/// Yields the neurons of a partition in order, each with its examples.
pub(super) struct GroupCursor {
    function: &'static str,
    neurons: Side,
    examples: Side,
    inputs: InputColumns,
    /// Neurons that are wanted; the others are passed over.
    keys: Option<KeyFilter>,
    /// Which rows of the current batch of neurons are wanted.
    wanted: Option<BooleanArray>,
    last: Option<(i32, i32)>,
}

impl GroupCursor {
    pub(super) fn new(
        function: &'static str,
        examples: SendableRecordBatchStream,
        neurons: SendableRecordBatchStream,
        inputs: InputColumns,
        keys: Option<KeyFilter>,
    ) -> Self {
        Self {
            function,
            neurons: Side::new(function, "neurons", neurons),
            examples: Side::new(function, "examples", examples),
            inputs,
            keys,
            wanted: None,
            last: None,
        }
    }

    /// The next neuron; none at the end.
    ///
    /// Errors: a neuron that stands twice in `neurons`, examples of a neuron that is not in it, weights that are NULL.
    pub(super) async fn next(&mut self) -> Result<Option<Group>> {
        let function = self.function;
        let key = loop {
            let key = self.neurons.key().await?;
            self.pass_examples(key).await?;
            let Some((layer, neuron)) = key else {
                return Ok(None);
            };
            if self.last == key {
                return exec_err!(
                    "{function}: table 'neurons' must have one row a neuron, got two for layer {layer}, neuron {neuron}"
                );
            }
            self.last = key;
            if self.is_wanted()? {
                break (layer, neuron);
            }
            self.neurons.pass_row();
            if self.examples.key().await? == key {
                self.examples.pass_run().await?;
            }
        };
        let (layer, neuron) = key;
        let weights = self.take_weights(layer, neuron)?;
        let vector_column = self.inputs.vectors.unwrap_or_default();
        let (examples, vectors) = match self.examples.key().await? {
            Some(example_key) if example_key == key => {
                self.examples.take_run(vector_column).await?
            }
            _ => (
                RecordBatch::new_empty(Arc::clone(&self.examples.schema)),
                vec![],
            ),
        };
        Ok(Some(Group {
            function,
            layer,
            neuron,
            examples,
            vector_column,
            vectors,
            weights,
            sign: None,
        }))
    }

    /// Goes past the examples of neurons before `key`, which have no row in `neurons`.
    ///
    /// Errors: such a neuron is wanted. The two inputs may have known the keys of a join at different times, so one
    /// that is not wanted is no error.
    async fn pass_examples(&mut self, key: Option<(i32, i32)>) -> Result<()> {
        while let Some((layer, neuron)) = self.examples.key().await?
            && key.is_none_or(|key| (layer, neuron) < key)
        {
            match &self.keys {
                Some(keys) if !keys.keeps_one(layer, neuron)? => self.examples.pass_run().await?,
                _ => return self.orphan(layer, neuron),
            }
        }
        Ok(())
    }

    /// Whether the neuron at the current row is wanted.
    fn is_wanted(&mut self) -> Result<bool> {
        let Some(keys) = &self.keys else {
            return Ok(true);
        };
        let current = self.neurons.current.as_ref().expect("a key was read");
        if current.at == 0 || self.wanted.is_none() {
            self.wanted = Some(keys.keeps(&current.layers, &current.neurons)?);
        }
        Ok(self
            .wanted
            .as_ref()
            .is_some_and(|wanted| wanted.value(current.at)))
    }

    fn take_weights(&mut self, layer: i32, neuron: i32) -> Result<Vec<Vec<f32>>> {
        let function = self.function;
        let keyed = self.neurons.current.as_mut().expect("a key was read");
        let row = keyed.batch.slice(keyed.at, 1);
        keyed.at += 1;
        let named = self.inputs.weights.iter().zip(&row.columns()[2..]);
        let weights = named.map(|(name, column)| {
            let column = VectorColumn::<Float32Type>::try_new(function, name, column)?;
            match column.row(0) {
                Some(weights) => Ok(weights.to_vec()),
                None => exec_err!(
                    "{function}: {name} must be a vector without NULLs, got NULL for layer {layer}, neuron {neuron}{}",
                    match *name {
                        "w_up" => " (a neuron without a gate has none)",
                        _ => "",
                    }
                ),
            }
        });
        let weights: Vec<_> = weights.collect::<Result<_>>()?;
        match weights.iter().find(|w| w.len() != weights[0].len()) {
            None => Ok(weights),
            Some(other) => exec_err!(
                "{function}: w_up must have width {}, that of w_in, got {} for layer {layer}, neuron {neuron}",
                weights[0].len(),
                other.len()
            ),
        }
    }

    fn orphan<T>(&self, layer: i32, neuron: i32) -> Result<T> {
        exec_err!(
            "{}: every neuron of 'examples' must have a row in 'neurons', got none for layer {layer}, neuron {neuron}",
            self.function
        )
    }
}
