//! What clients of PostgreSQL find in every session: the schema `pg_catalog` with the store's tables in it, the catalogue's
//! functions, and those by which a client asks for its own settings.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{AsArray, Int32Array};
use datafusion::arrow::datatypes::{DataType, Int32Type};
use datafusion::catalog::{CatalogProviderList, TableFunction};
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::{SessionConfig, SessionContext, create_udf};
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::oid_type_planner::PgOidTypePlanner;
use datafusion_pg_catalog::pg_catalog::{
    PgCatalogSchemaProvider, PgCatalogStaticTables, setup_pg_catalog,
};

use super::settings::{POSTGRES_VERSION, PostgresSettings, schemas};
use crate::session::{CATALOG, Session};

/// The parts that all sessions share.
pub(super) struct Catalogue {
    tables: Arc<PgCatalogStaticTables>,
    values: Vec<Arc<ScalarUDF>>,
    rows: Vec<Arc<TableFunction>>,
}

impl Catalogue {
    pub(super) fn new() -> Result<Self> {
        // The catalogue sets up a context with a catalog in memory: what it adds to one is what each session is given.
        let config = SessionConfig::new().with_default_catalog_and_schema(CATALOG, "public");
        let filled = SessionContext::new_with_config(config);
        setup_pg_catalog(&filled, CATALOG, EmptyContextProvider).map_err(|error| *error)?;
        let (filled, usual) = (filled.state(), SessionContext::new().state());
        let mut values: Vec<_> = filled
            .scalar_functions()
            .iter()
            .filter(|(name, _)| !usual.scalar_functions().contains_key(*name))
            .map(|(_, function)| Arc::clone(function))
            .collect();
        values.extend(constants().map(Arc::new));
        let tables = Arc::new(PgCatalogStaticTables::try_new()?);
        values.push(Arc::new(type_of_name(&tables)));
        Ok(Self {
            tables,
            values,
            rows: filled.table_functions().values().cloned().collect(),
        })
    }

    /// Adds all of it to a session.
    pub(super) fn add_to(
        &self,
        session: &Session,
        settings: &Arc<Mutex<PostgresSettings>>,
    ) -> Result<()> {
        let context = session.context();
        for function in &self.values {
            context.register_udf(function.as_ref().clone());
        }
        for function in &self.rows {
            context.register_udtf(function.name(), Arc::clone(function.function()));
        }
        for changes in [false, true] {
            context.register_udf(ScalarUDF::new_from_impl(SettingFunction::new(
                Arc::clone(settings),
                changes,
            )));
        }
        let lock = context.state_ref();
        let state = lock.read().clone();
        let catalogs = Arc::clone(state.catalog_list());
        let state = SessionStateBuilder::new_from_existing(state)
            .with_type_planner(Arc::new(PgOidTypePlanner))
            .build();
        *lock.write() = state;
        let tables = Arc::clone(&self.tables);
        let schema: PgCatalogSchemaProvider<Arc<dyn CatalogProviderList>, _> =
            PgCatalogSchemaProvider::try_new(catalogs, tables, EmptyContextProvider)?;
        session.add_schema("pg_catalog", Arc::new(schema));
        Ok(())
    }
}

/// What a client asks that has one answer here.
fn constants() -> impl Iterator<Item = ScalarUDF> {
    let text = |text: &str| ScalarValue::from(text);
    let version = format!(
        "PostgreSQL {POSTGRES_VERSION} (polysema {}, DataFusion {})",
        env!("CARGO_PKG_VERSION"),
        datafusion::DATAFUSION_VERSION
    );
    let none = ScalarValue::Utf8(None);
    let (int, oid) = (DataType::Int32, DataType::Int32);
    [
        ("version", vec![], text(&version)),
        ("pg_is_in_recovery", vec![], ScalarValue::from(false)),
        (
            "pg_type_is_visible",
            vec![oid.clone()],
            ScalarValue::from(true),
        ),
        (
            "pg_function_is_visible",
            vec![oid.clone()],
            ScalarValue::from(true),
        ),
        (
            "pg_collation_is_visible",
            vec![oid.clone()],
            ScalarValue::from(true),
        ),
        (
            "pg_get_serial_sequence",
            vec![DataType::Utf8, DataType::Utf8],
            none.clone(),
        ),
        ("pg_get_viewdef", vec![oid.clone()], none.clone()),
        ("pg_get_indexdef", vec![oid.clone()], none.clone()),
        ("pg_advisory_unlock_all", vec![], ScalarValue::Null),
        (
            "obj_description",
            vec![oid.clone(), DataType::Utf8],
            none.clone(),
        ),
        (
            "shobj_description",
            vec![oid.clone(), DataType::Utf8],
            none.clone(),
        ),
        ("col_description", vec![oid, int], none),
    ]
    .into_iter()
    .map(|(name, takes, value)| {
        let gives = value.data_type();
        let answer = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(value.clone()));
        create_udf(name, takes, gives, Volatility::Stable, Arc::new(answer))
    })
}

/// `to_regtype(name)`: the object id of a type, NULL where there is none of that name.
fn type_of_name(tables: &PgCatalogStaticTables) -> ScalarUDF {
    let mut types = HashMap::new();
    for batch in tables.pg_type.data() {
        let column = |name| batch.column_by_name(name);
        if let (Some(names), Some(ids)) = (column("typname"), column("oid")) {
            let (names, ids) = (
                names.as_string_opt::<i32>(),
                ids.as_primitive_opt::<Int32Type>(),
            );
            let pairs = names.into_iter().flatten().zip(ids.into_iter().flatten());
            types.extend(pairs.filter_map(|(name, id)| Some((name?.to_string(), id?))));
        }
    }
    let answer = move |arguments: &[ColumnarValue]| {
        let names = ColumnarValue::values_to_arrays(arguments)?;
        let names = names[0].as_string::<i32>().iter();
        let ids = names.map(|name| types.get(name?).copied());
        Ok(ColumnarValue::Array(Arc::new(ids.collect::<Int32Array>())))
    };
    let takes = vec![DataType::Utf8];
    let answer = Arc::new(answer);
    create_udf(
        "to_regtype",
        takes,
        DataType::Int32,
        Volatility::Stable,
        answer,
    )
}

/// `current_setting(name[, missing_ok])` and `set_config(name, value, is_local)`.
#[derive(Debug)]
struct SettingFunction {
    settings: Arc<Mutex<PostgresSettings>>,
    changes: bool,
    signature: Signature,
}

impl SettingFunction {
    fn new(settings: Arc<Mutex<PostgresSettings>>, changes: bool) -> Self {
        let signature = match changes {
            true => Signature::any(3, Volatility::Volatile),
            false => Signature::variadic_any(Volatility::Volatile),
        };
        Self {
            settings,
            changes,
            signature,
        }
    }

    fn answer(&self, arguments: &[ScalarValue]) -> Result<ScalarValue> {
        let text = |at: usize| {
            let given = arguments.get(at).and_then(ScalarValue::try_as_str);
            given.flatten().map(str::to_string)
        };
        let function = self.name();
        let Some(name) = text(0) else {
            return exec_err!("{function}: the name of a setting is required, got none");
        };
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.changes {
            let may_miss = matches!(arguments.get(1), Some(ScalarValue::Boolean(Some(true))));
            return match settings.get(&name) {
                Some(value) => Ok(ScalarValue::from(value)),
                None if may_miss => Ok(ScalarValue::Utf8(None)),
                None => exec_err!("{function}: a setting that is there is required, got '{name}'"),
            };
        }
        let value = text(1).unwrap_or_default();
        let names_a_run = name.eq_ignore_ascii_case("search_path") && !schemas(&value).is_empty();
        if names_a_run {
            return exec_err!(
                "{function}: SET search_path TO {value} selects a run, got {function}"
            );
        }
        match settings.set(&name, Some(&value)) {
            Ok(_) => Ok(ScalarValue::from(value)),
            Err(error) => exec_err!("{error}"),
        }
    }
}

impl PartialEq for SettingFunction {
    fn eq(&self, other: &Self) -> bool {
        self.changes == other.changes && Arc::ptr_eq(&self.settings, &other.settings)
    }
}

impl Eq for SettingFunction {}

impl std::hash::Hash for SettingFunction {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.changes.hash(state);
    }
}

impl ScalarUDFImpl for SettingFunction {
    fn name(&self) -> &str {
        match self.changes {
            true => "set_config",
            false => "current_setting",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let row = |at: usize| -> Result<ScalarValue> {
            let arguments = args.args.iter().map(|argument| match argument {
                ColumnarValue::Scalar(value) => Ok(value.clone()),
                ColumnarValue::Array(values) => ScalarValue::try_from_array(values, at),
            });
            self.answer(&arguments.collect::<Result<Vec<_>>>()?)
        };
        let is_one = |argument: &ColumnarValue| matches!(argument, ColumnarValue::Scalar(_));
        if args.args.iter().all(is_one) {
            return row(0).map(ColumnarValue::Scalar);
        }
        let values = (0..rows).map(row).collect::<Result<Vec<_>>>()?;
        ScalarValue::iter_to_array(values).map(ColumnarValue::Array)
    }
}
