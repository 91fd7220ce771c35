//! Leads a model's activations to what ingest keeps of its layers.

use std::sync::Arc;

use datafusion::common::exec_err;
use datafusion::error::Result;

use super::layer::Layer;
use super::progress::Reporter;
use crate::corpus::ReadBatch;
use crate::models::{HookPoint, Hooks};

/// Where a model's layer of neurons is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct NeuronHooks {
    /// What the neurons receive.
    pub(super) received: HookPoint,
    /// How they respond.
    pub(super) activation: HookPoint,
}

/// Sends the activations of one batch to their layers.
pub(super) struct Observer<'a, 'r> {
    pub(super) layers: &'a mut [Layer],
    /// `[n_layers]`
    pub(super) places: &'a [NeuronHooks],
    pub(super) batch: &'a ReadBatch,
    pub(super) report: &'a mut Reporter<'r>,
    /// What the current layer's neurons received, and how they responded, as far as it has been seen.
    pub(super) seen: [Option<Arc<Vec<f32>>>; 2],
}

impl Hooks for Observer<'_, '_> {
    fn wants(&self, hook: HookPoint) -> bool {
        let places = self.places.get(hook.layer);
        places.is_some_and(|at| at.received == hook || at.activation == hook)
    }

    fn visit(
        &mut self,
        hook: HookPoint,
        values: &Arc<Vec<f32>>,
        _: &[usize],
    ) -> Result<Option<Vec<f32>>> {
        let which = usize::from(self.places[hook.layer].activation == hook);
        self.seen[which] = Some(Arc::clone(values));
        let [Some(received), Some(activations)] = &self.seen else {
            return Ok(None);
        };
        let layer = &mut self.layers[hook.layer];
        let rows = self.batch.documents.len() * self.batch.seq;
        let widths = [received.len(), activations.len()];
        if widths != [rows * layer.d_in, rows * layer.n_neurons] {
            return exec_err!(
                "{rows} rows of {} and {} values are required in layer {}, got {widths:?} values",
                layer.d_in,
                layer.n_neurons,
                layer.index
            );
        }
        // It has seen this batch already where a pass over it was interrupted.
        if !std::mem::replace(&mut layer.ahead, true) {
            layer.observe(self.batch, activations, received)?;
        }
        self.seen = [None, None];
        self.report.tell();
        Ok(None)
    }

    fn done(&self) -> bool {
        self.report.cancelled() || self.layers.iter().all(|layer| layer.ahead)
    }
}
