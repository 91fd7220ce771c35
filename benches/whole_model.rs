//! Every neuron of a model clustered and measured by one query: wall and CPU time, peak memory, and how they grow.
//! Not criterion: one run takes seconds, and memory and CPU time are wanted beside the wall time.
//!
//!     cargo bench --workspace --bench whole_model                 GPT-2-small's shape, one and two partitions, with a memory limit
//!     cargo bench --workspace --bench whole_model -- growth       cost by examples, width and neurons

#[path = "process/anonymous.rs"]
mod anonymous;
#[path = "synthetic/gpt2_small.rs"]
mod gpt2_small;
mod process;
mod synthetic;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anonymous::anonymous_bytes;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use futures::TryStreamExt;
use gpt2_small::GPT2_SMALL;
use polysema::session::{Session, SessionOptions};
use process::cpu_seconds;
use synthetic::Shape;

const QUERY: &str = "SELECT layer, count(*) AS neurons, avg(n_clusters) AS n_clusters, \
     median(mean_distance) AS mean_distance FROM neuron_polysemanticity() GROUP BY layer ORDER BY layer";

/// Repetitions; odd, so that the median is one of them.
const RUNS: usize = 5;

/// One run of the query.
struct Cost {
    wall: f64,
    cpu: f64,
    /// Most memory of the process that is not of mapped files.
    peak_bytes: u64,
}

async fn measure(store: &Path, partitions: usize, limit: Option<usize>, sql: &str) -> Result<Cost> {
    let session = Session::open(SessionOptions {
        store: store.to_path_buf(),
        memory_limit: limit,
    })
    .await?;
    let set = format!("SET datafusion.execution.target_partitions = {partitions}");
    let _: Vec<_> = session.query(&set).await?.try_collect().await?;
    let (done, peak) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let watch = {
        let (done, peak) = (Arc::clone(&done), Arc::clone(&peak));
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous_bytes("self").unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    };
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let batches: Vec<_> = session.query(sql).await?.try_collect().await?;
    let cost = Cost {
        wall: started.elapsed().as_secs_f64(),
        cpu: cpu_seconds() - cpu,
        peak_bytes: peak.load(Ordering::Relaxed),
    };
    done.store(true, Ordering::Relaxed);
    let _ = watch.join();
    if std::env::var_os("SHOW").is_some() {
        println!("{}", pretty_format_batches(&batches)?);
    }
    Ok(cost)
}

async fn median(
    store: &Path,
    partitions: usize,
    limit: Option<usize>,
    runs: usize,
) -> Result<Cost> {
    let mut costs = vec![];
    for _ in 0..runs {
        costs.push(measure(store, partitions, limit, QUERY).await?);
    }
    costs.sort_by(|a, b| a.wall.total_cmp(&b.wall));
    Ok(costs.swap_remove(runs / 2))
}

fn report(title: &str, neurons: usize, cost: &Cost) {
    println!(
        "{title:<44} {:>8.2} s wall {:>8.2} s CPU {:>8.1} us CPU/neuron {:>7.0} MiB",
        cost.wall,
        cost.cpu,
        cost.cpu * 1e6 / neurons as f64,
        cost.peak_bytes as f64 / f64::from(1 << 20)
    );
}

async fn whole(folder: &Path) -> Result<()> {
    let shape = GPT2_SMALL;
    let neurons = shape.layers * shape.neurons;
    gpt2_small::write(folder)?;
    println!("{shape:?}\n{QUERY}");
    // The first run brings the files into memory.
    measure(folder, 2, None, QUERY).await?;
    for partitions in [1, 2] {
        let cost = median(folder, partitions, None, RUNS).await?;
        report(&format!("{partitions} partitions"), neurons, &cost);
    }
    let cost = median(folder, 2, Some(1 << 30), RUNS).await?;
    report("2 partitions, memory limit 1 GiB", neurons, &cost);
    Ok(())
}

/// Around a base shape, one thing grows at a time.
async fn growth(folder: &Path) -> Result<()> {
    let base = Shape {
        layers: 1,
        neurons: 3072,
        examples: 100,
        d: 768,
        positions: 20_000,
    };
    let mut shapes = vec![];
    for (examples, neurons) in [
        (10, 10_000),
        (30, 10_000),
        (100, 3072),
        (300, 512),
        (1000, 64),
        (3000, 16),
        (10_000, 4),
    ] {
        shapes.push(Shape {
            examples,
            neurons,
            ..base
        });
    }
    for d in [64, 256, 768, 1536, 4096] {
        let positions = base.positions * base.d / d.max(base.d);
        shapes.push(Shape {
            d,
            positions,
            ..base
        });
    }
    for neurons in [1000, 10_000, 100_000] {
        shapes.push(Shape { neurons, ..base });
    }
    for shape in shapes {
        let store = folder.join("growth");
        synthetic::write(&store, "growth", shape)?;
        measure(&store, 2, None, QUERY).await?;
        let cost = median(&store, 2, None, 3).await?;
        let Shape {
            neurons,
            examples,
            d,
            ..
        } = shape;
        report(
            &format!("{neurons} neurons, n = {examples}, d = {d}"),
            neurons,
            &cost,
        );
        std::fs::remove_dir_all(&store)?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let (folder, _temporary) = gpt2_small::folder()?;
    match std::env::args().any(|argument| argument == "growth") {
        true => growth(&folder).await,
        false => whole(&folder).await,
    }
}
