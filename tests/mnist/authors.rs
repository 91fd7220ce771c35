//! A classifier against what is published of it, and one of our own: tiny ones that are bundled, and where MNIST and the
//! authors' files lie beside the project those too.
//!
//! Numbers: tests/reference/mnist_clusters.py (tests/data/mnist-tiny-golden), SciPy 1.17 in float64; the authors' page.

use std::path::{Path, PathBuf};

use polysema::corpus::Split;

use super::{Db, accuracy, root, shared, tiny};

/// A classifier and an autoencoder on it, with the lists, clusters and metrics that others found.
pub struct Published {
    pub images: PathBuf,
    pub model: PathBuf,
    pub sae: PathBuf,
    /// `clusters.parquet` and `neurons.parquet`.
    tables: PathBuf,
    pub min_activation: f64,
    /// Where the dendrograms of the neurons, and of the latents, are cut.
    pub cuts: [f64; 2],
    /// Their examples.
    pub examples: [i64; 2],
    /// Correct test images.
    accuracy: f64,
}

impl Published {
    pub fn tiny() -> Self {
        let tables = root("tests/data/mnist-tiny-golden");
        Self {
            images: tiny(),
            model: tiny().join("mlp.safetensors"),
            sae: tables.join("sae.safetensors"),
            tables,
            min_activation: 0.5,
            cuts: [0.5, 0.2],
            examples: [107, 228],
            accuracy: 0.1,
        }
    }

    /// The authors', beside the project.
    pub fn authors() -> Option<Self> {
        let (images, authors) = (shared("mnist"), shared("mnist-authors"));
        (images.exists() && authors.exists()).then(|| Self {
            images,
            model: authors.join("mlp.safetensors"),
            sae: authors.join("sae-standard.safetensors"),
            tables: authors,
            min_activation: 4.0059,
            cuts: [0.2, 0.05],
            examples: [6100, 15_494],
            accuracy: 0.9399,
        })
    }

    /// A run of the training images beside the published tables.
    pub async fn open(&self) -> Db {
        let db = Db::new().await;
        db.query(&format!(
            "SELECT * FROM ingest('a', '{}', '{}', {{split: 'train', min_activation: {}}})",
            self.model.display(),
            self.images.display(),
            self.min_activation
        ))
        .await;
        for table in ["clusters", "neurons"] {
            db.query(&format!(
                "CREATE EXTERNAL TABLE their_{table} STORED AS PARQUET LOCATION '{}'",
                self.tables.join(format!("{table}.parquet")).display()
            ))
            .await;
        }
        db
    }

    /// Compares example lists, partitions and metrics of the neurons of a layer.
    pub async fn compare(&self, db: &Db, layer: usize) {
        let threshold = self.cuts[layer];
        db.query(&format!(
            "CREATE TABLE their AS
             SELECT CAST(neuron AS INT) AS neuron, CAST(example AS INT) AS example, train_index, cluster
             FROM their_clusters WHERE layer = {layer}"
        ))
        .await;
        let n = db.integer("SELECT count(*) FROM their").await;
        assert_eq!(n, self.examples[layer]);
        db.none(
            "example lists",
            &format!(
                "SELECT t.*, e.neuron, e.example, e.doc_id
                 FROM their t
                 FULL JOIN (SELECT * FROM a.examples WHERE layer = {layer}) e
                   ON e.neuron = t.neuron AND e.example = t.example
                 WHERE e.doc_id IS DISTINCT FROM t.train_index"
            ),
        )
        .await;
        assert_theirs(db, layer, threshold).await;
        println!("checked against {}: {n} examples", self.tables.display());
    }
}

/// Partitions and metrics of the neurons of a layer are those of the tables `their` and `their_neurons`.
async fn assert_theirs(db: &Db, layer: usize, threshold: f64) {
    db.none(
        "partitions",
        &format!(
            "SELECT neuron
             FROM (SELECT t.neuron, c.cluster AS ours, t.cluster AS theirs
                   FROM their t
                   LEFT JOIN feature_clusters({layer}, {{threshold: {threshold}}}) c
                     ON c.neuron = t.neuron AND c.example = t.example)
             GROUP BY neuron
             HAVING count(DISTINCT ours) <> count(DISTINCT theirs)
                 OR count(DISTINCT ours) <> count(DISTINCT ours * 1000 + theirs)"
        ),
    )
    .await;
    let differs = [
        "max_distance",
        "mean_distance",
        "intra_cluster_distance",
        "inter_cluster_distance",
    ]
    .map(|c| format!("((p.{c} IS NULL) <> (t.{c} IS NULL)) OR abs(p.{c} - t.{c}) > 1e-6"));
    db.none(
        "metrics within 1e-6",
        &format!(
            "SELECT t.*, p.*
             FROM their_neurons t
             LEFT JOIN neuron_polysemanticity({layer}, {{threshold: {threshold}}}) p
               ON p.neuron = CAST(t.neuron AS INT)
             WHERE t.layer = {layer} AND t.n_examples > 0
               AND ((p.n_examples IS DISTINCT FROM CAST(t.n_examples AS INT))
                 OR (p.n_clusters IS DISTINCT FROM CAST(t.n_clusters AS INT)) OR {})",
            differs.join(" OR ")
        ),
    )
    .await;
}

/// The authors' clusters and metrics of some neurons and latents, from vectors that have the distances of theirs.
#[tokio::test(flavor = "multi_thread")]
async fn the_authors_clusters_are_ours() {
    for (layer, threshold, n_neurons) in [(0, 0.2, 6), (1, 0.05, 14)] {
        let db = Db::new().await;
        let tables = root("tests/data/mnist-authors");
        for table in ["examples", "neurons"] {
            let file = tables.join(format!("{table}.parquet"));
            db.query(&format!(
                "CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{}'",
                file.display()
            ))
            .await;
        }
        let of_layer = format!("FROM examples WHERE layer = {layer}");
        db.query(&format!(
            "CREATE TABLE their AS SELECT neuron, example, their_cluster AS cluster {of_layer}"
        ))
        .await;
        db.query("CREATE VIEW their_neurons AS SELECT * FROM neurons")
            .await;
        let neurons = db.integer("SELECT count(DISTINCT neuron) FROM their").await;
        assert_eq!(neurons, n_neurons);
        assert_theirs(&db, layer, threshold).await;
    }
}

async fn compare_neurons(published: Published) {
    let (share, _) = accuracy(&published.model, &published.images, Split::Test);
    assert!(
        (share - published.accuracy).abs() < 1e-9,
        "test accuracy {share}"
    );
    let db = published.open().await;
    published.compare(&db, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn published_neurons_are_ours() {
    compare_neurons(Published::tiny()).await;
    if let Some(authors) = Published::authors() {
        compare_neurons(authors).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_says_how_many_images_it_classifies() {
    // Forty images are learned by heart, and say little about others.
    let options = "hidden: [16], epochs: 30, batch_size: 8, learning_rate: 0.003";
    assert_trained(&tiny(), options, 30, (Split::Train, 0.95)).await;
    let images = shared("mnist");
    if images.exists() {
        assert_trained(&images, "", 3, (Split::Test, 0.94)).await;
    }
}

async fn assert_trained(images: &Path, options: &str, epochs: usize, least: (Split, f64)) {
    let db = Db::new().await;
    let rows = db
        .text(&format!(
            "SELECT step, epoch, loss, accuracy, elapsed_seconds, message
             FROM train_mlp('mnist', '{}', {{{options}}}) WHERE accuracy IS NOT NULL",
            images.display()
        ))
        .await;
    println!("{rows}");
    let model = db.session.store().resolve_model(Path::new("mnist"));
    let model = model.expect("stored");
    let (learned, _) = accuracy(&model, images, least.0);
    assert!(learned > least.1, "accuracy {learned}");
    let (share, _) = accuracy(&model, images, Split::Test);
    let message = format!(
        "model mnist: epoch {epochs}: test accuracy {:.2} %",
        100.0 * share
    );
    assert!(rows.contains(&message), "{rows}");
}
