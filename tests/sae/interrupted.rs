//! Trainings that were interrupted: they go on to the same bits, or say why not, and lose nothing.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool, UnboundedMemoryPool};
use polysema::corpus::{VectorBatch, VectorSource};
use polysema::jobs::JobContext;
use polysema::options::Options;
use polysema::saes::{SaeOptions, TRAIN_SAE, TrainSaeRequest, Vectors, load, train_sae};
use polysema::store::Store;

/// Rows that depend on their number alone.
struct Waves(usize);

impl VectorSource for Waves {
    fn read(&mut self, f: &mut dyn FnMut(&VectorBatch<'_>) -> Result<()>) -> Result<()> {
        for first in (0..self.0).step_by(100) {
            let value = |i: usize| ((i * i) as f32 * 0.37).sin();
            let values: Vec<f32> = (first * 6..(first + 100).min(self.0) * 6)
                .map(value)
                .collect();
            f(&VectorBatch {
                values: Cow::Owned(values),
                d: 6,
                ..VectorBatch::default()
            })?;
        }
        Ok(())
    }

    fn describe(&self) -> String {
        "waves".to_string()
    }
}

fn request(name: &str, pairs: &[(&str, &str)]) -> TrainSaeRequest {
    let fixed = [
        ("d_sae", "16"),
        ("batch_size", "32"),
        ("ne_loss", "0.01"),
        ("ne_start_step", "3"),
    ];
    let pairs = fixed.iter().chain(pairs).copied();
    let options = Options::of_words(&TRAIN_SAE, pairs).and_then(SaeOptions::new);
    TrainSaeRequest {
        name: name.to_string(),
        options: options.expect("options"),
    }
}

/// Trains until `stop` says so, which is asked at every row of progress.
fn train(
    store: &Store,
    request: &TrainSaeRequest,
    rows: usize,
    stop: &mut dyn FnMut(u64) -> bool,
) -> Result<()> {
    let pool = Arc::new(UnboundedMemoryPool::default());
    train_within(pool, store, request, rows, stop)
}

/// The same with some memory.
fn train_within(
    pool: Arc<dyn MemoryPool>,
    store: &Store,
    request: &TrainSaeRequest,
    rows: usize,
    stop: &mut dyn FnMut(u64) -> bool,
) -> Result<()> {
    let context = JobContext::with_memory(pool);
    let vectors = Vectors::Table(Box::new(Waves(rows)));
    train_sae(store, request, vectors, &context, &mut |row| {
        if stop(row.step) {
            context.cancel();
        }
    })
    .map(|_| ())
}

#[test]
fn an_interrupted_training_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    let options = [
        ("epochs", "300"),
        // Not exact in binary: what is compared is what was written.
        ("l1", "0.03"),
        ("checkpoint_every", "50"),
        ("buffer", "300"),
        ("dead_latents", "resample"),
        ("resample_every", "70"),
        ("dead_after", "5"),
    ];
    train(&store, &request("whole", &options), 1000, &mut |_| false).expect("trained");
    let curve = |name: &str| {
        let curve = store.sae(name).expect("stored").training_curve();
        curve.expect("read").expect("a curve")
    };
    let whole = load(&store.sae("whole").expect("stored")).expect("weights");

    let parts = request("parts", &options);
    let mut interrupted = 0;
    loop {
        // At the first row of progress after a step of its own.
        let ended = train(&store, &parts, 1000, &mut |step| {
            step > 200 * (interrupted + 1)
        });
        match ended {
            Ok(()) => break,
            Err(error) => {
                let message = error.strip_backtrace();
                assert!(message.contains("got cancelled"), "{message}");
                let kept = message.contains("the checkpoint of step")
                    || message.contains("the trained weights are kept");
                assert!(kept, "{message}");
                assert!(!store.has_sae("parts"));
                interrupted += 1;
            }
        }
    }
    println!("interrupted {interrupted} times");
    let parts = load(&store.sae("parts").expect("stored")).expect("weights");
    assert!(whole == parts, "the same weights, bit for bit");
    assert!(curve("whole") == curve("parts"), "and the same curve");
    // Of 9,600 steps, 32 a point.
    assert_eq!(curve("whole").num_rows(), 300);
    assert_eq!(store.sae("parts").expect("stored").manifest.rows, 300_000);
}

#[test]
fn a_checkpoint_of_other_options_is_not_gone_on_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    let long = [("epochs", "1000000"), ("checkpoint_every", "10")];
    let stopped = train(&store, &request("s", &long), 400, &mut |step| step > 20);
    assert!(stopped.is_err(), "cancelled");
    let other = [
        ("epochs", "1000000"),
        ("checkpoint_every", "10"),
        ("l1", "0.2"),
    ];
    let error = train(&store, &request("s", &other), 400, &mut |_| true).expect_err("refused");
    let message = error.strip_backtrace();
    assert!(
        message.contains("got other ones (l1): pass resume: false"),
        "{message}"
    );
    // Other rows behind the same words.
    let other_rows = TrainSaeRequest {
        options: request("s", &long).options,
        name: "s".to_string(),
    };
    let error = train(&store, &other_rows, 401, &mut |_| false).expect_err("refused");
    let message = error.strip_backtrace();
    assert!(
        message.contains("got other ones: pass resume: false"),
        "{message}"
    );
    let anew = [("epochs", "1"), ("l1", "0.2"), ("resume", "false")];
    train(&store, &request("s", &anew), 400, &mut |_| false).expect("trained");
    assert_eq!(store.sae("s").expect("stored").manifest.steps, 13);
    // The checkpoints go with the training.
    assert!(!folder.path().join("training/s").exists());
}

#[test]
fn a_damaged_checkpoint_is_named_and_begun_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    let long = [("epochs", "1000000"), ("checkpoint_every", "10")];
    let stopped = train(&store, &request("s", &long), 400, &mut |step| step > 20);
    assert!(stopped.is_err(), "cancelled");
    let pointer = folder.path().join("training/s/checkpoint.json");
    let text = std::fs::read_to_string(&pointer).expect("a checkpoint");
    let saved: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let generation = saved["generation"].as_str().expect("a generation");
    let state = pointer.with_file_name(generation).join("state.safetensors");
    std::fs::write(state, "cut").expect("writable");
    let refused = |part: &str| {
        let error = train(&store, &request("s", &long), 400, &mut |_| false).expect_err("damaged");
        let message = error.strip_backtrace();
        assert!(
            message.contains(part) && message.contains("pass resume: false"),
            "{message}"
        );
        assert!(!store.has_sae("s"));
    };
    refused("state.safetensors");
    std::fs::write(&pointer, "{").expect("writable");
    refused("checkpoint.json");
    let anew = [("epochs", "1"), ("resume", "false"), ("replace", "true")];
    train(&store, &request("s", &anew), 400, &mut |_| false).expect("trained");
    // Nor does it keep one that is there from being replaced.
    std::fs::create_dir_all(folder.path().join("training/s")).expect("writable");
    std::fs::write(&pointer, "{").expect("writable");
    train(&store, &request("s", &anew), 400, &mut |_| false).expect("replaced");
}

#[test]
fn what_a_training_holds_is_reserved_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    let request = request("s", &[]);
    // Too few bytes for the latents, then for the rows behind the first hundreds; enough for both.
    for (limit, rows, fits) in [
        (10_000, 100, false),
        (1 << 20, 100_000, false),
        (1 << 20, 100, true),
    ] {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(limit));
        let trained = train_within(Arc::clone(&pool), &store, &request, rows, &mut |_| false);
        match (trained, fits) {
            (Ok(()), true) => assert!(store.has_sae("s")),
            (Err(error), false) => {
                let message = error.strip_backtrace();
                assert!(
                    matches!(error, DataFusionError::ResourcesExhausted(_)),
                    "{error:?}"
                );
                let needed = "bytes are needed for 16 latents of width 6 and the rows that are shuffled together";
                assert!(message.contains(needed), "{message}");
                assert!(!store.has_sae("s"), "{limit}");
            }
            (other, _) => panic!("{limit} bytes, {rows} rows: {other:?}"),
        }
        assert_eq!(pool.reserved(), 0, "given back");
    }
}
