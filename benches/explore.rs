//! The explorer's pages of neurons: time from the request to the last byte, weight, and many readers at once. Not criterion: each
//! page is of another neuron, asked for once.
//!
//!     cargo bench --bench explore                   GPT-2-small's shape, 200 random neurons, then 50 readers
//!     cargo bench --bench explore -- publish        all of its pages as files
//!     cargo test --workspace --bench explore        the first, compiled for development
//!
//! `POLYSEMA_BENCH_STORE` keeps the store between runs.

#[path = "synthetic/gpt2_small.rs"]
mod gpt2_small;
mod synthetic;

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use gpt2_small::GPT2_SMALL;
use polysema::explore::{ExploreOptions, Exploring, PublishOptions, publish};
use polysema::session::EngineOptions;
use polysema_kernels::random::Random;

/// Neurons that are visited one after the other.
const VISITS: usize = 200;
/// Readers at once, and neurons that each visits.
const READERS: usize = 50;
const OF_EACH: usize = 6;

struct Visited {
    took: Duration,
    bytes: usize,
    status: u16,
}

fn visit(address: SocketAddr, path: &str) -> std::io::Result<Visited> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    let host = format!("localhost:{}", address.port());
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n"
    )?;
    let mut answer = vec![];
    stream.read_to_end(&mut answer)?;
    let head = String::from_utf8_lossy(&answer[..answer.len().min(64)]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok(Visited {
        took: began.elapsed(),
        bytes: answer.len(),
        status: status.unwrap_or(0),
    })
}

fn neuron(random: &mut Random) -> String {
    let (layer, neuron) = (
        random.index(GPT2_SMALL.layers),
        random.index(GPT2_SMALL.neurons),
    );
    format!("/runs/gpt2_small/layers/{layer}/neurons/{neuron}")
}

fn report(title: &str, visits: &mut [Visited]) {
    visits.sort_by_key(|visit| visit.took);
    let at = |part: f64| {
        visits[((visits.len() - 1) as f64 * part) as usize]
            .took
            .as_secs_f64()
            * 1e3
    };
    let errors = visits.iter().filter(|visit| visit.status != 200).count();
    let most = visits.iter().map(|visit| visit.bytes).max().unwrap_or(0);
    println!(
        "{title:<32} {:>5} pages {:>8.1} ms median {:>8.1} ms p99 {:>8.1} ms most, {errors} errors, at most {:.1} KB packed",
        visits.len(),
        at(0.5),
        at(0.99),
        at(1.0),
        most as f64 / 1e3
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let (store, _vanishes) = gpt2_small::folder()?;
    gpt2_small::write(&store)?;
    let runtime = polysema::shell::threads(None)?;
    let engine = EngineOptions {
        store,
        memory_limit: None,
        loaded_limit: None,
    };
    if std::env::args().any(|argument| argument == "publish") {
        let folder = tempfile::tempdir()?;
        let published = runtime.block_on(publish(
            &PublishOptions {
                engine,
                run: "gpt2_small".to_string(),
                neurons: None,
                out: folder.path().join("site"),
                replace: false,
            },
            |_| {},
        ))?;
        println!("{GPT2_SMALL:?}\n{published:?}");
        return Ok(());
    }
    let exploring = runtime.block_on(Exploring::open(ExploreOptions {
        engine,
        listen: [127, 0, 0, 1].into(),
        port: 0,
        proxy: None,
        run: None,
        write_labels: false,
    }))?;
    let address = exploring.address();
    runtime.spawn(exploring.serve(std::future::pending()));
    let mut random = Random::new(1);
    // The first pages map the files.
    for _ in 0..20 {
        visit(address, &neuron(&mut random))?;
    }
    println!("{GPT2_SMALL:?}");
    let mut alone = (0..VISITS)
        .map(|_| visit(address, &neuron(&mut random)))
        .collect::<std::io::Result<Vec<_>>>()?;
    report("one reader", &mut alone);
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            std::thread::spawn(move || {
                let mut random = Random::new(2 + reader as u64);
                (0..OF_EACH)
                    .map(|_| visit(address, &neuron(&mut random)))
                    .collect::<std::io::Result<Vec<_>>>()
            })
        })
        .collect();
    let mut together = vec![];
    for reader in readers {
        together.extend(reader.join().map_err(|_| "a reader has panicked")??);
    }
    report("50 readers at once", &mut together);
    Ok(())
}
