//! `feature_density(name)`: how often the latents of a sparse autoencoder are active, as a histogram.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::functions::arguments::required;
use crate::jobs::{Query, QueryTable, named};
use crate::options::{Key, Kind, Options, Usual, parameters};
use crate::saes::SaeLibrary;

const WIDTH: Key<f64> = Key::new(
    "width",
    Kind::above(0.0),
    Usual::Number(0.5),
    "width of a bucket in powers of ten",
);

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "feature_density",
    chapter: "sae",
    summary: "A histogram of how often the latents of a sparse autoencoder are active.",
    arguments: &[Parameter {
        name: "name",
        kind: "text",
        summary: "name of the autoencoder",
    }],
    required: 1,
    options: parameters(&[WIDTH.spec]),
    returns: "log10_lower (of the share of the training rows with a > 0; NULL for latents never active), log10_upper \
              (the bucket's other end), n_latents (latents in the bucket); empty buckets are left out",
    example: "SELECT * FROM feature_density('foreign')",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(saes: &Arc<SaeLibrary>) -> Function {
    let saes = Arc::clone(saes);
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(FeatureDensity { saes })),
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("log10_lower", DataType::Float64, true),
        Field::new("log10_upper", DataType::Float64, true),
        Field::new("n_latents", DataType::Int64, true),
    ]))
}

#[derive(Debug)]
struct FeatureDensity {
    saes: Arc<SaeLibrary>,
}

impl TableFunction for FeatureDensity {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let name = required(&arguments, "name")?;
        let width = Options::of_call(&[WIDTH.spec], &arguments)?.get(WIDTH);
        let saes = Arc::clone(&self.saes);
        let ask = move |_: &dyn Session| {
            let (run, layer) = saes.layer(&name).map_err(named(DOC.name))?;
            let sql = format!(
                "SELECT bucket * {width:?}, (bucket + 1) * {width:?}, count(*)
                 FROM (
                     SELECT CASE WHEN frac_active > 0
                                 THEN floor(log10(CAST(frac_active AS DOUBLE)) / {width:?}) END AS bucket
                     FROM neurons
                     WHERE layer = {layer}
                 )
                 GROUP BY bucket
                 ORDER BY bucket NULLS FIRST"
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
