//! `feature_splitting(small, large)`: latents of a small autoencoder whose behaviours are latents of a larger one.
//!
//! For every feature cluster of a latent of the small one: the latent of the large one that tells it best from the
//! latent's other clusters, by the share of the cluster's examples it is active on less its share of the others.
//! A latent is split when its clusters have two such latents or more.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_err};
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::functions::arguments::required;
use crate::jobs::{Query, QueryTable, named};
use crate::saes::SaeLibrary;

static DOC: FunctionDoc = FunctionDoc {
    name: "feature_splitting",
    chapter: "sae",
    summary: "Latents of a small sparse autoencoder whose feature clusters are separate latents of a larger one.",
    arguments: &[
        Parameter {
            name: "small",
            kind: "text",
            summary: "name of the autoencoder whose latents are clustered",
        },
        Parameter {
            name: "large",
            kind: "text",
            summary: "name of another one that reads the same vectors",
        },
    ],
    required: 2,
    options: &[
        Parameter {
            name: "min_coverage",
            kind: "number in (0, 1]",
            summary: "least share of a cluster's examples its latent is active on; default 0.5",
        },
        Parameter {
            name: "min_size",
            kind: "whole number from 1",
            summary: "clusters of fewer examples are left aside; default 2",
        },
        Parameter {
            name: "threshold",
            kind: "number in [0, 2]",
            summary: "largest merge height inside a cluster; default polysema.threshold",
        },
    ],
    returns: "latent, cluster, size, large_latent, coverage (share of the cluster's examples it is active on), \
              other_coverage (of the examples of the latent's other clusters), mean_activation; by latent and cluster",
    example: "SELECT count(*) FROM feature_splitting('letters', 'letters')",
    replaces: None,
};

/// The catalogue entry.
pub(super) fn function(saes: &Arc<SaeLibrary>) -> Function {
    let saes = Arc::clone(saes);
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(FeatureSplitting { saes })),
    }
}

fn schema() -> SchemaRef {
    let number = |name| Field::new(name, DataType::Float64, true);
    Arc::new(Schema::new(vec![
        Field::new("latent", DataType::Int32, true),
        Field::new("cluster", DataType::Int32, true),
        Field::new("size", DataType::Int64, true),
        Field::new("large_latent", DataType::Int32, true),
        number("coverage"),
        number("other_coverage"),
        number("mean_activation"),
    ]))
}

#[derive(Debug)]
struct FeatureSplitting {
    saes: Arc<SaeLibrary>,
}

impl TableFunction for FeatureSplitting {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let (small, large) = (
            required(&arguments, "small")?,
            required(&arguments, "large")?,
        );
        let min_coverage = match arguments.number("min_coverage")?.unwrap_or(0.5) {
            share if share > 0.0 && share <= 1.0 => share,
            share => {
                return plan_err!("feature_splitting: min_coverage must be in (0, 1], got {share}");
            }
        };
        let min_size = match arguments.integer("min_size")?.unwrap_or(2) {
            size if size >= 1 => size,
            size => return plan_err!("feature_splitting: min_size must be at least 1, got {size}"),
        };
        let threshold = match arguments.number("threshold")? {
            None => String::new(),
            Some(at) if (0.0..=2.0).contains(&at) => format!(", {{threshold: {at:?}}}"),
            Some(at) => {
                return plan_err!("feature_splitting: threshold must be in [0, 2], got {at}");
            }
        };
        let saes = Arc::clone(&self.saes);
        let ask = move |_: &dyn Session| {
            let (run, layer) = saes.layer(&small).map_err(named(DOC.name))?;
            let widths = [&small, &large].map(|name| saes.get(name).map(|sae| sae.sae.d_in));
            let [of_small, of_large] = widths;
            let (of_small, of_large) = (
                of_small.map_err(named(DOC.name))?,
                of_large.map_err(named(DOC.name))?,
            );
            if of_small != of_large {
                return plan_err!(
                    "feature_splitting: autoencoders of one width are required, got {of_small} and {of_large}"
                );
            }
            let large = large.replace('\'', "''");
            let sql = format!(
                include_str!("../../../sql/functions/feature_splitting.sql"),
                layer = layer,
                threshold = threshold,
                large = large,
                min_size = min_size,
                min_coverage = min_coverage
            );
            Ok(Query { run, sql })
        };
        Ok(Arc::new(QueryTable {
            function: DOC.name,
            schema: schema(),
            ask: Arc::new(ask),
        }))
    }
}
