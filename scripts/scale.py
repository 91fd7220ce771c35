#!/usr/bin/env python3
"""What runs of other sizes cost, from what was measured on two: prints the tables of docs/scale.md.

    python3 scripts/scale.py [--tokens MILLIONS]

The measurements are the constants below, each with the command that makes it anew; a machine of another speed needs its own.
"""

import argparse
from dataclasses import dataclass

# `cargo bench --workspace --bench ingest`: CPU seconds of the bare pass over so many tokens, GPT-2-small's shape.
PASS = {"tokens": 42_279, "cpu_seconds": 36.31}
# The same: what ingest took besides, over 10,973 and over 42,279 tokens.
BESIDE = ((10_973, 2.79), (42_279, 6.07))
# `cargo bench --workspace --bench whole_model -- growth`: CPU milliseconds a neuron of 100 examples, by width.
CLUSTERING = {64: 0.07, 256: 0.10, 768: 0.20, 1_536: 0.34, 4_096: 0.83}
# Sizes of a run's files, divided by their rows: bytes of an example with a window of 21 tokens, of a histogram.
EXAMPLE = 127
HISTOGRAM = 560
# Bytes that ingest holds a neuron, and a candidate, of which there are about 1.6 an example.
HELD, CANDIDATE, CANDIDATES = 420, 40, 1.6
# Prices, to be replaced by one's own: US dollars of a core for an hour, and of a gigabyte on a disk for a month.
CORE_HOUR, GIGABYTE_MONTH = 0.05, 0.08

EXAMPLES = 100
CONTEXT = 128


@dataclass
class Model:
    """A decoder's sizes."""

    name: str
    layers: int
    neurons: int
    width: int
    gated: bool
    # Numbers of a layer's attention maps.
    attention: int
    # Bytes of a weight as it is stored.
    stored: int
    # Lists of examples a neuron has: gated neurons have one a sign.
    lists: int

    @property
    def all_neurons(self):
        return self.layers * self.neurons

    @property
    def multiplied(self):
        """Numbers of the maps that a token is multiplied with."""
        maps = (3 if self.gated else 2) * self.neurons * self.width
        return self.layers * (self.attention + maps)

    @property
    def flops(self):
        """Of a token: a multiplication and an addition a weight, and attention over half of a context."""
        return 2 * self.multiplied + 4 * self.layers * self.width * CONTEXT / 2


def kv(width, share):
    """Numbers of the maps to queries, keys and values, and back, with so many query heads a key."""
    return round(2 * width * width + 2 * width * width / share)


MODELS = [
    Model("GPT-2-small", 12, 3_072, 768, False, kv(768, 1), 4, 1),
    Model("SmolLM2-135M", 30, 1_536, 576, True, kv(576, 3), 2, 2),
    Model("a 7B (Llama's shape)", 32, 11_008, 4_096, True, kv(4_096, 1), 2, 2),
    Model("a 70B (Llama's shape)", 80, 28_672, 8_192, True, kv(8_192, 8), 2, 2),
]


def line_through(points):
    """Slope and intercept of least squares."""
    n = len(points)
    mean_x, mean_y = (sum(p[i] for p in points) / n for i in (0, 1))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    return slope, mean_y - slope * mean_x


def costs(model, tokens):
    """CPU hours, and bytes."""
    small = MODELS[0]
    flops_a_second = PASS["tokens"] * small.flops / PASS["cpu_seconds"]
    beside, fixed = line_through(BESIDE)
    # Beside the pass, every activation is looked at, and every weight written once.
    looked = beside / small.all_neurons * model.all_neurons * tokens
    written = fixed / (small.all_neurons * small.width * 2) * model.all_neurons * model.width * (3 if model.gated else 2)
    slope, least = line_through(list(CLUSTERING.items()))
    neurons, lists = model.all_neurons, model.all_neurons * model.lists
    examples = lists * EXAMPLES
    # A vector is kept once for a layer, document and position, whichever neurons point at it.
    vectors = min(examples, tokens * model.layers)
    weights = (3 if model.gated else 2) * neurons * model.width * 4
    return {
        "forward": tokens * model.flops / flops_a_second / 3600,
        "ingest": (looked + written) / 3600,
        "cluster": lists * (least + slope * model.width) / 1000 / 3600,
        "weights": weights,
        "examples": examples * EXAMPLE + neurons * HISTOGRAM,
        "vectors": vectors * model.width * 4,
        "held": neurons * HELD + examples * CANDIDATE * CANDIDATES,
        "model": model.multiplied * model.stored,
    }


def size(n):
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if n < 1000:
            return f"{n:.2g} {unit}" if n < 10 else f"{n:.0f} {unit}"
        n /= 1000
    return f"{n:.1f} PB"


def hours(h):
    if h * 3600 < 120:
        return f"{h * 3600:.2g} s"
    if h < 2:
        return f"{h * 60:.2g} min"
    return f"{h:.1f} h" if h < 10 else f"{h:,.0f} h"


def row(cells):
    print("| " + " | ".join(cells) + " |")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tokens", type=float, default=10.0, metavar="MILLIONS", help="of the corpus (10)")
    tokens = options.parse_args().tokens * 1e6
    found = [(model, costs(model, tokens)) for model in MODELS]

    row(["unit", *(model.name for model, _ in found)])
    row(["---"] * (len(found) + 1))
    row(["neurons; width", *(f"{m.all_neurons:,}; {m.width:,}" for m, _ in found)])
    row(["arithmetic of a token", *(f"{m.flops / 1e9:.3g} GFLOP" for m, _ in found)])
    row(["a token through the model", *(f"{c['forward'] * 3.6e6 / tokens:.3g} ms of CPU" for _, c in found)])
    row(["a token beside the model", *(f"{c['ingest'] * 3.6e6 / tokens:.2g} ms of CPU" for _, c in found)])
    row(["a list of 100 examples clustered", *(f"{c['cluster'] * 3.6e6 / m.all_neurons / m.lists:.2g} ms of CPU" for m, c in found)])
    row(["a neuron's weights", *(size(c["weights"] / m.all_neurons) for m, c in found)])
    row(["a vector", *(size(4 * m.width) for m, _ in found)])
    print()
    row([f"{tokens / 1e6:,.3g} million tokens", *(model.name for model, _ in found)])
    row(["---"] * (len(found) + 1))
    row(["forward pass, core hours", *(hours(c["forward"]) for _, c in found)])
    row(["ingest beside it", *(hours(c["ingest"]) for _, c in found)])
    row(["all neurons clustered", *(hours(c["cluster"]) for _, c in found)])
    row(["cores at " + f"${CORE_HOUR} an hour", *(f"${CORE_HOUR * (c['forward'] + c['ingest'] + c['cluster']):,.2f}" for _, c in found)])
    row(["memory that ingest holds", *(size(c["held"]) for _, c in found)])
    row(["model file, mapped", *(size(c["model"]) for _, c in found)])
    row(["store: weights", *(size(c["weights"]) for _, c in found)])
    row(["store: examples, windows, histograms", *(size(c["examples"]) for _, c in found)])
    row(["store: vectors, at most", *(size(c["vectors"]) for _, c in found)])
    stores = [c["weights"] + c["examples"] + c["vectors"] for _, c in found]
    row([f"store at ${GIGABYTE_MONTH} a GB, a month", *(f"${GIGABYTE_MONTH * s / 1e9:,.2f}" for s in stores)])
    row(["model and store over 10 Gbit/s", *(hours((c["model"] + s) * 8 / 1e10 / 3600) for (_, c), s in zip(found, stores))])


if __name__ == "__main__":
    main()
