//! The way to a neuron that a reader names, or to any.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;

use crate::explore::page::Reached;
use crate::explore::trouble::Trouble;
use crate::explore::visit::Visit;

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    let asked = visit.asked(&["layer", "neuron"])?;
    let run = visit.run().await?;
    let last = i32::MAX;
    let number = asked.number("layer", 0..=last)?;
    let neuron = asked.number("neuron", 0..=last)?;
    let layers = run.run.layers()?;
    let name = run.name();
    let layer = match (number, neuron) {
        (Some(number), _) => Some(number),
        (None, Some(_)) => {
            return Err(Trouble::asked("a layer is required with neuron, got none"));
        }
        (None, None) => None,
    };
    if let Some(layer) = layer {
        let address = format!("/runs/{name}/layers/{layer}");
        // That they are not there is said where they would be.
        return Ok(Reached::Elsewhere(match neuron {
            Some(neuron) => format!("{address}/neurons/{neuron}"),
            None => address,
        }));
    }
    // Any neuron is as likely as any other.
    let all: i64 = layers.iter().map(|layer| i64::from(layer.n_neurons)).sum();
    let chosen = i64::try_from(chance() % u64::try_from(all.max(1)).unwrap_or(1)).unwrap_or(0);
    let mut rest = chosen;
    for layer in &layers {
        if rest < i64::from(layer.n_neurons) {
            let at = layer.layer;
            let address = format!("/runs/{name}/layers/{at}/neurons/{rest}");
            return Ok(Reached::Elsewhere(address));
        }
        rest -= i64::from(layer.n_neurons);
    }
    Err(Trouble::new(
        StatusCode::NOT_FOUND,
        format!("a run with neurons is required, got {name}, which has none"),
    ))
}

/// A number that no reader foresees; nothing depends on how well it is distributed.
fn chance() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_nanos());
    let hash = blake3::hash(&now.to_le_bytes());
    u64::from_le_bytes(std::array::from_fn(|at| hash.as_bytes()[at]))
}
