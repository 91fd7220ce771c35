//! The schema `pg_catalog`: what is so in every PostgreSQL, and what this session sees and who asks. Above 400 lines, with
//! a line a column.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::Result;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::{
    PG_CATALOG_TABLES, PgCatalogSchemaProvider, PgCatalogStaticTables,
};
use futures::FutureExt;
use pgwire::api::Type;

use super::live::LiveValue::{Flag, Int, Null, Oid, Real, Short, Text};
use super::live::{LiveColumn, batch, empty_table, live_table};
use super::objects::{ColumnRow, DatabaseRow, Relation, SchemaRow, SessionView, USER};

/// The tables that are the same in every session.
pub(super) type Fixed = PgCatalogSchemaProvider<Arc<dyn CatalogProviderList>, EmptyContextProvider>;

const NAMESPACE: &[LiveColumn<SchemaRow>] = &[
    ("oid", Oid(|s| Some(s.oid))),
    ("nspname", Text(|s| Some(&s.name))),
    ("nspowner", Oid(|_| Some(USER))),
    ("nspacl", Null("text[]")),
];

const DATABASE: &[LiveColumn<DatabaseRow>] = &[
    ("oid", Oid(|d| Some(d.oid))),
    ("datname", Text(|d| Some(&d.name))),
    ("datdba", Oid(|_| Some(USER))),
    ("encoding", Int(|_| Some(6))),
    ("datlocprovider", Text(|_| Some("c"))),
    ("datistemplate", Flag(|_| Some(false))),
    ("datallowconn", Flag(|_| Some(true))),
    ("dathasloginevt", Flag(|_| Some(false))),
    ("datconnlimit", Int(|_| Some(-1))),
    ("datfrozenxid", Int(|_| Some(0))),
    ("datminmxid", Int(|_| Some(0))),
    ("dattablespace", Oid(|_| Some(1663))),
    ("datcollate", Text(|_| Some("C"))),
    ("datctype", Text(|_| Some("C"))),
    ("datlocale", Null("text")),
    ("daticulocale", Null("text")),
    ("daticurules", Null("text")),
    ("datcollversion", Null("text")),
    ("datacl", Null("text[]")),
];

const CLASS: &[LiveColumn<Relation>] = &[
    ("oid", Oid(|r| Some(r.oid))),
    ("relname", Text(|r| Some(&r.name))),
    ("relnamespace", Oid(|r| Some(r.schema_oid))),
    ("reltype", Oid(|_| Some(0))),
    ("reloftype", Oid(|_| Some(0))),
    ("relowner", Oid(|_| Some(USER))),
    ("relam", Oid(|r| Some(if r.is_view { 0 } else { 2 }))),
    ("relfilenode", Oid(|_| Some(0))),
    ("reltablespace", Oid(|_| Some(0))),
    ("relpages", Int(|_| Some(0))),
    // Unknown.
    ("reltuples", Real(|_| Some(-1.0))),
    ("relallvisible", Int(|_| Some(0))),
    ("reltoastrelid", Oid(|_| Some(0))),
    ("relhasindex", Flag(|_| Some(false))),
    ("relisshared", Flag(|_| Some(false))),
    ("relpersistence", Text(|_| Some("p"))),
    ("relkind", Text(|r| Some(if r.is_view { "v" } else { "r" }))),
    ("relnatts", Short(|r| Some(r.n_columns))),
    ("relchecks", Short(|_| Some(0))),
    ("relhasrules", Flag(|_| Some(false))),
    ("relhastriggers", Flag(|_| Some(false))),
    ("relhassubclass", Flag(|_| Some(false))),
    ("relrowsecurity", Flag(|_| Some(false))),
    ("relforcerowsecurity", Flag(|_| Some(false))),
    ("relispopulated", Flag(|_| Some(true))),
    ("relreplident", Text(|_| Some("n"))),
    ("relispartition", Flag(|_| Some(false))),
    ("relrewrite", Oid(|_| Some(0))),
    ("relfrozenxid", Int(|_| Some(0))),
    ("relminmxid", Int(|_| Some(0))),
    ("relacl", Null("text[]")),
    ("reloptions", Null("text[]")),
    ("relpartbound", Null("text")),
];

const ATTRIBUTE: &[LiveColumn<ColumnRow>] = &[
    ("attrelid", Oid(|c| Some(c.relation.oid))),
    ("attname", Text(|c| Some(&c.name))),
    ("atttypid", Oid(|c| Some(c.kind.oid() as i32))),
    ("attlen", Short(|c| Some(length(&c.kind)))),
    ("attnum", Short(|c| Some(c.number))),
    ("attcacheoff", Int(|_| Some(-1))),
    ("atttypmod", Int(|c| Some(modifier(c)))),
    ("attndims", Short(|c| Some(i16::from(is_array(&c.kind))))),
    ("attbyval", Flag(|c| Some(length(&c.kind) > 0))),
    (
        "attalign",
        Text(|c| {
            Some(match length(&c.kind) {
                1 => "c",
                2 => "s",
                8 => "d",
                _ => "i",
            })
        }),
    ),
    (
        "attstorage",
        Text(|c| Some(if length(&c.kind) > 0 { "p" } else { "x" })),
    ),
    ("attcompression", Text(|_| Some(""))),
    ("attnotnull", Flag(|c| Some(!c.may_be_null))),
    ("atthasdef", Flag(|_| Some(false))),
    ("atthasmissing", Flag(|_| Some(false))),
    ("attidentity", Text(|_| Some(""))),
    ("attgenerated", Text(|_| Some(""))),
    ("attisdropped", Flag(|_| Some(false))),
    ("attislocal", Flag(|_| Some(true))),
    ("attinhcount", Short(|_| Some(0))),
    (
        "attcollation",
        Oid(|c| Some(if c.kind == Type::TEXT { 100 } else { 0 })),
    ),
    ("attstattarget", Null("int2")),
    ("attacl", Null("text[]")),
    ("attoptions", Null("text[]")),
    ("attfdwoptions", Null("text[]")),
    ("attmissingval", Null("text")),
];

/// Bytes of a value; -1 where they vary.
fn length(kind: &Type) -> i16 {
    match *kind {
        Type::BOOL | Type::CHAR => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE | Type::OID => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        _ => -1,
    }
}

/// Whether it is an array.
pub(super) fn is_array(kind: &Type) -> bool {
    kind.name().starts_with('_')
}

fn modifier(column: &ColumnRow) -> i32 {
    column.digits.map_or(-1, |[digits, scale]| {
        ((digits << 16) | (scale & 0xffff)) + 4
    })
}

const TABLES: &[LiveColumn<Relation>] = &[
    ("schemaname", Text(|r| Some(&r.schema))),
    ("tablename", Text(|r| Some(&r.name))),
    ("tableowner", Text(|r| Some(&r.owner))),
    ("tablespace", Null("text")),
    ("hasindexes", Flag(|_| Some(false))),
    ("hasrules", Flag(|_| Some(false))),
    ("hastriggers", Flag(|_| Some(false))),
    ("rowsecurity", Flag(|_| Some(false))),
];

const VIEWS: &[LiveColumn<Relation>] = &[
    ("schemaname", Text(|r| Some(&r.schema))),
    ("viewname", Text(|r| Some(&r.name))),
    ("viewowner", Text(|r| Some(&r.owner))),
    ("definition", Text(|r| r.definition.as_deref())),
];

/// Who asks.
struct UserRow {
    name: String,
}

const ROLES: &[LiveColumn<UserRow>] = &[
    ("rolname", Text(|u| Some(&u.name))),
    ("rolsuper", Flag(|_| Some(false))),
    ("rolinherit", Flag(|_| Some(true))),
    ("rolcreaterole", Flag(|_| Some(false))),
    ("rolcreatedb", Flag(|_| Some(false))),
    ("rolcanlogin", Flag(|_| Some(true))),
    ("rolreplication", Flag(|_| Some(false))),
    ("rolconnlimit", Int(|_| Some(-1))),
    ("rolpassword", Null("text")),
    ("rolvaliduntil", Null("timestamptz")),
    ("rolbypassrls", Flag(|_| Some(false))),
    ("rolconfig", Null("text[]")),
    ("oid", Oid(|_| Some(USER))),
];

const USERS: &[LiveColumn<UserRow>] = &[
    ("usename", Text(|u| Some(&u.name))),
    ("usesysid", Oid(|_| Some(USER))),
    ("usecreatedb", Flag(|_| Some(false))),
    ("usesuper", Flag(|_| Some(false))),
    ("userepl", Flag(|_| Some(false))),
    ("usebypassrls", Flag(|_| Some(false))),
    ("passwd", Null("text")),
    ("valuntil", Null("timestamptz")),
    ("useconfig", Null("text[]")),
];

struct SettingRow {
    name: &'static str,
    value: String,
}

const SETTINGS: &[LiveColumn<SettingRow>] = &[
    ("name", Text(|s| Some(s.name))),
    ("setting", Text(|s| Some(&s.value))),
    ("unit", Null("text")),
    ("category", Text(|_| Some("Client Connection Defaults"))),
    ("short_desc", Null("text")),
    ("extra_desc", Null("text")),
    ("context", Text(|_| Some("user"))),
    ("vartype", Text(|_| Some("string"))),
    ("source", Text(|_| Some("session"))),
    ("min_val", Null("text")),
    ("max_val", Null("text")),
    ("enumvals", Null("text[]")),
    ("boot_val", Null("text")),
    ("reset_val", Null("text")),
    ("sourcefile", Null("text")),
    ("sourceline", Null("int4")),
    ("pending_restart", Flag(|_| Some(false))),
];

/// The connection that asks.
struct ActivityRow {
    database: DatabaseRow,
    user: String,
    connection: i32,
    application: String,
}

const ACTIVITY: &[LiveColumn<ActivityRow>] = &[
    ("datid", Oid(|a| Some(a.database.oid))),
    ("datname", Text(|a| Some(&a.database.name))),
    ("pid", Int(|a| Some(a.connection))),
    ("leader_pid", Null("int4")),
    ("usesysid", Oid(|_| Some(USER))),
    ("usename", Text(|a| Some(&a.user))),
    ("application_name", Text(|a| Some(&a.application))),
    ("client_addr", Null("text")),
    ("client_hostname", Null("text")),
    ("client_port", Null("int4")),
    ("backend_start", Null("timestamptz")),
    ("xact_start", Null("timestamptz")),
    ("query_start", Null("timestamptz")),
    ("state_change", Null("timestamptz")),
    ("wait_event_type", Null("text")),
    ("wait_event", Null("text")),
    ("state", Text(|_| Some("active"))),
    ("backend_xid", Null("int4")),
    ("backend_xmin", Null("int4")),
    ("query_id", Null("int8")),
    ("query", Null("text")),
    ("backend_type", Text(|_| Some("client backend"))),
];

/// What a column means.
const DESCRIPTION: &[LiveColumn<ColumnRow>] = &[
    ("objoid", Oid(|c| Some(c.relation.oid))),
    ("classoid", Oid(|_| Some(1259))),
    ("objsubid", Int(|c| Some(i32::from(c.number)))),
    ("description", Text(|c| c.meaning)),
];

/// Tables without rows here, beside those that PostgreSQL fills for itself only.
const EMPTY: &[(&str, &str)] = &[
    (
        "pg_auth_members",
        "oid oid, roleid oid, member oid, grantor oid, admin_option bool, inherit_option bool, set_option bool",
    ),
    (
        "pg_available_extensions",
        "name, default_version, installed_version, comment",
    ),
    (
        "pg_available_extension_versions",
        "name, version, installed bool, superuser bool, trusted bool, relocatable bool, schema, requires text[], comment",
    ),
    (
        "pg_constraint",
        "oid oid, conname, connamespace oid, contype, condeferrable bool, condeferred bool, convalidated bool, conrelid oid, contypid oid, conindid oid, conparentid oid, confrelid oid, confupdtype, confdeltype, confmatchtype, conislocal bool, coninhcount int2, connoinherit bool, conkey int2[], confkey int2[], conpfeqop oid[], conppeqop oid[], conffeqop oid[], confdelsetcols int2[], conexclop oid[], conbin",
    ),
    (
        "pg_index",
        "indexrelid oid, indrelid oid, indnatts int2, indnkeyatts int2, indisunique bool, indnullsnotdistinct bool, indisprimary bool, indisexclusion bool, indimmediate bool, indisclustered bool, indisvalid bool, indcheckxmin bool, indisready bool, indislive bool, indisreplident bool, indkey int2[], indcollation oid[], indclass oid[], indoption int2[], indexprs, indpred",
    ),
    (
        "pg_cursors",
        "name, statement, is_holdable bool, is_binary bool, is_scrollable bool, creation_time timestamptz",
    ),
    (
        "pg_extension",
        "oid oid, extname, extowner oid, extnamespace oid, extrelocatable bool, extversion, extconfig oid[], extcondition text[]",
    ),
    ("pg_group", "groname, grosysid oid, grolist text[]"),
    (
        "pg_indexes",
        "schemaname, tablename, indexname, tablespace, indexdef",
    ),
    (
        "pg_locks",
        "locktype, database oid, relation oid, page int4, tuple int2, virtualxid, transactionid int4, classid oid, objid oid, objsubid int2, virtualtransaction, pid int4, mode, granted bool, fastpath bool, waitstart timestamptz",
    ),
    (
        "pg_policies",
        "schemaname, tablename, policyname, permissive, roles text[], cmd, qual, with_check",
    ),
    (
        "pg_prepared_statements",
        "name, statement, prepare_time timestamptz, parameter_types text[], result_types text[], from_sql bool, generic_plans int8, custom_plans int8",
    ),
    ("pg_rules", "schemaname, tablename, rulename, definition"),
    (
        "pg_sequences",
        "schemaname, sequencename, sequenceowner, data_type, start_value int8, min_value int8, max_value int8, increment_by int8, cycle bool, cache_size int8, last_value int8",
    ),
    (
        "pg_stats",
        "schemaname, tablename, attname, inherited bool, null_frac float4, avg_width int4, n_distinct float4",
    ),
    ("pg_timezone_names", "name, abbrev, utc_offset, is_dst bool"),
];

/// How a table is made for a session.
type Make = fn(&PgCatalog) -> Result<Arc<dyn TableProvider>>;

/// Those that are made for the session.
const OWN: [(&str, Make); 11] = [
    ("pg_attribute", |own| own.seen.columns_as(ATTRIBUTE)),
    ("pg_class", |own| own.seen.relations_as(CLASS, |_| true)),
    ("pg_database", |own| {
        own.seen.table_as(DATABASE, SessionView::databases)
    }),
    ("pg_description", PgCatalog::descriptions),
    ("pg_namespace", |own| {
        own.seen.table_as(NAMESPACE, SessionView::schemas)
    }),
    ("pg_roles", |own| own.seen.table_as(ROLES, user)),
    ("pg_settings", |own| own.seen.table_as(SETTINGS, settings)),
    ("pg_stat_activity", |own| {
        own.seen.table_as(ACTIVITY, activity)
    }),
    ("pg_tables", |own| {
        own.seen.relations_as(TABLES, |row| !row.is_view)
    }),
    ("pg_user", |own| own.seen.table_as(USERS, user)),
    ("pg_views", |own| {
        own.seen.relations_as(VIEWS, |row| row.is_view)
    }),
];

/// Whether the schema has such a table.
pub(super) fn is_table(name: &str) -> bool {
    OWN.iter().any(|(own, _)| *own == name)
        || PG_CATALOG_TABLES.contains(&name)
        || EMPTY.iter().any(|(empty, _)| *empty == name)
}

/// The schema `pg_catalog` of one session.
#[derive(Debug)]
pub(super) struct PgCatalog {
    seen: Arc<SessionView>,
    fixed: Arc<Fixed>,
    descriptions: Vec<RecordBatch>,
}

impl PgCatalog {
    pub(super) fn new(
        seen: Arc<SessionView>,
        fixed: Arc<Fixed>,
        tables: &PgCatalogStaticTables,
    ) -> Self {
        Self {
            seen,
            fixed,
            descriptions: tables.pg_description.data().to_vec(),
        }
    }

    fn descriptions(&self) -> Result<Arc<dyn TableProvider>> {
        let (seen, fixed) = (Arc::clone(&self.seen), self.descriptions.clone());
        let schema = super::live::schema(DESCRIPTION);
        live_table(Arc::clone(&schema), move || {
            let (seen, fixed, schema) = (Arc::clone(&seen), fixed.clone(), Arc::clone(&schema));
            described(seen, fixed, schema).boxed()
        })
    }
}

/// PostgreSQL's own descriptions, and what the session's columns mean.
async fn described(
    seen: Arc<SessionView>,
    fixed: Vec<RecordBatch>,
    schema: SchemaRef,
) -> Result<RecordBatch> {
    let columns = seen.columns().await?.into_iter();
    let own: Vec<_> = columns.filter(|column| column.meaning.is_some()).collect();
    let mut batches = vec![batch(DESCRIPTION, &own)?];
    for batch in fixed {
        let columns = batch.columns().to_vec();
        batches.push(RecordBatch::try_new(Arc::clone(&schema), columns)?);
    }
    Ok(concat_batches(&schema, &batches)?)
}

fn user(seen: &SessionView) -> Result<Vec<UserRow>> {
    let name = seen.user.clone();
    Ok(vec![UserRow { name }])
}

fn settings(seen: &SessionView) -> Result<Vec<SettingRow>> {
    let settings = seen.settings();
    let row = |(name, value): (&'static str, &str)| SettingRow {
        name,
        value: value.to_string(),
    };
    Ok(settings.all().map(row).collect())
}

fn activity(seen: &SessionView) -> Result<Vec<ActivityRow>> {
    let settings = seen.settings();
    let application = settings.get("application_name").unwrap_or_default();
    Ok(vec![ActivityRow {
        database: seen.database_row(),
        user: seen.user.clone(),
        connection: seen.connection,
        application: application.to_string(),
    }])
}

#[async_trait]
impl SchemaProvider for PgCatalog {
    fn table_names(&self) -> Vec<String> {
        let fixed = PG_CATALOG_TABLES.iter().copied();
        let empty = EMPTY.iter().map(|(name, _)| *name);
        let own = OWN.iter().map(|(name, _)| *name);
        let mut names: Vec<String> = fixed.chain(empty).chain(own).map(str::to_string).collect();
        names.sort();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some((_, make)) = OWN.iter().find(|(own, _)| *own == name) {
            return make(self).map(Some);
        }
        if let Some(empty) = empty_table(EMPTY, name)? {
            return Ok(Some(empty));
        }
        let table = self.fixed.build_table_by_name(name)?;
        table
            .map(|table| table.try_into_table_provider())
            .transpose()
    }

    fn table_exist(&self, name: &str) -> bool {
        is_table(name)
    }
}
