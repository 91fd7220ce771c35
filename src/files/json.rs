//! JSON by arrow's encoder: full precision, NULL as null, nested values nested. NaN and the infinities, for which JSON has
//! no numbers, are the texts "NaN", "Infinity" and "-Infinity". Of columns of one name the second is `name_1`, since an
//! object has a key once.

use std::collections::HashSet;
use std::iter;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Float64Type, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, LineDelimited, NullableEncoder, WriterBuilder,
    make_encoder,
};

/// Every value of a nested column as JSON text, `None` for NULL.
pub fn texts(field: &FieldRef, array: &ArrayRef) -> Result<Vec<Option<String>>, ArrowError> {
    let options = EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(NonFiniteAsText));
    let mut encoder = make_encoder(field, array.as_ref(), &options)?;
    (0..array.len())
        .map(|row| {
            if encoder.is_null(row) {
                return Ok(None);
            }
            let mut text = Vec::new();
            encoder.encode(row, &mut text);
            let text = String::from_utf8(text)
                .map_err(|error| ArrowError::JsonError(error.to_string()))?;
            Ok(Some(text))
        })
        .collect()
}

/// The rows of a batch, one object per line; a newline inside a string is escaped, so lines are rows.
pub fn lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(NonFiniteAsText))
        .build::<_, LineDelimited>(Vec::new());
    writer.write(&with_own_names(batch)?)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// Rows of any number of batches as one array, an object a line.
#[derive(Debug, Default)]
pub struct JsonArray {
    began: bool,
}

impl JsonArray {
    /// The next rows.
    pub fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let (mut bytes, lines) = (vec![], lines(batch)?);
        let objects = lines.split(|byte| *byte == b'\n');
        for object in objects.filter(|line| !line.is_empty()) {
            bytes.extend_from_slice(if self.began { b",\n" } else { b"[\n" });
            bytes.extend_from_slice(object);
            self.began = true;
        }
        Ok(bytes)
    }

    /// What stands behind the last row.
    pub fn end(&self) -> &'static [u8] {
        if self.began { b"\n]\n" } else { b"[]\n" }
    }
}

/// The batch with every column's name its own.
fn with_own_names(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let all: HashSet<&String> = schema.fields().iter().map(|field| field.name()).collect();
    if all.len() == schema.fields().len() {
        return Ok(batch.clone());
    }
    let mut taken = HashSet::new();
    let fields = schema.fields().iter().map(|field| {
        let numbered = (1..).map(|number| format!("{}_{number}", field.name()));
        let mut names =
            iter::once(field.name().clone()).chain(numbered.filter(|name| !all.contains(name)));
        let name = names.find(|name| !taken.contains(name)).unwrap_or_default();
        taken.insert(name.clone());
        Arc::new(field.as_ref().clone().with_name(name))
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, batch.columns().to_vec(), &options)
}

/// Writes floats that are no JSON numbers as texts.
#[derive(Debug)]
struct NonFiniteAsText;

impl EncoderFactory for NonFiniteAsText {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        if !array.data_type().is_floating() {
            return Ok(None);
        }
        let wide = cast(array, &DataType::Float64)?;
        let values = wide.as_primitive::<Float64Type>().values();
        if values.iter().all(|value| value.is_finite()) {
            return Ok(None);
        }
        let finite = make_encoder(field, array, &PLAIN)?;
        let encoder = FloatEncoder {
            values: values.clone(),
            finite,
        };
        let nulls = array.nulls().cloned();
        Ok(Some(NullableEncoder::new(Box::new(encoder), nulls)))
    }
}

static PLAIN: LazyLock<EncoderOptions> = LazyLock::new(EncoderOptions::default);

struct FloatEncoder<'a> {
    values: ScalarBuffer<f64>,
    finite: NullableEncoder<'a>,
}

impl Encoder for FloatEncoder<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let text: &[u8] = match self.values[row] {
            value if value.is_nan() => b"\"NaN\"",
            f64::INFINITY => b"\"Infinity\"",
            f64::NEG_INFINITY => b"\"-Infinity\"",
            _ => return self.finite.encode(row, out),
        };
        out.extend_from_slice(text);
    }
}
/// What is wrong with a line of JSON, without the line that its parser counts in it.
pub fn fault_of_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(fault) if error.line() == 1 => format!("{fault} at column {}", error.column()),
        Some(fault) => fault.to_string(),
        None => text,
    }
}
