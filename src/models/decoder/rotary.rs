//! Rotary positions of a configuration: how fast each pair of values turns, also where a model was stretched to longer texts.
//!
//! ```text
//! f[k] = base^(-2 k / n)          angle of pair k at position p: p f[k]
//! linear    f / factor
//! dynamic   base (factor s / t - factor + 1)^(n / (n - 2)) in place of base, s = the longer of text and t positions
//! llama3    f / factor where 2 pi / f > t / low, f where 2 pi / f < t / high, between them mixed linearly in t f / 2 pi
//! yarn      f / factor mixed with f linearly in k between the pairs that turn beta_fast and beta_slow times in t positions
//! longrope  f / short[k], of a text beyond t positions f / long[k]
//! ```
//!
//! Source: Su et al. 2021; Peng et al. 2023 (yarn); Ding et al. 2024 (longrope); the fields of Hugging Face's `rope_parameters`
//! and of its older `rope_theta` and `rope_scaling`.

use std::f64::consts::PI;

use datafusion::error::Result;
use serde_json::Value;

use super::super::config::Config;
use super::rotary_fields::{Fields, fields};

/// How fast pairs turn.
pub(super) struct Rotary {
    /// Values of a head that are turned.
    pub(super) width: usize,
    base: f64,
    scaling: Scaling,
    /// What sines and cosines are multiplied with.
    attention: f64,
}

enum Scaling {
    None,
    Linear {
        factor: f64,
    },
    Dynamic {
        factor: f64,
        trained: f64,
    },
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        trained: f64,
    },
    Yarn {
        factor: f64,
        /// Pairs between which the two are mixed.
        from: f64,
        to: f64,
    },
    Long {
        short: Vec<f64>,
        long: Vec<f64>,
        trained: usize,
    },
}

/// Cosines and sines of positions. `[seq, width / 2]` each
pub(super) struct Turns {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Turns {
    /// Those of one position.
    pub(super) fn at(&self, pos: usize) -> (&[f32], &[f32]) {
        let row = pos * self.half..(pos + 1) * self.half;
        (&self.cos[row.clone()], &self.sin[row])
    }
}

/// What a family takes where a configuration says nothing.
#[derive(Clone, Copy)]
pub(super) struct UsualTurns {
    pub(super) base: f64,
    /// Share of a head that is turned; none of a family that turns all of it.
    pub(super) share: Option<f64>,
}

impl Default for UsualTurns {
    fn default() -> Self {
        Self {
            base: 10_000.0,
            share: None,
        }
    }
}

impl Rotary {
    /// The rotary positions of a configuration, of one kind of its layers where it tells them apart.
    pub(super) fn read(
        config: &Config,
        kind_of_layer: Option<&str>,
        d_head: usize,
        n_ctx: usize,
        usual: UsualTurns,
    ) -> Result<Self> {
        let fields = fields(config, kind_of_layer)?;
        let share = match (fields.number("partial_rotary_factor")?, usual.share) {
            (Some(share), None) if share != 1.0 => {
                return Err(
                    config.invalid(format!("partial_rotary_factor 1 is required, got {share}"))
                );
            }
            (share, usual) => share.or(usual).unwrap_or(1.0),
        };
        let width = (d_head as f64 * share) as usize;
        if share > 1.0 || width < 2 || !width.is_multiple_of(2) {
            return Err(config.invalid(format!(
                "an even number of at most {d_head} turned values a head is required, got {width}"
            )));
        }
        let base = fields.number("rope_theta")?.unwrap_or(usual.base);
        let mut rotary = Self {
            width,
            base,
            scaling: Scaling::None,
            attention: 1.0,
        };
        let of_type = |name: &str| fields.fields.get(name).and_then(Value::as_str);
        let kind = of_type("rope_type")
            .or(of_type("type"))
            .unwrap_or("default");
        let trained = "original_max_position_embeddings";
        match kind {
            // A context of its own may be written beside it.
            "default" => fields.known(kind, &[trained])?,
            "linear" => {
                fields.known(kind, &["factor", trained])?;
                let factor = fields.required("factor", kind)?;
                rotary.scaling = Scaling::Linear { factor };
            }
            "dynamic" => {
                fields.known(kind, &["factor", trained])?;
                rotary.scaling = Scaling::Dynamic {
                    factor: fields.required("factor", kind)?,
                    trained: n_ctx as f64,
                };
            }
            "llama3" => {
                fields.known(
                    kind,
                    &["factor", "low_freq_factor", "high_freq_factor", trained],
                )?;
                rotary.scaling = Scaling::Llama3 {
                    factor: fields.required("factor", kind)?,
                    low: fields.required("low_freq_factor", kind)?,
                    high: fields.required("high_freq_factor", kind)?,
                    trained: fields.required(trained, kind)?,
                };
            }
            "yarn" => rotary.stretch_by_yarn(&fields)?,
            "longrope" | "su" => rotary.stretch_by_lists(&fields, n_ctx)?,
            other => {
                return Err(config.invalid(format!(
                    "rotary positions of type default, linear, dynamic, llama3, yarn or longrope are required, got {other}"
                )));
            }
        }
        Ok(rotary)
    }

    fn stretch_by_yarn(&mut self, fields: &Fields<'_>) -> Result<()> {
        fields.known(
            "yarn",
            &[
                "factor",
                "attention_factor",
                "beta_fast",
                "beta_slow",
                "mscale",
                "mscale_all_dim",
                "truncate",
                "original_max_position_embeddings",
            ],
        )?;
        let factor = fields.required("factor", "yarn")?;
        let trained = fields.required("original_max_position_embeddings", "yarn")?;
        let temperature = |m: f64| {
            if factor <= 1.0 {
                1.0
            } else {
                0.1 * m * factor.ln() + 1.0
            }
        };
        let both = fields
            .number("mscale")?
            .zip(fields.number("mscale_all_dim")?);
        self.attention = match (fields.number("attention_factor")?, both) {
            (Some(given), _) => given,
            (None, Some((one, all))) => temperature(one) / temperature(all),
            (None, None) => temperature(1.0),
        };
        let n = self.width as f64;
        let pair = |turns: f64| n * (trained / (turns * 2.0 * PI)).ln() / (2.0 * self.base.ln());
        let mut from = pair(fields.number("beta_fast")?.unwrap_or(32.0));
        let mut to = pair(fields.number("beta_slow")?.unwrap_or(1.0));
        if fields.fields.get("truncate") != Some(&Value::Bool(false)) {
            (from, to) = (from.floor(), to.ceil());
        }
        (from, to) = (from.max(0.0), to.min(n - 1.0));
        if from == to {
            to += 0.001;
        }
        self.scaling = Scaling::Yarn { factor, from, to };
        Ok(())
    }

    fn stretch_by_lists(&mut self, fields: &Fields<'_>, n_ctx: usize) -> Result<()> {
        let trained_name = "original_max_position_embeddings";
        fields.known(
            "longrope",
            &[
                "factor",
                "attention_factor",
                "short_factor",
                "long_factor",
                trained_name,
            ],
        )?;
        let half = self.width / 2;
        let trained = fields.required(trained_name, "longrope")?;
        let factor = fields.number("factor")?.unwrap_or(n_ctx as f64 / trained);
        self.attention = match fields.number("attention_factor")? {
            Some(given) => given,
            None if factor <= 1.0 => 1.0,
            None => (1.0 + factor.ln() / trained.ln()).sqrt(),
        };
        self.scaling = Scaling::Long {
            short: fields.list("short_factor", half)?,
            long: fields.list("long_factor", half)?,
            trained: trained as usize,
        };
        Ok(())
    }

    /// Positions a text may have where a model was trained on `n_ctx`.
    pub(super) fn most_positions(&self, n_ctx: usize) -> usize {
        match self.scaling {
            Scaling::Dynamic { factor, .. } => (n_ctx as f64 * factor) as usize,
            _ => n_ctx,
        }
    }

    /// Turns of the pairs from a position to the next, of a text of `seq` positions. `[width / 2]`
    fn frequencies(&self, seq: usize) -> Vec<f64> {
        let n = self.width as f64;
        let mut base = self.base;
        if let Scaling::Dynamic { factor, trained } = self.scaling {
            let longest = trained.max(seq as f64);
            base *= (factor * longest / trained - (factor - 1.0)).powf(n / (n - 2.0));
        }
        let plain = |k: usize| base.powf(-2.0 * k as f64 / n);
        let pairs = 0..self.width / 2;
        let stretched = pairs.map(|k| {
            let f = plain(k);
            match &self.scaling {
                Scaling::None | Scaling::Dynamic { .. } => f,
                Scaling::Linear { factor } => f / factor,
                Scaling::Llama3 {
                    factor,
                    low,
                    high,
                    trained,
                } => {
                    let turns = trained * f / (2.0 * PI);
                    if turns < *low {
                        f / factor
                    } else if turns > *high {
                        f
                    } else {
                        let share = (turns - low) / (high - low);
                        (1.0 - share) * f / factor + share * f
                    }
                }
                Scaling::Yarn { factor, from, to } => {
                    let share = ((k as f64 - from) / (to - from)).clamp(0.0, 1.0);
                    share * f / factor + (1.0 - share) * f
                }
                Scaling::Long {
                    short,
                    long,
                    trained,
                } => f / if seq > *trained { long[k] } else { short[k] },
            }
        });
        stretched.collect()
    }

    /// Cosines and sines of the positions of a text. As the implementations that models are trained with, the angle is
    /// a product in float32.
    pub(super) fn turns(&self, seq: usize) -> Turns {
        let frequencies = self.frequencies(seq);
        let angles =
            (0..seq).flat_map(|pos| frequencies.iter().map(move |f| pos as f32 * *f as f32));
        let both = angles.map(|angle| {
            let (sin, cos) = f64::from(angle).sin_cos();
            ((cos * self.attention) as f32, (sin * self.attention) as f32)
        });
        let (cos, sin) = both.unzip();
        Turns {
            half: frequencies.len(),
            cos,
            sin,
        }
    }
}
