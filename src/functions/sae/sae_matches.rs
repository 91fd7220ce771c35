//! `sae_matches(a, b)`: for each latent of one autoencoder the most similar latents or neurons of another layer.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polysema_udfs::arrow::value_filter::ValueFilter;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};
use polysema_udfs::scan_by_plan;

use crate::functions::arguments::{required, run_parameters};
use crate::functions::sources::{GivenSource, Resolved};
use crate::jobs::{Course, Job, JobContext};
use crate::models::Site;
use crate::options::{Key, Options, Word};
use crate::saes::{Match, SaeLibrary, matches, weights_of};

const K: Key<usize> = Key::count("k", 1, (1 << 31) - 1, 1, "matches a latent");

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "sae_matches",
    chapter: "sae",
    summary: "For each latent of a sparse autoencoder the latents or neurons of another layer whose weights are most similar.",
    arguments: &[
        Parameter {
            name: "a",
            kind: "text",
            summary: "name of an autoencoder",
        },
        Parameter {
            name: "b",
            kind: "text, or a layer's number",
            summary: "name of another autoencoder, or a layer of the current run",
        },
    ],
    required: 2,
    options: run_parameters(&[K.spec]),
    returns: "latent (of a, from 0), rank (from 1), match (latent or neuron of b), decoder_cosine (in [-1, 1]; NULL \
              for a zero vector or where widths differ), encoder_cosine (as decoder_cosine); the most similar \
              decoder first (encoder, where only these are as wide)",
    example: "SELECT latent, rank, match, decoder_cosine FROM sae_matches('foreign', 'foreign', {k: 2}) LIMIT 4",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(saes: &Arc<SaeLibrary>) -> Function {
    let saes = Arc::clone(saes);
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(SaeMatches { saes })),
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("latent", DataType::Int32, false),
        Field::new("rank", DataType::Int32, false),
        Field::new("match", DataType::Int32, false),
        Field::new("decoder_cosine", DataType::Float64, true),
        Field::new("encoder_cosine", DataType::Float64, true),
    ]))
}

fn rows_of(found: &[Match]) -> Result<RecordBatch> {
    let ints = |of: fn(&Match) -> usize| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(
            found.iter().map(|m| of(m) as i32),
        ))
    };
    let numbers = |of: fn(&Match) -> Option<f64>| -> ArrayRef {
        Arc::new(Float64Array::from_iter(found.iter().map(of)))
    };
    let columns = vec![
        ints(|m| m.latent),
        ints(|m| m.rank),
        ints(|m| m.other),
        numbers(|m| m.decoder_cosine),
        numbers(|m| m.encoder_cosine),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

#[derive(Debug)]
struct SaeMatches {
    saes: Arc<SaeLibrary>,
}

impl TableFunction for SaeMatches {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let a = required(&arguments, "a")?;
        let Some(b) = GivenSource::of(&arguments, "b")? else {
            return plan_err!("sae_matches: b must be text or a layer's number, got NULL");
        };
        let k = Options::of_call(&[K.spec], &arguments)?.get(K);
        let saes = Arc::clone(&self.saes);
        if let (GivenSource::Name(name), Some(run)) = (&b, arguments.run())
            && saes.store().has_sae(name)
        {
            return plan_err!(
                "sae_matches: run must come with a layer as b, got '{run}' with the autoencoder '{name}'"
            );
        }
        Ok(Arc::new(Matching { saes, a, b, k }))
    }
}

#[derive(Debug)]
struct Matching {
    saes: Arc<SaeLibrary>,
    a: String,
    b: GivenSource,
    k: usize,
}

impl Matching {
    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let store = self.saes.store();
        let layer = match &self.b {
            GivenSource::Name(name) if store.has_sae(name) => None,
            b => match b.resolve(DOC.name, state).await? {
                Resolved::Layer {
                    run,
                    layer,
                    site: None | Some(Site::MlpPost),
                } => Some((run, layer)),
                Resolved::Layer { layer, site, .. } => {
                    let (layer, site) = (layer.name, site.map_or("", Site::name));
                    return plan_err!(
                        "sae_matches: b must be an autoencoder or a layer of neurons, got {site} of {layer}"
                    );
                }
                Resolved::Rows { written, .. } => {
                    return plan_err!(
                        "sae_matches: b must be an autoencoder or a layer of the current run, got {written}"
                    );
                }
            },
        };
        let (saes, a, b, k) = (
            Arc::clone(&self.saes),
            self.a.clone(),
            self.b.clone(),
            self.k,
        );
        let latent = Field::new("latent", DataType::Int32, false);
        let wanted = ValueFilter::of(state, filters, latent)?;
        let detail = match wanted.is_open() {
            true => format!("a={a}"),
            false => format!("a={a}, latents={wanted}"),
        };
        let work = move |context: &JobContext| {
            let of_a = weights_of(&saes.get(&a)?.sae);
            let numbers = Int32Array::from_iter_values(0..of_a.n as i32);
            let latents: Vec<_> = wanted
                .keeps(Arc::new(numbers))?
                .values()
                .set_indices()
                .collect();
            let of_b = match (&layer, &b) {
                (Some((run, layer)), _) => run.layer_weights(layer.layer)?,
                (None, GivenSource::Name(name)) => weights_of(&saes.get(name)?.sae),
                (None, other) => {
                    return plan_err!("b must be text, got {other:?}");
                }
            };
            matches(&of_a, &latents, &of_b, k, &mut |found| {
                context.send(rows_of(&found));
                context.tick()
            })
        };
        let job = Job {
            function: DOC.name,
            operator: "SaeMatchesExec",
            detail,
            schema: schema(),
            course: Course::Answer,
            needs: &[],
            input: None,
            makes: None,
            work: Arc::new(work),
        };
        job.scan(state, projection, filters, limit).await
    }
}

impl TableProvider for Matching {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(ValueFilter::pushed_down(filters, "latent"))
    }

    scan_by_plan!(Matching);
}
