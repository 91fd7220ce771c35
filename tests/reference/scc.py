"""Sub-Cluster Components by its definition (Monath et al. 2021, algorithm 1), in float64 from the matrix of distances, with
the metrics of its clusters. Prints scc.json: python tests/reference/scc.py > tests/reference/scc.json (NumPy 2, scikit-learn 1.9)
"""
import json

import numpy as np
from sklearn.metrics import silhouette_score

RATIO, N_LEVELS = 1.02, 256


def components(n, links):
    """The smallest member of each component, by repeated spreading of the smaller label."""
    label = np.arange(n)
    while True:
        before = label.copy()
        for a, b in links:
            label[a] = label[b] = min(label[a], label[b])
        if (label == before).all():
            return label


def scc(d, last, at_most=0):
    n = len(d)
    labels = np.arange(n)  # smallest member of the sub-cluster
    thresholds = [last]
    while len(thresholds) < N_LEVELS:
        thresholds.append(thresholds[-1] / RATIO)
    for t in reversed(thresholds):
        if len(set(labels)) <= at_most:
            break
        while True:
            parts = [np.flatnonzero(labels == k) for k in np.unique(labels)]
            if len(parts) == 1:
                break
            m = np.array([[d[np.ix_(a, b)].mean() for b in parts] for a in parts])
            np.fill_diagonal(m, np.inf)
            links = [(a, m[a].argmin()) for a in range(len(parts)) if m[a].min() <= t]
            if not links:
                break
            joined = components(len(parts), links)
            labels = np.array([parts[joined[k]][0] for k in np.searchsorted(np.unique(labels), labels)])
    return labels


def by_size(labels):
    members = sorted((np.flatnonzero(labels == k) for k in set(labels)), key=lambda m: (-len(m), m[0]))
    ids = np.empty(len(labels), dtype=int)
    for i, m in enumerate(members):
        ids[m] = i
    return ids, members


def cut(d, name, value):
    labels, members = by_size(scc(d, value) if name == "threshold" else scc(d, 2.0, value))
    i, j = np.triu_indices(len(d), 1)
    same, v = labels[i] == labels[j], d[i, j]
    mean = lambda x: float(x.mean()) if len(x) else None
    silhouette = None if len(members) == 1 else 0.0
    if 1 < len(members) < len(d):
        silhouette = float(silhouette_score(d, labels, metric="precomputed"))
    return {name: value, "labels": labels.tolist(), "medoids": [int(m[d[np.ix_(m, m)].sum(1).argmin()]) for m in members],
            "max_distance": float(v.max()), "mean_distance": float(v.mean()), "intra_cluster_distance": mean(v[same]),
            "inter_cluster_distance": mean(v[~same]), "silhouette": silhouette}


def case(name, h, w):
    h, w = np.asarray(h, np.float32).round(4), np.asarray(w, np.float32).round(4)
    e = (h * w).astype(np.float64)
    u = e / np.linalg.norm(e, axis=1, keepdims=True)
    d = np.clip(1 - u @ u.T, 0, 2)
    np.fill_diagonal(d, 0)
    cuts = [cut(d, "threshold", t) for t in [0.1, 0.3, 0.5, 0.8, 1.2, 2.0]] + [cut(d, "n_clusters", k) for k in [1, 3, 7]]
    return {"name": name, "h": [[round(float(x), 4) for x in row] for row in h], "w": [round(float(x), 4) for x in w], "cuts": cuts}


rng = np.random.default_rng(11)
topics = rng.standard_normal((5, 8))
cases = [
    case("topics", topics[rng.integers(0, 5, 40)] + 0.6 * rng.standard_normal((40, 8)), rng.standard_normal(8)),
    case("scattered", rng.standard_normal((70, 6)), np.ones(6)),
    case("chain", [[np.cos(x), np.sin(x)] for x in np.cumsum(rng.uniform(0.02, 0.3, 25))], [1, 1]),
]
print(json.dumps({"numpy": np.__version__, "cases": cases}))
