"""The functions in a session of datafusion-python, and what a connection knows as its tables.

`register` gives a session the functions on vectors and neurons, which read that session's own tables `examples` and
`neurons`. `connect` gives it the tables of a store's run and every table function that asks, answered by the connection. A
single question needs neither: a `polysema.Result` is a table of a session.

    >>> import datafusion, polysema, polysema.datafusion
    >>> ctx = datafusion.SessionContext()
    >>> polysema.datafusion.register(ctx)
    >>> ctx.sql("SELECT cosine_distance([1.0, 0.0], [0.0, 2.0]) AS d").to_pydict()
    {'d': [1.0]}
    >>> ctx.register_table("answers", polysema.connect().sql("SELECT 1 + $n AS answer", n=41))
    >>> ctx.sql("SELECT answer FROM answers").to_pydict()
    {'answer': [42]}
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

from . import _lib
from ._sql import identifier

if TYPE_CHECKING:
    from datafusion import SessionContext

    from ._connection import Connection

__all__ = ["Settings", "connect", "register"]

#: The major version of DataFusion whose interface between libraries this package speaks.
_MAJOR = "55"


def register(ctx: SessionContext, *, memory_limit: int | None = None, **settings: Any) -> None:
    """Gives a session the functions of the plugin, over the session's own tables.

    memory_limit: most bytes that the functions may hold; the session's own limit is not theirs.
    settings: those of `polysema.*` that hold in this session, such as `threshold=0.4`. A session whose configuration has
        `Settings` has them by SET.
    """
    require_version()
    written = [(name, _written(value)) for name, value in settings.items()]
    for function in _lib.foreign_functions(written, memory_limit):
        _add(ctx, function)


def connect(ctx: SessionContext, db: Connection, *, run: str | None = None) -> None:
    """Gives a session the tables of a run as a schema of the run's name, and the table functions, answered by the connection.

    The connection computes what is scanned, with its own run, settings and memory, and only the rows and columns that are
    asked for. Functions that change the store are refused: they are methods of the connection.

    run: the run whose tables are given; left out, the one that is selected.
    """
    from datafusion.catalog import Schema

    require_version()
    run = db.run if run is None else run
    if run is None:
        raise _lib.Error("connect: a run is required, got a connection without one (run= or db.use names it)")
    named = "SELECT table_name FROM information_schema.tables WHERE table_schema = $run ORDER BY table_name"
    tables = [name for (name,) in db.sql(named, run=run)]
    if not tables:
        raise _lib.Error(f"connect: a run of the store is required, got {run!r}")
    schema = Schema.memory_schema(ctx)
    for table in tables:
        schema.register_table(table, db.sql(f"SELECT * FROM {identifier(run)}.{identifier(table)}"))
    ctx.catalog().register_schema(run, schema)
    for function in _lib.foreign_functions([], None):
        if function.kind != "table":
            _add(ctx, function)
    for function in _lib.foreign_functions_of(db._inner):
        _add(ctx, function)


class Settings:
    """The settings `polysema.*` for a session's configuration, which SET then changes and SHOW shows.

        >>> import datafusion, polysema.datafusion
        >>> config = datafusion.SessionConfig().with_extension(polysema.datafusion.Settings())
        >>> ctx = datafusion.SessionContext(config)
        >>> polysema.datafusion.register(ctx)
        >>> _ = ctx.sql("SET polysema.threshold = 0.4").collect()
    """

    def __init__(self) -> None:
        require_version()

    def __datafusion_extension_options__(self) -> object:
        return _lib.foreign_settings()


def _add(ctx: SessionContext, function: _lib.ForeignFunction) -> None:
    from datafusion.user_defined import AggregateUDF, ScalarUDF, TableFunction

    if function.kind == "scalar":
        ctx.register_udf(ScalarUDF.from_pycapsule(function))
    elif function.kind == "aggregate":
        ctx.register_udaf(AggregateUDF.from_pycapsule(function))
    else:
        # It is typed as taking what can be called, and takes what has the method.
        exported: Any = function
        ctx.register_udtf(TableFunction(function.name, exported, ctx))


def require_version() -> None:
    """A library of another version has other memory behind the same names: nothing of it may be touched."""
    try:
        came = metadata.version("datafusion")
    except metadata.PackageNotFoundError:
        raise _lib.Error(f"the package datafusion {_MAJOR} is required, got none") from None
    if came.partition(".")[0] != _MAJOR:
        raise _lib.Error(f"the package datafusion {_MAJOR} is required, got {came}")
    if not hasattr(_lib, "foreign_functions"):
        raise _lib.Error("a build of polysema with its feature 'ffi' is required, which the wheel has, got one without")


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
