//! The arrays of a folder, found by name and checked against each other before anything is written.
//!
//! ```text
//! L.h            [rows, d_in]        what layer L's neurons received
//! L.activations  [rows, n_neurons]   or computed from h
//! L.w_in         [n_neurons, d_in]   L.b_in  [n_neurons]   L.w_out  [n_neurons, d_out]
//! doc_id, pos, token_id  [rows]      tokens.jsonl or tokens.txt: a token a row
//! ```
//!
//! Each is the file of that name with `.npy` or a tensor of that name in any `.safetensors` file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;

use crate::files::arrays::{Array, npy, safetensors};
use crate::files::file_error;

/// Weights of a layer, which are in memory at once: a matrix of Arrow has 32-bit offsets.
const MOST_WEIGHTS: usize = i32::MAX as usize;

/// Arrays of a layer, after its number and a dot.
const OF_LAYER: [&str; 5] = ["h", "activations", "w_in", "b_in", "w_out"];
/// Arrays of the rows.
const OF_ROWS: [&str; 3] = ["doc_id", "pos", "token_id"];
/// Files of the rows' tokens.
const TOKENS: [&str; 2] = ["tokens.jsonl", "tokens.txt"];

/// The arrays of one layer.
pub(super) struct LayerArrays {
    /// `[rows, d_in]`
    pub(super) h: Array,
    /// `[rows, n_neurons]`
    pub(super) activations: Option<Array>,
    /// `[n_neurons, d_in]`
    pub(super) w_in: Array,
    /// `[n_neurons]`
    pub(super) b_in: Option<Array>,
    /// `[n_neurons, d_out]`
    pub(super) w_out: Option<Array>,
}

impl LayerArrays {
    pub(super) fn n_neurons(&self) -> usize {
        self.w_in.dims()[0]
    }

    /// Bytes of the weights as float32.
    pub(super) fn weights_bytes(&self) -> usize {
        let matrices = [Some(&self.w_in), self.w_out.as_ref()];
        let numbers = matrices.into_iter().flatten().map(Array::n_elements);
        let numbers = numbers.fold(self.n_neurons(), usize::saturating_add);
        numbers.saturating_mul(size_of::<f32>())
    }

    pub(super) fn d_in(&self) -> usize {
        self.w_in.dims()[1]
    }
}

/// What a folder holds.
pub(super) struct Folder {
    pub(super) rows: usize,
    pub(super) layers: Vec<LayerArrays>,
    pub(super) doc_id: Option<Array>,
    pub(super) pos: Option<Array>,
    pub(super) token_id: Option<Array>,
    pub(super) tokens: Option<PathBuf>,
}

impl Folder {
    /// Finds the arrays; reads their headers only.
    pub(super) fn open(path: &Path, computed: bool) -> Result<Self> {
        let (mut arrays, tokens) = found(path)?;
        let mut layers = vec![];
        while (OF_LAYER.iter()).any(|part| arrays.contains_key(&format!("{}.{part}", layers.len())))
        {
            layers.push(layer(path, &mut arrays, layers.len(), computed)?);
        }
        let Some(first) = layers.first() else {
            return exec_err!(
                "arrays of layers, 0.h and 0.w_in at least, are required in {}, got none",
                path.display()
            );
        };
        let rows = first.h.dims()[0];
        for layer in &layers {
            for array in [Some(&layer.h), layer.activations.as_ref()]
                .into_iter()
                .flatten()
            {
                require_rows(array, rows)?;
            }
        }
        let mut of_rows = |name: &str| -> Result<Option<Array>> {
            let Some(array) = arrays.remove(name) else {
                return Ok(None);
            };
            require_dims(&array, 1, "[rows]")?;
            require_rows(&array, rows)?;
            array.require_floats(false)?;
            Ok(Some(array))
        };
        let [doc_id, pos, token_id] = OF_ROWS;
        let (doc_id, pos, token_id) = (of_rows(doc_id)?, of_rows(pos)?, of_rows(token_id)?);
        if let Some((name, array)) = arrays.into_iter().next() {
            let gap = layer_of(&name).filter(|_| {
                name.split_once('.')
                    .is_some_and(|(_, part)| OF_LAYER.contains(&part))
            });
            return match gap {
                Some(layer) => Err(array.invalid(format!(
                    "layers from 0 without a gap are required, got {layer} after {} layers",
                    layers.len()
                ))),
                None => Err(array.invalid(format!(
                    "an array called {} or, for layer L, L.{} is required, got '{name}'",
                    OF_ROWS.join(", "),
                    OF_LAYER.join(", L.")
                ))),
            };
        }
        if rows == 0 {
            return Err(first.h.invalid("at least one row is required, got none"));
        }
        Ok(Self {
            rows,
            layers,
            doc_id,
            pos,
            token_id,
            tokens,
        })
    }
}

type Found = (BTreeMap<String, Array>, Option<PathBuf>);

/// Every array of the folder by its name, and the file of tokens.
fn found(folder: &Path) -> Result<Found> {
    let entries = std::fs::read_dir(folder).map_err(|e| file_error("read", folder, e))?;
    let mut paths = vec![];
    for entry in entries {
        paths.push(entry.map_err(|e| file_error("read", folder, e))?.path());
    }
    paths.sort();
    let (mut arrays, mut tokens) = (BTreeMap::<String, Array>::new(), None);
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        let several = match extension.as_deref() {
            Some("npy") => vec![npy(&path)?],
            Some("safetensors") => safetensors(&path)?,
            Some("npz" | "pt" | "pth" | "pkl" | "bin") => {
                return exec_err!(
                    "arrays as .npy or .safetensors are required, got {}",
                    path.display()
                );
            }
            _ if TOKENS.contains(&&*name) => {
                if let Some(other) = tokens.replace(path.clone()) {
                    return exec_err!(
                        "one of {} is required, got {} and {}",
                        TOKENS.join(", "),
                        Path::display(&other),
                        path.display()
                    );
                }
                continue;
            }
            _ => continue,
        };
        for array in several {
            if let Some(other) = arrays.get(array.name()) {
                return Err(array.invalid(format!(
                    "one array of a name is required, got another in {}",
                    other.path().display()
                )));
            }
            arrays.insert(array.name().to_string(), array);
        }
    }
    Ok((arrays, tokens))
}

/// The number before the dot of a layer's array.
fn layer_of(name: &str) -> Option<usize> {
    let (number, _) = name.split_once('.')?;
    let layer = number.parse().ok()?;
    // One spelling a layer: neither 00 nor +0.
    (number == format!("{layer}")).then_some(layer)
}

fn layer(
    folder: &Path,
    arrays: &mut BTreeMap<String, Array>,
    layer: usize,
    computed: bool,
) -> Result<LayerArrays> {
    let mut take = |part: &str| -> Result<Option<Array>> {
        let Some(array) = arrays.remove(&format!("{layer}.{part}")) else {
            return Ok(None);
        };
        array.require_floats(true)?;
        let (n, what) = match part {
            "b_in" => (1, "[n_neurons]"),
            "h" => (2, "[rows, d_in]"),
            "activations" => (2, "[rows, n_neurons]"),
            "w_in" => (2, "[n_neurons, d_in]"),
            _ => (2, "[n_neurons, d_out]"),
        };
        require_dims(&array, n, what)?;
        Ok(Some(array))
    };
    let missing = |part: &str| {
        exec_datafusion_err!(
            "an array {layer}.{part} is required in {}, got none",
            folder.display()
        )
    };
    let h = take("h")?.ok_or_else(|| missing("h"))?;
    let w_in = take("w_in")?.ok_or_else(|| missing("w_in"))?;
    let found = LayerArrays {
        activations: take("activations")?,
        b_in: take("b_in")?,
        w_out: take("w_out")?,
        h,
        w_in,
    };
    if found.activations.is_none() && !computed {
        return exec_err!(
            "an array {layer}.activations, or the option activation_function to compute it, is required in \
             {}, got neither",
            folder.display()
        );
    }
    let (n_neurons, d_in) = (found.n_neurons(), found.d_in());
    if n_neurons == 0 || d_in == 0 {
        return Err(found
            .w_in
            .invalid("at least one neuron and one input are required, got none"));
    }
    for weights in [Some(&found.w_in), found.w_out.as_ref()]
        .into_iter()
        .flatten()
    {
        let n = weights.n_elements();
        if n > MOST_WEIGHTS {
            let needs = format!("at most {MOST_WEIGHTS} numbers are required, got {n}");
            return Err(weights.invalid(needs));
        }
    }
    let widths = [
        (Some(&found.h), 1, d_in, "d_in"),
        (found.activations.as_ref(), 1, n_neurons, "n_neurons"),
        (found.b_in.as_ref(), 0, n_neurons, "n_neurons"),
        (found.w_out.as_ref(), 0, n_neurons, "n_neurons"),
    ];
    for (array, place, width, what) in widths {
        if let Some(array) = array
            && array.dims()[place] != width
        {
            return Err(array.invalid(format!(
                "{what} of w_in, {width}, is required, got shape {:?}",
                array.dims()
            )));
        }
    }
    Ok(found)
}

fn require_dims(array: &Array, n: usize, what: &str) -> Result<()> {
    match array.dims().len() == n {
        true => Ok(()),
        false => Err(array.invalid(format!("shape {what} is required, got {:?}", array.dims()))),
    }
}

fn require_rows(array: &Array, rows: usize) -> Result<()> {
    match array.dims()[0] == rows {
        true => Ok(()),
        false => Err(array.invalid(format!(
            "the {rows} rows of 0.h are required, got {}",
            array.dims()[0]
        ))),
    }
}
