//! What ingest costs on top of the forward passes it consists of: seconds of both, in one process, on the same
//! batches, by the clock and of all cores. Not criterion: one run takes seconds, and the figure wanted is a ratio of two
//! medians. The models are the demo's, GPT-2-small's shape with random weights, and one that the variable
//! POLYSEMA_BENCH_MODEL names.

mod process;
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
use process::cpu_seconds;

/// What was measured once: by the clock, and of all cores, which other work on the machine changes less.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    cpu: f64,
}

impl Cost {
    fn of(work: impl FnOnce() -> Result<()>) -> Result<Self> {
        let (started, before) = (Instant::now(), cpu_seconds());
        work()?;
        Ok(Self {
            seconds: started.elapsed().as_secs_f64(),
            cpu: cpu_seconds() - before,
        })
    }
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// `runs` is odd, so that the median is one of them.
fn measure(
    title: &str,
    model: &Path,
    corpus: &Path,
    documents: Option<usize>,
    runs: usize,
) -> Result<()> {
    let options = Options::default().with(MAX_DOCUMENTS, documents);
    let (mut bare, mut whole) = (vec![], vec![]);
    let mut forward = vec![];
    let mut n_tokens = 0;
    // One after the other, so that a busy machine slows both.
    for _ in 0..runs {
        let mut reader = CorpusReader::open(model, corpus, &options, &JobContext::default())?;
        n_tokens = reader.n_tokens();
        bare.push(Cost::of(|| {
            reader.for_each_batch(&mut |model, _, input| model.forward(input, &mut Unwatched))
        })?);
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
            if phases.last().is_none_or(|(phase, _, _)| *phase != p.phase) {
                phases.push((p.phase, p.elapsed_seconds, cpu_seconds()));
            }
        };
        whole.push(Cost::of(|| {
            ingest(&store, &request, &JobContext::default(), &mut progress)?;
            Ok(())
        })?);
        forward.push(Cost {
            seconds: phases[2].1 - phases[1].1,
            cpu: phases[2].2 - phases[1].2,
        });
        std::fs::remove_dir_all(&folder)?;
    }
    println!("{title}: {n_tokens} tokens");
    let seconds: fn(&Cost) -> f64 = |cost| cost.seconds;
    for (of, cost) in [("clock", seconds), ("all cores", |cost| cost.cpu)] {
        // Of neighbours in time, which a busy machine slows alike.
        let ratio = median(
            whole
                .iter()
                .zip(&bare)
                .map(|(whole, bare)| cost(whole) / cost(bare)),
        );
        let [bare, whole, forward] =
            [&bare, &whole, &forward].map(|costs| median(costs.iter().map(cost)));
        println!(
            "  {of}: bare forward {bare:.2} s, ingest {whole:.2} s ({ratio:.2} times), its forward phase {forward:.2} s",
        );
    }
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
    measure("demo", &demo.join("model"), &corpus, None, 7)?;
    let folder = tempfile::tempdir()?;
    small(folder.path(), &demo.join("model/tokenizer.json"))?;
    measure("gpt2-small", folder.path(), &corpus, Some(128), 5)?;
    measure("gpt2-small", folder.path(), &corpus, None, 3)?;
    if let Some(model) = std::env::var_os("POLYSEMA_BENCH_MODEL") {
        measure("named", Path::new(&model), &corpus, Some(128), 5)?;
        measure("named", Path::new(&model), &corpus, None, 3)?;
    }
    let shared = root.join("../shared/data");
    if shared.exists() {
        let corpus = shared.join("wikitext-2/valid.txt");
        let model = shared.join("gpt2-wikitext-tiny");
        measure("wikitext-2 valid", &model, &corpus, None, 5)?;
    }
    Ok(())
}
