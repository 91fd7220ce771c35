//! The metrics by name, each with its formula: one place that says what a number of an autoencoder means.

use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;
use polysema_kernels::sae::Sae;
use polysema_kernels::sae::evaluation::{Evaluation, SaeMetrics};

/// One number with what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// The number; none where it is undefined.
    pub value: Option<f64>,
    /// The formula.
    pub definition: &'static str,
}

/// What the model makes of its inputs.
#[derive(Debug, Default)]
pub(super) struct Effect {
    /// Predictions made.
    pub(super) n: u64,
    /// Right ones with the model's own vectors and with reconstructions.
    pub(super) right: [u64; 2],
    /// Summed cross-entropy with the model's own vectors, reconstructions, zeros.
    pub(super) loss: [f64; 3],
}

/// The metrics of what reconstructions do to the model, which are not among those of the rows.
pub const OF_MODEL: [&str; 7] = [
    "accuracy_percent",
    "accuracy_with_sae_percent",
    "accuracy_loss_percent",
    "ce_loss",
    "ce_loss_with_sae",
    "ce_loss_zero_ablation",
    "ce_loss_score",
];

/// All metrics, those of the model among them where there is one.
pub(super) fn finish(
    sae: &Sae,
    evaluation: &Evaluation,
    effect: Option<(Effect, bool)>,
) -> Result<Vec<Metric>> {
    let found = evaluation.finish(sae).map_err(|latent| {
        exec_datafusion_err!(
            "finite embeddings are required, got NaN or infinity in latent {latent}"
        )
    })?;
    let Some(found) = found else {
        return exec_err!("rows are required, got none");
    };
    let mut metrics = of_rows(&found);
    let (mut accuracy, mut with_sae, mut lost) = (None, None, None);
    let (mut losses, mut score) = ([None; 3], None);
    if let Some((effect, language)) = effect
        && effect.n > 0
    {
        let n = effect.n as f64;
        if language {
            let [own, with_sae, zero] = effect.loss.map(|loss| loss / n);
            losses = [Some(own), Some(with_sae), Some(zero)];
            score = (zero != own).then(|| (zero - with_sae) / (zero - own));
        } else {
            let [own, replaced] = effect.right.map(|right| 100.0 * right as f64 / n);
            (accuracy, with_sae, lost) = (Some(own), Some(replaced), Some(own - replaced));
        }
    }
    let [ce, ce_sae, ce_zero] = losses;
    let more = [
        (
            accuracy,
            "100 * share of images whose largest logit is their label's",
        ),
        (
            with_sae,
            "the same with reconstructions in place of the vectors",
        ),
        (lost, "accuracy_percent - accuracy_with_sae_percent"),
        (ce, "mean over tokens of -ln p(token), in nats"),
        (
            ce_sae,
            "the same with reconstructions in place of the vectors",
        ),
        (ce_zero, "the same with zeros in place of the vectors"),
        (
            score,
            "(ce_loss_zero_ablation - ce_loss_with_sae) / (ce_loss_zero_ablation - ce_loss)",
        ),
    ];
    let more = OF_MODEL.into_iter().zip(more);
    metrics.extend(more.map(|(name, (value, definition))| Metric {
        name,
        value,
        definition,
    }));
    Ok(metrics)
}

fn of_rows(found: &SaeMetrics) -> Vec<Metric> {
    let metrics = [
        ("rows", Some(found.rows as f64), "rows measured"),
        (
            "mse",
            found.mse,
            "mean over rows and dimensions of (y - x)^2",
        ),
        (
            "sse_per_row",
            found.sse_per_row,
            "mean over rows of the sum over dimensions of (y - x)^2",
        ),
        (
            "fvu",
            found.fvu,
            "sum of (y - x)^2 / sum of (x - mean x)^2, over rows and dimensions",
        ),
        (
            "explained_variance",
            found.fvu.map(|fvu| 1.0 - fvu),
            "1 - fvu",
        ),
        (
            "l0",
            Some(found.l0),
            "mean over rows of the number of latents with a > 0",
        ),
        ("l0_percent", Some(found.l0_percent), "100 * l0 / d_sae"),
        (
            "l1_per_row",
            Some(found.l1_per_row),
            "mean over rows of the sum of a",
        ),
        (
            "l1_per_batch",
            Some(found.l1_per_batch),
            "mean over batches of 128 rows of the sum of a; the last one may be short",
        ),
        (
            "frac_alive",
            Some(found.frac_alive),
            "share of latents with a > 0 on some row",
        ),
        (
            "max_distance",
            found.max_distance,
            "largest cosine distance of x * w_enc over a latent's first 100 rows with a > 0; median over latents with 2 rows or more",
        ),
        (
            "mean_distance",
            found.mean_distance,
            "mean of these distances; median over the same latents",
        ),
        (
            "size",
            found.size,
            "number of rows with a > 0; median over latents with 2 rows or more",
        ),
    ];
    let metrics = metrics.into_iter().map(|(name, value, definition)| Metric {
        name,
        value,
        definition,
    });
    metrics.collect()
}

/// The share of latents, in percent, whose largest activation in training is below a threshold.
pub fn dead(max_activations: &[f32], threshold: f64) -> Metric {
    let n = max_activations.len() as f64;
    let dead = max_activations
        .iter()
        .filter(|max| f64::from(**max) < threshold);
    Metric {
        name: "dead_percent",
        value: (n > 0.0).then(|| 100.0 * dead.count() as f64 / n),
        definition: "100 * share of latents whose largest activation over the training rows is below dead_threshold",
    }
}
