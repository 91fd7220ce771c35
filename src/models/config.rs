//! The configuration of a model, read by the architecture it names: fields under any of their names, and at the end a
//! refusal of every switch that changes the arithmetic and that nobody asked for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;

use datafusion::error::{DataFusionError, Result};
use polysema_kernels::network::activation::Activation;
use serde_json::Value;

use super::error::invalid;

/// Switches that change what a model computes, with what they say where it stays as it is. One that is not named by the
/// architecture and says something else is refused. `null` is always as absent.
const SWITCHES: [(&str, &[&str]); 36] = [
    ("add_cross_attention", &["false"]),
    ("alibi", &["false"]),
    ("attention_bias", &["false"]),
    ("attention_multiplier", &[]),
    ("attn_logit_softcapping", &[]),
    ("clip_qkv", &[]),
    ("cross_attention_hidden_size", &[]),
    ("do_layer_norm_before", &["true"]),
    ("embedding_multiplier", &["1", "1.0"]),
    ("final_logit_softcapping", &[]),
    ("is_encoder_decoder", &["false"]),
    ("layer_types", &[]),
    ("logit_scale", &["1", "1.0"]),
    ("logits_scaling", &["1", "1.0"]),
    ("mlp_bias", &["false"]),
    ("n_routed_experts", &[]),
    ("no_rope_layers", &[]),
    ("num_experts", &[]),
    ("num_local_experts", &[]),
    ("parallel_attn", &["false"]),
    ("partial_rotary_factor", &["1", "1.0"]),
    ("position_embedding_type", &["\"absolute\""]),
    ("pruned_heads", &["{}"]),
    ("qk_layernorm", &["false"]),
    ("qkv_bias", &[]),
    ("quantization_config", &[]),
    ("query_pre_attn_scalar", &[]),
    ("residual_multiplier", &["1", "1.0"]),
    ("rope_parameters", &[]),
    ("rope_scaling", &[]),
    ("scale_attn_by_inverse_layer_idx", &["false"]),
    ("sliding_window", &[]),
    ("use_bidirectional_attention", &["false"]),
    ("use_parallel_residual", &["false"]),
    ("use_qk_norm", &["false"]),
    ("use_sliding_window", &["false"]),
];

/// Sizes that are believed: products of a few of them are counted in 64 bits.
const MOST_SIZE: u64 = 1 << 30;

/// A `config.json`, or what stands for one, with the path that messages name.
pub(super) struct Config {
    path: PathBuf,
    json: Value,
    /// Fields that were asked for.
    asked: RefCell<BTreeSet<String>>,
}

impl Config {
    pub(super) fn new(path: PathBuf, json: Value) -> Self {
        let asked = RefCell::default();
        Self { path, json, asked }
    }

    /// The part of it that a model of several parts keeps for one, if it has one.
    pub(super) fn part(&self, name: &str) -> Option<Self> {
        let part = self.json.get(name).filter(|part| part.is_object());
        part.map(|part| Self::new(self.path.clone(), part.clone()))
    }

    /// All of its fields.
    pub(super) fn json(&self) -> &Value {
        &self.json
    }

    /// An error about this file.
    pub(super) fn invalid(&self, message: String) -> DataFusionError {
        invalid(format!("{}: {message}", self.path.display()))
    }

    /// A field; `null` is none.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        self.asked.borrow_mut().insert(name.to_string());
        self.json.get(name).filter(|value| !value.is_null())
    }

    /// Whether a field is there, be it `null`.
    pub(super) fn says(&self, name: &str) -> bool {
        self.json.get(name).is_some()
    }

    /// A field under the one of its names that is there. Two that differ are refused.
    fn alias(&self, names: &[&str]) -> Result<Option<(String, &Value)>> {
        let mut found: Option<(String, &Value)> = None;
        for name in names {
            match (self.field(name), &found) {
                (Some(value), None) => found = Some(((*name).to_string(), value)),
                (Some(value), Some((first, other))) if value != *other => {
                    return Err(self.invalid(format!(
                        "{first} and {name} of the same value are required, got {other} and {value}"
                    )));
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// A field under the one of two names that is there. Two that differ are refused.
    pub(super) fn either(&self, name: &str, other: &str) -> Result<Option<&Value>> {
        Ok(self.alias(&[name, other])?.map(|(_, value)| value))
    }

    /// A size of at least 1, or none.
    pub(super) fn size(&self, names: &[&str]) -> Result<Option<usize>> {
        let Some((name, value)) = self.alias(names)? else {
            return Ok(None);
        };
        match value.as_u64() {
            Some(size @ 1..=MOST_SIZE) => Ok(Some(size as usize)),
            Some(1..) => Err(self.invalid(format!(
                "{name} of at most {MOST_SIZE} is required, got {value}"
            ))),
            _ => Err(self.invalid(format!("{name} of at least 1 is required, got {value}"))),
        }
    }

    /// A size that must be there.
    pub(super) fn required(&self, names: &[&str]) -> Result<usize> {
        self.size(names)?
            .ok_or_else(|| self.invalid(format!("{} is required, got none", names.join(" or "))))
    }

    /// Height and width, which are one number where they are the same.
    pub(super) fn height_and_width(&self, name: &str) -> Result<[usize; 2]> {
        let Some(Value::Array(both)) = self.field(name) else {
            return Ok([self.required(&[name])?; 2]);
        };
        let both: Option<Vec<u64>> = both.iter().map(Value::as_u64).collect();
        match both.as_deref() {
            Some(&[height @ 1..=MOST_SIZE, width @ 1..=MOST_SIZE]) => {
                Ok([height as usize, width as usize])
            }
            _ => Err(self.invalid(format!(
                "{name}: a size or a height and a width, each from 1 to {MOST_SIZE}, are required, got {}",
                self.json[name]
            ))),
        }
    }

    /// A number, or none.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>> {
        match self.field(name) {
            None => Ok(None),
            Some(value) => match value.as_f64().filter(|x| x.is_finite()) {
                Some(number) => Ok(Some(number)),
                None => Err(self.invalid(format!("{name}: a number is required, got {value}"))),
            },
        }
    }

    /// A number above 0, or none.
    pub(super) fn positive(&self, name: &str) -> Result<Option<f32>> {
        match self.number(name)? {
            Some(number) if number <= 0.0 => {
                Err(self.invalid(format!("{name} above 0 is required, got {number}")))
            }
            number => Ok(number.map(|x| x as f32)),
        }
    }

    /// Whether a switch is on.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.field(name) {
            None => Ok(default),
            Some(Value::Bool(on)) => Ok(*on),
            Some(other) => {
                Err(self.invalid(format!("{name}: true or false is required, got {other}")))
            }
        }
    }

    /// A text under the first of its names that is there, or none.
    pub(super) fn text(&self, names: &[&str]) -> Result<Option<&str>> {
        let mut found = names
            .iter()
            .filter_map(|name| Some((name, self.field(name)?)));
        match found.next() {
            None => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text)),
            Some((name, other)) => {
                Err(self.invalid(format!("{name}: a text is required, got {other}")))
            }
        }
    }

    /// The nonlinearity that the first of the names that is there says, or the default.
    pub(super) fn activation(&self, names: &[&str], default: &str) -> Result<Activation> {
        let name = self.text(names)?.unwrap_or(default);
        Activation::parse(name).ok_or_else(|| {
            self.invalid(format!(
                "an {} of {} is required, got {name}",
                names.join(" or "),
                Activation::NAMES.join(", ")
            ))
        })
    }

    /// A list of one value a layer, or none.
    pub(super) fn per_layer(&self, name: &str, n_layers: usize) -> Result<Option<&[Value]>> {
        match self.field(name) {
            None => Ok(None),
            Some(Value::Array(list)) if list.len() == n_layers => Ok(Some(list)),
            Some(Value::Array(list)) => Err(self.invalid(format!(
                "{name} of {n_layers} layers is required, got {}",
                list.len()
            ))),
            Some(other) => Err(self.invalid(format!("{name}: a list is required, got {other}"))),
        }
    }

    /// Refuses every switch that is not as if it were absent and that nobody asked for.
    pub(super) fn finish(&self) -> Result<()> {
        let asked = self.asked.borrow();
        for (name, neutral) in SWITCHES {
            let Some(value) = self.json.get(name).filter(|value| !value.is_null()) else {
                continue;
            };
            if !asked.contains(name) && !neutral.contains(&value.to_string().as_str()) {
                return Err(self.invalid(format!(
                    "{name} {} is required, got {value}",
                    neutral.first().unwrap_or(&"null")
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(json: Value) -> Config {
        Config::new("config.json".into(), json)
    }

    fn refusal<T>(result: Result<T>) -> String {
        result
            .err()
            .map_or_else(String::new, |e| e.strip_backtrace())
    }

    #[test]
    fn fields_are_found_under_any_name_and_must_agree() {
        let names = ["hidden_size", "n_embd"];
        let size = |json| config(json).required(&names);
        assert_eq!(size(json!({"n_embd": 24})).ok(), Some(24));
        assert_eq!(
            size(json!({"hidden_size": null, "n_embd": 24})).ok(),
            Some(24)
        );
        assert_eq!(
            size(json!({"hidden_size": 24, "n_embd": 24})).ok(),
            Some(24)
        );
        assert_eq!(
            refusal(size(json!({"hidden_size": 24, "n_embd": 48}))),
            "Execution error: config.json: hidden_size and n_embd of the same value are required, got 24 and 48"
        );
        assert_eq!(
            refusal(size(json!({}))),
            "Execution error: config.json: hidden_size or n_embd is required, got none"
        );
        for bad in [json!(0), json!(-1), json!(1.5), json!("24")] {
            assert!(refusal(size(json!({ "n_embd": bad }))).contains("of at least 1 is required"));
        }
        let huge = refusal(size(json!({ "n_embd": u64::MAX })));
        assert!(
            huge.contains("n_embd of at most 1073741824 is required"),
            "{huge}"
        );
    }

    #[test]
    fn a_switch_that_nobody_asked_for_is_refused() {
        let with = |value: Value| config(json!({ "clip_qkv": value, "mlp_bias": false }));
        assert!(with(Value::Null).finish().is_ok());
        assert_eq!(
            refusal(with(json!(8.0)).finish()),
            "Execution error: config.json: clip_qkv null is required, got 8.0"
        );
        let asked = with(json!(8.0));
        assert_eq!(asked.positive("clip_qkv").ok(), Some(Some(8.0)));
        assert!(asked.finish().is_ok());
        assert!(refusal(config(json!({"mlp_bias": true})).finish()).contains("mlp_bias false"));
    }
}
