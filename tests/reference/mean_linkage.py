"""Average linkage of many vectors by SciPy, in float64 from the matrix of distances. The vectors are not kept: they are made of
SplitMix64's numbers, here and in kernels/src/clustering/mean_linkage/tests.rs. Of each cut the number of clusters, the
sizes of the largest and a hash (FNV-1a of the labels as four bytes, little end first) are kept. Prints the json:

    python tests/reference/mean_linkage.py > tests/reference/mean_linkage.json"""
import json

import numpy as np
import scipy
from scipy.cluster.hierarchy import cophenet, fcluster, linkage
from scipy.spatial.distance import squareform

from shuffle import splitmix64


class Stream:
    def __init__(self, seed):
        self.bits = splitmix64(seed)

    def index(self, end):
        return (next(self.bits) * end) >> 64

    def vector(self, d):
        """In [-1, 1), float64."""
        return np.array([2.0 * ((next(self.bits) >> 11) / 2.0**53) - 1.0 for _ in range(d)])


def vectors(n, d, seed, topics, noise, copies, opposites, zeros):
    stream = Stream(seed)
    centers = [stream.vector(d) for _ in range(topics)]
    rows = []
    for i in range(n):
        if i < n - copies - opposites:
            topic = stream.index(topics)
            rows.append((centers[topic] + noise * stream.vector(d)).astype(np.float32))
        else:
            # Of the same direction, whatever their length, or of the opposite one.
            factor = float(2 ** (i % 3)) * (1.0 if i < n - opposites else -1.0)
            rows.append(rows[stream.index(n - copies - opposites)] * np.float32(factor))
    for i in range(0, n if zeros else 0, 100):
        rows[i] = np.zeros(d, np.float32)
    w = stream.vector(d).astype(np.float32)
    return np.array(rows), w


def by_size(labels):
    """Cluster ids from 0 by decreasing size, ties by smallest member."""
    members = sorted((np.flatnonzero(labels == k).tolist() for k in set(labels)), key=lambda m: (-len(m), m[0]))
    ids = np.empty(len(labels), dtype=int)
    for i, m in enumerate(members):
        ids[m] = i
    return ids.tolist()


def fnv(labels):
    found = 0xCBF29CE484222325
    for byte in np.asarray(labels, "<u4").tobytes():
        found = ((found ^ byte) * 0x100000001B3) & (2**64 - 1)
    return f"{found:016x}"


def thresholds(heights):
    """In the middle of the widest gaps between heights, so that no rounding moves a merge over one."""
    low = int(0.2 * len(heights))
    gaps = [(heights[i + 1] - heights[i], i) for i in range(low, len(heights) - 1)]
    widest = sorted(sorted(gaps)[-8:], key=lambda gap: gap[1])
    return [float(heights[i] + gap / 2) for gap, i in widest if gap > 1e-5]


def case(name, n, d, seed, topics=3, noise=0.6, copies=0, opposites=0, zeros=False):
    h, w = vectors(n, d, seed, topics, noise, copies, opposites, zeros)
    e = (h * w).astype(np.float64)
    e = e[np.abs(e).max(axis=1) > 0]
    u = e / np.linalg.norm(e, axis=1, keepdims=True)
    # Equal distances of equal vectors, whatever the last bits.
    m = np.clip(1 - u @ u.T, 0, 2).round(13)
    np.fill_diagonal(m, 0)
    v = squareform(m, checks=False)
    z = linkage(v, "average")
    cuts = []
    for t in thresholds(z[:, 2]):
        labels = by_size(fcluster(z, t, "distance"))
        sizes = np.bincount(labels)
        cuts.append({"threshold": t, "n_clusters": len(sizes), "sizes": sizes[:6].tolist(), "labels": fnv(labels)})
    places = sorted({*range(0, len(z), max(1, len(z) // 40)), *range(max(0, len(z) - 6), len(z))})
    return {"name": name, "n": n, "d": d, "seed": seed, "topics": topics, "noise": noise, "copies": copies, "opposites": opposites,
            "zeros": zeros, "live": len(u), "heights": [[i, round(float(z[i, 2]), 9), int(z[i, 3])] for i in places], "cuts": cuts,
            "max_distance": float(v.max()), "mean_distance": float(v.mean()), "cophenetic_correlation": float(cophenet(z, v)[0])}


cases = [
    case("topics", 300, 33, 1),
    case("one topic", 801, 7, 2, topics=1, noise=3.0),
    case("many topics", 2000, 65, 3, topics=40, noise=1.0),
    case("copies", 600, 20, 4, topics=5, copies=500),
    case("opposites", 500, 129, 5, topics=4, opposites=250),
    case("zeros", 450, 50, 6, copies=50, opposites=20, zeros=True),
    case("around a centre", 1200, 101, 7, topics=1, noise=0.3),
]
print(json.dumps({"scipy": scipy.__version__, "cases": cases}))
