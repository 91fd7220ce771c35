//! How bytes of an image become what a model of images reads, as its `preprocessor_config.json` says. Images have the
//! model's size: nothing is resized or cropped, so that what would be is refused.

use std::path::Path;

use datafusion::error::Result;
use serde_json::{Map, Value};

use super::PatchGrid;
use super::error::invalid;
use super::weights::read_hashed;

pub(super) const FILE: &str = "preprocessor_config.json";
/// Steps that are done, or that leave an image of the model's size as it is.
const STEPS: [&str; 5] = [
    "do_resize",
    "do_center_crop",
    "do_rescale",
    "do_normalize",
    "do_convert_rgb",
];

/// `(byte * scale - mean) / deviation`, channel by channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Pixels {
    scale: f32,
    /// Mean and deviation of every channel.
    channels: Vec<[f32; 2]>,
}

impl Pixels {
    /// What a model's folder says, if it says something.
    pub(super) fn of_folder(
        folder: &Path,
        grid: PatchGrid,
        hasher: &mut blake3::Hasher,
    ) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let file = Preprocessor {
            fields: serde_json::from_slice(&read_hashed(&path, hasher)?).map_err(|e| {
                invalid(format!(
                    "{}: a JSON object is required, got {e}",
                    path.display()
                ))
            })?,
            path: &path,
            grid,
        };
        file.check()?;
        file.pixels().map(Some)
    }

    /// Adds the values of an image of bytes, channel after channel.
    pub(crate) fn values(&self, image: &[u8], out: &mut Vec<f32>) {
        let a_channel = (image.len() / self.channels.len()).max(1);
        for (bytes, [mean, deviation]) in image.chunks_exact(a_channel).zip(&self.channels) {
            let value = |byte: &u8| (f32::from(*byte) * self.scale - mean) / deviation;
            out.extend(bytes.iter().map(value));
        }
    }
}

struct Preprocessor<'a> {
    fields: Map<String, Value>,
    path: &'a Path,
    grid: PatchGrid,
}

impl Preprocessor<'_> {
    fn invalid<T>(&self, what: String) -> Result<T> {
        Err(invalid(format!("{}: {what}", self.path.display())))
    }

    fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn flag(&self, name: &str, usual: bool) -> bool {
        self.field(name).and_then(Value::as_bool).unwrap_or(usual)
    }

    /// Refuses what changes an image of the model's size.
    fn check(&self) -> Result<()> {
        let other = self.fields.iter().find(|(name, value)| {
            name.starts_with("do_") && **value == true && !STEPS.contains(&name.as_str())
        });
        if let Some((name, _)) = other {
            return self.invalid(format!("{name} false is required, got true"));
        }
        let crops = self.flag("do_center_crop", self.field("crop_size").is_some());
        for (done, name) in [(self.flag("do_resize", true), "size"), (crops, "crop_size")] {
            if done && !self.keeps(self.field(name)) {
                let [height, width] = self.grid.image;
                return self.invalid(format!(
                    "a {name} that leaves the model's {height} x {width} pixels as they are is required, got {}",
                    self.field(name).unwrap_or(&Value::Null)
                ));
            }
        }
        Ok(())
    }

    fn keeps(&self, size: Option<&Value>) -> bool {
        let [height, width] = self.grid.image.map(|n| n as u64);
        let Some(size) = size else { return false };
        if let Some(both) = size.as_u64() {
            return [both; 2] == [height, width];
        }
        let of = |key: &str| size.get(key).and_then(Value::as_u64);
        match (of("shortest_edge"), of("height"), of("width")) {
            (Some(edge), None, None) => {
                edge == height.min(width) && size.get("longest_edge").is_none()
            }
            (None, Some(h), Some(w)) => [h, w] == [height, width],
            _ => false,
        }
    }

    fn pixels(&self) -> Result<Pixels> {
        let scale = match (self.flag("do_rescale", true), self.field("rescale_factor")) {
            (false, _) => Some(1.0),
            (true, None) => Some(1.0 / 255.0),
            (true, Some(factor)) => factor.as_f64(),
        };
        let Some(scale) = scale.filter(|scale| scale.is_finite()) else {
            return self.invalid(format!(
                "rescale_factor: a number is required, got {}",
                self.fields["rescale_factor"]
            ));
        };
        let n = self.grid.channels;
        let channels = match self.flag("do_normalize", true) {
            false => vec![[0.0, 1.0]; n],
            true => {
                let means = self.a_channel("image_mean")?.into_iter();
                let pairs = means.zip(self.a_channel("image_std")?);
                pairs.map(|(mean, deviation)| [mean, deviation]).collect()
            }
        };
        if let Some([_, deviation]) = channels.iter().find(|[_, deviation]| *deviation <= 0.0) {
            return self.invalid(format!("image_std above 0 is required, got {deviation}"));
        }
        let scale = scale as f32;
        Ok(Pixels { scale, channels })
    }

    /// A number a channel.
    fn a_channel(&self, name: &str) -> Result<Vec<f32>> {
        let n = self.grid.channels;
        let list = self.field(name).and_then(Value::as_array);
        let numbers = list.map(|list| list.iter().map(Value::as_f64).collect::<Option<Vec<_>>>());
        match numbers.flatten().filter(|numbers| numbers.len() == n) {
            Some(numbers) => Ok(numbers.into_iter().map(|x| x as f32).collect()),
            None => self.invalid(format!(
                "{name} of a number for each of the model's {n} channels is required, got {}",
                self.fields.get(name).unwrap_or(&Value::Null)
            )),
        }
    }
}
