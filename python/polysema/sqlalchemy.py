"""A dialect of SQLAlchemy: `sqlalchemy.create_engine("polysema:////path/to/polysema.store?run=mine")`.

For `pandas.read_sql`, query builders and tools that look for tables and columns. Primary and foreign keys, indexes and
transactions there are none.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import pool, types
from sqlalchemy.engine import default, reflection
from sqlalchemy.sql import compiler

from . import dbapi

#: What Arrow types are to SQLAlchemy; others have none.
_TYPES: dict[str, type[types.TypeEngine[Any]]] = {
    "Boolean": types.Boolean,
    "Int": types.BigInteger,
    "UInt": types.BigInteger,
    "Float": types.Double,
    "Utf8": types.Text,
    "LargeUtf8": types.Text,
    "Binary": types.LargeBinary,
    "Timestamp": types.DateTime,
    "Date": types.Date,
    "List": types.JSON,
}


class _Compiler(compiler.SQLCompiler):
    def limit_clause(self, select: Any, **kw: Any) -> str:
        """LIMIT and OFFSET as they stand: the planner takes no parameters there."""
        kw["literal_binds"] = True
        return str(super().limit_clause(select, **kw))  # type: ignore[no-untyped-call]


class _Identifiers(compiler.IdentifierPreparer):
    # What a table of this engine may have as a column, and its parser reads as a word of its own.
    reserved_words = compiler.RESERVED_WORDS | {"cluster"}


class PolysemaDialect(default.DefaultDialect):
    """SQLAlchemy's view of a store: schemas are runs."""

    name = "polysema"
    driver = "polysema"
    statement_compiler = _Compiler
    preparer = _Identifiers
    default_paramstyle = "qmark"
    supports_statement_cache = True
    supports_native_boolean = True
    supports_sane_rowcount = False
    supports_alter = False
    insert_returning = False
    postfetch_lastrowid = False

    @classmethod
    def import_dbapi(cls) -> Any:
        """The module that connects."""
        return dbapi

    @classmethod
    def get_pool_class(cls, url: Any) -> type[pool.Pool]:
        """Sessions of their own for threads that ask for them; one of a store that is gone with its connection."""
        return pool.QueuePool if url.database else pool.SingletonThreadPool

    def create_connect_args(self, url: Any) -> Any:
        """`run`, `memory_limit`, `read_only` and `threads` are taken from the address."""
        options: dict[str, Any] = dict(url.query)
        for number in ("memory_limit", "threads"):
            if number in options:
                options[number] = int(options[number])
        if "read_only" in options:
            options["read_only"] = options["read_only"].lower() in ("1", "true", "yes")
        return [url.database or None], options

    def do_rollback(self, dbapi_connection: Any) -> None:
        """A statement has taken effect when it was run."""

    def _get_server_version_info(self, connection: Any) -> None:
        return None

    def _get_default_schema_name(self, connection: Any) -> str:
        run = connection.connection.dbapi_connection.polysema.run
        return run or "public"

    def _rows(self, connection: Any, statement: str, *values: Any) -> Any:
        return connection.exec_driver_sql(statement, values).fetchall()

    @reflection.cache
    def get_schema_names(self, connection: Any, **kw: Any) -> list[str]:
        """The runs, and the schemas of tables of one's own."""
        statement = "SELECT DISTINCT table_schema FROM information_schema.tables ORDER BY 1"
        return [name for (name,) in self._rows(connection, statement)]

    def _names(self, connection: Any, schema: str | None, kind: str) -> list[str]:
        statement = (
            "SELECT table_name FROM information_schema.tables WHERE table_schema = ? AND table_type LIKE ? ORDER BY 1"
        )
        schema = schema or self._get_default_schema_name(connection)
        return [name for (name,) in self._rows(connection, statement, schema, kind)]

    @reflection.cache
    def get_table_names(self, connection: Any, schema: str | None = None, **kw: Any) -> list[str]:
        """Names of tables."""
        return self._names(connection, schema, "%TABLE")

    @reflection.cache
    def get_view_names(self, connection: Any, schema: str | None = None, **kw: Any) -> list[str]:
        """Names of views."""
        return self._names(connection, schema, "VIEW")

    def has_table(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> bool:
        """Whether there is such a table or view."""
        return table_name in self._names(connection, schema, "%")

    @reflection.cache
    def get_columns(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> list[Any]:
        """Columns with their types."""
        statement = (
            "SELECT column_name, data_type, is_nullable FROM information_schema.columns "
            "WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position"
        )
        schema = schema or self._get_default_schema_name(connection)
        rows = self._rows(connection, statement, schema, table_name)
        return [
            {"name": name, "type": _type(kind), "nullable": nullable == "YES", "default": None}
            for name, kind, nullable in rows
        ]

    def get_pk_constraint(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        """None."""
        return {"constrained_columns": [], "name": None}

    def get_foreign_keys(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        """None."""
        return []

    def get_indexes(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        """None."""
        return []


def _type(arrow: str) -> types.TypeEngine[Any]:
    found = (kind for beginning, kind in _TYPES.items() if arrow.startswith(beginning))
    return next(found, types.NullType)()
