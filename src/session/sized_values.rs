//! Functions of which an argument says how long their values become. DataFusion asks the system for as much memory as that
//! is, past the limit of the engine: a number with some zeros more would end the process. Here it is counted first.
//! Above 400 lines, since every method of a function is handed on.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Int64Array, StringViewArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, FieldRef, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::common::{ExprSchema, ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::SessionState;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

/// Most bytes of the values of one batch. Chosen, not tuned.
const MOST: i128 = 1 << 30;

/// Bytes that a call makes of its arguments, in so many rows; at least.
type Size = fn(&[ColumnarValue], usize) -> Result<i128>;

const SIZED: [(&str, Size); 8] = [
    ("repeat", repeated),
    ("lpad", padded),
    ("rpad", padded),
    ("array_repeat", repeated),
    ("array_resize", resized),
    ("range", counted),
    ("generate_series", counted),
    ("replace", replaced),
];

/// Puts ours in the place of DataFusion's, under every name that they have.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for (name, size) in SIZED {
        let Some(inner) = state.scalar_functions().get(name).cloned() else {
            continue;
        };
        let sized = SizedValues { inner, size };
        state.register_udf(Arc::new(ScalarUDF::new_from_impl(sized)))?;
    }
    Ok(())
}

/// The number of an argument in each row; 0 where there is none.
enum PerRow {
    All(i128),
    Each(Int64Array),
}

impl PerRow {
    fn numbers(argument: &ColumnarValue) -> Result<Self> {
        Ok(match argument {
            ColumnarValue::Scalar(value) => {
                let number = value.cast_to(&DataType::Int64)?;
                let ScalarValue::Int64(number) = number else {
                    return Ok(Self::All(0));
                };
                Self::All(number.unwrap_or_default().into())
            }
            ColumnarValue::Array(values) => {
                let numbers = cast(values, &DataType::Int64)?;
                Self::Each(numbers.as_primitive::<Int64Type>().clone())
            }
        })
    }

    fn of(&self, row: usize) -> i128 {
        match self {
            Self::All(number) => *number,
            Self::Each(numbers) if numbers.is_null(row) => 0,
            Self::Each(numbers) => numbers.value(row).into(),
        }
    }
}

/// Bytes of one value of an argument: of a text its own, of others those of a number.
fn width(argument: &ColumnarValue, rows: usize) -> i128 {
    let (bytes, count) = match argument {
        ColumnarValue::Scalar(value) => (value.size(), 1),
        ColumnarValue::Array(values) => (values.get_array_memory_size(), rows.max(1)),
    };
    (bytes / count).max(1) as i128
}

fn texts(argument: &ColumnarValue) -> Result<Option<StringViewArray>> {
    let values = match argument {
        // One row of it, however many there are of others.
        ColumnarValue::Scalar(value) => value.to_array()?,
        ColumnarValue::Array(values) => Arc::clone(values),
    };
    match values.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(Some(
            cast(&values, &DataType::Utf8View)?.as_string_view().clone(),
        )),
        _ => Ok(None),
    }
}

fn text_at(texts: &StringViewArray, row: usize) -> &str {
    let row = if texts.len() == 1 { 0 } else { row };
    match texts.is_null(row) {
        true => "",
        false => texts.value(row),
    }
}

/// `repeat(text, n)`, `array_repeat(value, n)`.
fn repeated(arguments: &[ColumnarValue], rows: usize) -> Result<i128> {
    let [value, count, ..] = arguments else {
        return Ok(0);
    };
    let count = PerRow::numbers(count)?;
    let own = texts(value)?;
    let width = width(value, rows);
    Ok((0..rows)
        .map(|row| {
            let length = own
                .as_ref()
                .map_or(width, |own| text_at(own, row).len() as i128);
            length * count.of(row).max(0)
        })
        .sum())
}

/// `lpad(text, n, fill)`.
fn padded(arguments: &[ColumnarValue], rows: usize) -> Result<i128> {
    let Some(length) = arguments.get(1) else {
        return Ok(0);
    };
    let length = PerRow::numbers(length)?;
    Ok((0..rows).map(|row| length.of(row).max(0)).sum())
}

/// `array_resize(list, n, value)`, of numbers at least.
fn resized(arguments: &[ColumnarValue], rows: usize) -> Result<i128> {
    let Some(length) = arguments.get(1) else {
        return Ok(0);
    };
    let length = PerRow::numbers(length)?;
    let width = arguments.get(2).map_or(8, |value| width(value, rows));
    Ok((0..rows).map(|row| length.of(row).max(0) * width).sum())
}

/// `range(first, last, step)` of numbers; of days and times with the step as it is.
fn counted(arguments: &[ColumnarValue], rows: usize) -> Result<i128> {
    let is_integer = |argument: &ColumnarValue| argument.data_type().is_integer();
    if !arguments.iter().all(is_integer) {
        return match arguments {
            [first, last, step] => between(first, last, step, rows),
            _ => Ok(0),
        };
    }
    let numbers = arguments.iter().map(PerRow::numbers);
    let numbers = numbers.collect::<Result<Vec<_>>>()?;
    let values = |row: usize| match numbers.as_slice() {
        [last] => last.of(row),
        [first, last] => last.of(row) - first.of(row),
        [first, last, step] => match step.of(row) {
            0 => 0,
            step => (last.of(row) - first.of(row)) / step,
        },
        _ => 0,
    };
    Ok((0..rows).map(|row| 8 * values(row).max(0)).sum())
}

const DAY: i128 = 86_400_000_000_000;

/// Nanoseconds since 1970 in each row.
fn nanoseconds(argument: &ColumnarValue) -> Result<(PerRow, i128)> {
    let (whole, unit) = match argument.data_type() {
        DataType::Date32 => (DataType::Int32, DAY),
        DataType::Timestamp(unit, _) => {
            let unit = match unit {
                TimeUnit::Second => 1_000_000_000,
                TimeUnit::Millisecond => 1_000_000,
                TimeUnit::Microsecond => 1_000,
                TimeUnit::Nanosecond => 1,
            };
            (DataType::Int64, unit)
        }
        _ => return Ok((PerRow::All(0), 0)),
    };
    let numbers = match argument {
        ColumnarValue::Scalar(value) => ColumnarValue::Scalar(value.cast_to(&whole)?),
        ColumnarValue::Array(values) => ColumnarValue::Array(cast(values, &whole)?),
    };
    Ok((PerRow::numbers(&numbers)?, unit))
}

fn between(
    first: &ColumnarValue,
    last: &ColumnarValue,
    step: &ColumnarValue,
    rows: usize,
) -> Result<i128> {
    let ((first, of_first), (last, of_last)) = (nanoseconds(first)?, nanoseconds(last)?);
    let steps = match step {
        ColumnarValue::Scalar(step) => step.to_array()?,
        ColumnarValue::Array(steps) => Arc::clone(steps),
    };
    let DataType::Interval(_) = steps.data_type() else {
        return Ok(0);
    };
    let steps = cast(&steps, &DataType::Interval(IntervalUnit::MonthDayNano))?;
    let steps = steps.as_primitive::<IntervalMonthDayNanoType>();
    let values = |row: usize| {
        let row_of_step = if steps.len() == 1 { 0 } else { row };
        if steps.is_null(row_of_step) {
            return 0;
        }
        let step = steps.value(row_of_step);
        let days = i128::from(step.months) * 28 + i128::from(step.days);
        match days * DAY + i128::from(step.nanoseconds) {
            0 => 0,
            step => (last.of(row) * of_last - first.of(row) * of_first) / step,
        }
    };
    Ok((0..rows).map(|row| 8 * values(row).max(0)).sum())
}

/// `replace(text, from, to)`.
fn replaced(arguments: &[ColumnarValue], rows: usize) -> Result<i128> {
    let [text, from, to] = arguments else {
        return Ok(0);
    };
    let (Some(text), Some(from), Some(to)) = (texts(text)?, texts(from)?, texts(to)?) else {
        return Ok(0);
    };
    let at = |row: usize| (text_at(&text, row), text_at(&from, row), text_at(&to, row));
    // Nothing is searched for where the text would be short enough with all of it replaced.
    let most = |row: usize| {
        let (text, from, to) = at(row);
        let (text, from, to) = (text.len() as i128, from.len() as i128, to.len() as i128);
        text + (text / from.max(1) + 1) * to
    };
    let most = (0..rows).map(most).sum();
    if most <= MOST {
        return Ok(most);
    }
    let size = |row: usize| {
        let (text, from, to) = at(row);
        // What is no longer than what it stands for makes nothing longer.
        match to.len() <= from.len() {
            true => text.len() as i128,
            false => text.len() as i128 + text.matches(from).count() as i128 * to.len() as i128,
        }
    };
    Ok((0..rows).map(size).sum())
}

/// A function whose values are counted before they are made.
#[derive(Debug)]
struct SizedValues {
    inner: Arc<ScalarUDF>,
    size: Size,
}

impl PartialEq for SizedValues {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for SizedValues {}

impl Hash for SizedValues {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

/// All but the size is the inner one's.
impl ScalarUDFImpl for SizedValues {
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_one = |argument: &ColumnarValue| matches!(argument, ColumnarValue::Scalar(_));
        let rows = match args.args.iter().all(is_one) {
            true => 1,
            false => args.number_rows,
        };
        let size = (self.size)(&args.args, rows)?;
        match size > MOST {
            true => exec_err!(
                "{}: at most {MOST} bytes of values in {rows} rows are required, got {size}",
                self.name()
            ),
            false => self.inner.inner().invoke_with_args(args),
        }
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.inner().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.inner().return_field_from_args(args)
    }

    fn is_nullable(&self, args: &[Expr], schema: &dyn ExprSchema) -> bool {
        #[expect(deprecated, reason = "the inner one's answer, for whoever still asks")]
        self.inner.inner().is_nullable(args, schema)
    }

    fn is_strict(&self) -> bool {
        self.inner.inner().is_strict()
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.inner().simplify(args, info)
    }

    fn conditional_arguments<'a>(
        &self,
        args: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.inner().conditional_arguments(args)
    }

    fn short_circuits(&self) -> bool {
        self.inner.inner().short_circuits()
    }

    fn evaluate_bounds(&self, input: &[&Interval]) -> Result<Interval> {
        self.inner.inner().evaluate_bounds(input)
    }

    fn propagate_constraints(
        &self,
        interval: &Interval,
        inputs: &[&Interval],
    ) -> Result<Option<Vec<Interval>>> {
        self.inner.inner().propagate_constraints(interval, inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.inner().output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner.inner().preserves_lex_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.inner().documentation()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::error::DataFusionError;
    use datafusion::prelude::SessionContext;

    fn context() -> SessionContext {
        let mut state = SessionContext::new().state();
        register(&mut state).unwrap();
        SessionContext::new_with_state(state)
    }

    async fn asked(context: &SessionContext, statement: &str) -> Result<usize> {
        let rows = context.sql(statement).await?.collect().await?;
        Ok(rows.iter().map(|batch| batch.num_rows()).sum())
    }

    #[tokio::test]
    async fn what_would_take_all_memory_is_refused_before_it_is_made() {
        let context = context();
        for statement in [
            "SELECT repeat('x', 2000000000)",
            "SELECT repeat(arrow_cast('x', 'LargeUtf8'), 1000000000000)",
            "SELECT repeat('xxxxxxxxxx', value) FROM generate_series(100000000, 100000100) AS t(value)",
            "SELECT lpad('x', 2147483647), rpad('x', 2147483647)",
            "SELECT lpad('x', 1000000 + value) FROM generate_series(1, 8000) AS t(value)",
            "SELECT array_repeat(1, 1000000000000)",
            "SELECT list_repeat('xxxxxxxx', 1000000000)",
            "SELECT array_resize([1, 2], 1000000000000000)",
            "SELECT list_resize([1, 2], 9223372036854775807, 7)",
            "SELECT range(0, 9223372036854775807)",
            "SELECT range(9223372036854775807)",
            "SELECT generate_series(0, -9223372036854775807, -1)",
            "SELECT range(date '1970-01-01', date '2999-01-01', interval '1 nanosecond')",
            "SELECT generate_series(timestamp '1970-01-01', timestamp '2200-01-01', interval '1 microsecond')",
            "SELECT replace(repeat('a', 100000), 'a', repeat('b', 100000))",
            "SELECT replace(repeat('a', 100000), '', repeat('b', 100000))",
        ] {
            let error = asked(&context, statement)
                .await
                .expect_err(statement)
                .to_string();
            assert!(error.contains("bytes of values in"), "{statement}: {error}");
        }
    }

    #[tokio::test]
    async fn what_is_no_longer_than_that_is_as_before() {
        let (ours, theirs) = (context(), SessionContext::new());
        for statement in [
            "SELECT repeat('ab', 3), repeat('ab', -1), repeat(NULL, 2), repeat('ab', NULL)",
            "SELECT lpad('x', 5, 'ab'), rpad('x', 0), lpad('x', NULL), lpad(s, 4) FROM (VALUES ('a'), (NULL)) t(s)",
            "SELECT array_repeat(1, 3), list_repeat(NULL, 2), array_repeat([1], 2), array_repeat(s, n) FROM (VALUES ('a', 2), ('b', 0)) t(s, n)",
            "SELECT array_resize([1, 2], 4, 7), list_resize([1], 0), array_resize(NULL, 2)",
            "SELECT range(3), range(1, 4), range(5, 1, -2), generate_series(1, 3), range(1, n) FROM (VALUES (2), (NULL)) t(n)",
            "SELECT range(date '2020-01-01', date '2020-03-01', interval '1 month'), generate_series(date '2020-01-01', date '2020-01-03', interval '1 day')",
            "SELECT generate_series(timestamp '2020-01-01', timestamp '2020-01-02', interval '6 hours')",
            "SELECT replace('aXa', 'a', 'bb'), replace('abc', '', '-'), replace(s, 'a', NULL) FROM (VALUES ('a'), (NULL)) t(s)",
            "SELECT count(*) FROM (SELECT repeat('x', value) FROM generate_series(1, 5000) t(value))",
        ] {
            let rows = async |context: &SessionContext| {
                let rows = context.sql(statement).await?.collect().await?;
                Ok::<_, DataFusionError>(pretty_format_batches(&rows)?.to_string())
            };
            let [ours, theirs] = [rows(&ours).await, rows(&theirs).await];
            let said = |error: DataFusionError| error.strip_backtrace();
            assert_eq!(ours.map_err(said), theirs.map_err(said), "{statement}");
        }
    }
}
