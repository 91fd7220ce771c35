//! What ingest costs on top of the forward passes it consists of: seconds of both, in one process, on the same
//! batches. Not criterion: one run takes seconds, and the figure wanted is a ratio of two medians.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use candle_core::Tensor;
use datafusion::error::Result;
use polysema::ingest::{IngestOptions, IngestRequest, ingest};
use polysema::models::{HookPoint, Hooks, Input, load};
use polysema::store::Store;

/// Repetitions; odd, so that the median is one of them.
const RUNS: usize = 3;

/// Wants nothing: the pass itself.
struct Bare;

impl Hooks for Bare {
    fn wants(&self, _: HookPoint) -> bool {
        false
    }

    fn visit(&mut self, _: HookPoint, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Token ids in documents of `context` tokens; the last, shorter one of each text is left out of the bare pass, so
/// the ratio is to the disadvantage of ingest.
fn documents(corpus: &Path, model: &Path, context: usize) -> Result<Vec<u32>> {
    let loaded = load(model)?;
    let tokenizer = loaded.tokenizer.expect("a model with a tokenizer");
    let content = std::fs::read_to_string(corpus)?;
    let texts: Vec<String> = match corpus.extension().is_some_and(|e| e == "jsonl") {
        true => content
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter_map(|row| Some(row["text"].as_str()?.to_string()))
            .collect(),
        false => vec![content],
    };
    let mut ids = vec![];
    for text in texts {
        let all = tokenizer.encode(&text)?;
        ids.extend_from_slice(&all[..all.len() - all.len() % context]);
    }
    Ok(ids)
}

fn measure(title: &str, model: &Path, corpus: &Path) -> Result<()> {
    let options = IngestOptions {
        min_tokens: 128,
        ..Default::default()
    };
    let ids = documents(corpus, model, options.context)?;
    let batch = options.context * options.batch_size;
    let (mut bare, mut whole) = (vec![], vec![]);
    let mut forward = vec![];
    // One after the other, so that a busy machine slows both.
    for _ in 0..RUNS {
        let loaded = load(model)?;
        let started = Instant::now();
        for ids in ids.chunks(batch) {
            let seq = options.context;
            let input = Input::Tokens { ids, seq };
            loaded.model.forward(input, &mut Bare)?;
        }
        bare.push(started.elapsed().as_secs_f64());
        let folder = std::env::temp_dir().join(format!("polysema-bench-{}", std::process::id()));
        let store = Store::open(&folder)?;
        let request = IngestRequest {
            run: "bench".to_string(),
            model: model.to_path_buf(),
            corpus: corpus.to_path_buf(),
            options: options.clone(),
        };
        let mut phases = vec![];
        let mut progress = |p: polysema::ingest::Progress| {
            if phases.last().is_none_or(|(phase, _)| *phase != p.phase) {
                phases.push((p.phase, p.elapsed_seconds));
            }
        };
        let manifest = ingest(&store, &request, &AtomicBool::new(false), &mut progress)?;
        whole.push(manifest.seconds);
        forward.push(phases[2].1 - phases[1].1);
        std::fs::remove_dir_all(&folder)?;
    }
    let (bare, whole, forward) = (median(bare), median(whole), median(forward));
    println!(
        "{title}: {} tokens; bare forward {bare:.2} s, ingest {whole:.2} s ({:.2} times), its forward phase {forward:.2} s",
        ids.len(),
        whole / bare
    );
    Ok(())
}

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let demo = root.join("tests/data/demo");
    measure("demo", &demo.join("model"), &demo.join("corpus.jsonl"))?;
    let shared = root.join("../shared/data");
    if shared.exists() {
        let corpus = shared.join("wikitext-2/valid.txt");
        measure(
            "wikitext-2 valid",
            &shared.join("gpt2-wikitext-tiny"),
            &corpus,
        )?;
    }
    Ok(())
}
