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
from ._sql import literal

#: Arrays that a run has a layer each of.
_OF_LAYERS = ("h", "w_in", "activations", "b_in", "w_out")
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

    store: its folder, or the address of one to read: http(s)://, s3://, gs:// or az://.
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

    def sql(self, statement: str, parameters: Iterable[Any] | Mapping[str, Any] = (), /, **named: Any) -> Result:
        """A statement, with values for `$1`, `$2`, ... in a list, or for `$name`, ... by name or in a mapping.

        A question is computed when its rows are asked for; a statement that changes something runs now.

        >>> db = connect()
        >>> db.sql("SELECT upper($word) AS word, $n + 1 AS n", word="neuron", n=41).rows()
        [('NEURON', 42)]
        >>> db.sql("SELECT upper($1) AS word", ["neuron"]).rows()
        [('NEURON',)]
        """
        given: list[tuple[str | None, Any]] = []
        if isinstance(parameters, Mapping):
            given += parameters.items()
        elif isinstance(parameters, Iterable) and not isinstance(parameters, (str, bytes)):
            given += [(None, value) for value in parameters]
        else:
            raise TypeError(f"sql: a list or a mapping of values is required, got {type(parameters).__name__}")
        given += named.items()
        return Result(self._inner.sql(statement, given))

    @property
    def runs(self) -> list[str]:
        """Names of the store's runs."""
        return [run for (run,) in self.sql("SELECT run FROM polysema.info.runs ORDER BY run")]

    @property
    def tables(self) -> list[str]:
        """Names of the tables and views that need no schema before them: the selected run's, and those of `register`."""
        schemas = [schema for schema in (self.run, "public") if schema is not None]
        found = self.sql("SELECT table_schema, table_name FROM information_schema.tables").rows()
        return [table for schema in schemas for of, table in found if of == schema]

    def register(self, name: str, table: Any) -> None:
        """Makes a table of this session.

        table: whatever gives an Arrow stream (frames of pandas and polars, pyarrow tables and readers, DuckDB relations,
        another connection's results); a mapping of column names to arrays of NumPy or torch of shape (n,), or (n, d) for
        vectors, or to lists of texts; one array of shape (n, d), whose column is `vector`, or (n,), `value`; or an iterable of
        texts, whose column is `text`. The memory of arrays is shared where they lie row by row, else they are copied.

        >>> db = connect()
        >>> db.register("acts", {"vector": [[1.0, 0.0], [0.6, 0.8]], "token": ["a", "b"]})
        >>> [row[1] for row in db.nearest("acts", "vector", [0.0, 1.0], 1)]
        ['b']
        """
        if hasattr(table, "__array_interface__") or hasattr(table, "detach"):
            table = {"value" if getattr(table, "ndim", 2) == 1 else "vector": table}
        if hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__"):
            self._inner.register(name, table)
        elif isinstance(table, Mapping):
            columns = [(str(column), array_of(values)) for column, values in table.items()]
            lengths = {column: len(values) for column, values in columns}
            if len(set(lengths.values())) > 1:
                raise ValueError(f"{name}: columns of one length are required, got {lengths}")
            self._inner.register_arrays(name, columns)
        elif not isinstance(table, (str, bytes)) and isinstance(table, Iterable):
            texts = list(table)
            other = next((text for text in texts if not isinstance(text, (str, type(None)))), None)
            if other is not None:
                raise TypeError(f"{name}: texts are required in an iterable, got {type(other).__name__}")
            self._inner.register_texts(name, texts)
        else:
            raise TypeError(
                f"{name}: an Arrow stream, a mapping of arrays, an array or an iterable of texts is required, "
                f"got {type(table).__name__}"
            )

    def unregister(self, name: str) -> None:
        """Drops a table that was registered."""
        if not self._inner.unregister(name):
            raise _lib.Error(f"a registered table is required, got {name!r}")

    def neuron(self, layer: int | str, neuron: int, **options: Any) -> Neuron:
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
        for name in _OF_LAYERS:
            if name in arrays and not isinstance(arrays[name], Mapping):
                came = type(arrays[name]).__name__
                raise TypeError(f"{name}: a mapping of a layer's number to its array is required, got {came}")
        with tempfile.TemporaryDirectory(prefix="polysema-") as folder:
            for name, value in arrays.items():
                if name == "tokens":
                    lines = "".join(json.dumps(str(token)) + "\n" for token in value)
                    Path(folder, "tokens.jsonl").write_text(lines, encoding="utf-8")
                elif name in _OF_LAYERS:
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
    """An array of NumPy that lies row by row: without a copy where it already does and is in this machine's memory."""
    import numpy

    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":  # NumPy has no such numbers
            values = values.float()
    array = numpy.asarray(values)
    return array if array.ndim == 0 else numpy.ascontiguousarray(array)
