"""PEP 249."""

import pytest

import polysema.dbapi as dbapi


@pytest.fixture
def cursor(store):
    with dbapi.connect(store, run="demo") as db:
        with db.cursor() as cursor:
            yield cursor


def test_the_module_says_what_it_is():
    assert (dbapi.apilevel, dbapi.threadsafety, dbapi.paramstyle) == ("2.0", 2, "qmark")
    errors = [dbapi.DataError, dbapi.OperationalError, dbapi.IntegrityError, dbapi.InternalError]
    for error in [*errors, dbapi.ProgrammingError, dbapi.NotSupportedError]:
        assert issubclass(error, dbapi.DatabaseError)
    assert issubclass(dbapi.DatabaseError, dbapi.Error) and issubclass(dbapi.InterfaceError, dbapi.Error)
    assert dbapi.Timestamp(2020, 2, 29, 1, 2, 3).isoformat() == "2020-02-29T01:02:03"
    assert dbapi.Binary(b"x") == b"x"


def test_rows_are_fetched_in_order(cursor):
    assert cursor.description is None and cursor.rowcount == -1
    with pytest.raises(dbapi.ProgrammingError, match="before rows are fetched"):
        cursor.fetchone()
    cursor.execute("SELECT value, 'a?b' AS s FROM generate_series(1, 9) WHERE value <= ? ORDER BY value", [5])
    assert [column[0] for column in cursor.description] == ["value", "s"]
    assert cursor.description[0][1] == dbapi.NUMBER and cursor.description[1][1] == dbapi.STRING
    assert cursor.description[0][1] != dbapi.STRING
    assert cursor.rowcount == 5
    assert cursor.fetchone() == (1, "a?b")
    assert cursor.fetchmany(2) == [(2, "a?b"), (3, "a?b")]
    cursor.arraysize = 1
    assert cursor.fetchmany() == [(4, "a?b")]
    assert cursor.fetchall() == [(5, "a?b")]
    assert cursor.fetchone() is None and cursor.fetchall() == []
    assert list(cursor.execute("SELECT 1 UNION ALL SELECT 1")) == [(1,), (1,)]


def test_wrong_use_is_refused(cursor):
    with pytest.raises(dbapi.ProgrammingError, match="nothing"):
        cursor.execute("SELECT nothing")
    with pytest.raises(dbapi.ProgrammingError, match="1 parameters are required, got 2"):
        cursor.execute("SELECT ?", [1, 2])
    cursor.connection.commit()
    with pytest.raises(dbapi.NotSupportedError):
        cursor.connection.rollback()
    cursor.close()
    with pytest.raises(dbapi.ProgrammingError, match="closed"):
        cursor.execute("SELECT 1")


def test_a_closed_connection_is_refused(store):
    db = dbapi.connect(store)
    db.close()
    for use in [db.close, db.cursor, db.commit]:
        with pytest.raises(dbapi.ProgrammingError, match="closed"):
            use()


def test_many_sets_of_values(cursor):
    cursor.execute("CREATE TABLE public.kept (n INT)")
    cursor.executemany("INSERT INTO public.kept VALUES (?)", [[1], [2]])
    assert cursor.execute("SELECT sum(n) FROM public.kept").fetchall() == [(3,)]
