//! A server under load: 100 connections, short questions at fixed times while others ask for the whole model. Not criterion:
//! wanted are the latencies of each question from the time it was due, errors, and the server's memory, over minutes.
//!
//!     cargo bench --bench load                      GPT-2-small's shape, 5 minutes: functions, then plain tables
//!     cargo bench --bench load -- 60 tables         60 seconds, the questions of plain tables alone
//!
//! `POLYSEMA_BENCH_STORE` keeps the store between runs. `POLYSEMA_BENCH_ADDRESS=HOST:PORT` asks a server that runs already, as
//! a peer of the same tables does (with `POLYSEMA_BENCH_PID` its memory is read too). `POLYSEMA_BENCH_MEMORY` is our server's
//! memory limit, `1GB` without.

#[path = "process/anonymous.rs"]
mod anonymous;
#[path = "synthetic/gpt2_small.rs"]
mod gpt2_small;
#[path = "../tests/serve/process.rs"]
mod process;
mod synthetic;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anonymous::anonymous_bytes;
use gpt2_small::GPT2_SMALL;
use polysema_kernels::random::Random;
use process::Process;
use tokio::time::Instant;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, NoTls};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Connections with short questions, each one every `EVERY`; and those that ask for the whole model without a pause.
const N_SHORT: usize = 98;
const N_WHOLE: usize = 2;
const EVERY: Duration = Duration::from_millis(500);

/// A short question of one neuron (`$1` its layer, `$2` its number), and one of the whole model.
struct Questions {
    name: &'static str,
    short: &'static str,
    whole: &'static str,
}

const QUESTIONS: [Questions; 2] = [
    Questions {
        name: "functions",
        short: "SELECT * FROM feature_clusters($1, $2)",
        whole: "SELECT layer, count(*) AS neurons, avg(n_clusters) AS n_clusters, median(mean_distance) AS mean_distance \
            FROM neuron_polysemanticity() GROUP BY layer ORDER BY layer",
    },
    Questions {
        name: "tables",
        short: "SELECT doc_id, pos, activation FROM examples WHERE layer = $1 AND neuron = $2 ORDER BY activation DESC",
        whole: "SELECT layer, avg(n) AS examples, avg(spread) AS spread FROM (SELECT layer, neuron, count(*) AS n, \
            stddev(activation) AS spread FROM examples GROUP BY layer, neuron) GROUP BY layer ORDER BY layer",
    },
];

/// Memory of a process that is not of mapped files, in MiB, and its open files.
fn resources(pid: Option<u32>) -> (f64, usize) {
    let Some(pid) = pid else { return (f64::NAN, 0) };
    let bytes = anonymous_bytes(&pid.to_string());
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    (
        bytes.map_or(f64::NAN, |bytes| bytes as f64 / f64::from(1 << 20)),
        files,
    )
}

async fn connect(address: &str) -> Fallible<Client> {
    let (host, port) = address.split_once(':').ok_or("HOST:PORT is required")?;
    let (client, connection) = Config::new()
        .host(host)
        .port(port.parse()?)
        .user("load")
        .dbname("gpt2_small")
        .connect(NoTls)
        .await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Milliseconds, in ascending order.
struct Latencies(Vec<f64>);

impl Latencies {
    fn of(mut milliseconds: Vec<f64>) -> Latencies {
        milliseconds.sort_by(f64::total_cmp);
        Latencies(milliseconds)
    }

    fn quantile(&self, q: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0
            .get((last as f64 * q).round() as usize)
            .copied()
            .unwrap_or(f64::NAN)
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (n, [p50, p99, most]) = (self.0.len(), [0.5, 0.99, 1.0].map(|q| self.quantile(q)));
        write!(
            f,
            "{n:>7} answers, p50 {p50:>8.1} ms, p99 {p99:>8.1} ms, most {most:>8.1} ms"
        )
    }
}

/// One connection's short questions. Every other connection prepares its statement, the rest send text.
async fn ask_short(address: String, sql: &str, i: usize, until: Instant) -> Fallible<Vec<f64>> {
    let client = connect(&address).await?;
    let prepared = client.prepare_typed(sql, &[Type::INT4, Type::INT4]).await?;
    let mut random = Random::new(i as u64);
    let mut due = Instant::now() + EVERY.mul_f64(random.uniform());
    let mut latencies = vec![];
    while due < until {
        tokio::time::sleep_until(due).await;
        let layer = random.index(GPT2_SMALL.layers) as i32;
        let neuron = random.index(GPT2_SMALL.neurons) as i32;
        let n = if i.is_multiple_of(2) {
            client.query(&prepared, &[&layer, &neuron]).await?.len()
        } else {
            let sql = sql
                .replace("$1", &layer.to_string())
                .replace("$2", &neuron.to_string());
            // Beside the rows: a description and an end.
            client.simple_query(&sql).await?.len().saturating_sub(2)
        };
        if n != GPT2_SMALL.examples {
            return Err(format!("{} rows are required, not {n}", GPT2_SMALL.examples).into());
        }
        latencies.push(due.elapsed().as_secs_f64() * 1e3);
        due += EVERY;
    }
    Ok(latencies)
}

async fn ask_whole(address: String, sql: &str, until: Instant) -> Fallible<Vec<f64>> {
    let client = connect(&address).await?;
    let mut latencies = vec![];
    while Instant::now() < until {
        let asked = Instant::now();
        let rows = client.query(sql, &[]).await?;
        if rows.len() != GPT2_SMALL.layers {
            return Err(format!(
                "{} rows are required, not {}",
                GPT2_SMALL.layers,
                rows.len()
            )
            .into());
        }
        latencies.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    Ok(latencies)
}

/// Latencies of short and of whole questions; an error is counted, and ends its connection.
async fn phase(
    address: &str,
    questions: &'static Questions,
    n_whole: usize,
    seconds: f64,
) -> (Latencies, Latencies, Vec<String>) {
    // The server has seen the end of connections before.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let short: Vec<_> = (0..N_SHORT)
        .map(|i| tokio::spawn(ask_short(address.to_string(), questions.short, i, until)))
        .collect();
    let whole: Vec<_> = (0..n_whole)
        .map(|_| tokio::spawn(ask_whole(address.to_string(), questions.whole, until)))
        .collect();
    let mut errors = vec![];
    let mut collect = |result: Result<Fallible<Vec<f64>>, _>| match result {
        Ok(Ok(latencies)) => latencies,
        Ok(Err(error)) => {
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            errors.push(format!("{error}: {source}"));
            vec![]
        }
        Err::<_, tokio::task::JoinError>(error) => {
            errors.push(error.to_string());
            vec![]
        }
    };
    let mut all = [vec![], vec![]];
    for (tasks, all) in [short, whole].into_iter().zip(&mut all) {
        for task in tasks {
            all.extend(collect(task.await));
        }
    }
    let [short, whole] = all.map(Latencies::of);
    (short, whole, errors)
}

async fn measure(
    address: &str,
    pid: Option<u32>,
    questions: &'static Questions,
    seconds: f64,
) -> Fallible<()> {
    println!(
        "\n{}\n  short: {}\n  whole: {}",
        questions.name, questions.short, questions.whole
    );
    // The first question of the whole brings the files into memory.
    let asked = Instant::now();
    connect(address).await?.query(questions.whole, &[]).await?;
    println!(
        "one whole question alone: {:.1} s",
        asked.elapsed().as_secs_f64()
    );
    let (memory, files) = resources(pid);
    println!("the server before: {memory:.0} MiB, {files} open files");

    let (alone, _, errors) = phase(address, questions, 0, seconds / 5.0).await;
    println!(
        "{N_SHORT} connections, short questions alone:  {alone}, {} errors",
        errors.len()
    );
    let done = Arc::new(AtomicBool::new(false));
    let watch = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            let mut most = 0f64;
            while !done.load(Ordering::Relaxed) {
                most = most.max(resources(pid).0);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            most
        }
    });
    let (beside, whole, more) = phase(address, questions, N_WHOLE, seconds * 4.0 / 5.0).await;
    done.store(true, Ordering::Relaxed);
    let most = watch.await?;
    println!(
        "and {N_WHOLE} with whole questions, short:        {beside}, {} errors",
        more.len()
    );
    println!("                         whole:        {whole}");
    println!(
        "p99 beside whole questions / alone: {:.1}",
        beside.quantile(0.99) / alone.quantile(0.99)
    );
    for error in errors.iter().chain(&more) {
        println!("error: {error}");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (memory, files) = resources(pid);
    println!("the server at most {most:.0} MiB; after: {memory:.0} MiB, {files} open files");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Fallible<()> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|x| x != "--bench")
        .collect();
    let seconds = args
        .iter()
        .find_map(|x| x.parse::<f64>().ok())
        .unwrap_or(300.0);
    let chosen = |q: &&Questions| args.iter().all(|x| x.parse::<f64>().is_ok() || x == q.name);
    let _temporary;
    let (server, address, pid) = match std::env::var("POLYSEMA_BENCH_ADDRESS") {
        Ok(address) => {
            let pid = std::env::var("POLYSEMA_BENCH_PID")
                .ok()
                .and_then(|x| x.parse().ok());
            (None, address, pid)
        }
        Err(_) => {
            let folder;
            (folder, _temporary) = gpt2_small::folder()?;
            gpt2_small::write(&folder)?;
            let memory =
                std::env::var("POLYSEMA_BENCH_MEMORY").unwrap_or_else(|_| "1GB".to_string());
            let server = Process::start(&folder, &["--memory-limit", &memory]);
            let (address, pid) = (
                format!("127.0.0.1:{}", server.port),
                Some(server.child.id()),
            );
            (Some(server), address, pid)
        }
    };
    for questions in QUESTIONS.iter().filter(chosen) {
        measure(&address, pid, questions, seconds).await?;
    }
    drop(server);
    Ok(())
}
