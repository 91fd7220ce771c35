//! Polysemanticity of any groups of vectors, by an aggregate in GROUP BY, and their means.

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;

const QUESTION: &str = "SELECT word, m['n_clusters'] AS n_clusters, round(m['mean_distance'], 3) AS mean_distance, mean
     FROM (SELECT word, polysemanticity(v, 0.5) AS m, vector_mean(v) AS mean
           FROM (VALUES ('seal', [1.0, 0.0]), ('seal', [0.8, 0.2]), ('seal', [0.0, 1.0]), ('otter', [0.9, 0.1]),
                        ('otter', [1.0, 0.2])) AS t(word, v)
           GROUP BY word)
     ORDER BY word";

/// The answer, as text.
pub async fn answers() -> Result<String> {
    let ctx = SessionContext::new();
    polysema_udfs::register_all(&ctx)?;
    let rows = ctx.sql(QUESTION).await?.collect().await?;
    Ok(pretty_format_batches(&rows)?.to_string())
}

#[tokio::main]
async fn main() -> Result<()> {
    println!("{}", answers().await?);
    Ok(())
}
