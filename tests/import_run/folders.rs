//! Small folders of arrays: what is read from them, and what is wrong in them, by name and without a trace in the store.

use std::fs;
use std::path::PathBuf;

use candle_core::Tensor;
use tempfile::TempDir;

use super::{write_floats, write_integers};
use crate::database::Db;

/// A folder of two documents of two tokens, with one layer of two neurons.
struct Desk {
    folder: TempDir,
    db: Db,
}

impl Desk {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a writable folder");
        let db = Db::open(&folder.path().join("store")).await;
        let desk = Desk { folder, db };
        desk.reset();
        desk.db
            .query(&desk.sql("good", "{activation_function: 'relu'}"))
            .await;
        desk
    }

    fn arrays(&self) -> PathBuf {
        self.folder.path().join("arrays")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.arrays().join(name)
    }

    /// The folder as it should be.
    fn reset(&self) {
        if self.arrays().exists() {
            fs::remove_dir_all(self.arrays()).expect("the folder");
        }
        fs::create_dir(self.arrays()).expect("a writable folder");
        write_integers(&self.path("doc_id.npy"), &[7, 7, 9, 9]);
        write_integers(&self.path("pos.npy"), &[0, 1, 0, 1]);
        let h = [1.0, 0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 3.0, 1.0, 1.0, 1.0, 1.0];
        write_floats(&self.path("0.h.npy"), &[4, 3], &h);
        write_floats(
            &self.path("0.w_in.npy"),
            &[2, 3],
            &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        );
        write_floats(&self.path("0.b_in.npy"), &[2], &[0.0, 0.5]);
        fs::write(self.path("tokens.txt"), "a\n b\nc\n d\n").expect("a writable folder");
    }

    fn sql(&self, run: &str, options: &str) -> String {
        format!(
            "SELECT * FROM import_run('{run}', '{}', {options})",
            self.arrays().display()
        )
    }

    /// The folder with one thing changed is refused, as a new run and in place of the good one, which stays.
    async fn refuses(&self, change: impl FnOnce(&Self), parts: &[&str]) {
        self.reset();
        change(self);
        let before = self.db.text("SELECT * FROM good.examples").await;
        for sql in [
            self.sql("bad", "{activation_function: 'relu'}"),
            self.sql("good", "{activation_function: 'relu', replace: true}"),
        ] {
            let error = self.db.refused(&sql).await;
            for part in ["import_run: "].iter().chain(parts) {
                assert!(error.contains(part), "{error:?} names {part:?}");
            }
        }
        assert_eq!(self.db.text("SELECT * FROM good.examples").await, before);
        let runs = self
            .db
            .text("SELECT count(*) AS n FROM polysema.info.runs")
            .await;
        assert!(runs.contains("| 1 |"), "{runs}");
        let left = fs::read_dir(self.folder.path().join("store/runs")).expect("the store");
        assert_eq!(left.count(), 1, "nothing half-written");
    }
}

#[tokio::test]
async fn a_small_folder_is_read() {
    let desk = Desk::new().await;
    desk.db.query("SET polysema.run = 'good'").await;
    let sql = "SELECT neuron, example, doc_id, pos, token, activation, window_tokens, pre_mlp FROM examples ORDER BY 1, 2";
    let expected = "\
+--------+---------+--------+-----+-------+------------+---------------+-----------------+
| neuron | example | doc_id | pos | token | activation | window_tokens | pre_mlp         |
+--------+---------+--------+-----+-------+------------+---------------+-----------------+
| 0      | 0       | 0      | 0   | a     | 1.0        | [a,  b]       | [1.0, 0.0, 0.0] |
| 0      | 1       | 1      | 1   |  d    | 1.0        | [c,  d]       | [1.0, 1.0, 1.0] |
| 1      | 0       | 1      | 0   | c     | 3.5        | [c,  d]       | [0.0, 3.0, 1.0] |
+--------+---------+--------+-----+-------+------------+---------------+-----------------+";
    assert_eq!(desk.db.text(sql).await, expected);

    // Without doc_id and tokens every row is a document of its own, as with images.
    desk.reset();
    for name in ["doc_id.npy", "pos.npy", "tokens.txt"] {
        fs::remove_file(desk.path(name)).expect("the file");
    }
    desk.db
        .query(&desk.sql(
            "rows",
            "{activation_function: 'relu', activation_threshold: 0.1}",
        ))
        .await;
    desk.db.query("SET polysema.run = 'rows'").await;
    let sql = "SELECT neuron, doc_id, pos, activation, token FROM examples WHERE neuron = 0";
    let expected = "\
+--------+--------+-----+------------+-------+
| neuron | doc_id | pos | activation | token |
+--------+--------+-----+------------+-------+
| 0      | 0      | 0   | 1.0        |       |
| 0      | 1      | 0   | 1.0        |       |
| 0      | 3      | 0   | 1.0        |       |
+--------+--------+-----+------------+-------+";
    assert_eq!(desk.db.text(sql).await, expected);
    assert!(
        desk.db
            .text("SELECT context FROM feature_clusters(0, 0)")
            .await
            .contains("context")
    );
}

#[tokio::test]
async fn wrong_folders_are_refused_by_name() {
    let desk = Desk::new().await;
    let remove =
        |name: &'static str| move |desk: &Desk| fs::remove_file(desk.path(name)).expect("the file");
    desk.refuses(
        remove("0.h.npy"),
        &["an array 0.h is required", "arrays, got none"],
    )
    .await;
    desk.refuses(remove("0.w_in.npy"), &["an array 0.w_in is required"])
        .await;
    desk.refuses(
        |d| fs::remove_dir_all(d.arrays()).expect("it"),
        &["read ", "No such file"],
    )
    .await;
    let empty = |d: &Desk| {
        fs::remove_dir_all(d.arrays()).expect("the folder");
        fs::create_dir(d.arrays()).expect("a writable folder");
    };
    desk.refuses(
        empty,
        &["arrays of layers, 0.h and 0.w_in at least, are required"],
    )
    .await;

    // Names.
    let named = |name: &'static str| move |d: &Desk| write_integers(&d.path(name), &[1, 2, 3, 4]);
    let part = "an array called doc_id, pos, token_id or, for layer L, L.h, L.activations";
    desk.refuses(named("docid.npy"), &[part, "got 'docid'"])
        .await;
    desk.refuses(named("0.weights.npy"), &[part, "got '0.weights'"])
        .await;
    desk.refuses(named("00.h.npy"), &[part, "got '00.h'"]).await;
    desk.refuses(
        named("2.h.npy"),
        &["layers from 0 without a gap are required, got 2 after 1 layers"],
    )
    .await;
    let pickled = |d: &Desk| fs::write(d.path("h.pt"), b"").expect("a writable folder");
    desk.refuses(
        pickled,
        &["arrays as .npy or .safetensors are required", "h.pt"],
    )
    .await;
    let twice = |d: &Desk| {
        let h = Tensor::zeros((4, 3), candle_core::DType::F32, &candle_core::Device::Cpu)
            .expect("zeros");
        let tensors = [("0.h".to_string(), h)].into();
        candle_core::safetensors::save(&tensors, d.path("more.safetensors"))
            .expect("a writable folder");
    };
    desk.refuses(
        twice,
        &["0.h of ", "one array of a name is required, got another in"],
    )
    .await;
    let both = |d: &Desk| fs::write(d.path("tokens.jsonl"), b"").expect("a writable folder");
    desk.refuses(both, &["one of tokens.jsonl, tokens.txt is required"])
        .await;

    // Shapes.
    let floats = |name: &'static str, shape: &'static [usize]| {
        move |d: &Desk| write_floats(&d.path(name), shape, &vec![1.0; shape.iter().product()])
    };
    desk.refuses(
        floats("0.h.npy", &[12]),
        &["0.h of", "shape [rows, d_in] is required, got [12]"],
    )
    .await;
    desk.refuses(
        floats("0.h.npy", &[4, 2]),
        &["d_in of w_in, 3, is required, got shape [4, 2]"],
    )
    .await;
    desk.refuses(
        floats("0.h.npy", &[3, 3]),
        &["the 3 rows of 0.h are required, got 4"],
    )
    .await;
    desk.refuses(
        floats("0.b_in.npy", &[3]),
        &[
            "0.b_in of",
            "n_neurons of w_in, 2, is required, got shape [3]",
        ],
    )
    .await;
    desk.refuses(
        floats("0.activations.npy", &[5, 2]),
        &["the 4 rows of 0.h are required, got 5"],
    )
    .await;
    desk.refuses(
        floats("0.activations.npy", &[4, 3]),
        &["n_neurons of w_in, 2"],
    )
    .await;
    desk.refuses(floats("0.w_out.npy", &[1, 3]), &["0.w_out of"])
        .await;
    desk.refuses(floats("0.w_in.npy", &[0, 3]), &["at least one neuron"])
        .await;
    desk.refuses(
        floats("doc_id.npy", &[4]),
        &["doc_id of", "whole numbers are required, got floats"],
    )
    .await;
    desk.refuses(
        named("0.b_in.npy"),
        &["0.b_in of", "floats are required, got whole numbers"],
    )
    .await;

    // Values.
    for (bad, name) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        let poisoned = |d: &Desk| {
            let mut h = [0.5; 12];
            h[7] = bad;
            write_floats(&d.path("0.h.npy"), &[4, 3], &h);
        };
        desk.refuses(
            poisoned,
            &["0.h of", &format!("got {name} in row 2, column 1")],
        )
        .await;
        let poisoned = |d: &Desk| {
            write_floats(
                &d.path("0.w_in.npy"),
                &[2, 3],
                &[0.0, bad, 0.0, 0.0, 0.0, 0.0],
            )
        };
        desk.refuses(
            poisoned,
            &["0.w_in of", &format!("got {name} in row 0, column 1")],
        )
        .await;
        let mut activations = [0.0; 8];
        activations[5] = bad;
        let poisoned = |d: &Desk| write_floats(&d.path("0.activations.npy"), &[4, 2], &activations);
        desk.refuses(
            poisoned,
            &[
                "0.activations of",
                &format!("got {name} in row 2, column 1"),
            ],
        )
        .await;
    }

    // Rows.
    let ids = |name: &'static str, values: [i64; 4]| {
        move |d: &Desk| write_integers(&d.path(name), &values)
    };
    let apart = "the rows of a document are required one after the other, got 7 again in row 3";
    desk.refuses(ids("doc_id.npy", [7, 7, 9, 7]), &["doc_id of", apart])
        .await;
    let counted =
        "positions that count from 0 within a document are required, got 2 in row 1 in place of 1";
    desk.refuses(ids("pos.npy", [0, 2, 0, 1]), &["pos of", counted])
        .await;
    let tokens = |text: &'static str, name: &'static str| {
        move |d: &Desk| {
            fs::remove_file(d.path("tokens.txt")).expect("the file");
            fs::write(d.path(name), text).expect("a writable folder");
        }
    };
    desk.refuses(
        tokens("a\nb\n", "tokens.txt"),
        &["a token for each of the 4 rows is required, got 2"],
    )
    .await;
    desk.refuses(
        tokens("\"a\"\n3\n", "tokens.jsonl"),
        &["line 2: a JSON string is required"],
    )
    .await;

    // Cut files.
    for name in ["0.h.npy", "doc_id.npy"] {
        let cut = |d: &Desk| {
            let whole = fs::read(d.path(name)).expect("the file");
            fs::write(d.path(name), &whole[..whole.len() - 3]).expect("a writable folder");
        };
        desk.refuses(cut, &[name, "bytes are required for shape"])
            .await;
    }

    // The folder is right, and what is missing is the option.
    desk.reset();
    let error = desk.db.refused(&desk.sql("bad", "{window: 3}")).await;
    let part =
        "an array 0.activations, or the option activation_function to compute it, is required";
    assert!(error.contains(part), "{error}");
}

#[tokio::test]
async fn weights_and_ids_that_do_not_fit() {
    let desk = Desk::new().await;
    // As many neurons as inputs: the transposed matrix fits the shapes too. relu(h W^T) by hand.
    let square = |d: &Desk, w_in: &[f32]| {
        let h = [1.0, 2.0, 0.0, 3.0, -1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 2.0];
        let activations = [5.0, 0.0, 0.0, 1.0, 6.0, 0.0, 2.0, 0.0, 1.0, 1.0, 1.5, 2.0];
        write_floats(&d.path("0.h.npy"), &[4, 3], &h);
        write_floats(&d.path("0.activations.npy"), &[4, 3], &activations);
        write_floats(&d.path("0.w_in.npy"), &[3, 3], w_in);
        fs::remove_file(d.path("0.b_in.npy")).expect("the file");
    };
    let right = [1.0, 2.0, 0.0, 1.5, -1.5, 0.0, 0.0, 0.0, 1.0];
    let turned = [1.0, 1.5, 0.0, 2.0, -1.5, 0.0, 0.0, 0.0, 1.0];
    desk.refuses(
        |d| square(d, &turned),
        &["0.w_in of", "got the transposed matrix"],
    )
    .await;
    desk.reset();
    square(&desk, &right);
    desk.db
        .query(&desk.sql("right", "{activation_function: 'relu'}"))
        .await;
    desk.db.query("SELECT * FROM drop_run('right')").await;
    for id in [1_i64 << 31, (1 << 32) + 5, -(1 << 40)] {
        desk.refuses(
            |d| write_integers(&d.path("token_id.npy"), &[1, 2, id, 4]),
            &[
                "token_id of",
                &format!("token ids of 32 bits are required, got {id} in row 2"),
            ],
        )
        .await;
    }
}
