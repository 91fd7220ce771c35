//! The end of a training or an import: the latents become a layer of a run, which is committed with their autoencoder.

use std::time::Instant;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use polysema_kernels::sae::evaluation::SaeMetrics;
use polysema_kernels::sae::{InputNorm, Sae, StepLosses, Variant};
use serde_json::{Value, json};

use super::advice::advice;
use super::curve::Curve;
use super::progress::{TrainSaeProgress, TrainSaeRequest};
use super::weights;
use crate::corpus::{ModelVectors, VectorSource};
use crate::files::clock;
use crate::jobs::JobContext;
use crate::models::HookPoint;
use crate::options::Options;
use crate::runs::{Attached, Latents, Progress, add_to_run, make_run, require_own_run};
use crate::store::{SaeManifest, SaeWriter, Source, Store, Versions};

/// Where the vectors come from.
pub enum Vectors<'a> {
    /// A layer of a run: the run's model and corpus.
    Layer {
        /// The run.
        run: String,
        /// What the model gives.
        vectors: Box<ModelVectors>,
        /// Where what is given back stands.
        target: HookPoint,
        /// The model.
        model: Source,
        /// The corpus.
        corpus: Source,
    },
    /// Rows of a table or query.
    Table(Box<dyn VectorSource + 'a>),
}

impl Vectors<'_> {
    pub(super) fn source(&mut self) -> &mut (dyn VectorSource + '_) {
        match self {
            Self::Layer { vectors, .. } => vectors.as_mut(),
            Self::Table(source) => source.as_mut(),
        }
    }

    /// What tells this source from another.
    pub(super) fn identity(&mut self) -> Value {
        match self {
            Self::Layer {
                vectors,
                model,
                corpus,
                ..
            } => json!({
                "source": vectors.description,
                "hook": vectors.hook.to_string(),
                "model": model.hash,
                "corpus": corpus.hash,
            }),
            Self::Table(source) => json!({"source": source.describe()}),
        }
    }
}

/// What a finished training has come to.
pub(super) struct Done {
    pub(super) steps: u64,
    pub(super) rows: u64,
    pub(super) losses: Option<StepLosses>,
    pub(super) curve: Curve,
    pub(super) seconds: f64,
}

/// Finds the latents' dataset examples and makes everything visible.
#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one call, used once"
)]
pub(super) fn publish(
    store: &Store,
    request: &TrainSaeRequest,
    sae: Sae,
    done: Done,
    vectors: Vectors<'_>,
    writer: SaeWriter,
    context: &JobContext,
    progress: &mut dyn FnMut(TrainSaeProgress),
) -> Result<SaeManifest> {
    let options = &request.options;
    let mut facts = SaeManifest {
        name: request.name.clone(),
        options: options.to_json(),
        steps: done.steps,
        rows: done.rows,
        ..facts_of(&sae)
    };
    let started = Instant::now();
    let mut row = TrainSaeProgress {
        phase: "observe",
        step: done.steps,
        rows_seen: done.rows,
        losses: done.losses,
        d_sae: sae.d_sae,
        rows_per_second: 0.0,
        elapsed_seconds: done.seconds,
        message: String::new(),
    };
    let mut forward = |seen: Progress| {
        if seen.phase == "done" {
            return;
        }
        row.phase = seen.phase;
        row.message = seen.message;
        row.rows_per_second = seen.tokens_per_second;
        row.elapsed_seconds = done.seconds + started.elapsed().as_secs_f64();
        progress(row.clone());
    };
    let attached = attach(
        store,
        &sae,
        &options.0,
        vectors,
        &mut facts,
        context,
        &mut forward,
    );
    let attached = attached.map_err(trained_is_kept)?;
    let metrics = attached.metrics.clone();
    facts.seconds = done.seconds + started.elapsed().as_secs_f64();
    let curve = done.curve.rows(sae.d_sae)?;
    commit(attached, &mut facts, &sae, curve.as_ref()).map_err(trained_is_kept)?;
    // What cannot be removed says that nothing is left to train, and goes with the next training of this name.
    let _ = writer.training().remove();
    row.phase = "done";
    row.elapsed_seconds = facts.seconds;
    row.rows_per_second = done.rows as f64 / done.seconds.max(1e-9);
    row.message = format!(
        "{}: {} latents, layer {} of run {}",
        facts.name,
        facts.d_sae,
        facts.layer.unwrap_or_default(),
        facts.run.as_deref().unwrap_or_default()
    );
    if let Some(metrics) = metrics {
        for advice in advice(&metrics, &sae, options) {
            row.message += &format!("; {advice}");
        }
        row.losses = row.losses.map(|losses| of_all_rows(losses, &metrics, &sae));
    }
    progress(row);
    Ok(facts)
}

/// What is of a batch becomes what is of all rows.
fn of_all_rows(losses: StepLosses, metrics: &SaeMetrics, sae: &Sae) -> StepLosses {
    StepLosses {
        mse: metrics.mse.unwrap_or(losses.mse),
        l0: metrics.l0,
        n_dead: ((1.0 - metrics.frac_alive) * sae.d_sae as f64).round() as usize,
        explained_variance: metrics.fvu.map(|fvu| 1.0 - fvu),
        ..losses
    }
}

/// Their checkpoint says that nothing is left to train.
fn trained_is_kept(error: DataFusionError) -> DataFusionError {
    let kept =
        |message| format!("{message}; the trained weights are kept for the next call of this name");
    match error {
        DataFusionError::Execution(message) => DataFusionError::Execution(kept(message)),
        DataFusionError::Plan(message) => DataFusionError::Plan(kept(message)),
        other => other,
    }
}

/// Refuses, before anything is computed, what could not be made visible at the end.
///
/// Errors: a run of a model has the name that the latents' run would get; the autoencoder that is replaced has its
/// latents in another run, where they would stay.
pub(super) fn check_place(store: &Store, name: &str, vectors: &Vectors<'_>) -> Result<()> {
    let run = match vectors {
        Vectors::Layer { run, .. } => run.as_str(),
        Vectors::Table(_) => {
            require_own_run(store, name)?;
            name
        }
    };
    if store.has_sae(name)
        && let Some(old) = store.sae(name)?.manifest.run
        && old != run
        && store.has(&old)
    {
        return plan_err!(
            "the run '{old}', which has the latents of '{name}', is required to replace it, got '{run}'"
        );
    }
    Ok(())
}

/// Makes a run with the latents' layer visible, and their autoencoder in it with the curve of its training.
pub(super) fn commit(
    attached: Attached,
    facts: &mut SaeManifest,
    sae: &Sae,
    curve: Option<&RecordBatch>,
) -> Result<()> {
    facts.created_at = clock::seconds();
    let Attached {
        mut run,
        facts: of_run,
        ..
    } = attached;
    run.add_sae(facts.clone(), curve, |path| weights::save(path, sae))?;
    run.commit(of_run)
}

/// Makes the latents a layer of a run that is still to be committed, and writes down where.
pub(super) fn attach(
    store: &Store,
    sae: &Sae,
    examples: &Options,
    vectors: Vectors<'_>,
    facts: &mut SaeManifest,
    context: &JobContext,
    progress: &mut dyn FnMut(Progress),
) -> Result<Attached> {
    let name = facts.name.clone();
    let latents = Latents {
        name: &name,
        sae,
        options: examples,
    };
    let attached = match vectors {
        Vectors::Layer {
            run,
            mut vectors,
            target,
            model,
            corpus,
        } => {
            let (hook, reader) = (vectors.hook, &mut vectors.reader);
            let hooks = [hook, target];
            let attached = add_to_run(store, &run, latents, reader, hooks, context, progress)?;
            facts.run = Some(run);
            facts.hook = Some(hook.to_string());
            facts.hook_out = (target != hook).then(|| target.to_string());
            facts.source = vectors.description.clone();
            (facts.model, facts.corpus) = (Some(model), Some(corpus));
            attached
        }
        Vectors::Table(mut source) => {
            facts.source = source.describe();
            let attached = make_run(store, latents, source.as_mut(), context, progress)?;
            facts.run = Some(name.clone());
            attached
        }
    };
    facts.layer = Some(attached.layer);
    facts.mse = attached.metrics.as_ref().and_then(|metrics| metrics.mse);
    Ok(attached)
}

/// What an autoencoder's parameters say of it.
pub(super) fn facts_of(sae: &Sae) -> SaeManifest {
    SaeManifest {
        d_in: sae.d_in,
        d_out: (sae.d_out() != sae.d_in).then(|| sae.d_out()),
        d_sae: sae.d_sae,
        variant: sae.variant.name().to_string(),
        k: match sae.variant {
            Variant::TopK { k } | Variant::BatchTopK { k, .. } => Some(k),
            _ => None,
        },
        centered: sae.centered,
        norm: (sae.norm != InputNorm::None).then(|| sae.norm.name().to_string()),
        skip: !sae.w_skip.is_empty(),
        transcodes: sae.transcodes,
        versions: Versions::default(),
        ..SaeManifest::default()
    }
}
