"""psqlODBC against `polysema serve` with the demo's run, over pyodbc: what Tableau, Excel and others of ODBC ask of a driver.
PGHOST, PGPORT and PGUSER say where the server is, ODBC_DRIVER what the driver is called."""

import os

import pyodbc

HOST, PORT, USER = os.environ["PGHOST"], os.environ["PGPORT"], os.environ["PGUSER"]
DRIVER = os.environ.get("ODBC_DRIVER", "PostgreSQL Unicode")
WHERE = f"Driver={{{DRIVER}}};Server={HOST};Port={PORT};Database=demo;UID={USER}"


def names(rows, column):
    return {getattr(row, column) for row in rows}


def catalogue(cursor):
    assert "demo" in names(cursor.tables(catalog="", schema="%", table=""), "table_schem")
    tables = {row.table_name: row.table_type for row in cursor.tables(schema="demo")}
    assert tables["neurons"] == "TABLE" and tables["cluster_sizes"] == "VIEW", tables
    columns = {row.column_name: row for row in cursor.columns(schema="demo", table="neurons")}
    assert columns["layer"].type_name == "int4" and columns["max_activation"].type_name == "float4", columns["layer"]
    assert columns["layer"].nullable == pyodbc.SQL_NO_NULLS
    assert not list(cursor.primaryKeys("neurons", schema="demo"))
    assert not list(cursor.foreignKeys("neurons", schema="demo"))
    assert not list(cursor.statistics("neurons", schema="demo"))
    assert "float8" in names(cursor.getTypeInfo(), "type_name")


def queries(cursor):
    clusters = "SELECT neuron, activation, token FROM feature_clusters(?, ?)"
    rows = cursor.execute(clusters, 3, 417).fetchall()
    assert rows and rows[0].neuron == 417 and rows[0].activation > 0, rows[:1]
    count = cursor.execute("SELECT count(*) FROM demo.neurons").fetchval()
    assert len(cursor.execute("SELECT layer, neuron FROM demo.neurons").fetchall()) == count
    try:
        cursor.execute("SELECT nothing FROM nowhere")
        raise AssertionError("nowhere was found")
    except pyodbc.ProgrammingError as error:
        assert error.args[0] == "42P01", error
    cursor.connection.rollback()
    assert cursor.execute("SELECT 1").fetchval() == 1


for options in ("", ";UseDeclareFetch=1;Fetch=100", ";UseServerSidePrepare=0"):
    connection = pyodbc.connect(WHERE + options)
    version = connection.getinfo(pyodbc.SQL_DRIVER_VER)
    catalogue(connection.cursor())
    queries(connection.cursor())
    connection.close()
print(f"ok odbc {version}")
