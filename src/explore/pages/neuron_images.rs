//! What a neuron of images looks at: the images of its examples, and maps over the pixels.

use std::collections::{BTreeSet, HashMap};

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, UInt8Type};
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use futures::future::try_join_all;

use crate::corpus::BLACK_AND_WHITE;
use crate::explore::clusters::{ClusterShown, ExampleLine};
use crate::explore::images::{gray, signed};
use crate::explore::panel::Panel;
use crate::explore::show;
use crate::explore::trouble::Trouble;
use crate::explore::visit::VisitedRun;

/// Clusters whose mean image is shown.
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
    /// What both were read from.
    pub panels: Vec<Panel>,
    is_of_classifier: bool,
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
        images.is_of_classifier = run.run.manifest().architecture == "mlp";
        if !examples.is_empty() {
            let documents = examples.iter().map(|example| example.doc_id);
            let (panel, pictures) = pictures(run, documents.collect()).await?;
            (images.pictures, images.panels) = (pictures, vec![panel]);
        }
        if images.is_of_classifier {
            images.map(run, layer, neuron).await?;
        }
        Ok(images)
    }

    async fn map(&mut self, run: &VisitedRun, layer: i32, neuron: i32) -> Result<(), Trouble> {
        let sql = format!(
            "SELECT activation, importance, mean_pixel\nFROM importance_map({layer}, {neuron})\nORDER BY y, x"
        );
        let panel = run.panel("maps", "Maps over the pixels", sql).await?;
        let titles = [
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
            let picture = match column {
                2 => mean(&values, &words),
                _ => signed(&values, &words),
            };
            if let (Some(picture), Some(_)) = (picture, least) {
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

    /// Gives the first clusters their mean images.
    pub async fn means(
        &self,
        run: &VisitedRun,
        layer: i32,
        neuron: i32,
        threshold: f64,
        clusters: &mut [ClusterShown],
    ) -> Result<(), Trouble> {
        if !self.is_of_classifier {
            return Ok(());
        }
        let give = async |shown: &mut ClusterShown| {
            let cluster = shown.line.cluster;
            let sql = format!(
                "SELECT mean_pixel\nFROM importance_map({layer}, {neuron}, {{cluster: {cluster}, threshold: {threshold}}})\n\
                 ORDER BY y, x"
            );
            let panel = run.panel("mean", "Mean image", sql).await?;
            let words = format!("mean image of cluster {cluster}");
            shown.mean = mean(&numbers(&panel, 0)?, &words);
            Ok::<_, Trouble>(())
        };
        try_join_all(clusters.iter_mut().take(MEANS).map(give)).await?;
        Ok(())
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

/// A mean image, in which a pixel is as the model receives it.
fn mean(values: &[f64], words: &str) -> Option<String> {
    let [black, white] = BLACK_AND_WHITE.map(f64::from);
    let bytes = values
        .iter()
        .map(|value| ((value - black) / (white - black) * 255.0).round() as u8);
    let known = values.iter().all(|value| value.is_finite());
    known.then(|| gray(&bytes.collect::<Vec<_>>(), words))?
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
