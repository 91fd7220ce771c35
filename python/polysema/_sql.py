"""Names and values as they are written in SQL."""

from __future__ import annotations

import os
from typing import Any


def identifier(name: str) -> str:
    """A name as it is written in SQL."""
    return '"' + name.replace('"', '""') + '"'


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
