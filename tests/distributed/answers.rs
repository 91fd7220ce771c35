//! Every question has the rows that it has without workers, in the same order, and EXPLAIN says who does what.

use super::*;

/// Questions of which workers do a part.
const SENT: &[&str] = &[
    "SELECT * FROM dataset_examples()",
    "SELECT * FROM neuron_embeddings()",
    "SELECT * FROM feature_clusters()",
    "SELECT * FROM feature_clusters({threshold: 0.3, linkage: 'ward', embedding: 'pre_mlp', strict: true})",
    "SELECT * FROM feature_clusters({n_clusters: 3})",
    "SELECT * FROM feature_clusters({method: 'scc'})",
    "SELECT * FROM feature_clusters(2)",
    "SELECT layer, neuron, cluster FROM feature_clusters() WHERE layer IN (0, 3) AND neuron < 100",
    "SELECT * FROM feature_clusters() LIMIT 5 OFFSET 3",
    "SELECT * FROM cluster_summary({n_tokens: 2})",
    "SELECT * FROM cluster_centroids()",
    "SELECT * FROM central_examples()",
    "SELECT * FROM neuron_polysemanticity()",
    "SELECT * FROM neuron_profile(1)",
    "SELECT * FROM feature_splits({upper: 0.8})",
    "SELECT * FROM rare_features({min_ratio: 1.5})",
    "SELECT * FROM linkage(0)",
    "SELECT * FROM pairwise_distances(3)",
    "SELECT layer, neuron, length(svg) FROM dendrogram_svg(1)",
    "SELECT * FROM token_search('the')",
    "SELECT * FROM coactivation(1)",
    "SELECT * FROM nearest('examples', 'pre_mlp', (SELECT pre_mlp FROM examples WHERE layer = 0 AND neuron = 1 AND example = 0), 5)",
    "SELECT layer, count(*), min(activation), max(pos) FROM examples GROUP BY layer ORDER BY layer",
    "SELECT layer, neuron, count(*), max(cluster) FROM feature_clusters() GROUP BY layer, neuron ORDER BY layer, neuron",
    "SELECT n_clusters, count(*) FROM neuron_polysemanticity() GROUP BY n_clusters ORDER BY n_clusters",
    "SELECT count(*), round(avg(mean_distance), 9) FROM neuron_polysemanticity() WHERE n_examples > 2",
    "SELECT layer, neuron, mean_distance FROM neuron_polysemanticity() ORDER BY mean_distance DESC NULLS LAST, layer, neuron LIMIT 10",
    "SELECT layer, neuron, cluster, size, row_number() OVER (PARTITION BY layer, neuron ORDER BY size, cluster) AS r
     FROM cluster_summary() ORDER BY layer, neuron, cluster",
    "SELECT p.layer, p.neuron, p.n_clusters, n.max_activation FROM neurons n JOIN (SELECT layer, neuron, max(n_clusters) AS n_clusters
     FROM neuron_polysemanticity() GROUP BY layer, neuron ORDER BY layer, neuron LIMIT 500) p USING (layer, neuron)
     ORDER BY layer, neuron",
    "SELECT 'a' AS what, layer, neuron FROM feature_clusters(0) UNION ALL SELECT 'b', layer, neuron FROM linkage(1)
     ORDER BY what, layer, neuron",
    "SELECT layer, neuron, upper(token), length(context) > 20 FROM dataset_examples() WHERE token <> 'x' AND activation > 0.1",
    "SELECT layer, neuron, round(vector_norm(embedding), 6) FROM neuron_embeddings() WHERE cosine_distance(embedding, embedding) < 0.5",
    "SELECT f.layer, f.neuron, f.cluster FROM (SELECT layer, neuron FROM neurons WHERE max_activation > 2) n
     JOIN feature_clusters() f USING (layer, neuron) ORDER BY layer, neuron, cluster, example",
    "SELECT f.layer, f.neuron, f.cluster FROM (SELECT layer, neuron FROM neurons WHERE neuron % 100 = 7) n
     JOIN feature_clusters() f USING (layer, neuron) ORDER BY layer, neuron, cluster, example",
    "SELECT n.max_activation, p.* FROM neurons n JOIN neuron_polysemanticity() p ON n.layer = p.layer AND n.neuron = p.neuron
     ORDER BY p.layer, p.neuron",
    "SELECT layer, neuron, example FROM feature_clusters() WHERE neuron = (SELECT max(neuron) - 3 FROM neurons)",
    "SELECT layer, neuron, example FROM feature_clusters() WHERE neuron IN (SELECT neuron FROM neurons WHERE max_activation > 3)
     ORDER BY layer, neuron, example",
    "SELECT e.layer, e.neuron, count(*) FROM examples e JOIN (SELECT layer, neuron FROM neuron_polysemanticity() WHERE n_clusters > 2)
     USING (layer, neuron) GROUP BY e.layer, e.neuron ORDER BY e.layer, e.neuron",
    "SELECT * FROM polysemantic_neurons",
    "SELECT * FROM cluster_sizes",
];

/// Questions that are answered by who asks.
const KEPT: &[(&str, &str)] = &[
    ("SELECT * FROM feature_clusters(0, 1)", ""),
    ("SELECT * FROM neurons WHERE layer = 1", ""),
    ("SELECT count(*) FROM documents", ""),
    ("SELECT * FROM similar_features(0, 1, 0) LIMIT 0", ""),
    (
        "SELECT * FROM copy.feature_clusters()",
        "done here, its rows are not those of ranges of neurons of a run",
    ),
];

/// The rows as text, or the error.
async fn answer(session: &Session, sql: &str) -> String {
    match rows(session, sql).await {
        Ok(rows) => pretty_format_batches(&rows).expect("printable").to_string(),
        Err(error) => error.strip_backtrace(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_over_workers_are_the_same() {
    let db = demo("max_documents: 16").await;
    for sql in [
        "CREATE SCHEMA copy",
        "CREATE TABLE copy.examples AS SELECT * FROM examples",
        "CREATE TABLE copy.neurons AS SELECT * FROM neurons",
        "CREATE TABLE copy.layers AS SELECT * FROM layers",
    ] {
        db.query(sql).await;
    }
    let store = db.session.store().root().to_path_buf();
    let sent = SENT.iter().map(|sql| (*sql, None));
    let kept = KEPT.iter().map(|(sql, why)| (*sql, Some(*why)));
    let questions: Vec<_> = sent.chain(kept).collect();
    let (mut expected, mut failures) = (vec![], vec![]);
    for (sql, _) in &questions {
        let answer = answer(&db.session, sql).await;
        if answer.lines().count() < 5 && !sql.ends_with("LIMIT 0") {
            failures.push(format!("{sql}\nhas no rows\n{answer}"));
        }
        expected.push(answer);
    }
    for n in [1, 3, 7] {
        let session = workers::over(&store, n).await.expect("workers");
        for ((sql, why), expected) in questions.iter().zip(&expected) {
            let plan = answer(&session, &format!("EXPLAIN {sql}")).await;
            let is_sent = plan.contains(&format!("WorkersExec: workers={n}, ranges="));
            let is_said = match why {
                None => is_sent && !plan.contains("done here"),
                Some(why) => !is_sent && plan.contains(why),
            };
            if !is_said {
                failures.push(format!("{sql}\n{plan}"));
            }
            let found = answer(&session, sql).await;
            if found != *expected {
                failures.push(format!(
                    "{n} workers: {sql}\n{found}\nrequired:\n{expected}"
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// What is wrong with a question is said in the same words.
#[tokio::test(flavor = "multi_thread")]
async fn errors_over_workers_are_the_same() {
    let db = demo("max_documents: 4").await;
    let store = db.session.store().root().to_path_buf();
    let session = workers::over(&store, 3).await.expect("workers");
    for sql in [
        "SELECT * FROM feature_clusters(99)",
        "SELECT * FROM feature_clusters('none')",
        "SELECT * FROM feature_clusters({embedding: 'weighted'})",
        "SELECT * FROM feature_clusters() WHERE layer = 9",
        "SELECT layer, sum(1 / (neuron - neuron)) FROM feature_clusters() GROUP BY layer",
        "SELECT layer, sum(arrow_cast(substr(token, 1, 0), 'Int32')) FROM examples GROUP BY layer",
    ] {
        let here = answer(&db.session, sql).await;
        assert_eq!(answer(&session, sql).await, here, "{sql}");
    }
}

/// Settings go with the question, and so does what a session has made of its own: it stays here.
#[tokio::test(flavor = "multi_thread")]
async fn settings_travel_and_a_sessions_own_stays() {
    let db = demo("max_documents: 8").await;
    let store = db.session.store().root().to_path_buf();
    let session = workers::over(&store, 3).await.expect("workers");
    let sql = "SELECT * FROM feature_clusters()";
    let usual = text(&session, sql).await;
    for setting in [
        "threshold = 0.9",
        "linkage = 'single'",
        "embedding = 'pre_mlp'",
    ] {
        for session in [&session, &db.session] {
            rows(session, &format!("SET polysema.{setting}"))
                .await
                .expect("a setting");
        }
        let found = text(&session, sql).await;
        assert_eq!(found, text(&db.session, sql).await, "{setting}");
        assert_ne!(found, usual, "{setting} has an effect");
    }
    for session in [&session, &db.session] {
        let made = "CREATE TABLE mine AS SELECT layer, neuron FROM neurons WHERE neuron % 7 = 0";
        rows(session, made).await.expect("a table");
    }
    let sql = "SELECT m.layer, m.neuron, count(*) FROM mine m JOIN feature_clusters() f USING (layer, neuron)
               GROUP BY m.layer, m.neuron ORDER BY m.layer, m.neuron";
    assert_eq!(text(&session, sql).await, text(&db.session, sql).await);
}
