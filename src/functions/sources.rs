//! What an argument that may be a layer, a table or a query means in a session.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::{ScalarValue, TableReference, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use polysema_udfs::arrow::tables::table_by_reference;
use polysema_udfs::calls::{Arguments, RUN, Relation};

use super::row_vectors::RowVectors;
use crate::jobs::{JobContext, named};
use crate::models::{HookPoint, Site};
use crate::options::{Options, Word};
use crate::saes::{
    HOOK, MOVED_CORPUS, MOVED_MODEL, OF_LAYERS, Places, VECTORS, Vectors, layer_vectors,
};
use crate::store::{LayerRow, Run, Store, StoreCatalog};

/// Kind of such an argument.
pub const LAYER_OR_ROWS: &str = "layer number or name, table, or (SELECT ...)";

/// A source as it was written.
#[derive(Debug, Clone, PartialEq)]
pub enum GivenSource {
    /// A query or a table of the statement.
    Relation(Relation),
    /// A layer's number.
    Number(i64),
    /// A layer's or a table's name.
    Name(String),
}

impl GivenSource {
    /// The argument called `name`; none if it was left out.
    pub fn of(arguments: &Arguments, name: &str) -> Result<Option<Self>> {
        if let Some(relation) = arguments.relation(name) {
            return Ok(Some(Self::Relation(relation.clone())));
        }
        match arguments.get(name) {
            None => Ok(None),
            Some(value) if value.data_type().is_integer() => {
                Ok(arguments.integer(name)?.map(Self::Number))
            }
            Some(
                ScalarValue::Utf8(Some(text))
                | ScalarValue::Utf8View(Some(text))
                | ScalarValue::LargeUtf8(Some(text)),
            ) => Ok(Some(Self::Name(text.clone()))),
            Some(other) => plan_err!(
                "{}: {name} must be a {LAYER_OR_ROWS}, got {other}",
                arguments.function()
            ),
        }
    }

    /// What it means now.
    ///
    /// Errors (planning): neither a layer of the current run nor a table; the layers are listed.
    pub async fn resolve(&self, function: &'static str, state: &dyn Session) -> Result<Resolved> {
        let run = current_run(state)?;
        let layers = match &run {
            Some(run) => run.layers().map_err(named(function))?,
            None => vec![],
        };
        let (found, written) = match self {
            Self::Relation(relation) => {
                return Ok(Resolved::Rows {
                    plan: Arc::clone(&relation.plan),
                    written: relation.written.clone(),
                });
            }
            Self::Number(number) => {
                let found = layers.iter().find(|row| i64::from(row.layer) == *number);
                (found, number.to_string())
            }
            Self::Name(name) => {
                let found = layers.iter().find(|row| row.name == *name);
                (found, format!("'{name}'"))
            }
        };
        let resolved = |layer: &LayerRow, run: &Arc<Run>, site| Resolved::Layer {
            run: Arc::clone(run),
            layer: layer.clone(),
            site,
        };
        if let (Some(layer), Some(run)) = (found, &run) {
            return Ok(resolved(layer, run, None));
        }
        if let Self::Name(name) = self
            && let Ok(table) = table_by_reference(state, function, name).await
        {
            let name = TableReference::from(name.as_str());
            let written = name.to_quoted_string();
            let plan = LogicalPlanBuilder::scan(name, provider_as_source(table), None)?.build()?;
            return Ok(Resolved::Rows {
                plan: Arc::new(plan),
                written,
            });
        }
        if let (Self::Name(name), Some(run)) = (self, &run)
            && let Ok(hook) = HookPoint::parse(name)
            && let Some(layer) =
                (layers.iter()).find(|row| row.kind == "mlp" && row.layer as usize == hook.layer)
        {
            return Ok(resolved(layer, run, Some(hook.site)));
        }
        let why = match self {
            Self::Name(name) => HookPoint::why_not(name),
            _ => None,
        };
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        let known = match &run {
            None => "no run is selected: SET polysema.run = 'name'".to_string(),
            Some(run) => {
                let names: Vec<_> = layers.iter().map(|row| row.name.as_str()).collect();
                format!("layers of run '{}': {}", run.name(), names.join(", "))
            }
        };
        plan_err!(
            "{function}: a layer, a table or (SELECT ...) is required, got {written} ({known}){why}"
        )
    }
}

/// What a source means in a session.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// A layer of the current run.
    Layer {
        /// The run.
        run: Arc<Run>,
        /// The layer.
        layer: LayerRow,
        /// The place in it, where a place was named and not the layer.
        site: Option<Site>,
    },
    /// Rows of a relation.
    Rows {
        /// The relation.
        plan: Arc<LogicalPlan>,
        /// As it was written.
        written: String,
    },
}

/// Where in a source the vectors are: options of the functions that take one.
#[derive(Debug, Clone, Default)]
pub struct VectorPlace {
    /// The column of rows.
    pub column: Option<String>,
    /// The site in a layer.
    pub site: Option<Site>,
    /// The place whose values a transcoder gives back.
    pub target: Option<HookPoint>,
    /// Where the layer's model and corpus are.
    pub places: Places,
    /// A given option that says something of layers only.
    of_layers: Option<&'static str>,
}

impl VectorPlace {
    /// Of options that have [`VECTORS`], [`HOOK`], [`MOVED_MODEL`] and [`MOVED_CORPUS`].
    pub fn of(options: &Options, arguments: &Arguments) -> Self {
        Self {
            column: options.get(VECTORS),
            site: options.get(HOOK),
            target: None,
            places: Places {
                model: options.get(MOVED_MODEL),
                corpus: options.get(MOVED_CORPUS).map(Into::into),
            },
            of_layers: options
                .any_given(&OF_LAYERS)
                .or(arguments.run().map(|_| RUN.name)),
        }
    }

    /// The place in this source.
    ///
    /// Errors (planning): an option that says nothing of it.
    pub fn in_source(&self, function: &str, source: &Resolved) -> Result<Self> {
        self.check(function, source)?;
        match (source, self.site) {
            (
                Resolved::Layer {
                    site: Some(named), ..
                },
                Some(site),
            ) if *named != site => plan_err!(
                "{function}: either a place as source or the option hook is required, got {} and {}",
                named.name(),
                site.name()
            ),
            (
                Resolved::Layer {
                    site: Some(named), ..
                },
                _,
            ) => Ok(Self {
                site: Some(*named),
                ..self.clone()
            }),
            _ => Ok(self.clone()),
        }
    }

    fn check(&self, function: &str, source: &Resolved) -> Result<()> {
        match (source, &self.column, self.of_layers) {
            (Resolved::Layer { layer, .. }, Some(column), _) => plan_err!(
                "{function}: column must come with rows, got '{column}' for layer {}",
                layer.layer
            ),
            (Resolved::Rows { written, .. }, _, Some(name)) => {
                plan_err!("{function}: {name} must come with a layer, got the rows of {written}")
            }
            _ => Ok(()),
        }
    }
}

/// The run that unqualified names mean, if one is selected.
///
/// Errors: it is missing or damaged.
pub fn current_run(state: &dyn Session) -> Result<Option<Arc<Run>>> {
    match StoreCatalog::of(state) {
        Some(catalog) => catalog.run_of(&state.config_options().catalog.default_schema),
        None => Ok(None),
    }
}

impl Resolved {
    /// The relation a job has to read for it.
    pub fn input(&self) -> Option<Arc<LogicalPlan>> {
        match self {
            Self::Layer { .. } => None,
            Self::Rows { plan, .. } => Some(Arc::clone(plan)),
        }
    }

    /// The run that an autoencoder of this name makes of it: latents of rows are a run of their own.
    pub fn own_run(&self, name: &str) -> Option<String> {
        match self {
            Self::Layer { .. } => None,
            Self::Rows { .. } => Some(name.to_string()),
        }
    }

    /// Its vectors: of `column` of the rows, or at `site` of the layer.
    pub fn vectors<'a>(
        &self,
        store: &Store,
        context: &'a JobContext,
        place: &VectorPlace,
    ) -> Result<Vectors<'a>> {
        match (self, context.rows()) {
            (Self::Rows { written, .. }, Some(rows)) => {
                let column = place.column.as_deref();
                let table = RowVectors::try_new(rows, column, written.clone())?;
                Ok(Vectors::Table(Box::new(table)))
            }
            (Self::Layer { run, layer, .. }, _) => layer_vectors(
                store,
                run.manifest(),
                layer,
                place.site,
                place.target,
                &place.places,
                context,
            ),
            (Self::Rows { written, .. }, None) => {
                plan_err!("rows of {written} are required, got none")
            }
        }
    }
}
