//! The tokens that stand for a cluster: the most frequent key tokens of its examples.

use std::collections::HashMap;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StringBuilder};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};

use super::arguments::Arguments;
use super::document::Parameter;

/// The option `n_tokens` of functions with a column `top_tokens`.
pub const N_TOKENS: Parameter = Parameter {
    name: "n_tokens",
    kind: "whole number, at least 1",
    summary: "most tokens in top_tokens; default 5",
};

/// The bound option `n_tokens`.
pub fn n_tokens(arguments: &Arguments) -> Result<usize> {
    match arguments.integer("n_tokens")?.unwrap_or(5) {
        n if n >= 1 => Ok(n as usize),
        n => plan_err!(
            "{}: n_tokens must be at least 1, got {n}",
            arguments.function()
        ),
    }
}

/// The type of the column `top_tokens`.
pub fn top_tokens_type() -> DataType {
    DataType::new_list(DataType::Utf8, true)
}

/// One list a cluster: its most frequent tokens, ties by first row; `members` are rows of `tokens`.
pub fn top_tokens(tokens: &ArrayRef, members: &[Vec<usize>], n_tokens: usize) -> ArrayRef {
    let tokens = tokens.as_string::<i32>();
    let mut lists = ListBuilder::new(StringBuilder::new());
    for rows in members {
        let mut counts: HashMap<&str, (usize, usize)> = HashMap::new();
        for &row in rows.iter().filter(|&&row| !tokens.is_null(row)) {
            counts.entry(tokens.value(row)).or_insert((0, row)).0 += 1;
        }
        let mut ranked: Vec<_> = counts.into_iter().collect();
        ranked.sort_by_key(|&(_, (count, first))| (std::cmp::Reverse(count), first));
        for (token, _) in ranked.into_iter().take(n_tokens) {
            lists.values().append_value(token);
        }
        lists.append(true);
    }
    std::sync::Arc::new(lists.finish())
}
