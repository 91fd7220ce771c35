//! Every neuron of a model clustered and measured by three workers and by one process, in turns: wall time, and CPU time of
//! all processes. Not criterion: one run takes seconds, and CPU time is wanted.
//!
//!     cargo bench --workspace --features polysema/distributed --bench workers

#[path = "synthetic/gpt2_small.rs"]
mod gpt2_small;
mod synthetic;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use futures::TryStreamExt;
use polysema::policy::Policy;
use polysema::session::{Engine, EngineOptions};
use polysema::workers::Workers;

const QUESTIONS: [&str; 3] = [
    "SELECT * FROM neuron_polysemanticity()",
    "SELECT layer, count(*) AS n, avg(n_clusters) AS n_clusters FROM neuron_polysemanticity() GROUP BY layer ORDER BY layer",
    "SELECT layer, neuron, cluster, example FROM feature_clusters()",
];
const WORKERS: usize = 3;
/// Repetitions; odd, so that the median is one of them.
const RUNS: usize = 5;

struct Process(Child, String);

impl Process {
    fn start(store: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_polysema"))
            .args(["worker", "--listen", "127.0.0.1:0", "--store"])
            .arg(store)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let line = lines.next().expect("a line").expect("text");
        let (_, address) = line.split_once(" listens at ").expect("an address");
        let address = address.to_string();
        std::thread::spawn(move || lines.for_each(drop));
        Self(child, address)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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

/// Wall and CPU seconds of a question, and its rows.
async fn ask(engine: &Arc<Engine>, processes: &[Process], sql: &str) -> Result<(f64, f64, String)> {
    let ids: Vec<_> = processes.iter().map(|p| p.0.id().to_string()).collect();
    let used = || cpu("self") + ids.iter().map(|id| cpu(id)).sum::<f64>();
    let session = engine.session(Policy::everything())?;
    let (began, before) = (Instant::now(), used());
    let rows: Vec<_> = session.query(sql).await?.try_collect().await?;
    let (wall, cost) = (began.elapsed().as_secs_f64(), used() - before);
    Ok((wall, cost, pretty_format_batches(&rows)?.to_string()))
}

#[tokio::main]
async fn main() -> Result<()> {
    let (store, _temporary) = gpt2_small::folder()?;
    gpt2_small::write(&store)?;
    let processes: Vec<_> = (0..WORKERS).map(|_| Process::start(&store)).collect();
    let addresses: Vec<_> = processes.iter().map(|process| process.1.clone()).collect();
    let (alone, asking) = (engine(&store)?, engine(&store)?);
    asking.ask(Workers::connect(&addresses, None).await?)?;
    for sql in QUESTIONS {
        println!("{sql}");
        let (mut one, mut many) = (vec![], vec![]);
        // The first runs bring the files into memory.
        for run in 0..=RUNS {
            let here = ask(&alone, &[], sql).await?;
            let there = ask(&asking, &processes, sql).await?;
            assert!(here.2 == there.2, "the same rows");
            if run > 0 {
                one.push((here.0, here.1));
                many.push((there.0, there.1));
            }
        }
        for costs in [&mut one, &mut many] {
            costs.sort_by(|a, b| a.1.total_cmp(&b.1));
        }
        let ((wall, cpu), (wall_many, cpu_many)) = (one[RUNS / 2], many[RUNS / 2]);
        println!("  one process    {wall:>6.2} s wall {cpu:>6.2} s CPU");
        println!(
            "  {WORKERS} workers      {wall_many:>6.2} s wall {cpu_many:>6.2} s CPU ({:.2} of one process)",
            cpu_many / cpu
        );
    }
    Ok(())
}
