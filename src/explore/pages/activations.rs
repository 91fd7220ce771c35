//! How often a neuron has which activation, with the one from which on examples are kept.

use serde::Deserialize;

use crate::explore::show;
use crate::explore::svg::{Bucket, histogram};
use crate::explore::visit::VisitedRun;

/// A row of `histograms`.
#[derive(Deserialize)]
pub struct BucketLine {
    bucket: i64,
    lower: NumberOrWord,
    upper: f64,
    count: i64,
}

/// JSON has no infinity.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrWord {
    Number(f64),
    #[allow(dead_code, reason = "serde reads it")]
    Word(String),
}

/// The histogram, with the activation from which on examples are kept where the run says it; nothing where it keeps none.
pub fn drawn(run: &VisitedRun, most: Option<f64>, buckets: Vec<BucketLine>) -> String {
    let buckets: Vec<Bucket> = buckets
        .into_iter()
        .map(|line| Bucket {
            bucket: line.bucket,
            lower: match line.lower {
                NumberOrWord::Number(lower) => Some(lower),
                NumberOrWord::Word(_) => None,
            },
            upper: line.upper,
            count: line.count,
        })
        .collect();
    if buckets.is_empty() {
        return String::new();
    }
    let options = &run.run.manifest().options;
    let share = options
        .get("activation_threshold")
        .and_then(|share| share.as_f64());
    let mark = share.zip(most).map(|(share, most)| share * most);
    let tokens: i64 = buckets.iter().map(|bucket| bucket.count).sum();
    let title = format!(
        "How many of {} tokens have which activation",
        show::count(tokens)
    );
    histogram(
        &title,
        &buckets,
        mark.map(|mark| (mark, "examples from here")),
    )
}
