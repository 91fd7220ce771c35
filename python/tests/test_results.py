"""What other libraries make of results."""

import re
import subprocess
import sys

import duckdb
import numpy
import pandas
import polars
import pyarrow
import pytest


def test_every_library_sees_the_same_rows(db):
    clusters = db.feature_clusters(3, 417)
    rows = clusters.rows()
    table = pyarrow.table(clusters)
    assert table.column_names == clusters.columns
    assert [tuple(row.values()) for row in table.to_pylist()] == rows
    assert polars.DataFrame(clusters).rows() == rows
    assert clusters.to_polars().rows() == rows
    assert duckdb.sql("SELECT * FROM clusters").fetchall() == rows
    frame = clusters.to_pandas()
    assert list(frame.columns) == clusters.columns
    assert frame["example"].tolist() == [row[3] for row in rows]
    assert frame["context"].tolist() == [row[8] for row in rows]


def test_rows_come_batch_by_batch(db):
    reader = db.sql("SELECT value FROM generate_series(1, 1000000000)").to_reader()
    assert reader.read_next_batch().num_rows < 100_000
    reader.close()


def test_rows_come_in_the_order_of_neurons(db):
    db.sql("SET datafusion.execution.target_partitions = 5")
    keys = {
        "feature_clusters()": "layer, neuron",
        "neuron_polysemanticity()": "layer, neuron",
        "examples": "layer, neuron, example",
        "tokens": "doc_id, pos",
    }
    for table, key in keys.items():
        rows = db.sql(f"SELECT {key} FROM {table}").rows()
        assert len(rows) > 2000 and rows == sorted(rows), table
    whole = db.feature_clusters().rows()
    assert whole == [row for layer in range(4) for row in db.feature_clusters(layer)]
    db.sql("CREATE TABLE public.written AS SELECT layer, neuron, example FROM examples")
    written = db.sql("SELECT * FROM public.written").rows()
    assert written == sorted(written)
    db.sql("DROP TABLE public.written")


def test_the_shell_gives_the_same_rows_in_the_same_order(db, store):
    call = [sys.executable, "-c", "import polysema._cli; polysema._cli.main()", "--store", str(store), "--run", "demo"]
    statement = "SELECT layer, neuron, example, \"cluster\" FROM feature_clusters()"
    done = subprocess.run([*call, "-c", statement, "--format", "csv"], capture_output=True, text=True, check=True)
    lines = [tuple(map(int, line.split(","))) for line in done.stdout.splitlines()[1:]]
    assert lines == db.sql(statement).rows()


def test_vectors_are_an_array(db):
    examples = db.sql("SELECT pre_mlp, activation, neuron FROM examples WHERE layer = 1 AND neuron < 4 ORDER BY neuron, example")
    vectors = examples.to_numpy("pre_mlp")
    assert vectors.dtype == numpy.float32 and vectors.shape == (len(examples.rows()), 128)
    assert vectors.tolist() == [row[0] for row in examples.rows()]
    assert examples.to_numpy("activation").shape == (len(vectors),)
    ragged = db.sql("SELECT [1.0] AS v UNION ALL SELECT [1.0, 2.0]")
    with pytest.raises(ValueError, match="one width"):
        ragged.to_numpy("v")


def test_a_job_runs_once(db):
    made = db.sql("CREATE TABLE once AS SELECT 1 AS n")
    assert made.rows() == made.rows()
    assert "once" in repr(db.sql("SELECT table_name FROM information_schema.tables WHERE table_name = 'once'"))


def test_frames_go_in(db):
    frame = pandas.DataFrame({"n": [1, 2, 3], "s": ["a", None, "c"]})
    expected = [(1, "a"), (2, None), (3, "c")]
    inputs = {
        "pandas": frame,
        "polars": polars.DataFrame({"n": [1, 2, 3], "s": ["a", None, "c"]}),
        "arrow": pyarrow.table({"n": [1, 2, 3], "s": ["a", None, "c"]}),
        "batch": pyarrow.record_batch({"n": [1, 2, 3], "s": ["a", None, "c"]}),
        "duck": duckdb.sql("SELECT * FROM (VALUES (1, 'a'), (2, NULL), (3, 'c')) t(n, s)"),
        "own": db.sql("SELECT * FROM (VALUES (1, 'a'), (2, NULL), (3, 'c')) t(n, s)"),
    }
    for name, table in inputs.items():
        db.register(f"of_{name}", table)
        assert db.sql(f"SELECT n, s FROM public.of_{name} ORDER BY n").rows() == expected, name
    db.register("of_texts", iter(["a", "b"]))
    assert db.sql("SELECT text FROM public.of_texts").rows() == [("a",), ("b",)]
    db.unregister("of_texts")
    with pytest.raises(TypeError, match="iterable of texts is required, got int"):
        db.register("n", 3)


def test_arrays_share_their_memory(db):
    vectors = numpy.random.default_rng(7).standard_normal((50, 12)).astype(numpy.float32)
    db.register("acts", {"id": numpy.arange(50), "vector": vectors})
    query = vectors[7] + 0.1 * vectors[8]
    found = db.nearest("public.acts", "vector", query, 5).rows()
    norms = numpy.linalg.norm(vectors, axis=1) * numpy.linalg.norm(query)
    cosines = (vectors.astype(numpy.float64) @ query) / norms
    expected = numpy.argsort(-cosines)[:5]
    assert [row[0] for row in found] == expected.tolist()
    assert numpy.allclose([row[-1] for row in found], cosines[expected], atol=1e-6)
    vectors[0, 0] = 42.0
    assert db.sql("SELECT vector[1] FROM public.acts WHERE id = 0").rows() == [(42.0,)]
    # What does not lie row by row is copied.
    for other in [vectors[:, ::2], numpy.asfortranarray(vectors), vectors.T, vectors[::-1]]:
        db.register("other", {"v": other})
        assert db.sql("SELECT v FROM public.other").to_numpy("v").tolist() == other.tolist()
    db.register("other", vectors)
    db.register("numbers", vectors[:, 0].copy())
    assert db.sql("SELECT vector FROM other").columns == ["vector"] and db.sql("SELECT * FROM numbers").columns == ["value"]
    db.register("mixed", {"v": vectors[:2], "s": ["a", None], "t": numpy.array(["b", "c"])})
    assert [row[1:] for row in db.sql("SELECT * FROM mixed")] == [("a", "b"), (None, "c")]
    for wrong, message in [
        ({"v": vectors.reshape(5, 10, 12)}, "shape"),
        ({"v": vectors.astype(numpy.complex64)}, "got <c8"),
        ({"v": [1, None]}, "v: numbers or texts are required"),
        ({"v": vectors, "w": vectors[1:]}, "wrong: columns of one length are required, got {'v': 50, 'w': 49}"),
        ([1, 2], "wrong: texts are required in an iterable, got int"),
        (pandas.Series([1, 2]), "a table is required, got one column, a Series"),
        (polars.Series("s", [1, 2]), "a table is required, got one column, a Series"),
        (pyarrow.array([1, 2]), "a table is required, got one column, a Int64Array"),
    ]:
        with pytest.raises((TypeError, ValueError), match=re.escape(message)):
            db.register("wrong", wrong)


def test_what_is_printed_names_columns_and_marks_the_key_token(db):
    clusters = db.feature_clusters(3, 417)
    text = repr(clusters)
    assert text.splitlines()[0].split() == [w for c in clusters.columns for w in (c, "|")][:-1]
    assert text.splitlines()[-1] == "(the first 20 rows)"
    page = clusters._repr_html_()
    assert page.count("<mark>") == 20 and "«" not in page
    db.register("hostile", pandas.DataFrame({"<b>": ["<script>"], "context": ["a «<i>» b"]}))
    page = db.sql("SELECT * FROM public.hostile")._repr_html_()
    assert "<script>" not in page and "<b>" not in page and "<mark>&lt;i&gt;</mark>" in page
    card = db.neuron("blocks.3.mlp", 417)
    assert repr(card) == repr(db.neuron(3, 417))
    assert card._repr_html_().count("<h5>") == card.metrics["n_clusters"]
    assert "cluster 0" in repr(card)


def test_a_card_of_rows_without_texts_names_the_rows(db):
    vectors = numpy.random.default_rng(3).standard_normal((4000, 8)).astype(numpy.float32)
    db.register("vectors", vectors)
    db.train_sae("of_rows", "public.vectors", d_sae=16, max_tokens=4096)
    card = db.neuron(0, 3)
    assert "position 0: " in repr(card) and "document " in card._repr_html_()
    found = db.sql("SELECT doc_id, pre_mlp FROM of_rows.examples")
    assert (found.to_numpy("pre_mlp") == vectors[found.to_numpy("doc_id")]).all()
    db.drop_run("of_rows", cascade=True)
    db.use("demo")


def test_duckdb_and_back(db):
    clusters = db.feature_clusters(3)
    counted = duckdb.sql("SELECT neuron, count(DISTINCT cluster) AS n FROM clusters GROUP BY neuron HAVING n > 3 ORDER BY n DESC, neuron")
    db.register("counted", counted)
    back = db.sql(
        "SELECT c.neuron, c.n, p.n_clusters FROM public.counted c "
        "JOIN neuron_polysemanticity(3) p ON p.neuron = c.neuron ORDER BY c.n DESC, c.neuron"
    ).rows()
    assert len(back) > 10 and [row[:2] for row in back] == counted.fetchall()
    assert all(n == n_clusters for _, n, n_clusters in back)
    # The rows are computed when DuckDB asks, each time.
    with duckdb.connect() as connection:
        connection.register("clusters", clusters)
        connection.sql("CREATE TABLE kept AS SELECT * FROM clusters")
        same = connection.sql("SELECT count(*) FROM kept SEMI JOIN clusters USING (neuron, example)").fetchall()
        assert same == [(len(clusters.rows()),)]
