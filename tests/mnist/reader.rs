//! What the reading layer gives, without SQL.

use polysema::corpus::{BATCH_SIZE, BOS, CONTEXT, CorpusReader, MAX_DOCUMENTS};
use polysema::jobs::JobContext;
use polysema::models::{HookPoint, Input, Site};
use polysema::options::Options;

use super::{Probe, root, tiny};

/// The same place read by the reader and by a pass over one document.
#[test]
fn activations_are_those_of_a_pass_over_one_document() {
    let (model, corpus) = (
        root("tests/data/demo/model"),
        root("tests/data/demo/corpus.jsonl"),
    );
    for (bos, site) in [(false, Site::MlpOut), (true, Site::ResidPost)] {
        let options = Options::default()
            .with(CONTEXT, 48)
            .with(MAX_DOCUMENTS, Some(40))
            .with(BOS, Some(bos))
            .with(BATCH_SIZE, 7);
        let mut reader = CorpusReader::open(&model, &corpus, &options, &JobContext::default())
            .expect("a reader");
        let hook = HookPoint { layer: 1, site };
        let mut seen = std::collections::BTreeMap::new();
        reader
            .activations(hook, &mut |batch| {
                for (row, values) in batch.values.chunks(batch.d).enumerate() {
                    let key = (batch.doc_ids[row], batch.pos[row]);
                    assert!(seen.insert(key, values.to_vec()).is_none(), "{key:?} once");
                }
                Ok(())
            })
            .expect("activations");
        assert_eq!(seen.len(), reader.n_rows());
        assert_eq!(reader.n_documents(), 40);
        for document in 0..reader.n_documents() {
            let ids = reader
                .token_ids(document..document + 1)
                .expect("ids")
                .expect("tokens");
            let mut probe = Probe {
                hook: Some(hook),
                seen: vec![],
            };
            let input = Input::Tokens {
                ids: &ids,
                seq: ids.len(),
            };
            reader.model().forward(input, &mut probe).expect("a pass");
            let whole = probe.seen;
            let d = whole.len() / ids.len();
            for pos in usize::from(bos)..ids.len() {
                let values = &seen[&(document as u32, pos as u32)];
                let off = values
                    .iter()
                    .zip(&whole[pos * d..])
                    .map(|(a, b)| (a - b).abs());
                assert!(
                    off.fold(0.0, f32::max) < 1e-4,
                    "document {document} position {pos}"
                );
            }
            assert!(
                !seen.contains_key(&(document as u32, ids.len() as u32)),
                "no padding"
            );
            assert!(
                !bos || !seen.contains_key(&(document as u32, 0)),
                "no first token"
            );
        }
    }
}

/// Every place a model lists is offered, and the others are refused.
#[test]
fn every_listed_site_has_vectors() {
    for (model, corpus) in [
        (
            root("tests/data/demo/model"),
            root("tests/data/demo/corpus.jsonl"),
        ),
        (tiny().join("mlp.safetensors"), tiny()),
    ] {
        let options = Options::default().with(MAX_DOCUMENTS, Some(2));
        let mut reader = CorpusReader::open(&model, &corpus, &options, &JobContext::default())
            .expect("a reader");
        for site in reader.model().sites().to_vec() {
            let mut rows = 0;
            let hook = HookPoint { layer: 0, site };
            let counted = reader.activations(hook, &mut |batch| {
                rows += batch.values.len() / batch.d;
                Ok(())
            });
            counted.unwrap_or_else(|error| panic!("{hook}: {error}"));
            assert_eq!(rows, reader.n_rows(), "{hook}");
        }
        for hook in [
            HookPoint {
                layer: 0,
                site: Site::AttnScores,
            },
            HookPoint {
                layer: 9,
                site: Site::MlpPost,
            },
        ] {
            let error = reader
                .activations(hook, &mut |_| Ok(()))
                .expect_err("refused");
            assert!(error.strip_backtrace().contains("is required"), "{error}");
        }
    }
}
