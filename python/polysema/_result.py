"""The rows of a statement."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import _html

if TYPE_CHECKING:
    import numpy
    import pandas
    import polars
    import pyarrow

    from . import _lib

#: Rows that are shown where a result is printed.
SHOWN = 20
#: No result has more rows.
_ALL = 2**62


class Result:
    """The rows of one statement, which whatever reads Arrow streams takes: ``pyarrow.table(result)``,
    ``polars.DataFrame(result)``, ``duckdb.sql("FROM result")``.

    The rows of a question are computed whenever they are asked for, batch by batch, so a result costs nothing before and
    holds nothing after. Those of a statement that changes something (a job, a table that is made) are kept: it ran once.

    >>> import polysema
    >>> polysema.connect().sql("SELECT column1 AS n, column2 AS token FROM (VALUES (1, 'a'), (2, NULL))")
    n | token
    --+------
    1 | a
    2 |
    """

    def __init__(self, inner: _lib.Result) -> None:
        self._inner = inner
        self._head: tuple[list[tuple[Any, ...]], bool] | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return self._inner.columns

    @property
    def types(self) -> list[str]:
        """Arrow types of the columns."""
        return self._inner.types

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._inner.__arrow_c_stream__(requested_schema)

    def __datafusion_table_provider__(self, session: object) -> object:
        """The rows as a table of a session of datafusion-python: ``ctx.register_table("clusters", result)``. Those of a
        question are computed by this connection when the session scans them, and only what it asks for."""
        from .datafusion import require_version

        require_version()
        return self._inner.__datafusion_table_provider__(session)

    def rows(self, most: int | None = None) -> list[tuple[Any, ...]]:
        """All rows, or the first ones, as tuples; NULL is None, a list a list, a struct a dict.

        >>> import polysema
        >>> polysema.connect().sql("SELECT 1 AS n, [0.5, 2.0] AS v, {x: NULL} AS s").rows()
        [(1, [0.5, 2.0], {'x': None})]
        """
        return self._inner.rows(_ALL if most is None else most)[0]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows())

    def to_arrow(self) -> pyarrow.Table:
        """A pyarrow table."""
        import pyarrow

        return pyarrow.table(self)

    def to_reader(self) -> pyarrow.RecordBatchReader:
        """A pyarrow reader, which computes a batch when it is asked for one."""
        import pyarrow

        return pyarrow.RecordBatchReader.from_stream(self)

    def to_pandas(self) -> pandas.DataFrame:
        """A pandas frame; pyarrow is required."""
        return self.to_arrow().to_pandas()

    def to_polars(self) -> polars.DataFrame:
        """A polars frame."""
        import polars

        return polars.DataFrame(self)

    def to_numpy(self, column: str) -> numpy.ndarray[Any, Any]:
        """A column of numbers as an array of shape (n,), one of vectors of the same width as one of shape (n, d); pyarrow is
        required.

        >>> import polysema
        >>> polysema.connect().sql("SELECT [1.0, 2.0] AS v UNION ALL SELECT [3.0, 4.0]").to_numpy("v").shape
        (2, 2)
        """
        import numpy

        if column not in self.columns:
            raise KeyError(f"a column of {', '.join(self.columns)} is required, got {column!r}")
        values = self.to_arrow().column(column).combine_chunks()
        if not hasattr(values, "flatten") or not hasattr(values, "value_lengths"):
            numbers: numpy.ndarray[Any, Any] = values.to_numpy(zero_copy_only=False)
            return numbers
        widths = set(values.value_lengths().to_pylist())
        if len(widths) > 1:
            raise ValueError(f"{column}: vectors of one width are required, got {sorted(map(str, widths))}")
        flat = values.flatten().to_numpy(zero_copy_only=False)
        shape = (len(values), -1 if len(flat) else 0)
        vectors: numpy.ndarray[Any, Any] = numpy.reshape(flat, shape)
        return vectors

    def _shown(self) -> tuple[list[tuple[Any, ...]], bool]:
        if self._head is None:
            self._head = self._inner.rows(SHOWN)
        return self._head

    def __repr__(self) -> str:
        rows, more = self._shown()
        cells = [self.columns, *([_text(value) for value in row] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
        lines.insert(1, "-+-".join("-" * width for width in widths))
        if more:
            lines.append(f"(the first {len(rows)} rows)")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows, more = self._shown()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{_html.cell(name, value)}</td>" for name, value in zip(self.columns, row)) + "</tr>"
            for row in rows
        )
        rest = f"<p>the first {len(rows)} rows</p>" if more else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def _text(value: Any, most: int = 60) -> str:
    text = "" if value is None else _html.brief(value)
    text = text.replace("\n", "\\n")
    return text if len(text) <= most else text[: most - 3] + "..."
