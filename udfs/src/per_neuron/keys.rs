//! The layer and neuron a call names, and the layers it means where it names none.
//!
//! A call that names no layer means the layers of kind `mlp`, so that an autoencoder trained on a run does not change
//! the answers about the run's neurons; all layers of a run that has none of that kind. A layer is named by number or
//! name, or by a filter that fixes it (`layer = 7`, `layer IN (7, 8)`); it is taken whatever its kind.

use std::sync::Arc;

use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, col, lit};

use super::layer_filter::{LayerChoice, LayerLookup, LayerRef};
use super::neuron_check::NeuronCheck;
use crate::arrow::layers::known_layers;
use crate::arrow::tables;
use crate::calls::{Arguments, Parameter};

/// The arguments every per-neuron function takes.
pub const LAYER_NEURON: &[Parameter] = &[
    Parameter {
        name: "layer",
        kind: "whole number or text",
        summary: "the layer's number or name; left out, the layers of the option kind; NULL gives no rows",
    },
    Parameter {
        name: "neuron",
        kind: "whole number",
        summary: "index in the layer; left out, the whole layer; NULL gives no rows",
    },
];

const MLP: &str = "mlp";
const ALL: &str = "all";
const KINDS: [&str; 3] = [MLP, "sae", ALL];

/// The option `kind`.
pub const KIND: Parameter = Parameter {
    name: "kind",
    kind: "'mlp', 'sae' or 'all'",
    summary: "which layers are meant where none is named, in the call or by a filter such as layer = 7; default mlp, the \
              model's own (all, where a run has none of that kind or no table layers)",
};

/// The arguments `layer`, `neuron` and `kind` of a call.
#[derive(Debug, Clone)]
pub struct KeyArguments {
    function: &'static str,
    layer: Option<LayerRef>,
    neuron: Option<i64>,
    kind: Option<String>,
    is_null: bool,
}

/// The neurons of a call as far as planning knows them.
#[derive(Debug, Clone, Default)]
pub struct KeySelection {
    /// Filters on layer and neuron.
    pub filters: Vec<Expr>,
    /// What only a look into table `layers` will tell.
    pub lookup: Option<LayerLookup>,
    /// What must be there if nothing came.
    pub check: Option<NeuronCheck>,
}

impl KeyArguments {
    /// The keys of a call.
    ///
    /// Errors (planning): a neuron without a layer, an unknown kind, values of another type.
    pub fn new(arguments: &Arguments) -> Result<Self> {
        let function = arguments.function();
        let layer = match arguments.get("layer") {
            Some(ScalarValue::Utf8(_) | ScalarValue::Utf8View(_) | ScalarValue::LargeUtf8(_)) => {
                arguments.text("layer")?.map(LayerRef::Name)
            }
            _ => arguments.integer("layer")?.map(LayerRef::Number),
        };
        let neuron = arguments.integer("neuron")?;
        let is_null = ["layer", "neuron"].iter().any(|key| arguments.is_null(key));
        if neuron.is_some() && layer.is_none() && !is_null {
            return plan_err!("{function}: layer must be given with a neuron, got none");
        }
        let kind = arguments.text("kind")?;
        if let Some(kind) = &kind
            && !KINDS.contains(&kind.as_str())
        {
            return plan_err!("{function}: kind must be mlp, sae or all, got '{kind}'");
        }
        Ok(Self {
            function,
            layer,
            neuron,
            kind,
            is_null,
        })
    }

    /// Refuses a kind beside a layer, which is of one kind already.
    pub fn require_layer_or_kind(&self) -> Result<()> {
        match &self.kind {
            Some(kind) if self.layer.is_some() && kind != ALL => plan_err!(
                "{}: either layer or kind is required, got both a layer and kind '{kind}'",
                self.function
            ),
            _ => Ok(()),
        }
    }

    /// Whether a key is NULL: no neuron has that key, so there are no rows.
    pub fn is_null(&self) -> bool {
        self.is_null
    }

    /// All layers these keys mean where no layer is named.
    pub fn without_layer(&self) -> Self {
        Self {
            layer: None,
            neuron: None,
            ..self.clone()
        }
    }

    /// The layers of the option kind, as EXPLAIN shows them.
    pub fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or(MLP)
    }

    /// The number of the layer, or its name where only the query will tell.
    ///
    /// Errors (planning): a name that the owner of the tables does not know.
    pub fn layer(
        &self,
        state: &dyn Session,
        neurons: &Arc<dyn TableProvider>,
    ) -> Result<Option<LayerRef>> {
        let Some(LayerRef::Name(name)) = &self.layer else {
            return Ok(self.layer.clone());
        };
        let Some(known) = known_layers(state, neurons)? else {
            return Ok(self.layer.clone());
        };
        let number = known.iter().find(|layer| layer.name == *name).or_else(|| {
            known
                .iter()
                .find(|layer| layer.other_name.as_ref() == Some(name))
        });
        match number {
            Some(layer) => Ok(Some(LayerRef::Number(i64::from(layer.layer)))),
            None => plan_err!(
                "{}: layer must be a number or one of {}, got '{name}'",
                self.function,
                known
                    .iter()
                    .map(|layer| layer.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }
    }

    /// The neurons of these keys that also pass `pushed`.
    pub async fn select(
        &self,
        state: &dyn Session,
        neurons: &Arc<dyn TableProvider>,
        pushed: &[Expr],
    ) -> Result<KeySelection> {
        let function = self.function;
        let layer = self.layer(state, neurons)?;
        let mut selection = KeySelection {
            filters: pushed.to_vec(),
            ..KeySelection::default()
        };
        match &layer {
            Some(LayerRef::Number(number)) => selection.filters.push(only("layer", *number)),
            Some(LayerRef::Name(name)) => {
                let choice = LayerChoice::Named(name.clone());
                let lookup = LayerLookup::plan(state, function, choice).await?;
                selection.lookup = Some(lookup);
            }
            None if self.kind() == ALL || self.kind.is_none() && fix_layer(pushed) => {}
            None => self.select_kind(state, neurons, &mut selection).await?,
        }
        selection
            .filters
            .extend(self.neuron.map(|neuron| only("neuron", neuron)));
        if let Some(layer) = layer {
            let required = vec![(layer, self.neuron)];
            let check = NeuronCheck::plan(state, function, neurons, required).await?;
            selection.check = Some(check);
        }
        Ok(selection)
    }

    async fn select_kind(
        &self,
        state: &dyn Session,
        neurons: &Arc<dyn TableProvider>,
        selection: &mut KeySelection,
    ) -> Result<()> {
        let (kind, is_default) = (self.kind(), self.kind.is_none());
        if let Some(known) = known_layers(state, neurons)? {
            let meant: Vec<_> = known.iter().filter(|layer| layer.kind == kind).collect();
            let all = meant.len() == known.len() || meant.is_empty() && is_default;
            let numbers: Vec<_> = meant.iter().map(|layer| lit(layer.layer)).collect();
            if !all {
                selection.filters.push(match numbers.is_empty() {
                    true => lit(false),
                    false => col("layer").in_list(numbers, false),
                });
            }
            return Ok(());
        }
        if is_default && !has_kinds(state).await? {
            return Ok(());
        }
        let choice = LayerChoice::OfKind {
            kind: kind.to_string(),
            or_all: is_default,
        };
        selection.lookup = Some(LayerLookup::plan(state, self.function, choice).await?);
        Ok(())
    }
}

/// Whether the session has a table of layers with their kinds.
async fn has_kinds(state: &dyn Session) -> Result<bool> {
    let layers = tables::find(state, "layers").await?;
    Ok(layers.is_some_and(|layers| {
        let schema = layers.schema();
        ["layer", "kind"]
            .iter()
            .all(|column| schema.index_of(column).is_ok())
    }))
}

/// `column = value`.
pub fn only(column: &str, value: i64) -> Expr {
    match i32::try_from(value) {
        Ok(value) => col(column).eq(lit(value)),
        // No key is as large.
        Err(_) => lit(false),
    }
}

/// Whether one of these filters leaves given layers only.
fn fix_layer(filters: &[Expr]) -> bool {
    filters.iter().any(fixes_layer)
}

fn fixes_layer(filter: &Expr) -> bool {
    let is_layer = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == "layer");
    let is_literal = |expr: &Expr| matches!(expr, Expr::Literal(..));
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And => fixes_layer(left) || fixes_layer(right),
            // An optimizer writes short lists as alternatives.
            Operator::Or => fixes_layer(left) && fixes_layer(right),
            Operator::Eq => {
                is_layer(left) && is_literal(right) || is_layer(right) && is_literal(left)
            }
            _ => false,
        },
        Expr::InList(list) => {
            !list.negated && is_layer(&list.expr) && list.list.iter().all(is_literal)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_fixed_by_equality_alone() {
        let layer = || col("layer");
        let fixed = [
            layer().eq(lit(7)),
            lit(7).eq(layer()),
            layer().in_list(vec![lit(7), lit(8)], false),
            layer().eq(lit(7)).or(layer().eq(lit(8))),
            layer().eq(lit(7)).and(col("neuron").gt(lit(3))),
        ];
        for filter in fixed {
            assert!(fixes_layer(&filter), "{filter}");
        }
        let open = [
            layer().gt(lit(6)),
            layer().not_eq(lit(7)),
            layer().in_list(vec![lit(7)], true),
            layer().eq(col("neuron")),
            layer().eq(lit(7)).or(col("neuron").eq(lit(3))),
            col("neuron").eq(lit(7)),
        ];
        for filter in open {
            assert!(!fixes_layer(&filter), "{filter}");
        }
    }
}
