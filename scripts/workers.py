#!/usr/bin/env python3
"""What a question over more workers takes, from what it took over one, three and seven: prints the table of docs/distributed.md.

    python3 scripts/workers.py [--cores N] [--gigabits N] [--times N]

The measurements are the constants below, with the command that makes them anew; a machine of another speed needs its own.
"""

import argparse
import heapq
from dataclasses import dataclass

WORKERS = (1, 2, 4, 8, 16, 32, 64)


@dataclass
class Question:
    """What was measured, and how many bytes its rows have."""

    name: str
    # CPU seconds of one process without workers.
    alone: float
    # CPU seconds of who asks and of all workers, by the number of workers.
    asking: dict
    working: dict
    rows: float

    def stages(self):
        """CPU seconds of all ranges and of each besides; of who asks for all rows, and for each range besides."""
        each, work = line([(ranges_of(n), seconds) for n, seconds in self.working.items()])
        called, taken = line([(ranges_of(n), seconds) for n, seconds in self.asking.items()])
        return work, max(each, 0.0), max(taken, 0.0), max(called, 0.0)


# `cargo bench --workspace --features polysema/distributed --bench workers`: 36,864 neurons of 100 examples.
QUESTIONS = [
    Question("metrics of every neuron", 4.26, {1: 0.01, 3: 0.02, 7: 0.03}, {1: 4.27, 3: 4.44, 7: 4.51}, 3e6),
    Question("the same, grouped by layer", 3.22, {1: 0.01, 3: 0.02, 7: 0.03}, {1: 3.24, 3: 3.33, 7: 3.47}, 1e4),
    Question("3.7 million rows of clusters", 3.33, {1: 0.07, 3: 0.07, 7: 0.08}, {1: 3.40, 3: 3.47, 7: 3.64}, 6e7),
]


def ranges_of(workers):
    """How many ranges a question is cut into, as src/workers/scatter.rs has it."""
    return workers * min(max(64 // workers, 1), 4)


def line(points):
    """Slope and intercept of least squares."""
    n = len(points)
    mean_x, mean_y = (sum(p[i] for p in points) / n for i in (0, 1))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    return slope, mean_y - slope * mean_x


def simulated(question, workers, given):
    """Seconds until the last row is there: ranges of the same work, each done by the next worker that is free, with all its
    cores; their rows through the one link of who asks, then taken in by one core of it."""
    work, each, taken, called = question.stages()
    ranges = ranges_of(workers)
    free = [0.0] * workers
    link = there = 0.0
    for _ in range(ranges):
        done = heapq.heappop(free) + (work * given.times / ranges + each) / given.cores
        heapq.heappush(free, done)
        link = max(link, done) + question.rows * given.times / ranges / (given.gigabits / 8 * 1e9)
        there = max(there, link) + taken * given.times / ranges + called
    return there


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cores", type=int, default=8, help="of each worker, and of the one process (8)")
    options.add_argument("--gigabits", type=float, default=10.0, help="a second of the link of who asks (10)")
    options.add_argument("--times", type=float, default=1.0, help="as many neurons as were measured (1)")
    given = options.parse_args()

    def row(cells):
        print("| " + " | ".join(cells) + " |")

    row(["workers", *(question.name for question in QUESTIONS)])
    row(["---"] * (len(QUESTIONS) + 1))
    alone = [question.alone * given.times / given.cores for question in QUESTIONS]
    row(["one process, none", *(f"{seconds:.3g} s" for seconds in alone)])
    for workers in WORKERS:
        many = [simulated(question, workers, given) for question in QUESTIONS]
        row([str(workers), *(f"{seconds:.3g} s ({one / seconds:.3g}×)" for seconds, one in zip(many, alone))])


if __name__ == "__main__":
    main()
