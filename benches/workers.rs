//! Every neuron of a model clustered and measured by one, three and seven workers and by one process, in turns: wall time, and
//! CPU time of who asks and of all workers. `scripts/workers.py` says from them what more workers would take. Not criterion:
//! one run takes seconds, and CPU time is wanted.
//!
//!     cargo bench --workspace --features polysema/distributed --bench workers

#[path = "synthetic/gpt2_small.rs"]
mod gpt2_small;
#[path = "../tests/workers/process.rs"]
mod process;
mod synthetic;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::error::Result;
use futures::TryStreamExt;
use polysema::policy::Policy;
use polysema::session::{Engine, EngineOptions};
use polysema::workers::Workers;
use process::Process;

const QUESTIONS: [&str; 3] = [
    "SELECT * FROM neuron_polysemanticity()",
    "SELECT layer, count(*) AS n, avg(n_clusters) AS n_clusters FROM neuron_polysemanticity() GROUP BY layer ORDER BY layer",
    "SELECT layer, neuron, cluster, example FROM feature_clusters()",
];
const WORKERS: [usize; 3] = [1, 3, 7];
/// Repetitions; odd, so that the median is one of them.
const RUNS: usize = 5;

/// CPU seconds of a process so far.
fn cpu(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("a process");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<f64>().expect("ticks");
    // A hundred ticks a second, wherever Linux shows them to programs.
    (ticks(11) + ticks(12)) / 100.0
}

fn engine(store: &Path) -> Result<Arc<Engine>> {
    Engine::open(&EngineOptions {
        store: store.to_path_buf(),
        memory_limit: None,
        loaded_limit: None,
    })
}

/// Seconds of a question.
#[derive(Clone, Copy)]
struct Seconds {
    wall: f64,
    /// CPU time of who asks.
    asking: f64,
    /// CPU time of all workers.
    workers: f64,
}

impl Seconds {
    fn cpu(&self) -> f64 {
        self.asking + self.workers
    }
}

/// What a question takes, and its rows.
async fn ask(
    engine: &Arc<Engine>,
    processes: &[Process],
    sql: &str,
) -> Result<(Seconds, Vec<RecordBatch>)> {
    let ids: Vec<_> = processes.iter().map(|p| p.id().to_string()).collect();
    let used = || (cpu("self"), ids.iter().map(|id| cpu(id)).sum::<f64>());
    let session = engine.session(Policy::everything())?;
    let (began, before) = (Instant::now(), used());
    let rows: Vec<_> = session.query(sql).await?.try_collect().await?;
    let (wall, after) = (began.elapsed().as_secs_f64(), used());
    let seconds = Seconds {
        wall,
        asking: after.0 - before.0,
        workers: after.1 - before.1,
    };
    Ok((seconds, rows))
}

/// One that takes as much CPU time as the others in the middle.
fn median(mut all: Vec<Seconds>) -> Seconds {
    all.sort_by(|a, b| a.cpu().total_cmp(&b.cpu()));
    all[all.len() / 2]
}

#[tokio::main]
async fn main() -> Result<()> {
    let (store, _temporary) = gpt2_small::folder()?;
    gpt2_small::write(&store)?;
    let most = WORKERS[WORKERS.len() - 1];
    let processes: Vec<_> = (0..most).map(|_| Process::start(&store, &[])).collect();
    let addresses = Process::addresses(&processes);
    let alone = engine(&store)?;
    let mut asking = vec![];
    for n in WORKERS {
        let engine = engine(&store)?;
        engine.ask(Workers::connect(&addresses[..n], None).await?)?;
        asking.push((n, engine));
    }
    for sql in QUESTIONS {
        println!("{sql}");
        let mut one = vec![];
        let mut many = WORKERS.map(|_| vec![]);
        // The first runs bring the files into memory.
        for run in 0..=RUNS {
            let (here, expected) = ask(&alone, &[], sql).await?;
            for ((n, engine), many) in asking.iter().zip(&mut many) {
                let (there, rows) = ask(engine, &processes[..*n], sql).await?;
                let rows = concat_batches(&rows[0].schema(), &rows)?;
                assert!(
                    rows == concat_batches(&rows.schema(), &expected)?,
                    "the same rows"
                );
                if run > 0 {
                    many.push(there);
                }
            }
            if run > 0 {
                one.push(here);
            }
        }
        let one = median(one);
        println!(
            "  one process {:>6.2} s wall {:>6.2} s CPU",
            one.wall,
            one.cpu()
        );
        for (n, many) in WORKERS.iter().zip(many) {
            let many = median(many);
            println!(
                "  {n} workers   {:>6.2} s wall {:>6.2} s CPU ({:.2} of one process), {:.2} of them who asks",
                many.wall,
                many.cpu(),
                many.cpu() / one.cpu(),
                many.asking
            );
        }
    }
    Ok(())
}
