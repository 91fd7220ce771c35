"""One neuron as a notebook shows it."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from . import _html
from ._sql import identifier

if TYPE_CHECKING:
    from ._connection import Connection

#: Examples of a cluster that a card shows.
_EXAMPLES = 5


class Neuron:
    """The metrics of a neuron and its feature clusters with their examples."""

    def __init__(self, connection: Connection, layer: int | str, neuron: int, **options: Any) -> None:
        profile = connection.neuron_polysemanticity(layer, neuron, **options)
        found = profile.rows()
        if not found:
            from ._lib import Error

            raise Error(f"a neuron that has examples is required, got layer {layer}, neuron {neuron}")
        #: The row of neuron_polysemanticity.
        self.metrics: dict[str, Any] = dict(zip(profile.columns, found[0]))
        self.layer: int = self.metrics["layer"]
        self.neuron = neuron
        #: The rows of feature_clusters.
        self.clusters = connection.feature_clusters(layer, neuron, **options)
        run = options.get("run")
        examples = "examples" if run is None else f"{identifier(str(run))}.examples"
        windows = connection.sql(
            f"SELECT example, window_start, window_tokens, window_activations FROM {examples} "
            "WHERE layer = $layer AND neuron = $neuron",
            layer=self.layer,
            neuron=neuron,
        )
        self._windows = {row[0]: row[1:] for row in windows.rows()}

    def _members(self) -> dict[int | None, list[dict[str, Any]]]:
        columns = self.clusters.columns
        clusters: dict[int | None, list[dict[str, Any]]] = {}
        for row in self.clusters.rows():
            example = dict(zip(columns, row))
            clusters.setdefault(example["cluster"], []).append(example)
        return clusters

    def _window(self, example: dict[str, Any]) -> tuple[int, list[str], list[float]] | None:
        """Where its window begins, and the window's tokens with their activations; None where the run has no tokens."""
        start, tokens, activations = self._windows.get(example["example"], (None, None, None))
        if start is None or activations is None or not any(tokens or []):
            return None
        return start, [token or "" for token in tokens], activations

    def _text(self, example: dict[str, Any]) -> str:
        if example["context"] and self._window(example):
            return str(example["context"])
        return f"document {example['doc_id']}, position {example['pos']}: {example['activation']:.4g}"

    def _shaded(self, example: dict[str, Any], largest: float) -> str:
        window = self._window(example)
        if window is None:
            return html.escape(self._text(example))
        start, tokens, activations = window
        return _html.shaded(tokens, activations, example["pos"] - start, largest)

    def __repr__(self) -> str:
        lines = [f"layer {self.layer}, neuron {self.neuron}: " + _words(self.metrics)]
        for cluster, examples in self._members().items():
            lines.append(f"cluster {cluster}, {_number(examples)}")
            lines += [f"  {self._text(example)}" for example in examples[:_EXAMPLES]]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = [f"<h4>layer {self.layer}, neuron {self.neuron}</h4><p>{html.escape(_words(self.metrics))}</p>"]
        members = self._members()
        largest = max((abs(e["activation"] or 0.0) for es in members.values() for e in es), default=0.0)
        for cluster, examples in members.items():
            parts.append(f"<h5>cluster {cluster}: {_number(examples)}</h5><ul>")
            for example in examples[:_EXAMPLES]:
                parts.append(f"<li>{self._shaded(example, largest)}</li>")
            if len(examples) > _EXAMPLES:
                parts.append(f"<li>and {len(examples) - _EXAMPLES} more</li>")
            parts.append("</ul>")
        return "".join(parts)


def _number(examples: list[dict[str, Any]]) -> str:
    return "1 example" if len(examples) == 1 else f"{len(examples)} examples"


def _words(metrics: dict[str, Any]) -> str:
    said = (f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, (int, float)))
    return ", ".join(word for word in said if not word.startswith(("layer ", "neuron ")))
