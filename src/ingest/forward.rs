//! Sends every document through the model and shows what its neurons do to their layers.

use datafusion::common::exec_err;
use datafusion::error::Result;

use super::hooks::Observer;
use super::observe::Layer;
use super::options::IngestOptions;
use super::progress::Reporter;
use super::reading::CorpusReader;
use crate::models::HookPoint;

/// The most candidates that were in memory at once.
pub(super) fn forward(
    reader: &mut CorpusReader,
    layers: &mut [Layer],
    options: &IngestOptions,
    report: &mut Reporter<'_>,
) -> Result<usize> {
    let received_at: Vec<HookPoint> = (0..layers.len())
        .map(|layer| reader.model().received_at(layer, options.layer_norm))
        .collect();
    let mut most = 0;
    reader.for_each_batch(&mut |model, batch, input| {
        let n_tokens: usize = batch.documents.iter().map(|(_, n)| n).sum();
        let mut observer = Observer {
            layers: &mut *layers,
            received_at: &received_at,
            batch,
            report: &mut *report,
            received: None,
        };
        model.forward(input, &mut observer)?;
        report.advance(batch.documents.len() as u64, n_tokens as u64);
        report.tick()?;
        if batch.ends_block {
            most = most.max(layers.iter().map(Layer::n_candidates).sum());
            for layer in &mut *layers {
                layer.end_block();
            }
        }
        Ok(())
    })?;
    for layer in &mut *layers {
        let (activity, _) = layer.activity(0);
        let seen: u64 = activity.histogram[0].iter().map(|n| u64::from(*n)).sum();
        let expected = reader.n_rows();
        if seen != expected as u64 {
            return exec_err!(
                "ingest: {expected} activations of each neuron are required, got {seen} in layer {}",
                layer.index
            );
        }
        layer.flush()?;
    }
    Ok(most)
}
