//! Forward passes: GPT-2-small's shape with random weights, bare and with what ingest reads, the bundled model, and one
//! that the variable POLYSEMA_BENCH_MODEL names.
//!
//! The peer is `peer_forward.py` of the reference benches: PyTorch on the same cores, the same batch and context.

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use datafusion::error::Result;
use polysema::models::{HookPoint, Hooks, Input, LoadedModel, Site, load};

/// Looks at some sites and keeps nothing.
struct Reader(&'static [Site]);

impl Hooks for Reader {
    fn wants(&self, hook: HookPoint) -> bool {
        self.0.contains(&hook.site)
    }

    fn visit(
        &mut self,
        _: HookPoint,
        values: &Arc<Vec<f32>>,
        _: &[usize],
    ) -> Result<Option<Vec<f32>>> {
        black_box(values);
        Ok(None)
    }
}

/// The sites ingest reads with the folded layer norm.
const INGEST: &[Site] = &[Site::Normalized, Site::MlpPost];

fn measure(c: &mut Criterion, name: &str, loaded: &LoadedModel, batch: usize, seq: usize) {
    let d_vocab = loaded.model.d_vocab();
    let ids: Vec<u32> = (0..batch * seq)
        .map(|i| (i * 7919 % d_vocab) as u32)
        .collect();
    let mut group = c.benchmark_group(name);
    group
        .sample_size(10)
        .throughput(Throughput::Elements(ids.len() as u64));
    for (hooks, sites) in [("bare", &[] as &[Site]), ("ingest", INGEST)] {
        group.bench_function(BenchmarkId::new(hooks, format!("{batch}x{seq}")), |b| {
            let input = Input::Tokens { ids: &ids, seq };
            b.iter(|| {
                loaded
                    .model
                    .forward(input, &mut Reader(sites))
                    .expect("a forward pass")
            });
        });
    }
    group.finish();
}

fn forward(c: &mut Criterion) {
    let demo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/demo/model");
    let demo = load(&demo).expect("the bundled model");
    for batch in [8, 32] {
        measure(c, "demo", &demo, batch, 128);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    measure(c, "gpt2-small", &small(folder.path()), 8, 128);
    if let Some(model) = std::env::var_os("POLYSEMA_BENCH_MODEL") {
        let loaded = load(Path::new(&model)).expect("the named model");
        for batch in [8, 16] {
            measure(c, "named", &loaded, batch, 128);
        }
    }
}

fn small(folder: &Path) -> LoadedModel {
    support::gpt2(&support::GPT2_SMALL).write(folder);
    load(folder).expect("the folder just written")
}

criterion_group!(benches, forward);
criterion_main!(benches);
