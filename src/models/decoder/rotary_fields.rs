//! What a configuration says of rotary positions, under newer and older names together.

use datafusion::error::Result;
use serde_json::{Map, Value};

use super::super::config::Config;

/// The fields of one kind of layer, newer and older names together.
pub(super) struct Fields<'a> {
    config: &'a Config,
    pub(super) fields: Map<String, Value>,
}

impl Fields<'_> {
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64().filter(|x| x.is_finite() && *x > 0.0) {
                Some(number) => Ok(Some(number)),
                None => Err(self.config.invalid(format!(
                    "{name} of rotary positions: a number above 0 is required, got {value}"
                ))),
            },
        }
    }

    pub(super) fn required(&self, name: &str, kind: &str) -> Result<f64> {
        self.number(name)?.ok_or_else(|| {
            self.config.invalid(format!(
                "{name} is required for {kind} rotary positions, got none"
            ))
        })
    }

    pub(super) fn list(&self, name: &str, len: usize) -> Result<Vec<f64>> {
        let values = self.fields.get(name).and_then(Value::as_array);
        let numbers = values.and_then(|list| list.iter().map(Value::as_f64).collect());
        match numbers.filter(|numbers: &Vec<f64>| numbers.len() == len) {
            Some(numbers) => Ok(numbers),
            None => Err(self.config.invalid(format!(
                "{name} of {len} numbers is required for longrope rotary positions, got {}",
                self.fields.get(name).unwrap_or(&Value::Null)
            ))),
        }
    }

    /// Refuses fields that its kind does not have: they would change what is computed.
    pub(super) fn known(&self, kind: &str, names: &[&str]) -> Result<()> {
        const ALWAYS: [&str; 4] = ["rope_theta", "rope_type", "type", "partial_rotary_factor"];
        let other = self.fields.iter().find(|(name, value)| {
            !value.is_null() && !ALWAYS.contains(&name.as_str()) && !names.contains(&name.as_str())
        });
        match other {
            None => Ok(()),
            Some((name, value)) => Err(self.config.invalid(format!(
                "no {name} is required for {kind} rotary positions, got {value}"
            ))),
        }
    }
}

/// The fields under their newer names; the same under an older name must say the same.
pub(super) fn fields<'a>(config: &'a Config, kind_of_layer: Option<&str>) -> Result<Fields<'a>> {
    let object = |name: &str| match config.field(name) {
        None => Ok(None),
        Some(Value::Object(fields)) => Ok(Some(fields.clone())),
        Some(other) => Err(config.invalid(format!("{name}: an object is required, got {other}"))),
    };
    let newer = object("rope_parameters")?.map(|fields| {
        let of_kind = kind_of_layer.and_then(|kind| fields.get(kind)?.as_object().cloned());
        of_kind.unwrap_or(fields)
    });
    let scaling = object("rope_scaling")?;
    // Of two kinds of layers, older configurations stretch the ones that see everything.
    let scaling = scaling.filter(|_| kind_of_layer != Some("sliding_attention"));
    let theta = match kind_of_layer {
        Some("sliding_attention") => config.field("rope_local_base_freq"),
        _ => config.either("rope_theta", "rotary_emb_base")?,
    };
    let share = config.either("partial_rotary_factor", "rotary_pct")?;
    let trained = config.field("original_max_position_embeddings");
    let mut older = scaling.unwrap_or_default();
    for (name, value) in [
        ("rope_theta", theta),
        ("partial_rotary_factor", share),
        ("original_max_position_embeddings", trained),
    ] {
        if let Some(value) = value {
            older.entry(name).or_insert_with(|| value.clone());
        }
    }
    let Some(mut fields) = newer else {
        return Ok(Fields {
            config,
            fields: older,
        });
    };
    for (name, value) in older {
        let same = |other: &Value| match (other.as_f64(), value.as_f64()) {
            (Some(a), Some(b)) => a == b,
            _ => *other == value,
        };
        match fields.get(&name) {
            Some(other) if !same(other) => {
                return Err(config.invalid(format!(
                    "{name} of the same value in rope_parameters and beside it is required, got {other} and {value}"
                )));
            }
            _ => drop(fields.insert(name, value)),
        }
    }
    Ok(Fields { config, fields })
}
