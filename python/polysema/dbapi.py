"""DB-API 2.0 (PEP 249) over a connection.

    >>> import polysema.dbapi
    >>> with polysema.dbapi.connect() as db, db.cursor() as cursor:
    ...     _ = cursor.execute("SELECT ? + 1 AS n", [41])
    ...     cursor.fetchall()
    [(42,)]

Statements take effect as they are run: there are no transactions, so `commit` does nothing and `rollback` is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from . import _connection, _lib

apilevel = "2.0"
#: Threads may share the module and connections.
threadsafety = 2
paramstyle = "qmark"


class Warning(Exception):
    """Not raised."""


class Error(_lib.Error):
    """The base of all errors."""


class InterfaceError(Error):
    """The module was used wrongly."""


class DatabaseError(Error):
    """The engine's message."""


class DataError(DatabaseError):
    """Not raised: the engine does not tell kinds of errors apart."""


class OperationalError(DatabaseError):
    """Not raised: the engine does not tell kinds of errors apart."""


class IntegrityError(DatabaseError):
    """Not raised: there are no constraints."""


class InternalError(DatabaseError):
    """Not raised: the engine does not tell kinds of errors apart."""


class ProgrammingError(DatabaseError):
    """A statement that cannot be run, or a cursor without rows."""


class NotSupportedError(DatabaseError):
    """What there is none of, such as transactions."""


class _Kind:
    """Equal to every Arrow type of its kind."""

    def __init__(self, *beginnings: str) -> None:
        self._beginnings = beginnings

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and other.startswith(self._beginnings)

    def __hash__(self) -> int:
        return hash(self._beginnings)


STRING = _Kind("Utf8", "LargeUtf8")
BINARY = _Kind("Binary", "LargeBinary", "FixedSizeBinary")
NUMBER = _Kind("Int", "UInt", "Float", "Decimal", "Boolean")
DATETIME = _Kind("Timestamp", "Date", "Time")
ROWID = _Kind("RowId")


def connect(store: Any = None, **options: Any) -> Connection:
    """A connection; store and options are those of `polysema.connect`."""
    try:
        return Connection(_connection.connect(store, **options))
    except _lib.Error as error:
        raise DatabaseError(str(error)) from None


class Connection:
    """PEP 249's connection."""

    def __init__(self, connection: _connection.Connection) -> None:
        #: What it is over.
        self.polysema = connection
        self._closed = False

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._closed:
            self.close()

    def _open(self) -> _connection.Connection:
        if self._closed:
            raise ProgrammingError("an open connection is required, got a closed one")
        return self.polysema

    def close(self) -> None:
        """Lets go of the store."""
        self._open().close()
        self._closed = True

    def commit(self) -> None:
        """Nothing waits for it."""
        self._open()

    def rollback(self) -> None:
        """Refused: a statement has taken effect when it was run."""
        self._open()
        raise NotSupportedError("rollback: a database with transactions is required, got polysema")

    def cursor(self) -> Cursor:
        """A cursor."""
        self._open()
        return Cursor(self)


class Cursor:
    """PEP 249's cursor. Rows are computed when the statement is run."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.arraysize = 1
        self.description: list[tuple[Any, ...]] | None = None
        self.rownumber: int | None = None
        self._rows: list[tuple[Any, ...]] | None = None
        self._closed = False

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True

    def close(self) -> None:
        """Ends the cursor."""
        self._require()
        self._closed = True

    def _require(self) -> None:
        if self._closed:
            raise ProgrammingError("an open cursor is required, got a closed one")

    def _left(self) -> tuple[list[tuple[Any, ...]], int]:
        self._require()
        if self._rows is None or self.rownumber is None:
            raise ProgrammingError("a statement that gives rows is required before rows are fetched, got none")
        return self._rows, self.rownumber

    @property
    def rowcount(self) -> int:
        """Number of rows of the last statement; -1 where none was run."""
        return -1 if self._rows is None else len(self._rows)

    def execute(self, operation: str, parameters: Sequence[Any] = ()) -> Cursor:
        """Runs a statement with a value for every question mark."""
        self._require()
        connection = self.connection._open()
        self.description = self._rows = self.rownumber = None
        statement, n = numbered(operation)
        if n != len(parameters):
            raise ProgrammingError(f"{n} parameters are required, got {len(parameters)}")
        try:
            result = connection.sql(statement, parameters)
            rows = result.rows()
        except _lib.Error as error:
            raise ProgrammingError(str(error)) from None
        if result.columns:
            columns = zip(result.columns, result.types)
            self.description = [(name, kind, None, None, None, None, None) for name, kind in columns]
        self._rows, self.rownumber = rows, 0
        return self

    def executemany(self, operation: str, seq_of_parameters: Sequence[Sequence[Any]]) -> Cursor:
        """Runs a statement for each set of values; the rows of the last one stay."""
        for parameters in seq_of_parameters:
            self.execute(operation, parameters)
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row."""
        rows = self.fetchmany(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """The next rows."""
        rows, first = self._left()
        taken = rows[first : first + (self.arraysize if size is None else size)]
        self.rownumber = first + len(taken)
        return taken

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows that are left."""
        rows, first = self._left()
        self.rownumber = len(rows)
        return rows[first:]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while (row := self.fetchone()) is not None:
            yield row

    def setinputsizes(self, sizes: Sequence[Any]) -> None:
        """Nothing follows from it."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Nothing follows from it."""


#: Quoted texts and names and comments, whole, or a question mark.
_PARTS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|(\?)", re.DOTALL)


def numbered(operation: str) -> tuple[str, int]:
    """The statement with `$1`, `$2`, ... for its question marks, and their number.

    >>> numbered("SELECT '?', ? -- ?")
    ("SELECT '?', $1 -- ?", 1)
    """
    n = 0

    def number(match: re.Match[str]) -> str:
        nonlocal n
        if not match[1]:
            return match[0]
        n += 1
        return f"${n}"

    return _PARTS.sub(number, operation), n


def Date(year: int, month: int, day: int) -> Any:
    """A date."""
    import datetime

    return datetime.date(year, month, day)


def Time(hour: int, minute: int, second: int) -> Any:
    """A time of day."""
    import datetime

    return datetime.time(hour, minute, second)


def Timestamp(year: int, month: int, day: int, hour: int, minute: int, second: int) -> Any:
    """A date with a time."""
    import datetime

    return datetime.datetime(year, month, day, hour, minute, second)


def DateFromTicks(ticks: float) -> Any:
    """The local date so many seconds after 1970 began."""
    import datetime

    return datetime.date.fromtimestamp(ticks)


def TimeFromTicks(ticks: float) -> Any:
    """The local time of day so many seconds after 1970 began."""
    import datetime

    return datetime.datetime.fromtimestamp(ticks).time()


def TimestampFromTicks(ticks: float) -> Any:
    """The local date and time so many seconds after 1970 began."""
    import datetime

    return datetime.datetime.fromtimestamp(ticks)


Binary = bytes
