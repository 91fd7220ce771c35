//! Vectors of any table. A NULL row or element gives NULL, a zero vector has no direction (NULL), unequal widths are errors.

use crate::calls::Function;

mod cosine_distance;
mod cosine_similarity;
mod vector_mean;
mod vector_norm;

/// The chapter's functions in reading order.
pub fn functions() -> Vec<Function> {
    vec![
        cosine_similarity::function(),
        cosine_distance::function(),
        vector_norm::function(),
        vector_mean::function(),
    ]
}
