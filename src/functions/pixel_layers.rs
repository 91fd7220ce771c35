//! Which layers of a run see pixels: those of a classifier on images, directly or through the layers below, and the latents
//! of autoencoders on them.

use datafusion::catalog::Session;
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use polysema_udfs::calls::{Arguments, Parameter};
use std::sync::Arc;

use super::sources::current_run;
use crate::models::{HookPoint, Site};
use crate::options::{Key, Kind, Usual};
use crate::store::{LayerRow, Run, Store};

/// The arguments of functions of pixels.
pub const LAYER_NEURON: &[Parameter] = &[
    Parameter {
        name: "layer",
        kind: "whole number or text",
        summary: "the layer's number or name: of a classifier of images, or an autoencoder on one",
    },
    Parameter {
        name: "neuron",
        kind: "whole number",
        summary: "index in the layer",
    },
];

/// How wide the images are.
pub const WIDTH: Key<Option<usize>> = Key::new(
    "width",
    Kind::Whole {
        from: 1,
        to: 1 << 20,
    },
    Usual::Said("that of a square"),
    "pixels of a line of the images",
);

/// A neuron that sees pixels.
#[derive(Debug, Clone)]
pub struct PixelNeuron {
    /// Its run.
    pub run: Arc<Run>,
    /// Its layer.
    pub layer: LayerRow,
    /// Its index there.
    pub neuron: usize,
    /// Pixels of a line.
    pub width: usize,
    /// The layers that it sees the images through, from the lowest, its own among them.
    pub path: Vec<i32>,
}

impl PixelNeuron {
    /// The neuron of a call in the current run.
    ///
    /// Errors (planning): a run that is not of images through a classifier, an unknown layer or neuron, a width that does
    /// not divide the pixels; what is there is said.
    pub fn of(
        arguments: &Arguments,
        width: Option<usize>,
        store: &Store,
        state: &dyn Session,
    ) -> Result<Self> {
        let function = arguments.function();
        let Some(run) = current_run(state)? else {
            return plan_err!(
                "{function}: a run is required, got none selected: SET polysema.run = 'name'"
            );
        };
        if !run.classifies_images()? {
            return plan_err!(
                "{function}: a run of images through a classifier (kind mlp) is required, got run '{}' of architecture \
                 {} on {}",
                run.name(),
                run.manifest().architecture,
                if run.has_images()? {
                    "images"
                } else {
                    "other documents"
                }
            );
        }
        let layers = run.layers()?;
        let layer = layer_of(arguments, &run, &layers)?;
        let neuron = match arguments.integer("neuron")? {
            Some(neuron) if (0..i64::from(layer.n_neurons)).contains(&neuron) => neuron as usize,
            got => {
                return plan_err!(
                    "{function}: neuron must be one of the {} of layer {}, counted from 0, got {}",
                    layer.n_neurons,
                    layer.layer,
                    got.map_or("NULL".to_string(), |neuron| neuron.to_string())
                );
            }
        };
        let path = path(function, store, &layers, &layer)?;
        let pixels = (layers.iter())
            .find(|row| row.layer == path[0])
            .map_or(0, |row| row.d_in as usize);
        let width = match width {
            Some(width) if pixels % width == 0 => width,
            Some(width) => {
                return plan_err!(
                    "{function}: width must divide the {pixels} pixels of an image, got {width}"
                );
            }
            None => match pixels.isqrt() {
                side if side * side == pixels => side,
                _ => {
                    return plan_err!(
                        "{function}: the option width is required of images that are no square, got {pixels} pixels"
                    );
                }
            },
        };
        Ok(Self {
            run,
            layer,
            neuron,
            width,
            path,
        })
    }
}

fn layer_of(arguments: &Arguments, run: &Run, layers: &[LayerRow]) -> Result<LayerRow> {
    let (found, written) = match arguments.get("layer") {
        Some(
            ScalarValue::Utf8(Some(name))
            | ScalarValue::Utf8View(Some(name))
            | ScalarValue::LargeUtf8(Some(name)),
        ) => {
            let found = layers.iter().find(|row| row.name == *name);
            (found, format!("'{name}'"))
        }
        _ => match arguments.integer("layer")? {
            None => (None, "NULL".to_string()),
            Some(number) => {
                let found = layers.iter().find(|row| i64::from(row.layer) == number);
                (found, number.to_string())
            }
        },
    };
    match found {
        Some(layer) => Ok(layer.clone()),
        None => {
            let known: Vec<_> = (layers.iter())
                .map(|row| format!("{} ({})", row.layer, row.name))
                .collect();
            plan_err!(
                "{}: layer must be one of run '{}', {}, got {written}",
                arguments.function(),
                run.name(),
                known.join(", ")
            )
        }
    }
}

/// The layers from the pixels to this one.
fn path(function: &str, store: &Store, layers: &[LayerRow], layer: &LayerRow) -> Result<Vec<i32>> {
    let block = match layer.kind.as_str() {
        "mlp" => layer.layer,
        _ => match last_below(store, &layer.name)? {
            Some(block) => block,
            None => {
                return plan_err!(
                    "{function}: an autoencoder on what neurons of the classifier give is required, got '{}' on {}",
                    layer.name,
                    store.sae(&layer.name)?.manifest.source
                );
            }
        },
    };
    let own = (layer.kind != "mlp").then_some(layer.layer);
    let path: Vec<i32> = (0..=block).chain(own).collect();
    let there = |number: &i32| layers.iter().any(|row| row.layer == *number);
    match path.iter().all(there) {
        true => Ok(path),
        false => exec_err!("{function}: a run with every layer below {block} is required"),
    }
}

/// The block whose neurons an autoencoder reads; -1 for one on the pixels.
fn last_below(store: &Store, sae: &str) -> Result<Option<i32>> {
    let Some(hook) = store.sae(sae)?.manifest.hook else {
        return Ok(None);
    };
    let hook = HookPoint::parse(&hook)?;
    let block = hook.layer as i32;
    Ok(match hook.site {
        Site::MlpPost => Some(block),
        Site::MlpIn => Some(block - 1),
        _ => None,
    })
}
