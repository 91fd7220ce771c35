//! Sends every document through the model, a block of documents at a time.

use datafusion::common::exec_err;
use datafusion::error::Result;

use super::observe::{Batch, Layer, Observer};
use super::options::IngestOptions;
use super::progress::Reporter;
use super::tokenize::Documents;
use crate::models::{HookPoint, Input, Model};

/// Tokens of a block. Within it documents are sorted by length, so that little is padded; candidates are pruned at
/// its end. Chosen: 512 documents of 128 tokens.
const BLOCK_TOKENS: usize = 1 << 16;

/// The most candidates that were in memory at once.
pub(super) fn forward(
    model: &dyn Model,
    documents: &mut Documents,
    layers: &mut [Layer],
    options: &IngestOptions,
    report: &mut Reporter<'_>,
) -> Result<usize> {
    let received_at: Vec<HookPoint> = (0..layers.len())
        .map(|layer| model.received_at(layer, options.layer_norm))
        .collect();
    let mut most = 0;
    let mut first = 0;
    while first < documents.len() {
        let end = block_end(&documents.starts, first);
        let n_tokens = (documents.starts[end] - documents.starts[first]) as usize;
        let mut ids = Vec::with_capacity(n_tokens);
        let start = documents.starts[first] as usize;
        let spool = &mut documents.ids;
        spool.read(start, n_tokens, u32::from_ne_bytes, &mut ids)?;
        for members in batches(documents, first..end, options.batch_size) {
            let (batch, ids) = padded(documents, &members, &ids, start);
            let n_tokens: usize = batch.documents.iter().map(|(_, n)| n).sum();
            let mut observer = Observer {
                layers: &mut *layers,
                received_at: &received_at,
                batch: &batch,
                report: &mut *report,
                received: None,
            };
            let input = Input::Tokens {
                ids: &ids,
                seq: batch.seq,
            };
            model.forward(input, &mut observer)?;
            report.advance(batch.documents.len() as u64, n_tokens as u64);
            report.tick()?;
        }
        most = most.max(layers.iter().map(Layer::n_candidates).sum());
        for layer in &mut *layers {
            layer.end_block();
        }
        first = end;
    }
    for layer in &mut *layers {
        let (activity, _) = layer.activity(0);
        let seen: u64 = activity.histogram[0].iter().map(|n| u64::from(*n)).sum();
        let expected = documents.total_tokens() - usize::from(options.bos) * documents.len();
        if seen != expected as u64 {
            return exec_err!(
                "ingest: {expected} activations of each neuron are required, got {seen} in layer {}",
                layer.index
            );
        }
        layer.vectors.flush()?;
        layer.windows.flush()?;
    }
    Ok(most)
}

/// The document after the block that begins with `first`.
fn block_end(starts: &[u32], first: usize) -> usize {
    let limit = starts[first] as usize + BLOCK_TOKENS;
    let end = starts.partition_point(|start| *start as usize <= limit);
    (end - 1).max(first + 1)
}

/// Documents of similar length together, the longest first.
fn batches(
    documents: &Documents,
    block: std::ops::Range<usize>,
    batch_size: usize,
) -> Vec<Vec<usize>> {
    let mut members: Vec<usize> = block.collect();
    members.sort_by_key(|d| std::cmp::Reverse(documents.n_tokens(*d)));
    members.chunks(batch_size).map(<[usize]>::to_vec).collect()
}

/// The token ids of some documents, padded at the end, which a causal model never looks at from before.
fn padded(
    documents: &Documents,
    members: &[usize],
    ids: &[u32],
    start: usize,
) -> (Batch, Vec<u32>) {
    let lengths = members.iter().map(|d| documents.n_tokens(*d));
    let seq = lengths.max().unwrap_or(0);
    let mut rows = vec![0; members.len() * seq];
    let mut batch = Batch {
        documents: vec![],
        seq,
    };
    for (row, document) in rows.chunks_exact_mut(seq).zip(members) {
        let n_tokens = documents.n_tokens(*document);
        let at = documents.starts[*document] as usize - start;
        row[..n_tokens].copy_from_slice(&ids[at..at + n_tokens]);
        batch.documents.push((*document as u32, n_tokens));
    }
    (batch, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_end_at_documents_and_always_move_on() {
        let big = BLOCK_TOKENS as u32;
        assert_eq!(block_end(&[0, 10, 20], 0), 2);
        assert_eq!(block_end(&[0, big, big + 1], 0), 1);
        assert_eq!(block_end(&[0, 2 * big, 2 * big + 1], 0), 1);
        assert_eq!(block_end(&[0, 10, 10 + big, 20 + big], 1), 2);
    }
}
