//! Leads a model's activations to what ingest keeps of its layers.

use candle_core::Tensor;
use datafusion::common::exec_err;
use datafusion::error::Result;

use super::layer::Layer;
use super::progress::Reporter;
use crate::corpus::ReadBatch;
use crate::models::{HookPoint, Hooks, Site, floats, readable};

/// Sends the activations of one batch to their layers.
pub(super) struct Observer<'a, 'r> {
    pub(super) layers: &'a mut [Layer],
    /// Where each layer's vectors are read. `[n_layers]`
    pub(super) received_at: &'a [HookPoint],
    pub(super) batch: &'a ReadBatch,
    pub(super) report: &'a mut Reporter<'r>,
    /// What the current layer's neurons received.
    pub(super) received: Option<Tensor>,
}

impl Hooks for Observer<'_, '_> {
    fn wants(&self, hook: HookPoint) -> bool {
        hook.layer < self.layers.len()
            && (hook.site == Site::MlpPost || self.received_at[hook.layer] == hook)
    }

    fn visit(&mut self, hook: HookPoint, value: &Tensor) -> Result<Option<Tensor>> {
        if hook.site != Site::MlpPost {
            self.received = Some(readable(hook, value)?);
            return Ok(None);
        }
        let Some(received) = self.received.take() else {
            return exec_err!(
                "{} is required before {hook}, got {hook} first",
                self.received_at[hook.layer]
            );
        };
        let value = readable(hook, value)?;
        let layer = &mut self.layers[hook.layer];
        let rows = self.batch.documents.len() * self.batch.seq;
        let (storage, layout) = value.storage_and_layout();
        let values = floats(&storage, layout, hook, rows * layer.n_neurons)?;
        let (storage, layout) = received.storage_and_layout();
        let vectors = floats(&storage, layout, hook, rows * layer.d_in)?;
        layer.observe(self.batch, values, vectors)?;
        if !self.done() {
            self.report.tick()?;
        }
        Ok(None)
    }

    fn done(&self) -> bool {
        self.report.cancelled()
    }
}
