//! Images through classifiers: small ones of our own against numbers made elsewhere, and where the data lie beside the
//! project the authors' MNIST classifier against their published lists, clusters and metrics.
//!
//! Numbers: tests/reference/mnist_tiny.py, Python 3 in double precision.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use futures::TryStreamExt;
use polysema::ingest::{CorpusOptions, CorpusReader, Split};
use polysema::models::{HookPoint, Hooks, Input, Site};
use polysema::session::{Session, SessionOptions};

/// Keeps the value at one place, if there is one it wants.
struct Probe {
    hook: Option<HookPoint>,
    seen: Vec<f32>,
}

impl Hooks for Probe {
    fn wants(&self, hook: HookPoint) -> bool {
        self.hook == Some(hook)
    }

    fn visit(&mut self, _: HookPoint, value: &Tensor) -> Result<Option<Tensor>> {
        let values = value.flatten_all().and_then(|flat| flat.to_vec1());
        self.seen = values.expect("numbers");
        Ok(None)
    }
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn tiny() -> PathBuf {
    root("tests/data/mnist-tiny")
}

fn shared(path: &str) -> PathBuf {
    root("../shared/data").join(path)
}

fn reference() -> serde_json::Value {
    let text = include_str!("reference/mnist_tiny.json");
    serde_json::from_str(text).expect("JSON")
}

struct Db {
    session: Session,
    _folder: tempfile::TempDir,
}

impl Db {
    async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = SessionOptions {
            store: folder.path().join("s"),
            memory_limit: None,
        };
        Self {
            session: Session::open(options).await.expect("an empty store"),
            _folder: folder,
        }
    }

    async fn try_query(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        self.session.query(sql).await?.try_collect().await
    }

    async fn query(&self, sql: &str) -> Vec<RecordBatch> {
        let rows = self.try_query(sql).await;
        rows.unwrap_or_else(|error| panic!("{sql}\n{error}"))
    }

    async fn table(&self, sql: &str) -> String {
        let rows = self.query(sql).await;
        pretty_format_batches(&rows).expect("printable").to_string()
    }

    async fn number(&self, sql: &str) -> i64 {
        let rows = self
            .query(&format!("SELECT CAST(x AS BIGINT) FROM ({sql}) AS t(x)"))
            .await;
        rows[0].column(0).as_primitive::<Int64Type>().value(0)
    }

    /// Asserts that a query of mismatches finds none.
    async fn none(&self, what: &str, sql: &str) {
        let found = self.query(&format!("{sql} LIMIT 5")).await;
        let rows: usize = found.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(
            rows,
            0,
            "{what}:\n{}",
            pretty_format_batches(&found).expect("printable")
        );
    }

    async fn refused(&self, sql: &str) -> String {
        let error = self.try_query(sql).await.expect_err(sql);
        error.strip_backtrace()
    }
}

/// Share of the documents whose label has the highest logit.
fn accuracy(model: &Path, corpus: &Path, split: Split) -> (f64, Vec<u32>) {
    let options = CorpusOptions {
        split: Some(split),
        batch_size: 500,
        ..Default::default()
    };
    let mut reader = CorpusReader::open(model, corpus, &options, &mut || Ok(())).expect("a reader");
    let labels = reader.labels().expect("labels").to_vec();
    let mut found = vec![0; labels.len()];
    let mut probe = Probe {
        hook: None,
        seen: vec![],
    };
    reader
        .for_each_batch(&mut |model, batch, input| {
            let logits = model.logits(input, &mut probe)?;
            let classes = logits
                .squeeze(1)
                .and_then(|l| l.argmax(1)?.to_vec1::<u32>());
            for ((doc_id, _), class) in batch.documents.iter().zip(classes.expect("classes")) {
                found[*doc_id as usize] = class;
            }
            Ok(())
        })
        .expect("logits");
    let right = found.iter().zip(&labels).filter(|(a, b)| a == b).count();
    (right as f64 / labels.len() as f64, found)
}

#[tokio::test(flavor = "multi_thread")]
async fn images_become_documents_and_examples() {
    let (db, expected) = (Db::open().await, reference());
    let (model, corpus) = (tiny().join("mlp.safetensors"), tiny());
    let ingest = |run: &str, options: &str| {
        format!(
            "SELECT * FROM ingest('{run}', '{}', '{}', {{min_activation: 0.5{options}}})",
            model.display(),
            corpus.display()
        )
    };
    db.query(&ingest("all", "")).await;
    db.query("SET polysema.run = 'all'").await;
    let documents = db
        .table("SELECT split, count(*) AS n, min(doc_id) AS first, count(DISTINCT label) AS labels, sum(n_tokens) AS tokens, min(cardinality(pixels)) AS pixels, count(DISTINCT text) AS texts FROM documents GROUP BY split ORDER BY first")
        .await;
    assert!(
        documents.contains("| train | 40 | 0     | 10     | 40     | 784    | 10    |"),
        "{documents}"
    );
    assert!(
        documents.contains("| test  | 20 | 40    | 10     | 20     | 784    | 10    |"),
        "{documents}"
    );
    let labels: Vec<i64> = expected["labels"]
        .as_array()
        .expect("labels")
        .iter()
        .filter_map(|l| l.as_i64())
        .collect();
    let found = db
        .query("SELECT CAST(label AS BIGINT) FROM documents ORDER BY doc_id")
        .await;
    let found: Vec<i64> = found
        .iter()
        .flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    assert_eq!(found, labels);
    assert_eq!(
        db.number("SELECT count(*) FROM tokens t JOIN documents d USING (doc_id) WHERE t.pos = 0 AND t.token_id = d.label AND t.token = CAST(d.label AS VARCHAR)").await,
        60
    );
    let mut compared = 0;
    for (neuron, list) in expected["examples"]
        .as_array()
        .expect("lists")
        .iter()
        .enumerate()
    {
        let rows = db
            .query(&format!("SELECT CAST(doc_id AS BIGINT), CAST(activation AS DOUBLE) FROM examples WHERE neuron = {neuron} ORDER BY example"))
            .await;
        let found: Vec<(i64, f64)> = rows
            .iter()
            .flat_map(|b| {
                let (ids, values) = (
                    b.column(0).as_primitive::<Int64Type>(),
                    b.column(1).as_primitive::<Float64Type>(),
                );
                ids.values()
                    .iter()
                    .copied()
                    .zip(values.values().iter().copied())
                    .collect::<Vec<_>>()
            })
            .collect();
        let list = list.as_array().expect("a list");
        assert_eq!(found.len(), list.len(), "neuron {neuron}");
        for ((doc_id, activation), expected) in found.iter().zip(list) {
            assert_eq!(Some(*doc_id), expected[0].as_i64());
            assert!((activation - expected[1].as_f64().expect("a number")).abs() < 1e-5);
            compared += 1;
        }
    }
    assert_eq!(compared, 162);
    let context = db
        .table("SELECT DISTINCT context FROM feature_clusters(0, 0) WHERE token = '7'")
        .await;
    assert!(context.contains("«7»"), "{context}");
    db.query(&ingest("test", ", split: 'test'")).await;
    assert_eq!(
        db.number("SELECT count(*) FROM test.documents WHERE split = 'test'")
            .await,
        20
    );
    db.query(&ingest("few", ", split: 'train', max_documents: 7"))
        .await;
    assert_eq!(db.number("SELECT count(*) FROM few.documents").await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn pixels_are_normalised_and_streamed() {
    let (db, expected) = (Db::open().await, reference());
    let rows = |hook: &str| {
        format!(
            "SELECT doc_id, pos, vector FROM activations('{}', '{}', '{hook}') ORDER BY doc_id",
            tiny().join("mlp.safetensors").display(),
            tiny().display()
        )
    };
    let pixels = db.query(&format!("SELECT CAST(v AS DOUBLE) FROM (SELECT unnest(vector) AS v FROM ({}) WHERE doc_id = 41)", rows("blocks.0.mlp.in"))).await;
    let pixels: Vec<f64> = pixels
        .iter()
        .flat_map(|b| b.column(0).as_primitive::<Float64Type>().values().to_vec())
        .collect();
    let same: Vec<f64> = expected["pixels_of_document_41"]
        .as_array()
        .expect("pixels")
        .iter()
        .filter_map(|x| x.as_f64())
        .collect();
    assert_eq!(pixels, same);
    for (i, doc_id) in [0, 1, 2, 40, 41, 42].into_iter().enumerate() {
        for neuron in 0..6 {
            let pre = expected["pre"][i][neuron].as_f64().expect("a number");
            let off = db.query(&format!("SELECT CAST(abs(vector[{}] - {pre}) AS DOUBLE) FROM ({}) WHERE doc_id = {doc_id}", neuron + 1, rows("blocks.0.mlp.pre"))).await;
            assert!(off[0].column(0).as_primitive::<Float64Type>().value(0) < 1e-5);
        }
    }
    let (share, found) = accuracy(&tiny().join("mlp.safetensors"), &tiny(), Split::All);
    let predicted: Vec<u32> = expected["predicted"]
        .as_array()
        .expect("classes")
        .iter()
        .filter_map(|c| c.as_u64())
        .map(|c| c as u32)
        .collect();
    assert_eq!(found, predicted);
    assert!(share > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trained_classifier_is_a_model_of_the_store() {
    let db = Db::open().await;
    let train = |name: &str, options: &str| {
        format!(
            "SELECT * FROM train_mlp('{name}', '{}', {{hidden: [16], epochs: 30, batch_size: 8{options}}})",
            tiny().display()
        )
    };
    let learned = db.table(&format!("SELECT max(step) AS steps, count(accuracy) AS epochs, max(accuracy) > 0.7 AS learned FROM ({})", train("digits", ""))).await;
    assert!(learned.contains("| 150   | 30     | true"), "{learned}");
    let refused = db.refused(&train("digits", "")).await;
    assert!(
        refused.contains("a new model name is required, got 'digits'"),
        "{refused}"
    );
    db.query(&train("again", "")).await;
    db.query(&train("digits", ", replace: true, seed: 1")).await;
    db.query(&train("same", ", seed: 1")).await;
    let weights = |name: &str| {
        let path = db
            .session
            .store()
            .root()
            .join("models")
            .join(name)
            .join("model.safetensors");
        fs::read(path).expect("weights")
    };
    assert!(
        weights("digits") == weights("same"),
        "a seed decides everything"
    );
    assert!(
        weights("digits") != weights("again"),
        "and another seed something else"
    );
    assert_eq!(
        db.session.store().models().expect("models"),
        ["again", "digits", "same"]
    );
    db.query(&format!(
        "SELECT * FROM ingest('r', 'digits', '{}')",
        tiny().display()
    ))
    .await;
    assert_eq!(db.number("SELECT count(*) FROM r.neurons").await, 16);
    let unknown = db
        .refused(&format!(
            "SELECT * FROM activations('digit', '{}', 'blocks.0.mlp.post')",
            tiny().display()
        ))
        .await;
    assert!(
        unknown.contains("got 'digit'; stored models: again, digits, same"),
        "{unknown}"
    );
    let diverged = db.refused(&train("bad", ", learning_rate: 1e30")).await;
    assert!(
        diverged.contains("train_mlp: a finite loss is required, got NaN at step"),
        "{diverged}"
    );
    assert!(!db.session.store().has_model("bad"));
    assert!(
        fs::read_dir(db.session.store().root().join("models"))
            .expect("models")
            .count()
            == 3,
        "nothing is left"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_training_leaves_nothing() {
    let db = Db::open().await;
    let sql = format!(
        "SELECT step FROM train_mlp('m', '{}', {{epochs: 1000000}}) LIMIT 1",
        tiny().display()
    );
    db.query(&sql).await;
    for _ in 0..50 {
        if db.session.store().begin_model("m", false).is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the training holds the store's lock five seconds after its reader is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_corpora_are_named() {
    let db = Db::open().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let fresh = || {
        for entry in fs::read_dir(tiny()).expect("the folder") {
            let path = entry.expect("a file").path();
            fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("a copy");
        }
    };
    let model = tiny().join("mlp.safetensors");
    let corpus = folder.path().display().to_string();
    let ingest = |corpus: &str, options: &str| {
        format!(
            "SELECT * FROM ingest('r', '{}', '{corpus}'{options})",
            model.display()
        )
    };
    let (images, labels) = (
        folder.path().join("t10k-images-idx3-ubyte"),
        folder.path().join("t10k-labels-idx1-ubyte"),
    );
    fresh();
    fs::remove_file(&labels).expect("removed");
    let missing = db.refused(&ingest(&corpus, "")).await;
    assert!(
        missing.contains(
            "a file t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz is required, got neither"
        ),
        "{missing}"
    );
    let unlabelled = db
        .refused(&format!("SELECT * FROM train_mlp('m', '{corpus}')"))
        .await;
    assert!(
        unlabelled.starts_with("Execution error: train_mlp:")
            && unlabelled.contains("t10k-labels-idx1-ubyte"),
        "{unlabelled}"
    );
    fresh();
    fs::write(
        &labels,
        [&[0, 0, 8, 1, 0, 0, 0, 3][..], &[1, 2, 3]].concat(),
    )
    .expect("written");
    let counts = db.refused(&ingest(&corpus, "")).await;
    assert!(
        counts.contains("a label for each of the 20 images of")
            && counts.ends_with("is required, got 3"),
        "{counts}"
    );
    fresh();
    fs::write(
        &images,
        [
            &[0, 0, 8, 3, 0, 0, 0, 20, 0, 0, 0, 14, 0, 0, 0, 14][..],
            &vec![0; 20 * 196],
        ]
        .concat(),
    )
    .expect("written");
    let widths = db.refused(&ingest(&corpus, "")).await;
    assert!(widths.contains("t10k-images-idx3-ubyte: images of 784 pixels, as the other images, are required, got 196"), "{widths}");
    let width = db.refused(&ingest(&corpus, ", {split: 'test'}")).await;
    assert!(
        width.contains("images of the 784 pixels that the model in")
            && width.contains("reads are required, got 196 pixels in"),
        "{width}"
    );
    fs::write(&images, b"not an idx file at all").expect("written");
    assert!(
        db.refused(&ingest(&corpus, ""))
            .await
            .contains("magic number 0x00000803, is required, got 0x6e6f7420")
    );
    for (options, expected) in [
        (
            "{context: 64}",
            "ingest: context requires a corpus of texts, got images",
        ),
        (
            "{bos: true}",
            "ingest: bos requires a corpus of texts, got images",
        ),
        (
            "{column: 'body'}",
            "ingest: column requires a corpus of texts, got images",
        ),
    ] {
        let message = db.refused(&ingest(&corpus, &format!(", {options}"))).await;
        assert!(message.ends_with(expected), "{message}");
    }
    let texts = root("tests/data/demo/corpus.jsonl");
    let texts = db.refused(&ingest(&texts.display().to_string(), "")).await;
    assert!(
        texts.contains("a model that reads token ids is required for")
            && texts.contains("got architecture mlp"),
        "{texts}"
    );
    let gpt2 = root("tests/data/demo/model");
    let demo = format!(
        "SELECT * FROM ingest('r', '{}', '{}')",
        gpt2.display(),
        tiny().display()
    );
    assert!(
        db.refused(&demo)
            .await
            .contains("a model that reads vectors is required for the images of")
    );
    assert_eq!(
        db.number("SELECT count(*) FROM polysema.info.runs").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_of_images_is_a_corpus() {
    let db = Db::open().await;
    let (folder, model) = (
        tempfile::tempdir().expect("a folder"),
        tiny().join("mlp.safetensors"),
    );
    let alone = folder.path().join("digits.idx3-ubyte");
    fs::copy(tiny().join("t10k-images-idx3-ubyte"), &alone).expect("a copy");
    let count = |corpus: &Path| {
        format!(
            "SELECT count(*) FROM ingest('r', '{}', '{}', {{replace: true}})",
            model.display(),
            corpus.display()
        )
    };
    db.query(&count(&alone)).await;
    assert_eq!(db.number("SELECT count(*) FROM r.documents WHERE label IS NULL AND split IS NULL AND text IS NULL").await, 20);
    assert_eq!(
        db.number("SELECT count(*) FROM feature_clusters() WHERE token IS NULL")
            .await,
        db.number("SELECT count(*) FROM r.examples").await
    );
    db.query(&count(&tiny().join("train-images-idx3-ubyte.gz")))
        .await;
    assert_eq!(
        db.number("SELECT count(*) FROM r.documents WHERE label IS NOT NULL AND split = 'train'")
            .await,
        40
    );
    let no_folder = db
        .refused(&format!(
            "SELECT * FROM train_mlp('m', '{}')",
            alone.display()
        ))
        .await;
    assert!(
        no_folder.contains("train_mlp: a folder of idx files is required, got"),
        "{no_folder}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authors_neurons_are_theirs() {
    let (data, authors) = (shared("mnist"), shared("mnist-authors"));
    if !data.exists() || !authors.exists() {
        println!(
            "left out: no {} or no {}",
            data.display(),
            authors.display()
        );
        return;
    }
    let (db, model) = (Db::open().await, authors.join("mlp.safetensors"));
    let (share, _) = accuracy(&model, &data, Split::Test);
    assert!((share - 0.9399).abs() < 1e-9, "test accuracy {share}");
    db.query(&format!(
        "SELECT * FROM ingest('a', '{}', '{}', {{split: 'train', min_activation: 4.0059}})",
        model.display(),
        data.display()
    ))
    .await;
    for table in ["clusters", "neurons"] {
        db.query(&format!(
            "CREATE EXTERNAL TABLE their_{table} STORED AS PARQUET LOCATION '{}'",
            authors.join(format!("{table}.parquet")).display()
        ))
        .await;
    }
    db.query("CREATE TABLE their AS SELECT CAST(neuron AS INT) AS neuron, CAST(example AS INT) AS example, train_index, cluster FROM their_clusters WHERE layer = 0").await;
    assert_eq!(db.number("SELECT count(*) FROM their").await, 6100);
    db.none(
        "example lists",
        "SELECT t.*, e.neuron, e.example, e.doc_id FROM their t FULL JOIN a.examples e ON e.neuron = t.neuron AND e.example = t.example
         WHERE e.doc_id IS DISTINCT FROM t.train_index",
    )
    .await;
    db.none(
        "partitions",
        "SELECT neuron, count(DISTINCT ours) AS ours, count(DISTINCT theirs) AS theirs, count(DISTINCT ours * 1000 + theirs) AS both
         FROM (SELECT t.neuron, c.cluster AS ours, t.cluster AS theirs FROM their t
               LEFT JOIN feature_clusters(0, NULL, {threshold: 0.2}) c ON c.neuron = t.neuron AND c.example = t.example)
         GROUP BY neuron HAVING count(DISTINCT ours) <> count(DISTINCT theirs) OR count(DISTINCT ours) <> count(DISTINCT ours * 1000 + theirs)",
    )
    .await;
    let differs = [
        "max_distance",
        "mean_distance",
        "intra_cluster_distance",
        "inter_cluster_distance",
    ]
    .map(|c| format!("(p.{c} IS NULL) <> (t.{c} IS NULL) OR abs(p.{c} - t.{c}) > 1e-6"));
    db.none(
        "metrics within 1e-6",
        &format!(
            "SELECT t.*, p.* FROM their_neurons t
             LEFT JOIN neuron_polysemanticity(0, NULL, {{threshold: 0.2}}) p ON p.neuron = CAST(t.neuron AS INT)
             WHERE t.layer = 0 AND t.n_examples > 0 AND (p.n_examples IS DISTINCT FROM CAST(t.n_examples AS INT)
               OR p.n_clusters IS DISTINCT FROM CAST(t.n_clusters AS INT) OR {})",
            differs.join(" OR ")
        ),
    )
    .await;
    println!(
        "checked against mnist-authors: test accuracy 93.99 %, 6,100 examples, partitions and metrics of 61 neurons"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_epochs_classify_mnist() {
    let data = shared("mnist");
    if !data.exists() {
        println!("left out: no {}", data.display());
        return;
    }
    let db = Db::open().await;
    let rows = db.table(&format!("SELECT step, epoch, loss, accuracy, elapsed_seconds, message FROM train_mlp('mnist', '{}') WHERE accuracy IS NOT NULL", data.display())).await;
    println!("{rows}");
    let model = db
        .session
        .store()
        .resolve_model(Path::new("mnist"))
        .expect("stored");
    let (share, _) = accuracy(&model, &data, Split::Test);
    assert!(share > 0.94, "test accuracy {share}");
    assert!(
        rows.contains(&format!(
            "model mnist: epoch 3: test accuracy {:.2} %",
            100.0 * share
        )),
        "{rows}"
    );
}

/// The same place read by the reader and by a pass over one document.
#[test]
fn activations_are_those_of_a_pass_over_one_document() {
    let (model, corpus) = (
        root("tests/data/demo/model"),
        root("tests/data/demo/corpus.jsonl"),
    );
    for (bos, site) in [(false, Site::MlpOut), (true, Site::ResidPost)] {
        let options = CorpusOptions {
            context: 48,
            max_documents: Some(40),
            bos,
            batch_size: 7,
            ..Default::default()
        };
        let mut reader =
            CorpusReader::open(&model, &corpus, &options, &mut || Ok(())).expect("a reader");
        let hook = HookPoint { layer: 1, site };
        let mut seen = std::collections::BTreeMap::new();
        reader
            .activations(hook, &mut |batch| {
                for (row, values) in batch.values.chunks(batch.d).enumerate() {
                    let key = (batch.doc_ids[row], batch.pos[row]);
                    assert!(seen.insert(key, values.to_vec()).is_none(), "{key:?} once");
                }
                Ok(())
            })
            .expect("activations");
        assert_eq!(seen.len(), reader.n_rows());
        assert_eq!(reader.n_documents(), 40);
        for document in 0..reader.n_documents() {
            let ids = reader
                .token_ids(document..document + 1)
                .expect("ids")
                .expect("tokens");
            let mut probe = Probe {
                hook: Some(hook),
                seen: vec![],
            };
            let input = Input::Tokens {
                ids: &ids,
                seq: ids.len(),
            };
            reader.model().forward(input, &mut probe).expect("a pass");
            let whole = probe.seen;
            let d = whole.len() / ids.len();
            for pos in usize::from(bos)..ids.len() {
                let values = &seen[&(document as u32, pos as u32)];
                let off = values
                    .iter()
                    .zip(&whole[pos * d..])
                    .map(|(a, b)| (a - b).abs());
                assert!(
                    off.fold(0.0, f32::max) < 1e-4,
                    "document {document} position {pos}"
                );
            }
            assert!(
                !seen.contains_key(&(document as u32, ids.len() as u32)),
                "no padding"
            );
            assert!(
                !bos || !seen.contains_key(&(document as u32, 0)),
                "no first token"
            );
        }
    }
}

/// Every place a model lists is offered, and the others are refused.
#[test]
fn every_listed_site_has_vectors() {
    for (model, corpus) in [
        (
            root("tests/data/demo/model"),
            root("tests/data/demo/corpus.jsonl"),
        ),
        (tiny().join("mlp.safetensors"), tiny()),
    ] {
        let options = CorpusOptions {
            max_documents: Some(2),
            ..Default::default()
        };
        let mut reader =
            CorpusReader::open(&model, &corpus, &options, &mut || Ok(())).expect("a reader");
        for site in reader.model().sites() {
            let mut rows = 0;
            let hook = HookPoint {
                layer: 0,
                site: *site,
            };
            let counted = reader.activations(hook, &mut |batch| {
                rows += batch.values.len() / batch.d;
                Ok(())
            });
            counted.unwrap_or_else(|error| panic!("{hook}: {error}"));
            assert_eq!(rows, reader.n_rows(), "{hook}");
        }
        for hook in [
            HookPoint {
                layer: 0,
                site: Site::AttnScores,
            },
            HookPoint {
                layer: 9,
                site: Site::MlpPost,
            },
        ] {
            let error = reader
                .activations(hook, &mut |_| Ok(()))
                .expect_err("refused");
            assert!(error.strip_backtrace().contains("is required"), "{error}");
        }
    }
}
