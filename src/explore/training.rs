//! How the trainings of autoencoders went, as pictures over their steps.

use serde::Deserialize;

use super::lines::{DrawnLine, is_wide, lines};
use super::panel::Panel;
use super::show;
use super::trouble::Trouble;
use crate::text::quoted;

/// A quantity of a training.
struct Quantity {
    column: &'static str,
    title: &'static str,
    /// Whether it may be drawn over a scale of powers.
    falls: bool,
    /// Whether it is left out where it is 0 throughout.
    is_optional: bool,
}

const fn quantity(column: &'static str, title: &'static str) -> Quantity {
    Quantity {
        column,
        title,
        falls: false,
        is_optional: false,
    }
}

const DRAWN: [Quantity; 8] = [
    Quantity {
        falls: true,
        ..quantity("loss", "Loss")
    },
    Quantity {
        falls: true,
        ..quantity("mse", "Mean squared error")
    },
    quantity("explained_variance", "Explained variance"),
    quantity("l0", "Active latents of a row (L0)"),
    quantity("dead_percent", "Dead latents, %"),
    quantity("l1", "Sum of activations of a batch (L1)"),
    Quantity {
        is_optional: true,
        ..quantity("ne_loss", "Distance to average embeddings")
    },
    Quantity {
        is_optional: true,
        ..quantity("auxiliary", "Reconstruction by dead latents or gates")
    },
];

/// A picture of one quantity.
pub struct TrainingCurve {
    /// What a reader calls it.
    pub title: &'static str,
    /// Whether it is drawn over a scale of powers.
    pub is_wide: bool,
    /// Of each autoencoder that has it: its name, and the first and the last number in words.
    pub ends: Vec<(String, String, String)>,
    /// The picture.
    pub svg: String,
}

#[derive(Deserialize)]
struct TrainingRow {
    sae: String,
    step: i64,
    #[serde(flatten)]
    numbers: std::collections::HashMap<String, Option<f64>>,
}

/// The question for the curves of some autoencoders of a run.
pub fn training_sql(run: &str, saes: &[&str]) -> String {
    let names: Vec<_> = saes.iter().map(|sae| quoted(sae, '\'')).collect();
    let which = match names.as_slice() {
        [one] => format!("= {one}"),
        many => format!("IN ({})", many.join(", ")),
    };
    format!(
        "SELECT sae, step, n_steps, rows_seen, loss, mse, explained_variance, l0, dead_percent, l1, ne_loss, auxiliary,\n       \
         learning_rate\nFROM polysema.info.sae_training\nWHERE run = {} AND sae {which}\nORDER BY sae, step",
        quoted(run, '\'')
    )
}

/// The pictures of a panel with that question, of these autoencoders in this order; none where no training was kept.
pub fn training_curves(panel: &Panel, saes: &[&str]) -> Result<Vec<TrainingCurve>, Trouble> {
    let rows: Vec<TrainingRow> = panel.read()?;
    if rows.is_empty() {
        return Ok(vec![]);
    }
    let curves = DRAWN.into_iter().filter_map(|quantity| {
        let (column, title) = (quantity.column, quantity.title);
        let line = |name: &&str| {
            let points = rows.iter().filter(|row| row.sae == **name);
            let points = points.filter_map(|row| {
                let value = row.numbers.get(column).copied().flatten()?;
                Some((row.step as f64, value))
            });
            DrawnLine {
                name: name.to_string(),
                points: points.collect(),
            }
        };
        let drawn: Vec<DrawnLine> = saes.iter().map(line).collect();
        let mut numbers = drawn.iter().flat_map(|line| &line.points).peekable();
        let has_none = numbers.peek().is_none();
        if has_none || quantity.is_optional && numbers.all(|(_, value)| *value == 0.0) {
            return None;
        }
        let ends = drawn.iter().filter_map(|line| {
            let (first, last) = (line.points.first()?, line.points.last()?);
            let [first, last] = [first, last].map(|(_, value)| show::number(*value));
            Some((line.name.clone(), first, last))
        });
        let ends: Vec<_> = ends.collect();
        let said: Vec<_> = (ends.iter())
            .map(|(name, first, last)| format!("of {name} from {first} to {last}"))
            .collect();
        let said = format!("{title} over the steps, {}", said.join(", "));
        let of_powers = quantity.falls && is_wide(&drawn);
        Some(TrainingCurve {
            title,
            is_wide: of_powers,
            svg: lines(&said, "step", &drawn, of_powers),
            ends,
        })
    });
    Ok(curves.collect())
}
