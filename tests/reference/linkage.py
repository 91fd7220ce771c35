"""Merges, flat clusters and cophenetic correlation of every linkage by SciPy, silhouettes by scikit-learn. Prints the json:

    python tests/reference/linkage.py > tests/reference/linkage.json"""
import json

import numpy as np
import scipy
from scipy.cluster.hierarchy import cophenet, fcluster, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import silhouette_score

METHODS = ["average", "single", "complete", "weighted", "ward", "centroid", "median"]
THRESHOLDS = [0.1, 0.3, 0.5, 0.8, 1.2, 2.0]
N_CLUSTERS = [1, 2, 3, 5, 8, 16, 100]


def by_size(labels):
    """Cluster ids from 0 by decreasing size, ties by smallest member."""
    members = sorted((np.flatnonzero(labels == k).tolist() for k in set(labels)), key=lambda m: (-len(m), m[0]))
    ids = np.empty(len(labels), dtype=int)
    for i, m in enumerate(members):
        ids[m] = i
    return ids.tolist()


def silhouette(v, labels):
    """None for one cluster; 0 where each is alone, which scikit-learn refuses though its definition says 0."""
    if len(set(labels)) == 1:
        return None
    return 0.0 if len(set(labels)) == len(labels) else float(silhouette_score(squareform(v), labels, metric="precomputed"))


def case(name, condensed):
    v = np.asarray(condensed, dtype=np.float32).astype(np.float64)
    results = {}
    for method in METHODS:
        z = linkage(v, method)
        cuts = {str(t): by_size(fcluster(z, t, "distance")) for t in THRESHOLDS}
        at_most = {str(k): by_size(fcluster(z, k, "maxclust")) for k in N_CLUSTERS}
        correlation = float(cophenet(z, v)[0]) if len(v) > 1 else None
        results[method] = {"steps": [[int(a), int(b), round(h, 9), int(s)] for a, b, h, s in z], "cuts": cuts, "at_most": at_most,
                           "cophenetic_correlation": correlation}
    n = int((1 + np.sqrt(1 + 8 * len(v))) / 2)
    silhouettes = {t: silhouette(v, labels) for t, labels in results["average"]["cuts"].items()}
    return {"name": name, "n": n, "silhouettes": silhouettes, "condensed": [float(np.float32(x)) for x in v], "methods": results}


rng = np.random.default_rng(7)
topics = rng.standard_normal((4, 6))
rows = topics[rng.integers(0, 4, 24)] + 0.6 * rng.standard_normal((24, 6))
cases = [
    case("topics", pdist(rows, "cosine")),
    case("scattered", pdist(rng.standard_normal((17, 5)), "cosine")),
    # Nearly equilateral: under centroid and median linkage the second merge lies below the first.
    case("inversion", [0.5, 0.51, 0.52]),
    case("two", [0.3]),
]
print(json.dumps({"scipy": scipy.__version__, "cases": cases}))
