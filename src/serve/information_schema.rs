//! The schema `information_schema` with the columns and the names of types that PostgreSQL's clients look for; of
//! DataFusion's own there stay its settings and functions. Above 400 lines, with a line a column.

use std::collections::HashMap;
use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{SchemaProvider, TableFunction, TableProvider};
use datafusion::error::Result;
use pgwire::api::Type;

use super::live::LiveValue::{Int, Null, Text};
use super::live::{LiveColumn, empty_table};
use super::objects::{ColumnRow, Relation, SchemaRow, SessionView};
use super::pg_tables::is_array;
use crate::session::CATALOG;

const SCHEMATA: &[LiveColumn<SchemaRow>] = &[
    ("catalog_name", Text(|_| Some(CATALOG))),
    ("schema_name", Text(|s| Some(&s.name))),
    ("schema_owner", Text(|s| Some(&s.owner))),
    ("default_character_set_catalog", Null("text")),
    ("default_character_set_schema", Null("text")),
    ("default_character_set_name", Null("text")),
    ("sql_path", Null("text")),
];

fn yes(holds: bool) -> Option<&'static str> {
    Some(if holds { "YES" } else { "NO" })
}

const TABLES: &[LiveColumn<Relation>] = &[
    ("table_catalog", Text(|_| Some(CATALOG))),
    ("table_schema", Text(|r| Some(&r.schema))),
    ("table_name", Text(|r| Some(&r.name))),
    (
        "table_type",
        Text(|r| Some(if r.is_view { "VIEW" } else { "BASE TABLE" })),
    ),
    ("self_referencing_column_name", Null("text")),
    ("reference_generation", Null("text")),
    ("user_defined_type_catalog", Null("text")),
    ("user_defined_type_schema", Null("text")),
    ("user_defined_type_name", Null("text")),
    ("is_insertable_into", Text(|r| yes(r.takes_rows))),
    ("is_typed", Text(|_| Some("NO"))),
    ("commit_action", Null("text")),
];

const VIEWS: &[LiveColumn<Relation>] = &[
    ("table_catalog", Text(|_| Some(CATALOG))),
    ("table_schema", Text(|r| Some(&r.schema))),
    ("table_name", Text(|r| Some(&r.name))),
    ("view_definition", Text(|r| r.definition.as_deref())),
    ("check_option", Text(|_| Some("NONE"))),
    ("is_updatable", Text(|_| Some("NO"))),
    ("is_insertable_into", Text(|_| Some("NO"))),
    ("is_trigger_updatable", Text(|_| Some("NO"))),
    ("is_trigger_deletable", Text(|_| Some("NO"))),
    ("is_trigger_insertable_into", Text(|_| Some("NO"))),
];

const COLUMNS: &[LiveColumn<ColumnRow>] = &[
    ("table_catalog", Text(|_| Some(CATALOG))),
    ("table_schema", Text(|c| Some(&c.relation.schema))),
    ("table_name", Text(|c| Some(&c.relation.name))),
    ("column_name", Text(|c| Some(&c.name))),
    ("ordinal_position", Int(|c| Some(i32::from(c.number)))),
    ("column_default", Null("text")),
    ("is_nullable", Text(|c| yes(c.may_be_null))),
    ("data_type", Text(|c| Some(standard_name(&c.kind)))),
    ("character_maximum_length", Null("int4")),
    (
        "character_octet_length",
        Int(|c| (c.kind == Type::TEXT).then_some(1 << 30)),
    ),
    ("numeric_precision", Int(|c| precision(c).map(|[p, _]| p))),
    (
        "numeric_precision_radix",
        Int(|c| precision(c).map(|[_, radix]| radix)),
    ),
    ("numeric_scale", Int(scale)),
    (
        "datetime_precision",
        Int(|c| match c.kind {
            Type::DATE => Some(0),
            Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::INTERVAL => Some(6),
            _ => None,
        }),
    ),
    ("interval_type", Null("text")),
    ("interval_precision", Null("int4")),
    ("character_set_catalog", Null("text")),
    ("character_set_schema", Null("text")),
    ("character_set_name", Null("text")),
    ("collation_catalog", Null("text")),
    ("collation_schema", Null("text")),
    ("collation_name", Null("text")),
    ("domain_catalog", Null("text")),
    ("domain_schema", Null("text")),
    ("domain_name", Null("text")),
    ("udt_catalog", Text(|_| Some(CATALOG))),
    ("udt_schema", Text(|_| Some("pg_catalog"))),
    ("udt_name", Text(|c| Some(c.kind.name()))),
    ("scope_catalog", Null("text")),
    ("scope_schema", Null("text")),
    ("scope_name", Null("text")),
    ("maximum_cardinality", Null("int4")),
    ("dtd_identifier", Null("text")),
    ("is_self_referencing", Text(|_| Some("NO"))),
    ("is_identity", Text(|_| Some("NO"))),
    ("identity_generation", Null("text")),
    ("identity_start", Null("text")),
    ("identity_increment", Null("text")),
    ("identity_maximum", Null("text")),
    ("identity_minimum", Null("text")),
    ("identity_cycle", Text(|_| Some("NO"))),
    ("is_generated", Text(|_| Some("NEVER"))),
    ("generation_expression", Null("text")),
    ("is_updatable", Text(|_| Some("NO"))),
];

/// The name of a type as the standard has it.
fn standard_name(kind: &Type) -> &str {
    match *kind {
        Type::BOOL => "boolean",
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::TIME => "time without time zone",
        Type::TIMESTAMP => "timestamp without time zone",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        _ if is_array(kind) => "ARRAY",
        _ => kind.name(),
    }
}

/// How many digits a number has, and of which base.
fn precision(column: &ColumnRow) -> Option<[i32; 2]> {
    match column.kind {
        Type::INT2 => Some([16, 2]),
        Type::INT4 => Some([32, 2]),
        Type::INT8 => Some([64, 2]),
        Type::FLOAT4 => Some([24, 2]),
        Type::FLOAT8 => Some([53, 2]),
        _ => column.digits.map(|[digits, _]| [digits, 10]),
    }
}

fn scale(column: &ColumnRow) -> Option<i32> {
    match column.kind {
        Type::INT2 | Type::INT4 | Type::INT8 => Some(0),
        _ => column.digits.map(|[_, scale]| scale),
    }
}

/// What the client may do with a table.
const PRIVILEGES: &[LiveColumn<Relation>] = &[
    ("grantor", Text(|r| Some(&r.owner))),
    ("grantee", Text(|r| Some(&r.owner))),
    ("table_catalog", Text(|_| Some(CATALOG))),
    ("table_schema", Text(|r| Some(&r.schema))),
    ("table_name", Text(|r| Some(&r.name))),
    ("privilege_type", Text(|_| Some("SELECT"))),
    ("is_grantable", Text(|_| Some("NO"))),
    ("with_hierarchy", Text(|_| Some("YES"))),
];

/// The client, or its database.
struct NameRow(String);

const CATALOG_NAME: &[LiveColumn<NameRow>] = &[("catalog_name", Text(|n| Some(&n.0)))];

const ENABLED_ROLES: &[LiveColumn<NameRow>] = &[("role_name", Text(|n| Some(&n.0)))];

const CHARACTER_SETS: &[LiveColumn<NameRow>] = &[
    ("character_set_catalog", Null("text")),
    ("character_set_schema", Null("text")),
    ("character_set_name", Text(|_| Some("UTF8"))),
    ("character_repertoire", Text(|_| Some("UCS"))),
    ("form_of_use", Text(|_| Some("UTF8"))),
    ("default_collate_catalog", Text(|n| Some(&n.0))),
    ("default_collate_schema", Text(|_| Some("pg_catalog"))),
    ("default_collate_name", Text(|_| Some("C"))),
];

/// Tables without rows: there are no keys, constraints, sequences or triggers.
const EMPTY: &[(&str, &str)] = &[
    (
        "check_constraints",
        "constraint_catalog, constraint_schema, constraint_name, check_clause",
    ),
    (
        "column_privileges",
        "grantor, grantee, table_catalog, table_schema, table_name, column_name, privilege_type, is_grantable",
    ),
    (
        "constraint_column_usage",
        "table_catalog, table_schema, table_name, column_name, constraint_catalog, constraint_schema, constraint_name",
    ),
    (
        "constraint_table_usage",
        "table_catalog, table_schema, table_name, constraint_catalog, constraint_schema, constraint_name",
    ),
    (
        "domains",
        "domain_catalog, domain_schema, domain_name, data_type, character_maximum_length int4, numeric_precision int4, numeric_scale int4, domain_default, udt_catalog, udt_schema, udt_name",
    ),
    (
        "element_types",
        "object_catalog, object_schema, object_name, object_type, collection_type_identifier, data_type, udt_catalog, udt_schema, udt_name",
    ),
    (
        "foreign_tables",
        "foreign_table_catalog, foreign_table_schema, foreign_table_name, foreign_server_catalog, foreign_server_name",
    ),
    (
        "key_column_usage",
        "constraint_catalog, constraint_schema, constraint_name, table_catalog, table_schema, table_name, column_name, ordinal_position int4, position_in_unique_constraint int4",
    ),
    (
        "referential_constraints",
        "constraint_catalog, constraint_schema, constraint_name, unique_constraint_catalog, unique_constraint_schema, unique_constraint_name, match_option, update_rule, delete_rule",
    ),
    (
        "routine_privileges",
        "grantor, grantee, specific_catalog, specific_schema, specific_name, routine_catalog, routine_schema, routine_name, privilege_type, is_grantable",
    ),
    (
        "sequences",
        "sequence_catalog, sequence_schema, sequence_name, data_type, numeric_precision int4, numeric_precision_radix int4, numeric_scale int4, start_value, minimum_value, maximum_value, increment, cycle_option",
    ),
    (
        "table_constraints",
        "constraint_catalog, constraint_schema, constraint_name, table_catalog, table_schema, table_name, constraint_type, is_deferrable, initially_deferred, enforced, nulls_distinct",
    ),
    (
        "triggers",
        "trigger_catalog, trigger_schema, trigger_name, event_manipulation, event_object_catalog, event_object_schema, event_object_table, action_order int4, action_condition, action_statement, action_orientation, action_timing",
    ),
    (
        "view_table_usage",
        "view_catalog, view_schema, view_name, table_catalog, table_schema, table_name",
    ),
];

/// How a table is made for a session.
type Make = fn(&Arc<SessionView>) -> Result<Arc<dyn TableProvider>>;

/// Those with rows of the session.
const OWN: [(&str, Make); 10] = [
    ("applicable_roles", |seen| {
        seen.table_as(ENABLED_ROLES, role)
    }),
    ("character_sets", |seen| {
        seen.table_as(CHARACTER_SETS, catalog)
    }),
    ("columns", |seen| seen.columns_as(COLUMNS)),
    ("enabled_roles", |seen| seen.table_as(ENABLED_ROLES, role)),
    ("information_schema_catalog_name", |seen| {
        seen.table_as(CATALOG_NAME, catalog)
    }),
    ("role_table_grants", |seen| {
        seen.relations_as(PRIVILEGES, |_| true)
    }),
    ("schemata", |seen| {
        seen.table_as(SCHEMATA, SessionView::schemas)
    }),
    ("table_privileges", |seen| {
        seen.relations_as(PRIVILEGES, |_| true)
    }),
    ("tables", |seen| seen.relations_as(TABLES, |_| true)),
    ("views", |seen| seen.relations_as(VIEWS, |row| row.is_view)),
];

fn role(seen: &SessionView) -> Result<Vec<NameRow>> {
    Ok(vec![NameRow(seen.user.clone())])
}

fn catalog(_: &SessionView) -> Result<Vec<NameRow>> {
    Ok(vec![NameRow(CATALOG.to_string())])
}

/// Those of DataFusion's own.
const ENGINE: [&str; 3] = ["df_settings", "parameters", "routines"];

/// What gives the table functions of a session now.
pub(super) type TableFunctions = dyn Fn() -> HashMap<String, Arc<TableFunction>> + Send + Sync;

/// The schema `information_schema` of one session.
pub(super) struct InformationSchema {
    pub(super) seen: Arc<SessionView>,
    pub(super) functions: Box<TableFunctions>,
}

impl Debug for InformationSchema {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("InformationSchema")
            .field(&self.seen)
            .finish()
    }
}

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        let empty = EMPTY.iter().map(|(name, _)| *name);
        let own = OWN.iter().map(|(name, _)| *name);
        let mut names: Vec<String> = empty.chain(own).map(str::to_string).collect();
        names.extend(ENGINE.map(str::to_string));
        names.sort();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some((_, make)) = OWN.iter().find(|(own, _)| *own == name) {
            return make(&self.seen).map(Some);
        }
        if let Some(empty) = empty_table(EMPTY, name)? {
            return Ok(Some(empty));
        }
        match ENGINE.contains(&name) {
            true => {
                InformationSchemaProvider::new(self.seen.catalogs()?)
                    .with_table_functions((self.functions)())
                    .table(name)
                    .await
            }
            false => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        OWN.iter().any(|(own, _)| *own == name)
            || ENGINE.contains(&name)
            || EMPTY.iter().any(|(empty, _)| *empty == name)
    }
}
