//! What a neuron of images looks at: the images of its examples, and maps over the pixels.

use std::collections::{BTreeSet, HashMap};

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, UInt8Type};
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use serde::Deserialize;

use crate::corpus::BLACK_AND_WHITE;
use crate::explore::charts::{Bar, bars};
use crate::explore::clusters::{ClusterShown, ExampleLine};
use crate::explore::images::{gray, gray_address, signed};
use crate::explore::panel::Panel;
use crate::explore::show;
use crate::explore::trouble::Trouble;
use crate::explore::visit::VisitedRun;

/// Clusters whose mean image is shown: few enough for the rows of a panel.
const MEANS: usize = 12;

/// A map as a picture, with what it shows.
pub struct PixelMap {
    pub picture: String,
    pub title: &'static str,
    pub meaning: String,
}

/// What a page shows of a neuron of images; nothing of another.
#[derive(Default)]
pub struct NeuronImages {
    /// The images of documents.
    pub pictures: HashMap<i64, String>,
    /// What of an image moves the neuron, where it is of a classifier.
    pub maps: Vec<PixelMap>,
    /// What an activation adds to the logit of each class.
    pub effects: Vec<Bar>,
    /// Why that is not known.
    pub no_effects: Option<String>,
    /// What all of it was read from.
    pub panels: Vec<Panel>,
    is_of_classifier: bool,
    /// Whether it reads pixels itself.
    has_weights: bool,
}

/// A class and what an activation of 1 adds to its logit.
#[derive(Deserialize)]
struct ClassEffect {
    class: String,
    effect: f64,
}

impl NeuronImages {
    /// Of a neuron with these examples.
    pub async fn of(
        run: &VisitedRun,
        layer: i32,
        neuron: i32,
        examples: &[ExampleLine],
    ) -> Result<Self, Trouble> {
        let mut images = Self::default();
        if !run.run.has_images()? {
            return Ok(images);
        }
        images.is_of_classifier = run.run.classifies_images()?;
        if !examples.is_empty() {
            let documents = examples.iter().map(|example| example.doc_id);
            let (panel, pictures) = pictures(run, documents.collect()).await?;
            (images.pictures, images.panels) = (pictures, vec![panel]);
        }
        if images.is_of_classifier {
            images.map(run, layer, neuron).await?;
            images.effects(run, layer, neuron).await?;
        }
        Ok(images)
    }

    async fn map(&mut self, run: &VisitedRun, layer: i32, neuron: i32) -> Result<(), Trouble> {
        let sql = format!(
            "SELECT w.weight, w.activation, m.importance, m.mean_pixel\nFROM activation_map({layer}, {neuron}) w\n\
             JOIN importance_map({layer}, {neuron}) m ON m.y = w.y AND m.x = w.x\nORDER BY w.y, w.x"
        );
        let panel = run.panel("maps", "Maps over the pixels", sql).await?;
        let titles = [
            ("Input weights", "what each pixel is multiplied with"),
            (
                "Activation map",
                "the largest activation that each pixel alone can induce",
            ),
            (
                "Importance map",
                "the activation map times the mean image, both scaled",
            ),
            (
                "Mean image",
                "of the examples, as the model receives pixels",
            ),
        ];
        for (column, (title, meaning)) in titles.into_iter().enumerate() {
            let values = numbers(&panel, column)?;
            let finite = || values.iter().copied().filter(|value| value.is_finite());
            let (least, most) = (finite().reduce(f64::min), finite().reduce(f64::max));
            let range = format!("{} to {}", show::fixed(least, 3), show::fixed(most, 3));
            let words = format!("{title}, {range}");
            let picture = match title {
                "Mean image" => mean(&values, &words),
                _ => signed(&values, &words),
            };
            if let (Some(picture), Some(_)) = (picture, least) {
                self.has_weights |= column == 0;
                self.maps.push(PixelMap {
                    picture,
                    title,
                    meaning: format!("{meaning}; {range}"),
                });
            }
        }
        self.panels.push(panel);
        Ok(())
    }

    /// The effects on the classes, where the model is still there and the neuron writes to them.
    async fn effects(&mut self, run: &VisitedRun, layer: i32, neuron: i32) -> Result<(), Trouble> {
        let sql = format!(
            "SELECT token AS class, effect\nFROM logit_effects({layer}, {neuron})\nORDER BY token_id"
        );
        let asked = run.panel_of_model("classes", "Effects on the classes", sql);
        let panel = match asked.await {
            Ok(panel) => panel,
            Err(trouble) => {
                self.no_effects = Some(trouble.message);
                return Ok(());
            }
        };
        let lines: Vec<ClassEffect> = panel.read()?;
        let effects: Vec<_> = lines.iter().map(|line| Some(line.effect)).collect();
        let names = lines.into_iter().map(|line| line.class).collect();
        self.effects = bars(names, &effects);
        self.panels.push(panel);
        Ok(())
    }

    /// Gives the first clusters their mean images, and what each pixel of these comes to for the neuron.
    pub async fn means(
        &mut self,
        run: &VisitedRun,
        layer: i32,
        neuron: i32,
        threshold: f64,
        clusters: &mut [ClusterShown],
    ) -> Result<(), Trouble> {
        let given = clusters.len().min(MEANS);
        let clusters = &mut clusters[..given];
        if !self.is_of_classifier || clusters.is_empty() {
            return Ok(());
        }
        // What a neuron behind others sees of a pixel is no weight.
        let part = match self.has_weights {
            true => "m.mean_pixel * w.weight AS weighted",
            false => "m.importance AS weighted",
        };
        let numbers_of: Vec<_> = clusters.iter().map(|shown| shown.line.cluster).collect();
        let of_each = maps_of_clusters(
            layer,
            neuron,
            threshold,
            &numbers_of,
            "mean_pixel, importance",
        );
        let sql = format!(
            "SELECT m.\"cluster\", m.y, m.x, m.mean_pixel, {part}\nFROM (\n{of_each}\n) m\n\
             JOIN activation_map({layer}, {neuron}) w ON w.y = m.y AND w.x = m.x\nORDER BY m.\"cluster\", m.y, m.x"
        );
        let panel = run.panel("means", "Mean images", sql).await?;
        let (means, parts) = (numbers(&panel, 3)?, numbers(&panel, 4)?);
        let pixels = means.len() / clusters.len();
        let each = clusters.iter_mut().zip(means.chunks(pixels.max(1)));
        for ((shown, means), parts) in each.zip(parts.chunks(pixels.max(1))) {
            let cluster = shown.line.cluster;
            shown.mean = mean(means, &format!("mean image of cluster {cluster}"));
            let words = match self.has_weights {
                true => format!("mean image of cluster {cluster} times the weights"),
                false => format!("importance map of cluster {cluster}"),
            };
            shown.weighted = signed(parts, &words);
        }
        self.panels.push(panel);
        Ok(())
    }

    /// What the second picture of a cluster is called.
    pub fn weighted(&self) -> &'static str {
        match self.has_weights {
            true => "mean × weights",
            false => "importance",
        }
    }
}

/// The images of documents, those that are gray squares, as pictures.
pub async fn pictures(
    run: &VisitedRun,
    documents: BTreeSet<i64>,
) -> Result<(Panel, HashMap<i64, String>), Trouble> {
    let documents: Vec<_> = documents.iter().map(i64::to_string).collect();
    let sql = format!(
        "SELECT doc_id, pixels\nFROM documents\nWHERE doc_id IN ({})\nORDER BY doc_id",
        documents.join(", ")
    );
    let panel = run.panel("images", "Images", sql).await?;
    let rows = &panel.answered.rows;
    let ids = cast(rows.column(0), &DataType::Int64).map_err(failed)?;
    let ids = ids.as_primitive::<Int64Type>();
    let mut pictures = HashMap::new();
    if let Some(images) = rows.column(1).as_list_opt::<i32>() {
        for row in (0..rows.num_rows()).filter(|row| images.is_valid(*row)) {
            let (id, image) = (ids.value(row), images.value(row));
            let bytes = image.as_primitive_opt::<UInt8Type>();
            let words = format!("image of document {id}");
            let picture = bytes.and_then(|bytes| gray(bytes.values(), &words));
            pictures.extend(picture.map(|picture| (id, picture)));
        }
    }
    Ok((panel, pictures))
}

/// The mean images of clusters as addresses that have them; none of a neuron that is not of a classifier of images.
pub async fn mean_addresses(
    run: &VisitedRun,
    layer: i32,
    neuron: i32,
    threshold: f64,
    clusters: &[i64],
) -> Result<Vec<String>, Trouble> {
    if clusters.is_empty() || !run.run.classifies_images()? {
        return Ok(vec![]);
    }
    let of_each = maps_of_clusters(layer, neuron, threshold, clusters, "mean_pixel");
    let sql = of_each + "\nORDER BY \"cluster\", y, x";
    let panel = run.panel("means", "Mean images", sql).await?;
    let values = numbers(&panel, 3)?;
    let pixels = (values.len() / clusters.len()).max(1);
    let images = values
        .chunks(pixels)
        .filter_map(|values| gray_address(&bytes(values)?));
    Ok(images.collect())
}

/// The question for columns of the importance maps of clusters.
fn maps_of_clusters(
    layer: i32,
    neuron: i32,
    threshold: f64,
    clusters: &[i64],
    columns: &str,
) -> String {
    let of_each = clusters.iter().map(|cluster| {
        format!(
            "SELECT {cluster} AS cluster, y, x, {columns}\n\
             FROM importance_map({layer}, {neuron}, {{cluster: {cluster}, threshold: {threshold}}})"
        )
    });
    of_each.collect::<Vec<_>>().join("\nUNION ALL\n")
}

/// A mean image, in which a pixel is as the model receives it.
fn mean(values: &[f64], words: &str) -> Option<String> {
    gray(&bytes(values)?, words)
}

/// Pixels as the model receives them, as bytes again; none where one is not known.
fn bytes(values: &[f64]) -> Option<Vec<u8>> {
    let [black, white] = BLACK_AND_WHITE.map(f64::from);
    let bytes = values
        .iter()
        .map(|value| ((value - black) / (white - black) * 255.0).round() as u8);
    let known = values.iter().all(|value| value.is_finite());
    known.then(|| bytes.collect())
}

fn failed(error: ArrowError) -> Trouble {
    DataFusionError::from(error).into()
}

/// The numbers of a panel's column; what is not there is not a number.
fn numbers(panel: &Panel, column: usize) -> Result<Vec<f64>, Trouble> {
    let numbers = cast(panel.answered.rows.column(column), &DataType::Float64).map_err(failed)?;
    let numbers = numbers.as_primitive::<Float64Type>().iter();
    Ok(numbers.map(|number| number.unwrap_or(f64::NAN)).collect())
}
