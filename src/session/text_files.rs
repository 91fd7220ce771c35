//! CSV and JSON files as COPY and INSERT write them: what the shell prints. DataFusion's own writers would make NULL and
//! an empty text one, leave out what is NULL or no JSON number, and fail at a list when the file is begun.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::config::CsvOptions;
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{GetExt, Statistics, plan_err};
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::write::BatchSerializer;
use datafusion::datasource::file_format::write::demux::DemuxedStreamReceiver;
use datafusion::datasource::file_format::write::orchestration::spawn_writer_tasks_and_join;
use datafusion::datasource::file_format::{FileFormat, FileFormatFactory};
use datafusion::datasource::physical_plan::{FileScanConfig, FileSink, FileSinkConfig, FileSource};
use datafusion::datasource::sink::{DataSink, DataSinkExec};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::object_store::{ObjectMeta, ObjectStore};
use datafusion::physical_expr::LexRequirement;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use futures::{StreamExt, stream};

use crate::files::csv::CsvDialect;
use crate::files::json;

/// A format of DataFusion with another writer.
#[derive(Debug)]
pub(super) struct TextFiles(pub(super) Arc<dyn FileFormatFactory>);

impl GetExt for TextFiles {
    fn get_ext(&self) -> String {
        self.0.get_ext()
    }
}

impl FileFormatFactory for TextFiles {
    fn create(
        &self,
        state: &dyn Session,
        options: &HashMap<String, String>,
    ) -> Result<Arc<dyn FileFormat>> {
        let format = self.0.create(state, options)?;
        Ok(Arc::new(TextFormat(format)))
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        Arc::new(TextFormat(self.0.default()))
    }
}

#[derive(Debug)]
struct TextFormat(Arc<dyn FileFormat>);

#[async_trait]
impl FileFormat for TextFormat {
    fn get_ext(&self) -> String {
        self.0.get_ext()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        self.0.get_ext_with_compression(compression)
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        self.0.compression_type()
    }

    async fn infer_schema(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> Result<SchemaRef> {
        self.0.infer_schema(state, store, objects).await
    }

    async fn infer_stats(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<Statistics> {
        self.0.infer_stats(state, store, schema, object).await
    }

    async fn create_physical_plan(
        &self,
        state: &dyn Session,
        scan: FileScanConfig,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.create_physical_plan(state, scan).await
    }

    async fn create_writer_physical_plan(
        &self,
        input: Arc<dyn ExecutionPlan>,
        state: &dyn Session,
        config: FileSinkConfig,
        order: Option<LexRequirement>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match self.text(state)? {
            Some(text) if config.insert_op == InsertOp::Append => {
                let sink = Arc::new(TextSink { config, text });
                Ok(Arc::new(DataSinkExec::new(input, sink, order)))
            }
            Some(_) => {
                plan_err!("INSERT: INSERT INTO is required of a file, got another kind of INSERT")
            }
            None => {
                let schema = input.schema();
                let nested = schema.fields().iter().find(|f| f.data_type().is_nested());
                if let Some(field) = nested {
                    return plan_err!(
                        "COPY: columns without lists are required with these options of CSV, got '{}' ({}): leave \
                         out all but has_header, delimiter, quote, null_value and compression, or write parquet",
                        field.name(),
                        field.data_type()
                    );
                }
                let plan = self
                    .0
                    .create_writer_physical_plan(input, state, config, order);
                plan.await
            }
        }
    }

    fn file_source(&self, schema: TableSchema) -> Arc<dyn FileSource> {
        self.0.file_source(schema)
    }
}

impl TextFormat {
    /// How it is written; none where the options ask for what only DataFusion's writer has.
    fn text(&self, state: &dyn Session) -> Result<Option<Text>> {
        if let Some(format) = self.0.downcast_ref::<JsonFormat>() {
            let options = format.options();
            return Ok(Some(Text {
                csv: None,
                compression: options.compression,
                level: options.compression_level,
            }));
        }
        let Some(format) = self.0.downcast_ref::<CsvFormat>() else {
            return Ok(None);
        };
        let options = format.options();
        if asks_for_more(options) {
            return Ok(None);
        }
        let usual = state.config_options().catalog.has_header;
        let dialect = CsvDialect {
            delimiter: char::from(options.delimiter),
            quote: char::from(options.quote),
            null: options.null_value.clone().unwrap_or_default(),
        };
        Ok(Some(Text {
            csv: Some((dialect, options.has_header.unwrap_or(usual))),
            compression: options.compression,
            level: options.compression_level,
        }))
    }
}

/// Whether a writer is ours of JSON, which gives every column a name of its own.
pub(super) fn writes_json(sink: &dyn DataSink) -> bool {
    let ours = (sink as &dyn Any).downcast_ref::<TextSink>();
    ours.is_some_and(|sink| sink.text.csv.is_none())
}

fn asks_for_more(options: &CsvOptions) -> bool {
    let usual = CsvOptions::default();
    options.quote_style != usual.quote_style
        || [options.terminator, options.escape]
            .iter()
            .any(Option::is_some)
        || [
            options.double_quote,
            options.ignore_leading_whitespace,
            options.ignore_trailing_whitespace,
        ]
        .iter()
        .any(Option::is_some)
        || [
            &options.date_format,
            &options.datetime_format,
            &options.timestamp_format,
            &options.timestamp_tz_format,
            &options.time_format,
        ]
        .iter()
        .any(|format| format.is_some())
}

/// How rows become text.
#[derive(Debug, Clone)]
struct Text {
    /// The dialect, and whether there is a line of names; else JSON, an object a line.
    csv: Option<(CsvDialect, bool)>,
    compression: CompressionTypeVariant,
    level: Option<u32>,
}

impl BatchSerializer for Text {
    fn serialize(&self, batch: RecordBatch, initial: bool) -> Result<Bytes> {
        let Some((dialect, has_header)) = &self.csv else {
            return Ok(json::lines(&batch)?.into());
        };
        let head = match initial && *has_header {
            true => dialect.head(&batch.schema()),
            false => String::new(),
        };
        Ok((head + &dialect.rows(&batch)?).into())
    }
}

/// Writes one or several files.
#[derive(Debug)]
struct TextSink {
    config: FileSinkConfig,
    text: Text,
}

impl DisplayAs for TextSink {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.text.csv.as_ref().map_or("json", |_| "csv");
        write!(f, "TextSink({kind})")
    }
}

#[async_trait]
impl FileSink for TextSink {
    fn config(&self) -> &FileSinkConfig {
        &self.config
    }

    async fn spawn_writer_tasks_and_join(
        &self,
        context: &Arc<TaskContext>,
        demux: SpawnedTask<Result<()>>,
        files: DemuxedStreamReceiver,
        store: Arc<dyn ObjectStore>,
    ) -> Result<u64> {
        let (text, level) = (self.text.clone(), self.text.level);
        let compression = FileCompressionType::from(text.compression);
        let text = Arc::new(text);
        spawn_writer_tasks_and_join(context, text, compression, level, store, demux, files).await
    }
}

#[async_trait]
impl DataSink for TextSink {
    fn schema(&self) -> &SchemaRef {
        self.config.output_schema()
    }

    async fn write_all(
        &self,
        rows: SendableRecordBatchStream,
        context: &Arc<TaskContext>,
    ) -> Result<u64> {
        let (schema, place) = (rows.schema(), &self.config.table_paths[0]);
        // A result without rows has names.
        let is_one = self.config.table_partition_cols.is_empty()
            && self.config.file_output_mode.single_file_output(place);
        let names = is_one.then(|| Ok(RecordBatch::new_empty(Arc::clone(&schema))));
        let rows = stream::iter(names).chain(rows);
        let rows = RecordBatchStreamAdapter::new(schema, rows);
        FileSink::write_all(self, Box::pin(rows), context).await
    }
}
