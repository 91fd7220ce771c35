//! `feature_splitting(small, large)`: latents of a small autoencoder whose behaviours are latents of a larger one.
//!
//! For every feature cluster of a latent of the small one: the latent of the large one that tells it best from the
//! latent's other clusters, by the share of the cluster's examples it is active on less its share of the others.
//! A latent is split when its clusters have two such latents or more.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_err};
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::functions::arguments::{THRESHOLD, required};
use crate::jobs::{Query, QueryTable, named};
use crate::options::{Key, Kind, Options, Spec, Usual, parameters};
use crate::saes::SaeLibrary;

const MIN_COVERAGE: Key<f64> = Key::new(
    "min_coverage",
    Kind::Number {
        from: 0.0,
        above: true,
        to: 1.0,
        below: false,
    },
    Usual::Number(0.5),
    "least share of a cluster's examples its latent is active on",
);
const MIN_SIZE: Key<usize> = Key::count(
    "min_size",
    1,
    (1 << 31) - 1,
    2,
    "clusters of fewer examples are left aside",
);
const FEATURE_SPLITTING: [Spec; 3] = [MIN_COVERAGE.spec, MIN_SIZE.spec, THRESHOLD.spec];

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
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
    options: parameters(&FEATURE_SPLITTING),
    returns: "latent (of the small one), cluster (its feature cluster, 0 is the largest), size (its examples), \
              large_latent (latent of the large one), coverage (share of the cluster's examples it is active on), \
              other_coverage (of the examples of the latent's other clusters), mean_activation (of large_latent on \
              the cluster's examples); by latent and cluster",
    example: "SELECT count(*) > 0 AS found FROM feature_splitting('letters', 'letters')",
    replaces: None,
});

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
        let options = Options::of_call(&FEATURE_SPLITTING, &arguments)?;
        let (min_coverage, min_size) = (options.get(MIN_COVERAGE), options.get(MIN_SIZE));
        let threshold = match options.get(THRESHOLD) {
            None => String::new(),
            Some(at) => format!(", {{threshold: {at:?}}}"),
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
