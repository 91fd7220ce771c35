//! A neuron's examples as points of two planes, by their neuron embeddings and by the vectors before the MLP: what the
//! clusters are made of beside what the layer reads (figure 4 of the paper).

use std::collections::HashMap;

use futures::try_join;
use serde::Deserialize;

use crate::explore::clusters::{ExampleLine, ExampleList};
use crate::explore::panel::Panel;
use crate::explore::points::{ExamplePoint, points};
use crate::explore::trouble::Trouble;
use crate::explore::visit::VisitedRun;

/// Fewer examples lie on a line whatever they are.
const FEWEST: usize = 3;

/// The pictures; none of a neuron of too few examples.
#[derive(Default)]
pub struct Projection {
    pub plots: Vec<ProjectionPlot>,
    pub panels: Vec<Panel>,
}

/// A picture with what it is by.
pub struct ProjectionPlot {
    pub title: &'static str,
    pub svg: String,
}

/// A row of `project`; of a vector of zeros there is no place.
#[derive(Deserialize)]
struct PlaceLine {
    example: i64,
    pc1: Option<f64>,
    pc2: Option<f64>,
}

impl Projection {
    /// Of the examples that the page lists.
    pub async fn of(
        run: &VisitedRun,
        layer: i32,
        neuron: i32,
        lines: &[ExampleLine],
        lists: &[ExampleList],
    ) -> Result<Self, Trouble> {
        if lines.len() < FEWEST {
            return Ok(Self::default());
        }
        let members = || {
            lists
                .iter()
                .flat_map(|list| list.line.members.iter().flatten())
        };
        let shown: Vec<String> = lines.iter().map(|line| line.example.to_string()).collect();
        let only = |word: &str| match members().count() > lines.len() {
            true => format!("\n{word} example IN ({})", shown.join(", ")),
            false => String::new(),
        };
        let sql = |rows: String, column: &str| {
            format!(
                "SELECT example, pc1, pc2\nFROM project(({rows}),\n  '{column}', 2, {{normalize: true}})\nORDER BY example"
            )
        };
        let embeddings = format!(
            "SELECT example, embedding FROM neuron_embeddings({layer}, {neuron}){}",
            only("WHERE")
        );
        let received = format!(
            "SELECT example, pre_mlp FROM examples WHERE layer = {layer} AND neuron = {neuron}{}",
            only("AND")
        );
        let (by_embedding, by_received) = try_join!(
            run.panel(
                "projection",
                "Neuron embeddings, projected",
                sql(embeddings, "embedding")
            ),
            run.panel(
                "pre_mlp_projection",
                "Pre-MLP embeddings, projected",
                sql(received, "pre_mlp")
            ),
        )?;
        let clusters: HashMap<i64, usize> = members()
            .filter_map(|member| Some((member.example, usize::try_from(member.cluster?).ok()?)))
            .collect();
        let plot = |title, panel: &Panel| -> Result<_, Trouble> {
            let places: Vec<PlaceLine> = panel.read()?;
            let places = places.into_iter().filter_map(|line| {
                Some(ExamplePoint {
                    example: line.example,
                    place: [line.pc1?, line.pc2?],
                    cluster: clusters.get(&line.example).copied(),
                })
            });
            let svg = points(&places.collect::<Vec<_>>());
            Ok(ProjectionPlot { title, svg })
        };
        Ok(Self {
            plots: vec![
                plot("Neuron embeddings", &by_embedding)?,
                plot("Pre-MLP embeddings", &by_received)?,
            ],
            panels: vec![by_embedding, by_received],
        })
    }

    /// The pictures as a part of the page, which is HTML.
    pub fn figures(&self) -> String {
        let plots = self.plots.iter();
        let figures = plots.map(|plot| {
            format!(
                "<figure>{}<figcaption>{}</figcaption></figure>",
                plot.svg, plot.title
            )
        });
        figures.collect()
    }
}
