"""Python's clients of PostgreSQL against `polysema serve` with the demo's run: PGHOST, PGPORT and PGUSER say where it is."""

import asyncio
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


def with_duckdb():
    connection = duckdb.connect()
    connection.execute("INSTALL postgres; LOAD postgres")
    connection.execute(f"ATTACH 'host={HOST} port={PORT} user={USER} dbname=demo' AS p (TYPE postgres, READ_ONLY)")
    rows = connection.execute("SELECT count(*) FROM p.demo.layers").fetchone()
    assert rows[0] > 0


for name, client in [
    ("psycopg", with_psycopg),
    ("asyncpg", lambda: asyncio.run(with_asyncpg())),
    ("psycopg2", with_psycopg2),
    ("sqlalchemy, pandas by psycopg", lambda: with_sqlalchemy("psycopg")),
    ("sqlalchemy, pandas by psycopg2", lambda: with_sqlalchemy("psycopg2")),
    ("adbc", with_adbc),
] + ([("duckdb attach", with_duckdb)] if os.environ.get("DUCKDB_EXTENSIONS") else []):
    if os.environ.get("CLIENT", name) in name:
        client()
        print(f"ok {name}")
