//! The tokens that stand for a cluster: the most frequent key tokens of its examples.

use std::collections::HashMap;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StringBuilder};
use datafusion::arrow::datatypes::DataType;

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
