"""The functions in sessions of datafusion-python, held against the same questions of a connection."""

import subprocess
import sys
from importlib import metadata

import numpy
import pyarrow
import pytest
from datafusion import SessionConfig, SessionContext

import polysema
import polysema.datafusion

#: Questions of the plugin, in an order of their own.
QUESTIONS = [
    'SELECT layer, neuron, example, "cluster", token, context, is_central FROM feature_clusters(3, 417) ORDER BY example',
    'SELECT neuron, example, "cluster" FROM feature_clusters(2) WHERE neuron IN (4, 186, 500) ORDER BY neuron, example',
    "SELECT * FROM neuron_polysemanticity() ORDER BY layer, neuron",
    "SELECT * FROM neuron_polysemanticity(1, NULL, {embedding: 'pre_mlp', n_clusters: 5}) WHERE silhouette > 0.3 ORDER BY neuron",
    "SELECT * FROM linkage(3, 417) ORDER BY step",
    "SELECT * FROM pairwise_distances(3, 417) ORDER BY example1, example2 LIMIT 100",
    'SELECT * FROM cluster_summary(0, 7) ORDER BY "cluster"',
    "SELECT layer, neuron, token, similarity FROM nearest('examples', 'pre_mlp', "
    "[{query}], 20, {min_similarity: 0.1}) ORDER BY similarity DESC, layer, neuron, example",
    "SELECT * FROM similar_features(3, 417, 0) ORDER BY similarity DESC, layer, neuron, \"cluster\" LIMIT 9",
    "SELECT layer, count(*) AS n, max(n_clusters) AS most FROM neuron_polysemanticity() GROUP BY layer ORDER BY layer",
    "SELECT n.neuron, e.example FROM neurons n JOIN feature_clusters(1) e ON n.neuron = e.neuron "
    'WHERE n.layer = 1 AND n.max_activation > 3 AND e."cluster" = 1 ORDER BY n.neuron, e.example',
    "SELECT neuron, n_clusters FROM neuron_polysemanticity(2) WHERE neuron > (SELECT max(neuron) - 9 FROM neurons) "
    "AND n_clusters IN (SELECT layer + 1 FROM layers) ORDER BY neuron",
    "SELECT layer, round(vector_norm(vector_mean(pre_mlp)), 4) AS norm, polysemanticity(pre_mlp, 0.5)['n_clusters'] AS n "
    "FROM examples WHERE neuron = 417 GROUP BY layer ORDER BY layer",
    "SELECT e.neuron, round(cosine_similarity(e.pre_mlp, neuron_embedding(e.pre_mlp, n.w_in)), 5) AS s FROM examples e "
    "JOIN neurons n ON n.layer = e.layer AND n.neuron = e.neuron WHERE e.layer = 0 AND e.neuron < 20 ORDER BY e.neuron, e.example",
]


def rows(batches):
    """Rows as a connection gives them."""
    return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]


def close(ours, theirs):
    """Whether rows are equal, fractions to a millionth: vectors are summed in other orders."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        for a, b in zip(one, other, strict=True):
            assert a == b or (isinstance(a, float) and a == pytest.approx(b, rel=1e-5, abs=1e-6)), (one, other)


@pytest.fixture(scope="session")
def tables(store):
    with polysema.connect(store, run="demo") as db:
        return {name: db.sql(f"SELECT * FROM {name}").to_arrow() for name in ["examples", "neurons", "layers", "tokens"]}


@pytest.fixture(params=[1, 5])
def guest(tables, request):
    """A session with the run's tables in several partitions, their rows in no order."""
    ctx = SessionContext(SessionConfig().with_target_partitions(request.param).with_batch_size(1000))
    for name, table in tables.items():
        shuffled = table.take(numpy.random.default_rng(7).permutation(len(table)))
        batches = shuffled.combine_chunks().to_batches(max_chunksize=-(-len(table) // 7))
        ctx.register_record_batches(name, [[batch] for batch in batches])
    polysema.datafusion.register(ctx)
    return ctx


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_session_answers_as_a_connection_does(guest, db, tables, question):
    query = ", ".join(str(value) for value in tables["examples"]["pre_mlp"][5].as_py())
    question = question.replace("{query}", query)
    close(db.sql(question).rows(), rows(guest.sql(question).collect()))


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_connection_answers_through_a_session(db, tables, question):
    ctx = SessionContext(SessionConfig().with_target_partitions(3))
    polysema.datafusion.connect(ctx, db)
    ctx.sql("SET datafusion.catalog.default_schema = 'demo'").collect()
    query = ", ".join(str(value) for value in tables["examples"]["pre_mlp"][5].as_py())
    question = question.replace("{query}", query)
    close(db.sql(question).rows(), rows(ctx.sql(question).collect()))


def test_calls_with_other_arguments_are_other_calls(guest, db):
    question = (
        "SELECT (SELECT count(*) FROM linkage(3, 417)) AS a, (SELECT count(*) FROM linkage(3, 417)) AS b, "
        "(SELECT count(*) FROM linkage(2, 186)) AS c, (SELECT max(n_clusters) FROM neuron_polysemanticity(3, 417)) AS d, "
        "(SELECT max(n_clusters) FROM neuron_polysemanticity(3, 417, {threshold: 1.9})) AS e"
    )
    expected = db.sql(question).rows()
    a, b, c, d, e = expected[0]
    assert a == b and a != c and d != e
    assert rows(guest.sql(question).collect()) == expected
    ctx = SessionContext()
    polysema.datafusion.connect(ctx, db)
    assert rows(ctx.sql(question).collect()) == expected


def test_views_and_files_are_tables_too(tables, db, tmp_path):
    import pyarrow.parquet

    ctx = SessionContext()
    pyarrow.parquet.write_table(tables["examples"], tmp_path / "examples.parquet", row_group_size=5000)
    ctx.register_parquet("kept", str(tmp_path / "examples.parquet"))
    ctx.register_record_batches("neurons", [tables["neurons"].to_batches()])
    ctx.sql("CREATE VIEW examples AS SELECT * FROM kept WHERE example < 10").collect()
    polysema.datafusion.register(ctx)
    found = ctx.sql('SELECT example, "cluster" FROM feature_clusters(3, 417) ORDER BY example').collect()
    db.sql("CREATE SCHEMA part")
    db.sql("CREATE TABLE part.examples AS SELECT * FROM demo.examples WHERE example < 10")
    db.sql("CREATE TABLE part.neurons AS SELECT * FROM demo.neurons")
    expected = db.sql('SELECT example, "cluster" FROM part.feature_clusters(3, 417) ORDER BY example').rows()
    db.sql("DROP SCHEMA part CASCADE")
    assert rows(found) == expected and len(expected) == 10
    # Of a plan that needs the session's threads.
    ctx.sql(
        "CREATE OR REPLACE VIEW examples AS SELECT k.* FROM kept k JOIN "
        "(SELECT layer, neuron FROM kept GROUP BY layer, neuron HAVING count(*) > 20) USING (layer, neuron)"
    ).collect()
    found = ctx.sql("SELECT neuron, n_clusters FROM neuron_polysemanticity(1) WHERE n_examples > 0 ORDER BY neuron").collect()
    expected = db.sql("SELECT neuron, n_clusters FROM neuron_polysemanticity(1) WHERE n_examples > 20 ORDER BY neuron").rows()
    assert rows(found) == expected and len(expected) > 100


def test_settings_belong_to_the_session(tables, db):
    question = "SELECT n_clusters FROM neuron_polysemanticity(3, 417)"
    wide, narrow = (db.neuron_polysemanticity(3, 417, threshold=t).to_pandas().n_clusters[0] for t in (1.9, 0.1))
    config = SessionConfig().with_extension(polysema.datafusion.Settings())
    ctx, other = SessionContext(config), SessionContext()
    for session in (ctx, other):
        for name in ["examples", "neurons"]:
            session.register_record_batches(name, [tables[name].to_batches()])
    polysema.datafusion.register(ctx)
    polysema.datafusion.register(other, threshold=1.9)
    ctx.sql("SET polysema.threshold = 0.1").collect()
    assert rows(ctx.sql(question).collect()) == [(narrow,)]
    assert rows(other.sql(question).collect()) == [(wide,)]
    ctx.sql("SET polysema.threshold = 'wide'").collect()
    with pytest.raises(Exception, match="polysema.threshold must be a number, got 'wide'"):
        ctx.sql(question).collect()
    with pytest.raises(polysema.Error, match="settings are .*polysema.threshold.*got 'polysema.treshold'"):
        polysema.datafusion.register(other, treshold=0.5)


def test_a_question_is_a_table(db):
    ctx = SessionContext()
    ctx.register_table("clusters", db.sql("SELECT * FROM feature_clusters($layer)", layer=3))
    ctx.register_table("made", db.sql("CREATE TABLE public.made AS SELECT 7 AS n"))
    ctx.register_table("endless", db.sql("SELECT value FROM generate_series(1, 1000000000000)"))
    few = ctx.sql("SELECT neuron, example, token FROM clusters WHERE neuron = 417 AND token <> 'x' ORDER BY example LIMIT 5")
    expected = db.sql("SELECT neuron, example, token FROM feature_clusters(3, 417) WHERE token <> 'x' ORDER BY example LIMIT 5")
    assert rows(few.collect()) == expected.rows()
    assert rows(ctx.sql("SELECT count(*) FROM clusters").collect()) == db.sql("SELECT count(*) FROM feature_clusters(3)").rows()
    assert rows(ctx.sql("SELECT value FROM endless LIMIT 3").collect()) == [(1,), (2,), (3,)]
    # Twice, with other rows of the store between.
    twice = ctx.table("clusters")
    assert rows(twice.collect()) == rows(twice.collect())
    db.sql("DROP TABLE public.made")


def test_the_tables_of_a_run(db):
    ctx = SessionContext()
    polysema.datafusion.connect(ctx, db)
    assert {"examples", "neurons", "dead_neurons"} <= ctx.catalog().schema("demo").names()
    question = "SELECT token, count(*) AS n FROM demo.tokens GROUP BY token ORDER BY n DESC, token LIMIT 5"
    assert rows(ctx.sql(question).collect()) == db.sql(question).rows()


def test_what_is_refused(guest, db, tmp_path):
    with pytest.raises(Exception, match=r"layer must be a whole number or text, got 1.5|got 1.5"):
        guest.sql("SELECT * FROM feature_clusters(1.5)").collect()
    with pytest.raises(Exception, match="threshold must be in"):
        guest.sql("SELECT * FROM feature_clusters(3, 417, {threshold: 7.0})").collect()
    with pytest.raises(Exception, match="neuron of layer 3 must be between 0 and 511, got 9999"):
        guest.sql("SELECT * FROM feature_clusters(3, 9999)").collect()
    empty = SessionContext()
    polysema.datafusion.register(empty)
    with pytest.raises(Exception, match="a table 'examples' is required, got none in 'public'"):
        empty.sql("SELECT * FROM feature_clusters(3, 417)").collect()
    polysema.datafusion.connect(empty, db)
    with pytest.raises(Exception, match="drop_run: a call by the connection is required"):
        empty.sql("SELECT * FROM drop_run('demo')").collect()
    assert db.sql("SELECT count(*) FROM polysema.info.runs WHERE run = 'demo'").rows() == [(1,)]
    with polysema.connect(tmp_path / "s") as without:
        with pytest.raises(polysema.Error, match="connect: a run is required"):
            polysema.datafusion.connect(empty, without)
        with pytest.raises(polysema.Error, match="connect: a run of the store is required, got 'mine'"):
            polysema.datafusion.connect(empty, without, run="mine")


def test_memory_has_a_limit_of_its_own(tables):
    ctx = SessionContext()
    for name in ["examples", "neurons"]:
        ctx.register_record_batches(name, [tables[name].to_batches()])
    polysema.datafusion.register(ctx, memory_limit=20_000)
    with pytest.raises(Exception, match="Resources exhausted"):
        ctx.sql("SELECT * FROM feature_clusters()").collect()


def test_another_version_is_refused_by_name(monkeypatch, db):
    monkeypatch.setattr(metadata, "version", lambda name: "54.1.0")
    for use in [
        lambda: polysema.datafusion.register(SessionContext()),
        lambda: polysema.datafusion.connect(SessionContext(), db),
        polysema.datafusion.Settings,
        lambda: SessionContext().register_table("t", db.sql("SELECT 1")),
    ]:
        with pytest.raises(polysema.Error, match="^the package datafusion 55 is required, got 54.1.0$"):
            use()


def test_a_session_needs_no_connection_to_stay(store):
    program = """
import sys, datafusion, polysema, polysema.datafusion
ctx = datafusion.SessionContext()
db = polysema.connect(sys.argv[1], run="demo")
polysema.datafusion.connect(ctx, db)
db.close()
del db
print(ctx.sql("SELECT count(*) AS n FROM feature_clusters(3, 417)").to_pydict())
"""
    done = subprocess.run([sys.executable, "-c", program, str(store)], capture_output=True, text=True)
    assert done.stdout.startswith("{'n': [") and done.returncode == 0, done.stderr
