//! A threshold copied from a height that `linkage` shows: the merge joins, as in SciPy's inclusive cut, and does not
//! where the cut is strict. Heights are float32, a literal is not.

use std::collections::BTreeMap;

use crate::support::{large, session};
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::Result;
use datafusion::prelude::{SessionConfig, SessionContext};

const N_EXAMPLES: i32 = 7;

/// Heights of each neuron's merges, as they are shown.
async fn heights(ctx: &SessionContext) -> Result<BTreeMap<i64, Vec<String>>> {
    let sql = "SELECT CAST(neuron AS BIGINT), CAST(dissimilarity AS VARCHAR) FROM linkage() ORDER BY 1, step";
    let mut heights = BTreeMap::<i64, Vec<String>>::new();
    for batch in ctx.sql(sql).await?.collect().await? {
        let texts = cast(batch.column(1), &DataType::Utf8)?;
        let neurons = batch.column(0).as_primitive::<Int64Type>().values();
        for (neuron, text) in neurons
            .iter()
            .zip(texts.as_string::<i32>().iter().flatten())
        {
            heights.entry(*neuron).or_default().push(text.to_string());
        }
    }
    Ok(heights)
}

async fn integer(ctx: &SessionContext, sql: &str) -> Result<i64> {
    let batches = ctx.sql(sql).await?.collect().await?;
    let batch: &RecordBatch = batches.first().expect("a row");
    Ok(cast(batch.column(0), &DataType::Int64)?
        .as_primitive::<Int64Type>()
        .value(0))
}

#[tokio::test]
async fn a_height_that_is_shown_joins_its_merge() -> Result<()> {
    let ctx = session(SessionConfig::new(), &large(6, N_EXAMPLES, 3)?)?;
    for (neuron, heights) in heights(&ctx).await? {
        let values: Vec<f32> = heights
            .iter()
            .map(|h| h.parse().expect("a number"))
            .collect();
        for (text, height) in heights.iter().zip(&values) {
            let n = i64::from(N_EXAMPLES);
            let joined = n - values.iter().filter(|h| *h <= height).count() as i64;
            let apart = n - values.iter().filter(|h| *h < height).count() as i64;
            let counts = [
                ("count(DISTINCT \"cluster\")", "feature_clusters", joined),
                ("count(*)", "cluster_summary", joined),
                ("max(n_clusters)", "neuron_polysemanticity", joined),
                ("max(n_clusters)", "neuron_profile", joined),
            ];
            for (count, function, expected) in counts {
                let call = |strict: &str| {
                    format!(
                        "SELECT {count} FROM {function}(0, {neuron}, {{threshold: {text}{strict}}})"
                    )
                };
                assert_eq!(integer(&ctx, &call("")).await?, expected, "{}", call(""));
                let strict = call(", strict: true");
                assert_eq!(integer(&ctx, &strict).await?, apart, "{strict}");
            }
            ctx.sql(&format!("SET polysema.threshold = {text}"))
                .await?
                .collect()
                .await?;
            let by_setting = format!("SELECT count(*) FROM cluster_summary(0, {neuron})");
            assert_eq!(integer(&ctx, &by_setting).await?, joined, "{text}");
            // Parents at this height and children below it: what this merge joins, and nothing else, falls apart.
            let splits = format!(
                "SELECT count(*) FROM feature_splits(0, {neuron}, {{upper: {text}, lower: 0}})"
            );
            assert!(integer(&ctx, &splits).await? >= 2, "{splits}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_distance_that_is_shown_joins_two_vectors() -> Result<()> {
    let ctx = session(SessionConfig::new(), &large(9, 2, 3)?)?;
    for (neuron, heights) in heights(&ctx).await? {
        let [height] = heights.as_slice() else {
            panic!("one merge of two examples, got {heights:?}");
        };
        let sql = format!(
            "SELECT polysemanticity(pre_mlp, {height})['n_clusters'] FROM examples WHERE neuron = {neuron}"
        );
        assert_eq!(integer(&ctx, &sql).await?, 1, "{sql}");
    }
    Ok(())
}
