"""Python's clients of PostgreSQL against `polysema serve` with the demo's run: PGHOST, PGPORT and PGUSER say where it is."""

import asyncio
import importlib.metadata
import os
import threading
import time

import adbc_driver_postgresql.dbapi as adbc
import asyncpg
import duckdb
import pandas
import psycopg
import psycopg2
import sqlalchemy

HOST, PORT, USER = os.environ["PGHOST"], int(os.environ["PGPORT"]), os.environ["PGUSER"]
URI = f"postgresql://{USER}@{HOST}:{PORT}/demo"
CLUSTERS = "SELECT layer, neuron, cluster, token, activation FROM feature_clusters({}, {}) ORDER BY example"
WEIGHTS = "SELECT w_in FROM demo.neurons WHERE layer = {} AND neuron = {}"
ENDLESS = "SELECT count(*) FROM demo.tokens a, demo.tokens b, demo.tokens c WHERE a.token < b.token OR c.token > a.token"


def with_psycopg():
    connection = psycopg.connect(URI, autocommit=True)
    rows = connection.execute(CLUSTERS.format("%s", "%s"), (3, 417)).fetchall()
    assert rows and all(row[:2] == (3, 417) for row in rows), rows[:2]
    text = connection.execute(WEIGHTS.format("%s", "%s"), (3, 417)).fetchone()[0]
    binary = connection.execute(WEIGHTS.format("%s", "%s"), (3, 417), binary=True).fetchone()[0]
    assert len(text) == len(binary) and abs(text[5] - binary[5]) < 1e-6
    for count in range(8):  # prepared from the sixth on
        assert connection.execute("SELECT %s::int + 1", (count,)).fetchone() == (count + 1,)
    counted = "SELECT count(*) FROM demo.layers WHERE layer = ANY(%s)"
    assert connection.execute(counted, ([0, 1, 99],)).fetchone() == (2,)

    began = time.monotonic()
    threading.Timer(0.3, connection.cancel).start()
    try:
        connection.execute(ENDLESS)
        raise AssertionError("it was not cancelled")
    except psycopg.errors.QueryCanceled:
        pass
    print(f"  cancelled {time.monotonic() - began - 0.3:.2f} s after the request")

    copy = "COPY (SELECT layer, neuron, w_in FROM demo.neurons LIMIT 5) TO STDOUT (FORMAT binary)"
    with connection.cursor().copy(copy) as copied:
        copied.set_types(["int4", "int4", "float4[]"])
        rows = list(copied.rows())
    assert len(rows) == 5 and len(rows[0][2]) == len(text)

    with psycopg.connect(URI) as transaction, transaction.cursor(name="rows") as cursor:
        cursor.itersize = 100
        cursor.execute("SELECT layer, neuron FROM demo.neurons")
        assert len(cursor.fetchall()) == connection.execute("SELECT count(*) FROM demo.neurons").fetchone()[0]
    return rows


async def with_asyncpg():
    connection = await asyncpg.connect(URI)
    rows = await connection.fetch(CLUSTERS.format("$1", "$2"), 3, 417)
    assert rows and rows[0]["neuron"] == 417
    weights = await connection.fetchval(WEIGHTS.format("$1", "$2"), 3, 417)
    assert all(isinstance(weight, float) for weight in weights)
    async with connection.transaction():
        seen = [row["layer"] async for row in connection.cursor("SELECT layer FROM demo.layers ORDER BY 1")]
    assert seen == sorted(seen) and seen
    await connection.close()
    pool = await asyncpg.create_pool(URI, min_size=1, max_size=1)
    for _ in range(2):  # given back and reset between
        async with pool.acquire() as connection:
            assert await connection.fetchval("SELECT 1") == 1
    await pool.close()


def with_sqlalchemy(driver):
    engine = sqlalchemy.create_engine(f"postgresql+{driver}://{USER}@{HOST}:{PORT}/demo")
    frame = pandas.read_sql(CLUSTERS.format(3, 417), engine)
    assert list(frame.columns) == ["layer", "neuron", "cluster", "token", "activation"]
    assert frame.activation.dtype.kind == "f" and frame.layer.dtype.kind == "i", frame.dtypes
    inspector = sqlalchemy.inspect(engine)
    assert "neurons" in inspector.get_table_names(schema="demo")
    columns = {column["name"]: column["type"] for column in inspector.get_columns("neurons", schema="demo")}
    assert isinstance(columns["layer"], sqlalchemy.INTEGER), columns
    assert isinstance(columns["w_in"], sqlalchemy.ARRAY) and isinstance(columns["w_in"].item_type, sqlalchemy.REAL), columns["w_in"]
    comments = {column["name"]: column["comment"] for column in inspector.get_columns("neurons", schema="demo")}
    assert comments["max_activation"] == "largest activation of all tokens", comments
    assert "cluster_sizes" in inspector.get_view_names(schema="demo") and "demo" in inspector.get_schema_names()
    assert inspector.has_table("neurons", schema="demo") and not inspector.has_table("nothing", schema="demo")
    assert inspector.get_pk_constraint("neurons", schema="demo")["constrained_columns"] == []
    for none in (inspector.get_foreign_keys, inspector.get_indexes, inspector.get_unique_constraints, inspector.get_check_constraints):
        assert none("neurons", schema="demo") == [], none
    neurons = sqlalchemy.Table("neurons", sqlalchemy.MetaData(), schema="demo", autoload_with=engine)
    with engine.connect() as connection:
        most = sqlalchemy.select(sqlalchemy.func.count()).where(neurons.c.layer == 0)
        assert connection.execute(most).scalar() > 0
    assert "SELECT" in inspector.get_view_definition("cluster_sizes", schema="demo")
    assert inspector.default_schema_name == "demo"


def with_psycopg2():
    connection = psycopg2.connect(URI)
    with connection.cursor() as cursor:
        cursor.execute(CLUSTERS.format("%s", "%s"), (3, 417))
        assert cursor.fetchall()
        try:
            cursor.execute("SELECT nothing FROM nowhere")
            raise AssertionError("nowhere was found")
        except psycopg2.errors.UndefinedTable:
            connection.rollback()
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def with_adbc():
    with adbc.connect(URI) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT layer, neuron, w_in, max_activation FROM demo.neurons LIMIT 7")
        table = cursor.fetch_arrow_table()
    assert table.num_rows == 7 and str(table.schema.field("w_in").type).startswith("list"), table.schema


def duckdb_extension():
    """Where PyPI's package of DuckDB's extension has it; None where the package is not installed or of another version."""
    try:
        files = importlib.metadata.files("duckdb-ext-postgres") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    ends = [f"v{duckdb.__version__}/", ".duckdb_extension"]
    found = [file for file in files if all(end in str(file) for end in ends)]
    return found[0].locate() if found else None


def with_duckdb():
    connection = duckdb.connect()
    connection.execute(f"LOAD '{duckdb_extension()}'")
    connection.execute(f"ATTACH 'host={HOST} port={PORT} user={USER} dbname=demo' AS p (TYPE postgres, READ_ONLY)")
    ask = lambda text: connection.execute(text).fetchall()
    assert ask("SELECT count(*) FROM p.demo.layers")[0][0] > 0
    tables = {row[0] for row in ask("SELECT table_name FROM information_schema.tables WHERE table_catalog = 'p' AND table_schema = 'demo'")}
    assert {"neurons", "cluster_sizes"} <= tables, tables
    one = ask("SELECT layer, len(w_in), typeof(w_in) FROM p.demo.neurons WHERE layer = 3 AND neuron = 417")
    assert one == [(3, 128, "FLOAT[]")], one
    most = "SELECT layer, max(max_activation) FROM p.demo.neurons JOIN (VALUES (0), (1)) wanted (layer) USING (layer) GROUP BY 1 ORDER BY 1"
    assert [row[0] for row in ask(most)] == [0, 1]
    clusters = ask("SELECT neuron FROM postgres_query('p', 'SELECT neuron, token FROM feature_clusters(3, 417)')")
    assert clusters and clusters[0] == (417,), clusters[:1]


for name, client in [
    ("psycopg", with_psycopg),
    ("asyncpg", lambda: asyncio.run(with_asyncpg())),
    ("psycopg2", with_psycopg2),
    ("sqlalchemy, pandas by psycopg", lambda: with_sqlalchemy("psycopg")),
    ("sqlalchemy, pandas by psycopg2", lambda: with_sqlalchemy("psycopg2")),
    ("adbc", with_adbc),
] + ([("duckdb attach", with_duckdb)] if duckdb_extension() else []):
    if os.environ.get("CLIENT", name) in name:
        client()
        print(f"ok {name}")
