"""The progress of jobs, by tqdm where it is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

#: Columns of a job's rows that count what is done, with those that say of how many.
_COUNTS = [("documents", "total_documents"), ("step", "total_steps"), ("epoch", "epochs")]


class Bar:
    """A bar that moves to what a job's newest row says; none where no rows come."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Any = None
        self._said = False

    def __enter__(self) -> Callable[[dict[str, Any]], None]:
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._said:
            print("\r\x1b[K", end="", file=sys.stderr)

    def _show(self, row: dict[str, Any]) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            if sys.stderr.isatty():
                self._say(row)
            return
        if self._bar is None:
            self._bar = tqdm(desc=self._name, disable=None, leave=False)
        for done, total in _COUNTS:
            if done in row:
                self._bar.total = row.get(total)
                self._bar.n = row[done] or 0
        if "phase" in row:
            self._bar.set_description(f"{self._name}: {row['phase']}", refresh=False)
        self._bar.refresh()

    def _say(self, row: dict[str, Any]) -> None:
        self._said = True
        said = ", ".join(f"{name} {value}" for name, value in row.items() if value not in (None, ""))
        print(f"\r\x1b[K{self._name}: {said}"[:120], end="", file=sys.stderr, flush=True)
