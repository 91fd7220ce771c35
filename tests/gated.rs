//! Gated neurons: both input vectors, lists of examples of both signs, and what functions make of them, on a tiny random
//! Llama whose forward pass is held against `transformers` elsewhere (tests/architectures.rs).

use std::path::Path;
use std::sync::Arc;

use crate::database::{Db, root};
use crate::support;
use datafusion::error::Result;
use polysema::models::{HookPoint, Hooks, Input, Site, load};

/// Letters of the vocabulary, a token each.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO";
const N_LAYERS: usize = 2;
const N_NEURONS: usize = 23;
const MAX_EXAMPLES: usize = 5;

/// Documents of 1 to 30 letters; Knuth's 64-bit generator draws them.
fn documents() -> Vec<Vec<u32>> {
    let mut seed = 7_u64;
    let mut draw = |n: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    (0..60)
        .map(|_| {
            let n = 1 + draw(30);
            (0..n).map(|_| draw(41) as u32).collect()
        })
        .collect()
}

/// A model of a family with a tokenizer of letters, and the documents.
fn write(folder: &Path, family: &str) {
    let model = folder.join(family);
    std::fs::create_dir_all(&model).expect("a folder");
    let from = root("tests/data/architectures").join(family);
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), model.join(name)).expect("a copy");
    }
    let letters: Vec<String> = LETTERS.chars().map(String::from).collect();
    let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
    support::gpt2(&support::TINY).write_tokenizer(&model, &letters);
    let lines = documents().into_iter().map(|ids| {
        let text: String = ids.iter().map(|id| letters[*id as usize]).collect();
        format!("{{\"text\": \"{text}\"}}\n")
    });
    std::fs::write(folder.join("corpus.jsonl"), lines.collect::<String>()).expect("a file");
}

async fn ingested(family: &str, run: &str, options: &str) -> Db {
    let db = Db::new().await;
    write(db.folder(), family);
    ingest(&db, family, run, options).await.expect(options);
    db
}

async fn ingest(db: &Db, family: &str, run: &str, options: &str) -> Result<()> {
    let folder = db.folder().display();
    let call = format!(
        "CALL ingest('{run}', '{folder}/{family}', '{folder}/corpus.jsonl',
                     {{context: 40, max_examples: {MAX_EXAMPLES}{options}}})"
    );
    db.try_query(&call).await.map(drop)
}

/// Keeps the activations of all layers.
#[derive(Default)]
struct Activations(Vec<Vec<f32>>);

impl Hooks for Activations {
    fn wants(&self, hook: HookPoint) -> bool {
        hook.site == Site::MlpPost
    }

    fn visit(
        &mut self,
        _: HookPoint,
        values: &Arc<Vec<f32>>,
        _: &[usize],
    ) -> Result<Option<Vec<f32>>> {
        self.0.push(values.to_vec());
        Ok(None)
    }
}

/// The definition, one document at a time: layer, neuron, example, doc_id, pos, activation.
fn by_definition(family: &str, signs: &[f32]) -> Vec<Vec<f64>> {
    let model = load(&root("tests/data/architectures").join(family))
        .expect("a model")
        .model;
    // [document][layer][position, neuron]
    let passes: Vec<_> = documents()
        .iter()
        .map(|ids| {
            let mut seen = Activations::default();
            let input = Input::Tokens {
                ids,
                seq: ids.len(),
            };
            model.forward(input, &mut seen).expect("a pass");
            seen.0
        })
        .collect();
    let mut rows = vec![];
    for layer in 0..N_LAYERS {
        for neuron in 0..N_NEURONS {
            let mut example = 0;
            for sign in signs {
                let peaks: Vec<(usize, f32)> = passes
                    .iter()
                    .map(|pass| {
                        let values = pass[layer][neuron..].iter().step_by(N_NEURONS);
                        let signed = values.map(|a| sign * a).enumerate();
                        // The first one on ties.
                        signed.fold((0, f32::NEG_INFINITY), |best, (pos, a)| {
                            if a > best.1 { (pos, a) } else { best }
                        })
                    })
                    .collect();
                let largest = peaks
                    .iter()
                    .fold(f32::NEG_INFINITY, |max, peak| max.max(peak.1));
                let hits = peaks
                    .iter()
                    .enumerate()
                    .filter(|(_, peak)| peak.1 > 0.0 && peak.1 >= 0.75 * largest);
                for (doc_id, (pos, activation)) in hits.take(MAX_EXAMPLES) {
                    let key = [layer, neuron, example, doc_id, *pos].map(|x| x as f64);
                    rows.push([&key[..], &[f64::from(sign * activation)]].concat());
                    example += 1;
                }
            }
        }
    }
    rows
}

fn assert_close(came: &[Vec<f64>], expected: &[Vec<f64>]) {
    assert_eq!(came.len(), expected.len());
    for (came, expected) in came.iter().zip(expected) {
        let close = came
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs().max(1.0));
        assert!(close, "{came:?}, required {expected:?}");
    }
}

const EXAMPLES: &str = "SELECT layer, neuron, example, doc_id, pos, activation FROM examples ORDER BY layer, neuron, example";

#[tokio::test]
async fn lists_of_either_sign_follow_the_definition() {
    let db = ingested("llama", "both", "").await;
    assert_close(
        &db.numbers(EXAMPLES).await,
        &by_definition("llama", &[1.0, -1.0]),
    );
    let signs = "SELECT count(*) FROM examples WHERE sign <> CASE WHEN activation < 0 THEN 'negative' ELSE 'positive' END";
    assert_eq!(db.numbers(signs).await, [[0.0]]);
    for (run, signs) in [("positive", [1.0]), ("negative", [-1.0])] {
        ingest(&db, "llama", run, &format!(", sign: '{run}'"))
            .await
            .expect(run);
        db.query(&format!("SET polysema.run = '{run}'")).await;
        assert_close(&db.numbers(EXAMPLES).await, &by_definition("llama", &signs));
        let other = format!("SELECT count(*) FROM examples WHERE sign <> '{run}'");
        assert_eq!(db.numbers(&other).await, [[0.0]]);
    }
    // The extremes are those of all tokens, and known where their list is kept.
    let extremes = "SELECT count(*) FROM both.neurons b JOIN negative.neurons n USING (layer, neuron)
                    JOIN positive.neurons p USING (layer, neuron)
                    WHERE b.max_activation > 0 AND b.least_activation < 0 AND b.least_activation = n.least_activation
                      AND b.max_activation = p.max_activation AND p.least_activation IS NULL";
    assert_eq!(
        db.numbers(extremes).await,
        [[(N_LAYERS * N_NEURONS) as f64]]
    );
}

/// `Σ e_gate + b_gate = g`, `Σ e_up + b_up = u`, `act(g) u = activation`, under both conventions.
#[tokio::test]
async fn embeddings_sum_to_gate_and_up_whose_product_is_the_activation() {
    for options in ["", ", layer_norm: 'raw'"] {
        let db = ingested("llama", "r", options).await;
        let products = "
            SELECT count(*) AS all, count(*) FILTER (WHERE abs(g / (1 + exp(-g)) * u - activation) > 1e-5 * greatest(1, abs(activation)))
            FROM (SELECT e.activation, array_sum(neuron_embedding(e.pre_mlp, n.w_in)) + n.b_in AS g,
                         array_sum(neuron_embedding(e.pre_mlp, n.w_up)) + n.b_up AS u
                  FROM examples e JOIN neurons n USING (layer, neuron))";
        let [counts] = &db.numbers(products).await[..] else {
            panic!("one row");
        };
        assert!(counts[0] > 100.0 && counts[1] == 0.0, "{counts:?}");
        let joined = "
            SELECT count(*) FROM neuron_embeddings({embedding: 'gate_up'}) b
            JOIN neuron_embeddings({embedding: 'neuron'}) g USING (layer, neuron, example)
            JOIN neuron_embeddings({embedding: 'up'}) u USING (layer, neuron, example)
            WHERE b.embedding = array_concat(g.embedding, u.embedding)";
        let n = db.numbers("SELECT count(*) FROM examples").await;
        assert_eq!(db.numbers(joined).await, n);
    }
}

#[tokio::test]
async fn distances_of_joined_embeddings_are_their_cosine_distances() {
    let db = ingested("llama", "r", "").await;
    for embedding in ["neuron", "up", "gate_up"] {
        let wrong = format!(
            "WITH e AS (SELECT * FROM neuron_embeddings({{embedding: '{embedding}'}}))
             SELECT count(*) AS all, count(*) FILTER (WHERE abs(p.distance - cosine_distance(a.embedding, b.embedding)) > 1e-5)
             FROM pairwise_distances({{embedding: '{embedding}'}}) p
             JOIN e a ON a.layer = p.layer AND a.neuron = p.neuron AND a.example = p.example1
             JOIN e b ON b.layer = p.layer AND b.neuron = p.neuron AND b.example = p.example2"
        );
        let [counts] = &db.numbers(&wrong).await[..] else {
            panic!("one row");
        };
        assert!(
            counts[0] > 100.0 && counts[1] == 0.0,
            "{embedding}: {counts:?}"
        );
    }
}

/// Each list has its own clusters and metrics, those of a run of that sign alone; clusters of a neuron are numbered through.
#[tokio::test]
async fn each_sign_is_clustered_on_its_own() {
    let db = ingested("llama", "both", "").await;
    for sign in ["positive", "negative"] {
        ingest(&db, "llama", sign, &format!(", sign: '{sign}'"))
            .await
            .expect(sign);
        let differs = format!(
            "SELECT count(*) AS all, count(*) FILTER (WHERE (a.n_clusters IS DISTINCT FROM b.n_clusters)
                    OR (a.mean_distance IS DISTINCT FROM b.mean_distance) OR a.n_examples <> b.n_examples)
             FROM both.neuron_polysemanticity() a JOIN {sign}.neuron_polysemanticity() b USING (layer, neuron, sign)"
        );
        let [counts] = &db.numbers(&differs).await[..] else {
            panic!("one row");
        };
        assert!(counts[0] > 40.0 && counts[1] == 0.0, "{sign}: {counts:?}");
    }
    db.query("SET polysema.run = 'both'").await;
    let clusters = "
        WITH f AS (SELECT layer, neuron, \"cluster\", activation > 0 AS up FROM feature_clusters())
        SELECT count(*) AS neurons, count(*) FILTER (WHERE n <> last + 1) AS holes FROM (
            SELECT layer, neuron, count(DISTINCT \"cluster\") AS n, max(\"cluster\") AS last FROM f GROUP BY layer, neuron)";
    assert_eq!(
        db.numbers(clusters).await,
        [[(N_LAYERS * N_NEURONS) as f64, 0.0]]
    );
    let mixed = "SELECT count(*) FROM (SELECT layer, neuron, \"cluster\" FROM feature_clusters()
                 GROUP BY layer, neuron, \"cluster\" HAVING min(activation) < 0 AND max(activation) > 0)";
    assert_eq!(db.numbers(mixed).await, [[0.0]]);
    let summary = "SELECT count(*) FROM cluster_summary() s FULL JOIN
                   (SELECT layer, neuron, \"cluster\", count(*) AS size FROM feature_clusters() GROUP BY 1, 2, 3) f
                   ON s.layer = f.layer AND s.neuron = f.neuron AND s.\"cluster\" = f.\"cluster\"
                   WHERE s.size IS DISTINCT FROM f.size";
    assert_eq!(db.numbers(summary).await, [[0.0]]);
}

/// Clusters that split are numbered as at the lower threshold, through both lists.
#[tokio::test]
async fn clusters_that_split_are_those_of_the_lower_threshold() {
    let db = ingested("llama", "r", "").await;
    let splits = "SELECT count(*) AS all, count(f.size), count(p.size) FROM feature_splits({lower: 0.2, upper: 1.0}) s
                  LEFT JOIN (SELECT layer, neuron, \"cluster\", count(*) AS size, min(example) AS first, max(example) AS last
                   FROM feature_clusters({threshold: 0.2}) GROUP BY 1, 2, 3) f
                  ON s.layer = f.layer AND s.neuron = f.neuron AND s.\"cluster\" = f.\"cluster\" AND s.size = f.size
                     AND s.central_example BETWEEN f.first AND f.last
                  LEFT JOIN (SELECT layer, neuron, example, \"cluster\",
                      count(*) OVER (PARTITION BY layer, neuron, \"cluster\") AS size
                   FROM feature_clusters({threshold: 1.0})) p
                  ON s.layer = p.layer AND s.neuron = p.neuron AND s.central_example = p.example
                     AND s.parent = p.\"cluster\" AND s.parent_size = p.size";
    let [counts] = &db.numbers(splits).await[..] else {
        panic!("one row");
    };
    assert!(
        counts[0] > 40.0 && counts[0] == counts[1] && counts[0] == counts[2],
        "{counts:?}"
    );
}

#[tokio::test]
async fn what_has_no_sign_or_nothing_to_fold_says_so() {
    let db = ingested("olmo2", "r", "").await;
    // No norm stands before its MLP: the vector as it is received is the only one, and so the default.
    assert!(
        db.text("SELECT layer_norm FROM polysema.info.runs")
            .await
            .contains("raw")
    );
    write(db.folder(), "llama");
    write(db.folder(), "gpt2");
    for (family, options, parts) in [
        (
            "olmo2",
            ", layer_norm: 'folded', replace: true",
            "layer_norm 'raw' is required, since no norm stands right before the MLP",
        ),
        (
            "llama",
            ", layer_norm: 'tl_folded', replace: true",
            "an RMS norm does not centre",
        ),
        ("llama", ", sign: 'left', replace: true", "sign must be"),
        (
            "gpt2",
            ", sign: 'negative', replace: true",
            "sign must come with gated neurons, got 'negative'",
        ),
    ] {
        let error = ingest(&db, family, "r", options)
            .await
            .expect_err(options)
            .to_string();
        assert!(error.contains(parts), "{error}");
    }
    ingest(&db, "gpt2", "plain", "").await.expect("a run");
    db.query("SET polysema.run = 'plain'").await;
    let error = db
        .try_query("SELECT * FROM feature_clusters({embedding: 'up'})")
        .await;
    let error = error.expect_err("no gate").to_string();
    assert!(
        error.contains("a neuron without a gate has none"),
        "{error}"
    );
    assert_eq!(
        db.numbers("SELECT count(sign) FROM neuron_polysemanticity()")
            .await,
        [[0.0]]
    );
}
