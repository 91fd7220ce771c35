//! Writes the dataset examples of one layer.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float32Builder, Int32Array, Int32Builder, ListBuilder, RecordBatch, UInt32Builder,
};
use datafusion::error::Result;

use super::candidates::Candidate;
use super::context::{BATCH_ROWS, Context, Tick};
use super::layer::Layer;
use crate::store::{RunWriter, Table, schema};

/// Copies the examples of every neuron; `rows` are the rows of the layer's vectors, by record.
pub(super) fn write_examples(
    context: &Context<'_>,
    layer: &Layer,
    examples: &[Vec<Candidate>],
    rows: &[u32],
    run: &RunWriter,
    tick: Tick<'_>,
) -> Result<()> {
    let stored = schema::stored_examples();
    let mut table = run.table(Table::Examples, Some(layer.index), stored)?;
    let mut lines = ExampleRows::default();
    for (neuron, examples) in examples.iter().enumerate() {
        for (example, candidate) in examples.iter().enumerate() {
            lines.add(context, layer, rows, (neuron, example), candidate)?;
        }
        if lines.n >= BATCH_ROWS || neuron + 1 == layer.n_neurons {
            table.write(&lines.take(layer.index)?)?;
            tick()?;
        }
    }
    table.finish()
}

/// Rows of `examples` not yet written.
struct ExampleRows {
    n: usize,
    neuron: Int32Builder,
    example: Int32Builder,
    doc_id: Int32Builder,
    pos: Int32Builder,
    activation: Float32Builder,
    window_start: Int32Builder,
    window_activations: ListBuilder<Float32Builder>,
    token_row: UInt32Builder,
    vector: UInt32Builder,
    window_vectors: ListBuilder<UInt32Builder>,
}

impl Default for ExampleRows {
    fn default() -> Self {
        Self {
            n: 0,
            neuron: Int32Builder::new(),
            example: Int32Builder::new(),
            doc_id: Int32Builder::new(),
            pos: Int32Builder::new(),
            activation: Float32Builder::new(),
            window_start: Int32Builder::new(),
            window_activations: ListBuilder::new(Float32Builder::new()),
            token_row: UInt32Builder::new(),
            vector: UInt32Builder::new(),
            window_vectors: ListBuilder::new(UInt32Builder::new()),
        }
    }
}

impl ExampleRows {
    fn add(
        &mut self,
        context: &Context<'_>,
        layer: &Layer,
        rows: &[u32],
        (neuron, example): (usize, usize),
        candidate: &Candidate,
    ) -> Result<()> {
        let &Candidate { doc_id, pos, .. } = candidate;
        let size = layer.window;
        let start = (pos as usize).saturating_sub(size);
        let end = (pos as usize + size + 1).min(context.documents.n_tokens(doc_id as usize));
        let record = candidate.window as usize;
        let around = layer.windows.read::<f32>(record, end - start)?;
        self.n += 1;
        self.neuron.append_value(neuron as i32);
        self.example.append_value(example as i32);
        self.doc_id.append_value(doc_id as i32);
        self.pos.append_value(pos as i32);
        self.activation.append_value(candidate.activation);
        self.window_start.append_value(start as i32);
        self.window_activations.values().append_slice(around);
        self.window_activations.append(true);
        let first = context.documents.starts[doc_id as usize];
        self.token_row.append_value(first + pos);
        self.vector.append_value(rows[candidate.vector as usize]);
        if layer.window_vectors.is_some() {
            let mut kept = layer.window_vectors(candidate)?.into_iter().peekable();
            for at in start as u32..=pos {
                let kept = kept.next_if(|(pos, _)| *pos == at);
                let row = kept.map(|(_, vector)| rows[vector as usize]);
                self.window_vectors.values().append_option(row);
            }
        }
        self.window_vectors.append(layer.window_vectors.is_some());
        Ok(())
    }

    fn take(&mut self, layer: usize) -> Result<RecordBatch> {
        let n = std::mem::take(&mut self.n);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![layer as i32; n])),
            Arc::new(self.neuron.finish()),
            Arc::new(self.example.finish()),
            Arc::new(self.doc_id.finish()),
            Arc::new(self.pos.finish()),
            Arc::new(self.activation.finish()),
            Arc::new(self.window_start.finish()),
            Arc::new(self.window_activations.finish()),
            Arc::new(self.token_row.finish()),
            Arc::new(self.vector.finish()),
            Arc::new(self.window_vectors.finish()),
        ];
        Ok(RecordBatch::try_new(schema::stored_examples(), columns)?)
    }
}
