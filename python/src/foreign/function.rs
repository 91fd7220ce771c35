//! A call as it is written in SQL.

use datafusion::arrow::array::{Array, ArrayRef, StructArray};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::Expr;

/// The call of a table function.
///
/// Errors (planning): an argument is no value.
pub fn written(name: &str, exprs: &[Expr]) -> Result<String> {
    let arguments = exprs.iter().map(|expr| match expr {
        Expr::Literal(value, _) => literal(name, value),
        other => plan_err!("{name}: values are required as arguments, got {other}"),
    });
    let arguments = arguments.collect::<Result<Vec<_>>>()?;
    Ok(format!("{name}({})", arguments.join(", ")))
}

fn literal(name: &str, value: &ScalarValue) -> Result<String> {
    if value.is_null() {
        return Ok("NULL".to_string());
    }
    if let Some(Some(text)) = value.try_as_str() {
        return Ok(format!("'{}'", text.replace('\'', "''")));
    }
    match value {
        ScalarValue::Boolean(_) => Ok(value.to_string()),
        ScalarValue::List(list) => items(name, &list.value(0)),
        ScalarValue::LargeList(list) => items(name, &list.value(0)),
        ScalarValue::FixedSizeList(list) => items(name, &list.value(0)),
        ScalarValue::Struct(fields) => options(name, fields),
        number if number.data_type().is_numeric() => Ok(number.to_string()),
        other => plan_err!(
            "{name}: numbers, texts, lists and structs of them are required as arguments, got {}",
            other.data_type()
        ),
    }
}

fn items(name: &str, items: &ArrayRef) -> Result<String> {
    let item = |i| literal(name, &ScalarValue::try_from_array(items, i)?);
    let items = (0..items.len()).map(item).collect::<Result<Vec<_>>>()?;
    Ok(format!("[{}]", items.join(", ")))
}

fn options(name: &str, fields: &StructArray) -> Result<String> {
    let columns = fields.column_names().into_iter().zip(fields.columns());
    let option = |(key, values): (&str, &ArrayRef)| {
        let value = literal(name, &ScalarValue::try_from_array(values, 0)?)?;
        Ok(format!("{key}: {value}"))
    };
    let options = columns.map(option).collect::<Result<Vec<_>>>()?;
    Ok(format!("{{{}}}", options.join(", ")))
}
