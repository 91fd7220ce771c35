"""Connections to stores."""

from __future__ import annotations

import itertools
import os
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import _lib
from ._functions import Functions
from ._neuron import Neuron
from ._progress import Bar
from ._result import Result

#: Names of tables that were given as an argument.
_NAMES = (f"python_{i}" for i in itertools.count(1))


def connect(
    store: str | os.PathLike[str] | None = None,
    *,
    run: str | None = None,
    memory_limit: int | None = None,
    read_only: bool = False,
    threads: int | None = None,
) -> Connection:
    """Opens a store, which is made where there is none; without one, a store that is gone with the connection.

    run: the run that table names mean, as `Connection.use` selects it.
    memory_limit: most bytes that queries and loaded models may hold together.
    read_only: whether ingest, training, imports, drops and COPY are refused.
    threads: how many compute, as many as there are cores where it is not given. The first connection that computes fixes
        their number for all of the process; another number is refused from then on.
    """
    return Connection(store, run=run, memory_limit=memory_limit, read_only=read_only, threads=threads)


class Connection(Functions):
    """A store of runs with the settings and tables of one session; see `connect`. Threads may share it."""

    def __init__(
        self,
        store: str | os.PathLike[str] | None = None,
        *,
        run: str | None = None,
        memory_limit: int | None = None,
        read_only: bool = False,
        threads: int | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="polysema-") if store is None else None
        place = os.path.join(self._folder.name, "polysema.store") if self._folder else os.fspath(store or "")
        self._inner = _lib.Connection(place, memory_limit, read_only, threads)
        self.store = place
        if run is not None:
            self.use(run)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"polysema.connect({self.store!r})"

    def close(self) -> None:
        """Lets go of the store."""
        self._inner.close()
        if self._folder:
            self._folder.cleanup()

    @property
    def run(self) -> str | None:
        """The run that table names mean; None where there is none."""
        return self._inner.run

    def use(self, run: str) -> None:
        """Selects the run that table names mean."""
        self.sql(f"SET polysema.run = {literal(run)}")

    def sql(self, statement: str, parameters: Iterable[Any] = (), /, **named: Any) -> Result:
        """A statement, with values for `$1`, `$2`, ... or for `$name`, ....

        A question is computed when its rows are asked for; a statement that changes something runs now.
        """
        given: list[tuple[str | None, Any]] = [(None, value) for value in parameters]
        given += named.items()
        return Result(self._inner.sql(statement, given))

    def register(self, name: str, table: Any) -> None:
        """Makes a table of this session.

        table: whatever gives an Arrow stream (frames of pandas and polars, pyarrow tables and readers, DuckDB relations,
        another connection's results), a mapping of column names to arrays of NumPy or torch of shape (n,), or (n, d) for
        vectors, whose memory is shared, or an iterable of texts, which becomes the column `text`.
        """
        if hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__"):
            self._inner.register(name, table)
        elif isinstance(table, Mapping):
            self._inner.register_arrays(name, [(str(column), array_of(values)) for column, values in table.items()])
        elif not isinstance(table, (str, bytes)) and isinstance(table, Iterable):
            self._inner.register_texts(name, list(table))
        else:
            raise TypeError(
                f"{name}: an Arrow stream, a mapping of arrays or an iterable of texts is required, "
                f"got {type(table).__name__}"
            )

    def unregister(self, name: str) -> None:
        """Drops a table that was registered."""
        if not self._inner.unregister(name):
            raise _lib.Error(f"a registered table is required, got {name!r}")

    def neuron(self, layer: int, neuron: int, **options: Any) -> Neuron:
        """A neuron with its metrics and clusters, which a notebook shows as a card.

        options: those of feature_clusters and neuron_polysemanticity.
        """
        return Neuron(self, layer, neuron, **options)

    def import_activations(self, run: str, *, replace: bool | None = None, **arrays: Any) -> Result:
        """Makes a run of activations that another program has recorded.

        arrays: `h`, `w_in` and, where there are any, `activations`, `b_in`, `w_out`: each a mapping of a layer's number to an
        array of NumPy or torch; `doc_id`, `pos`, `token_id`: one array of a number a row; `tokens`: the rows' tokens as
        text. What else is given is an option of import_run, such as `activation_function="gelu"`.
        """
        import json

        import numpy

        options = {}
        with tempfile.TemporaryDirectory(prefix="polysema-") as folder:
            for name, value in arrays.items():
                if name == "tokens":
                    lines = "".join(json.dumps(str(token)) + "\n" for token in value)
                    Path(folder, "tokens.jsonl").write_text(lines, encoding="utf-8")
                elif isinstance(value, Mapping):
                    for layer, array in value.items():
                        numpy.save(Path(folder, f"{int(layer)}.{name}.npy"), array_of(array))
                elif name in ("doc_id", "pos", "token_id"):
                    numpy.save(Path(folder, f"{name}.npy"), array_of(value))
                else:
                    options[name] = value
            return self.import_run(run, folder, replace=replace, **options)

    def _call(self, name: str, arguments: list[tuple[str, Any]], options: dict[str, Any]) -> Result:
        tables: list[str] = []
        while arguments and arguments[-1][1] is None:
            arguments = arguments[:-1]
        written = [self._argument(value, tables) for _, value in arguments]
        given = {option: value for option, value in options.items() if value is not None}
        if given:
            pairs = (f"{option}: {self._argument(value, tables)}" for option, value in given.items())
            written.append("{" + ", ".join(pairs) + "}")
        statement = f"SELECT * FROM {name}({', '.join(written)})"
        try:
            with Bar(name) as progress:
                result = Result(self._inner.sql(statement, [], progress))
        except BaseException:
            self._forget(tables)
            raise
        # The rows of a question are computed later, and more than once.
        weakref.finalize(result, self._forget, tables)
        return result

    def _forget(self, tables: list[str]) -> None:
        for table in tables:
            try:
                self._inner.unregister(table)
            except _lib.Error:  # closed
                pass

    def _argument(self, value: Any, tables: list[str]) -> str:
        """A value as SQL; one that is a table is registered."""
        if isinstance(value, str):
            return value if _is_query(value) else literal(value)
        is_vector = hasattr(value, "tolist") or isinstance(value, (list, tuple))
        if is_vector and not _holds_texts(value):
            return literal(value)
        if isinstance(value, Iterable) or hasattr(value, "__arrow_c_stream__"):
            name = next(_NAMES)
            self.register(name, value)
            tables.append(name)
            return f"(SELECT * FROM public.{name})"
        return literal(value)


def _is_query(text: str) -> bool:
    return text.lstrip().upper().startswith(("(SELECT", "(WITH"))


def _holds_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], str)


def array_of(values: Any) -> Any:
    """An array of NumPy: of torch's without a copy where it lies in this machine's memory, else as NumPy makes one."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    if hasattr(values, "__array_interface__"):
        return values
    import numpy

    return numpy.asarray(values)


def literal(value: Any) -> str:
    """A value as it is written in SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (str, os.PathLike)):
        return "'" + os.fspath(value).replace("'", "''") + "'"
    if hasattr(value, "tolist"):
        return literal(value.tolist())
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    raise TypeError(f"a number, a text, a path, a list of numbers or a table is required, got {type(value).__name__}")
