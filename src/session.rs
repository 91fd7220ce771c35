//! One open store and the SQL context over it: what every front end talks to.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::MemTable;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

/// What a session is opened with.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Folder of the store.
    pub store: PathBuf,
    /// Most bytes the operators may hold; unlimited when absent.
    pub memory_limit: Option<usize>,
}

/// A function as `SHOW FUNCTIONS`, `\df` and completion show it.
#[derive(Debug, Clone)]
pub struct FunctionEntry {
    /// SQL name.
    pub name: String,
    /// Chapter of the catalogue.
    pub chapter: String,
    /// `scalar`, `aggregate` or `table`.
    pub kind: &'static str,
    /// Call syntax.
    pub signature: String,
    /// One line.
    pub summary: String,
    /// Result columns of a table function.
    pub columns: Vec<String>,
    /// The whole documentation.
    pub documentation: String,
}

/// A table as `\d` shows it.
#[derive(Debug, Clone)]
pub struct TableEntry {
    /// Schema, which is the run.
    pub schema: String,
    /// Table name.
    pub name: String,
    /// `table` or `view`.
    pub kind: String,
}

/// SQL over one store.
pub struct Session {
    context: SessionContext,
}

impl Session {
    /// Opens the store and registers its tables.
    pub async fn open(options: SessionOptions) -> Result<Session> {
        let config = SessionConfig::new().with_information_schema(true);
        let mut runtime = RuntimeEnvBuilder::new();
        if let Some(bytes) = options.memory_limit {
            runtime = runtime.with_memory_limit(bytes, 1.0);
        }
        let context = SessionContext::new_with_config_rt(config, runtime.build_arc()?);
        let schema = Arc::new(Schema::new(vec![
            Field::new("layer", DataType::Int64, false),
            Field::new("token", DataType::Utf8, true),
            Field::new("activation", DataType::Float64, true),
        ]));
        let batch = RecordBatch::try_new(
            Arc::clone(&schema),
            vec![
                Arc::new(Int64Array::from(vec![0, 0, 1])),
                Arc::new(StringArray::from(vec![Some(" the"), Some("\n"), None])),
                Arc::new(Float64Array::from(vec![Some(0.25), Some(1.5), None])),
            ],
        )?;
        context.register_table(
            "examples",
            Arc::new(MemTable::try_new(schema, vec![vec![batch]])?),
        )?;
        Ok(Session { context })
    }

    /// The DataFusion context underneath.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Plans one statement; rows stream when polled; dropping the stream cancels the work.
    pub async fn query(&self, statement: &str) -> Result<SendableRecordBatchStream> {
        self.context.sql(statement).await?.execute_stream().await
    }

    /// The functions of the catalogue.
    pub fn functions(&self) -> Vec<FunctionEntry> {
        let state = self.context.state();
        let mut entries = Vec::new();
        for (name, function) in state.scalar_functions() {
            let documentation = function.documentation();
            entries.push(FunctionEntry {
                name: name.clone(),
                chapter: "built-in".into(),
                kind: "scalar",
                signature: documentation
                    .map_or_else(|| format!("{name}(..)"), |d| d.syntax_example.clone()),
                summary: documentation.map_or_else(String::new, |d| d.description.clone()),
                columns: vec![],
                documentation: documentation.map_or_else(String::new, |d| d.description.clone()),
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    /// Tables of the current run first.
    pub async fn tables(&self) -> Result<Vec<TableEntry>> {
        let mut entries = Vec::new();
        for catalog in self.context.catalog_names() {
            let Some(catalog) = self.context.catalog(&catalog) else {
                continue;
            };
            for schema_name in catalog.schema_names() {
                let Some(schema) = catalog.schema(&schema_name) else {
                    continue;
                };
                for name in schema.table_names() {
                    let kind = if schema_name == "information_schema" {
                        "view"
                    } else {
                        "table"
                    };
                    entries.push(TableEntry {
                        schema: schema_name.clone(),
                        name,
                        kind: kind.into(),
                    });
                }
            }
        }
        entries.sort_by_key(|e| {
            (
                e.schema == "information_schema",
                e.schema.clone(),
                e.name.clone(),
            )
        });
        Ok(entries)
    }

    /// Columns of one table, which may be qualified.
    pub async fn columns(&self, table: &str) -> Result<SchemaRef> {
        let provider = self.context.table_provider(table).await?;
        Ok(provider.schema())
    }
}
