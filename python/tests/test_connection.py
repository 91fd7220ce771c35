"""Statements, methods, errors, interruption."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest

import polysema
from conftest import DEMO

#: Hours of work.
ENDLESS = "SELECT sum(a.value * b.value) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b"


def test_the_package_alone_imports_no_other():
    program = "import sys, polysema; print(*{'numpy', 'pandas', 'polars', 'pyarrow', 'tqdm', 'torch', 'datafusion'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_method_says_what_the_statement_says(db):
    by_name = db.sql("SELECT * FROM feature_clusters($layer, $neuron)", layer=3, neuron=417)
    by_place = db.sql("SELECT * FROM feature_clusters($1, $2)", [3, 417])
    by_method = db.feature_clusters(3, 417)
    assert len(by_name.rows()) > 10
    assert by_name.rows() == by_place.rows() == by_method.rows()
    coarse = db.feature_clusters(3, 417, threshold=1.9, embedding="pre_mlp")
    assert coarse.columns == by_method.columns
    assert {row[2] for row in coarse} == {0}


def test_every_table_function_is_a_method(db):
    functions = db.sql("SELECT name, summary FROM polysema.info.functions WHERE kind = 'table'").rows()
    assert len(functions) > 20
    for name, summary in functions:
        assert getattr(db, name).__doc__.startswith(summary)


def test_values_come_as_python_has_them(db):
    statement = (
        "SELECT 1 AS i, 1.5 AS f, 'a' AS s, true AS b, NULL AS n, [1, 2] AS l, {x: 1} AS d, "
        "DATE '2020-02-29' AS day, TIMESTAMP '2020-02-29T01:02:03.5' AS at"
    )
    import datetime

    day, at = datetime.date(2020, 2, 29), datetime.datetime(2020, 2, 29, 1, 2, 3, 500000)
    assert db.sql(statement).rows() == [(1, 1.5, "a", True, None, [1, 2], {"x": 1}, day, at)]
    given = [True, 2, 2.5, "it's", None, [1.0, 2.0], numpy.float32(0.5)]
    assert db.sql("SELECT $1, $2, $3, $4, $5, $6, $7", given).rows() == [(True, 2, 2.5, "it's", None, [1.0, 2.0], 0.5)]


def test_errors_have_the_engines_message(db):
    with pytest.raises(polysema.Error, match="^feature_clusters: threshold must be in"):
        db.feature_clusters(threshold=7.0)
    with pytest.raises(polysema.Error, match="got 'nothing'"):
        db.use("nothing")
    with pytest.raises(TypeError, match="treshold"):
        db.feature_clusters(treshold=0.5)
    with pytest.raises(TypeError, match=r"\$1: None, a bool"):
        db.sql("SELECT $1", [object()])
    with pytest.raises(polysema.Error, match="by position or by name"):
        db.sql("SELECT $1, $x", [1], x=2)
    for statement, values, message in [
        ("SELECT $a, $b", {"a": 1}, r"values for the parameters \$a, \$b are required, got \$a"),
        ("SELECT 1", {"a": 1}, r"values for the parameters none are required, got \$a"),
        ("SELECT $1 + 1", [1, 2], r"the parameters \$1 are required, got \$1, \$2"),
        ("SELECT ? + 1", [1], r"written \$1, \$2, \.\.\. or \$name"),
        ("SELECT * FROM feature_clusters($layer, 1)", [3], r"the parameters \$layer are required, got \$1"),
    ]:
        with pytest.raises(polysema.Error, match=message):
            db.sql(statement, values)
    db.sql("PREPARE later(INT) AS SELECT $1 + 1")
    assert db.sql("EXECUTE later(41)").rows() == [(42,)]
    db.sql("DEALLOCATE later")
    with pytest.raises(TypeError, match="a list or a mapping of values is required, got int"):
        db.sql("SELECT $1", 7)
    with pytest.raises(polysema.Error, match="^feature_clusters: neuron of layer 3 must be between 0 and 511, got 9999$"):
        db.feature_clusters(3, 9999).rows()


def test_what_a_store_has_is_listed(db):
    assert "demo" in db.runs
    db.register("mine", {"n": [1]})
    assert {"examples", "dead_neurons", "mine"} <= set(db.tables)
    for table in db.tables:
        db.sql(f'SELECT * FROM "{table}"')
    db.unregister("mine")


def test_an_error_in_a_stream_reaches_its_reader(db):
    import pyarrow

    failing = db.sql("SELECT 1 / (value - 5) FROM generate_series(1, 10)")
    with pytest.raises(polysema.Error, match="(?i)divide by zero"):
        failing.rows()
    with pytest.raises(Exception, match="(?i)divide by zero"):
        pyarrow.table(failing)


def test_ten_thousand_questions_leave_nothing(db):
    """Memory and open files stay as they are once a tenth of the questions were asked."""
    pages = os.sysconf("SC_PAGE_SIZE")

    def held():
        gc.collect()
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * pages
        return resident, len(os.listdir("/proc/self/fd"))

    def ask(times):
        for i in range(times):
            db.sql("SELECT $n + 1 AS n, repeat('x', 1000) AS s", n=i).rows()
            if i % 10 == 0:
                db.register("given", {"v": numpy.ones((200, 16), numpy.float32)})
                db.sql("SELECT sum(vector_norm(v)) FROM public.given").rows()
            if i % 50 == 0:
                db.linkage(3, 417).to_arrow()

    ask(1000)
    before, files = held()
    ask(9000)
    after, files_after = held()
    assert files_after == files
    assert after - before < 30 << 20, f"{(after - before) >> 20} MiB more"


@pytest.mark.parametrize("partitions", [1, 64])
def test_ctrl_c_ends_a_question(db, partitions):
    """Also one that is computed in one go, and one that leaves none of the threads anything else to do."""
    db.sql(f"SET datafusion.execution.target_partitions = {partitions}")
    for show in [lambda result: result.rows(), repr]:
        pressed = []
        timer = threading.Timer(1.0, lambda: (pressed.append(time.monotonic()), os.kill(os.getpid(), signal.SIGINT)))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            show(db.sql(ENDLESS))
        assert time.monotonic() - pressed[0] < 30
        assert db.sql("SELECT 1").rows() == [(1,)]


def test_ctrl_c_leaves_nothing_of_an_ingest(tmp_path):
    with polysema.connect(tmp_path / "s") as db:
        texts = (DEMO / "corpus.jsonl").read_text().splitlines() * 20
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            db.ingest("half", DEMO / "model", texts)
        assert db.sql("SELECT count(*) FROM polysema.info.runs").rows() == [(0,)]
        assert db.sql("SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'python_%'").rows() == []
        # Its worker looks many times a second whether it is still wanted.
        deadline = time.monotonic() + 60
        while os.listdir(tmp_path / "s" / "runs"):
            assert time.monotonic() < deadline, os.listdir(tmp_path / "s" / "runs")
            time.sleep(0.05)


def test_threads_share_a_connection(db):
    statement = "SELECT * FROM neuron_polysemanticity(1) ORDER BY neuron"
    expected = db.sql(statement).rows()
    assert len(expected) == 512
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: db.sql(statement).rows(), range(16)))
    assert all(rows == expected for rows in found)


def test_the_number_of_threads_is_fixed_when_the_first_connection_computes(store):
    program = """
import sys, polysema
from polysema import _lib
for wrong in [0, -1]:
    try:
        polysema.connect(threads=wrong)
    except (polysema.Error, OverflowError) as error:
        print(type(error).__name__)
db = polysema.connect(sys.argv[1], threads=3, run="demo")
print(_lib.number_of_threads(), db.sql("SHOW datafusion.execution.target_partitions").rows()[0][1])
print(len(db.neuron_polysemanticity(0).rows()))
polysema.connect(threads=3).close()
polysema.connect(threads=4)
"""
    done = subprocess.run([sys.executable, "-c", program, str(store)], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["Error", "OverflowError", "(3, 3) 3", "512"]
    message = "threads: 3 are required, with which this process has begun to compute, got 4"
    assert done.stderr.splitlines()[-1].endswith(message)


def test_a_fork_is_refused(db):
    db.sql("SELECT 1").rows()
    child = os.fork()
    if child == 0:
        try:
            db.sql("SELECT 1").rows()
        except polysema.Error as error:
            os._exit(7 if "spawn" in str(error) else 8)
        os._exit(9)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7


def test_what_is_read_only_stays(store):
    with polysema.connect(store, read_only=True, run="demo") as db:
        assert db.feature_clusters(3, 417).rows()
        with pytest.raises(polysema.Error, match="may not"):
            db.drop_run("demo")
    assert "demo" in repr(polysema.connect(store).sql("SELECT run FROM polysema.info.runs"))


def test_a_closed_connection_says_so(store):
    db = polysema.connect(store)
    db.close()
    with pytest.raises(polysema.Error, match="open connection"):
        db.sql("SELECT 1")


def test_the_command_comes_along(store):
    call = [sys.executable, "-c", "import polysema._cli; polysema._cli.main()", "--store", str(store), "--run", "demo"]
    done = subprocess.run([*call, "-c", "SELECT count(*) AS n FROM neurons", "--format", "csv"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "n\n2048\n")
    failed = subprocess.run([*call, "-c", "SELECT nothing"], capture_output=True, text=True)
    assert failed.returncode == 1 and "nothing" in failed.stderr
