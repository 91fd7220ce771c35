"""Nearest vectors, similar feature clusters and co-activation, by NumPy and SciPy. Prints similarity.json.

    python tests/reference/similarity.py > tests/reference/similarity.json        (NumPy 2, SciPy 1.17)
"""
import json

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform

rng = np.random.default_rng(11)


def short(x):
    """Numbers that float32 and JSON print alike."""
    return np.round(np.asarray(x), 3).astype(np.float32).astype(np.float64)


def listed(x):
    return [[round(float(v), 3) for v in row] for row in x]


def cosines(q, rows):
    return rows @ q / (np.linalg.norm(rows, axis=1) * np.linalg.norm(q))


def by_size(labels):
    """Cluster ids from 0 by decreasing size, ties by smallest member."""
    members = sorted((np.flatnonzero(labels == k).tolist() for k in set(labels)), key=lambda m: (-len(m), m[0]))
    ids = np.empty(len(labels), dtype=int)
    for i, m in enumerate(members):
        ids[m] = i
    return ids


# nearest: 300 rows of width 37, the ten most similar to a query.
rows = short(rng.standard_normal((300, 37)))
query = short(rng.standard_normal(37))
similarity = cosines(query, rows)
order = np.lexsort((np.arange(len(rows)), -similarity))[:10]
nearest = {"rows": listed(rows), "query": listed([query])[0], "expected": [[int(i), float(similarity[i])] for i in order]}

# similar features: neuron embeddings h * w clustered by average linkage at 0.5, their medoids compared by h.
topics = rng.standard_normal((5, 8))
neurons, central = [], []
for neuron in range(12):
    w = short(rng.standard_normal(8))
    h = short(topics[rng.integers(0, 5, 14)] + 0.5 * rng.standard_normal((14, 8)))
    d = pdist(h * w, "cosine")
    labels = by_size(fcluster(linkage(d, "average"), 0.5, "distance"))
    square = squareform(d)
    for cluster in range(labels.max() + 1):
        members = np.flatnonzero(labels == cluster)
        sums = square[np.ix_(members, members)].sum(axis=1)
        assert len(sums) < 3 or np.diff(np.sort(sums))[0] > 1e-4, "no medoid hangs on a rounding"
        central.append((neuron, cluster, len(members), int(members[np.argmin(sums)]), h[members[np.argmin(sums)]]))
    neurons.append({"w": listed([w])[0], "h": listed(h)})
asked = (3, 1)
q = next(c[4] for c in central if c[:2] == asked)
others = [c for c in central if c[0] != asked[0]]
similarity = cosines(q, np.array([c[4] for c in others]))
order = [i for i in np.argsort(-similarity) if similarity[i] >= 0.05][:20]
features = {
    "neurons": neurons, "asked": asked,
    "expected": [[*map(int, others[i][:4]), float(similarity[i])] for i in order],
}

# coactivation: 40 neurons of up to 25 examples among 60 documents of 4 positions; a direction an example, so that the
# directions are the clusters.
examples, places = [], {}
for neuron in range(40):
    docs = np.sort(rng.choice(60, rng.integers(5, 26), replace=False))
    # A few popular positions, so that much is shared.
    pos = rng.choice(4, len(docs), p=[0.6, 0.2, 0.1, 0.1])
    direction = rng.integers(0, 3, len(docs))
    labels = by_size(direction)
    for example in range(len(docs)):
        examples.append([neuron, example, int(docs[example]), int(pos[example]), int(direction[example])])
        places.setdefault((neuron, int(labels[example])), set()).add((int(docs[example]), int(pos[example])))
n = len({(e[2], e[3]) for e in examples})
matrix = np.zeros((len(places), n), dtype=int)
column = {p: i for i, p in enumerate(sorted({(e[2], e[3]) for e in examples}))}
keys = sorted(places)
for i, key in enumerate(keys):
    matrix[i, [column[p] for p in places[key]]] = 1
shared = matrix @ matrix.T
pairs = []
for i, a in enumerate(keys):
    for j in range(i + 1, len(keys)):
        expected = shared[i, i] * shared[j, j] / n
        if a[0] != keys[j][0] and shared[i, j] >= 2 and shared[i, j] > expected:
            pairs.append([*a, *keys[j], int(shared[i, j]), int(shared[i, i]), int(shared[j, j]), expected, shared[i, j] / expected])
pairs.sort(key=lambda p: (-round(p[8], 9), -p[4], p[:4]))
coactivation = {"examples": examples, "n_places": n, "pairs": pairs}

print(json.dumps({"numpy": np.__version__, "nearest": nearest, "features": features, "coactivation": coactivation}))
