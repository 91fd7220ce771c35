"""The dialect of SQLAlchemy."""

import pandas
import pytest
import sqlalchemy
from sqlalchemy import select, text

sqlalchemy.dialects.registry.register("polysema", "polysema.sqlalchemy", "PolysemaDialect")


@pytest.fixture
def engine(store):
    engine = sqlalchemy.create_engine(f"polysema:///{store}?run=demo&read_only=true")
    yield engine
    engine.dispose()


def test_pandas_reads_through_it(engine, db):
    statement = 'SELECT neuron, "cluster", token FROM feature_clusters(:layer, 417) ORDER BY example'
    frame = pandas.read_sql(text(statement), engine, params={"layer": 3})
    expected = db.sql("SELECT neuron, \"cluster\", token FROM feature_clusters(3, 417) ORDER BY example").rows()
    assert list(frame.itertuples(index=False, name=None)) == expected
    whole = pandas.read_sql_table("layers", engine)
    assert list(whole["layer"]) == [0, 1, 2, 3]


def test_tables_are_found_and_queried(engine, db):
    inspector = sqlalchemy.inspect(engine)
    assert inspector.default_schema_name == "demo" and "demo" in inspector.get_schema_names()
    assert {"examples", "neurons", "documents"} <= set(inspector.get_table_names())
    assert "dead_neurons" in inspector.get_view_names(schema="demo")
    columns = {column["name"]: column["type"] for column in inspector.get_columns("examples")}
    assert isinstance(columns["neuron"], sqlalchemy.BigInteger) and isinstance(columns["token"], sqlalchemy.Text)
    examples = sqlalchemy.Table("examples", sqlalchemy.MetaData(), autoload_with=engine)
    query = (
        select(examples.c.neuron, examples.c.activation)
        .where(examples.c.layer == 3, examples.c.neuron.in_([1, 2, 417]))
        .order_by(examples.c.activation.desc(), examples.c.neuron, examples.c.example)
        .limit(5)
        .offset(1)
    )
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(query)]
    expected = db.sql(
        "SELECT neuron, activation FROM examples WHERE layer = 3 AND neuron IN (1, 2, 417) "
        "ORDER BY activation DESC, neuron, example LIMIT 5 OFFSET 1"
    )
    assert rows == expected.rows() and len(rows) == 5


def test_errors_and_refusals_come_through(engine):
    with engine.connect() as connection:
        with pytest.raises(sqlalchemy.exc.ProgrammingError, match="threshold must be in"):
            connection.execute(text("SELECT * FROM feature_clusters({threshold: 7.0})"))
        with pytest.raises(sqlalchemy.exc.ProgrammingError, match="may not"):
            connection.execute(text("SELECT * FROM drop_run('demo')"))
