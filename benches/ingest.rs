//! What ingest costs on top of the forward passes it consists of: seconds of both, in one process, on the same
//! batches. Not criterion: one run takes seconds, and the figure wanted is a ratio of two medians. The models are the demo's,
//! GPT-2-small's shape with random weights, and one that the variable POLYSEMA_BENCH_MODEL names.

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Instant;

use datafusion::error::Result;
use polysema::corpus::{CorpusReader, MAX_DOCUMENTS};
use polysema::jobs::JobContext;
use polysema::models::Unwatched;
use polysema::options::Options;
use polysema::runs::{IngestRequest, ingest};
use polysema::store::Store;

/// Repetitions; odd, so that the median is one of them.
const RUNS: usize = 7;

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn measure(title: &str, model: &Path, corpus: &Path, documents: Option<usize>) -> Result<()> {
    let options = Options::default().with(MAX_DOCUMENTS, documents);
    let (mut bare, mut whole) = (vec![], vec![]);
    let mut forward = vec![];
    let mut n_tokens = 0;
    // One after the other, so that a busy machine slows both.
    for _ in 0..RUNS {
        let mut reader = CorpusReader::open(model, corpus, &options, &JobContext::default())?;
        n_tokens = reader.n_tokens();
        let started = Instant::now();
        reader.for_each_batch(&mut |model, _, input| model.forward(input, &mut Unwatched))?;
        bare.push(started.elapsed().as_secs_f64());
        let folder = std::env::temp_dir().join(format!("polysema-bench-{}", std::process::id()));
        let store = Store::open(&folder)?;
        let request = IngestRequest {
            run: "bench".to_string(),
            model: model.to_path_buf(),
            corpus: corpus.to_path_buf(),
            options: options.clone(),
            max_activations: None,
        };
        let mut phases = vec![];
        let mut progress = |p: polysema::runs::Progress| {
            if phases.last().is_none_or(|(phase, _)| *phase != p.phase) {
                phases.push((p.phase, p.elapsed_seconds));
            }
        };
        let manifest = ingest(&store, &request, &JobContext::default(), &mut progress)?;
        whole.push(manifest.seconds);
        forward.push(phases[2].1 - phases[1].1);
        std::fs::remove_dir_all(&folder)?;
    }
    // Of neighbours in time, which a busy machine slows alike.
    let ratios = whole.iter().zip(&bare).map(|(whole, bare)| whole / bare);
    let ratio = median(ratios.collect());
    let (bare, whole, forward) = (median(bare), median(whole), median(forward));
    println!(
        "{title}: {n_tokens} tokens; bare forward {bare:.2} s, ingest {whole:.2} s ({ratio:.2} times), its forward phase {forward:.2} s",
    );
    Ok(())
}

/// GPT-2-small's shape with the demo's tokenizer.
fn small(folder: &Path, tokenizer: &Path) -> Result<()> {
    support::gpt2(&support::GPT2_SMALL).write(folder);
    std::fs::copy(tokenizer, folder.join("tokenizer.json"))?;
    Ok(())
}

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let demo = root.join("tests/data/demo");
    let corpus = demo.join("corpus.jsonl");
    measure("demo", &demo.join("model"), &corpus, None)?;
    let folder = tempfile::tempdir()?;
    small(folder.path(), &demo.join("model/tokenizer.json"))?;
    measure("gpt2-small", folder.path(), &corpus, Some(128))?;
    if let Some(model) = std::env::var_os("POLYSEMA_BENCH_MODEL") {
        measure("named", Path::new(&model), &corpus, Some(128))?;
    }
    let shared = root.join("../shared/data");
    if shared.exists() {
        let corpus = shared.join("wikitext-2/valid.txt");
        let model = shared.join("gpt2-wikitext-tiny");
        measure("wikitext-2 valid", &model, &corpus, None)?;
    }
    Ok(())
}
