"""How values look in a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

#: What stands around the key token in the column `context`.
_OPEN, _CLOSE = "«", "»"
#: Items of a list that are shown.
_ITEMS = 4
#: Characters of a value that are shown.
_MOST = 200


def brief(value: Any) -> str:
    """A value in few characters: of a long list the first ones, and how many they are."""
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        items = [repr(item) if isinstance(item, str) else brief(item) for item in value[:_ITEMS]]
        return "[" + ", ".join(items) + (f", ... {len(value)}]" if len(value) > _ITEMS else "]")
    return str(value)


def cell(column: str, value: Any) -> str:
    """A value of a table; the key token of a context is marked."""
    if value is None:
        return "<i>NULL</i>"
    if column == "context" and isinstance(value, str):
        return context(value)
    text = brief(value)
    return html.escape(text if len(text) <= _MOST else text[:_MOST] + "...")


def context(text: str) -> str:
    """A context with its key token marked."""
    before, opened, rest = text.partition(_OPEN)
    token, closed, after = rest.partition(_CLOSE)
    if not (opened and closed):
        return html.escape(text)
    return f"{html.escape(before)}<mark>{html.escape(token)}</mark>{html.escape(after)}"


def shaded(tokens: Sequence[str], activations: Sequence[float], key: int, largest: float) -> str:
    """Tokens, each the darker the larger the share of its activation in the largest one; the key token is bold."""
    spans = []
    for i, (token, activation) in enumerate(zip(tokens, activations)):
        share = min(max(abs(activation) / largest, 0.0), 1.0) if largest > 0 else 0.0
        weight = ";font-weight:bold" if i == key else ""
        style = f"background:rgba(255,140,0,{share:.2f}){weight}"
        spans.append(f'<span style="{style}" title="{activation:.4g}">{html.escape(token)}</span>')
    return "".join(spans)
