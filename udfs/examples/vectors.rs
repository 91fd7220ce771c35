//! The functions in a plain DataFusion session, over tables of vectors from anywhere.

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;

/// What two neurons received when they fired, and their input weights.
const TABLES: [&str; 2] = [
    "CREATE TABLE examples AS SELECT 0::int AS layer, column1::int AS neuron, column2::int AS example,
            column3 AS token, column4 AS pre_mlp
     FROM (VALUES (0, 0, 'bank', [1.0, 0.1, 0.0]), (0, 1, 'river', [0.0, 0.2, 1.0]), (0, 2, 'money', [0.9, 0.0, 0.1]),
                  (1, 0, 'the', [0.5, 0.5, 0.4]), (1, 1, 'the', [0.5, 0.4, 0.5]))",
    "CREATE TABLE neurons AS SELECT 0::int AS layer, column1::int AS neuron, column2 AS w_in
     FROM (VALUES (0, [1.0, 0.5, 1.0]), (1, [0.2, 1.0, 1.0]))",
];

const QUESTIONS: [&str; 3] = [
    "SELECT neuron, \"cluster\", example, is_central FROM feature_clusters(0) ORDER BY neuron, example",
    "SELECT neuron, n_clusters, round(max_distance, 3) AS max_distance FROM neuron_polysemanticity(0) ORDER BY neuron",
    "SELECT neuron, token, round(similarity, 3) AS similarity FROM nearest('examples', 'pre_mlp', [1.0, 0.0, 0.0], 3)",
];

/// The answers, as text.
pub async fn answers() -> Result<String> {
    let ctx = SessionContext::new();
    polysema_udfs::register_all(&ctx)?;
    for table in TABLES {
        ctx.sql(table).await?.collect().await?;
    }
    let mut text = String::new();
    for question in QUESTIONS {
        let rows = ctx.sql(question).await?.collect().await?;
        text += &format!("{question}\n{}\n", pretty_format_batches(&rows)?);
    }
    Ok(text)
}

#[tokio::main]
async fn main() -> Result<()> {
    println!("{}", answers().await?);
    Ok(())
}
