"""Merges and metrics of the five vectors that tests/slt uses, by SciPy and scikit-learn. Prints what slt_numbers.txt holds.

    python tests/reference/slt_numbers.py > tests/reference/slt_numbers.txt        (SciPy 1.17, scikit-learn 1.9, NumPy 2)
"""
import numpy as np
from scipy.cluster.hierarchy import cophenet, fcluster, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import adjusted_rand_score, silhouette_score

h = np.array([[1.0, 0.0], [4.0, 3.0], [0.0, 1.0], [12.0, 5.0], [0.0, 2.0]])
d = pdist(h, "cosine")
for method in ["average", "single", "complete", "weighted", "ward", "centroid", "median"]:
    for step, (a, b, height, size) in enumerate(linkage(d, method)):
        print(method, step, int(a), int(b), f"{abs(height):.6f}", int(size))
labels = fcluster(linkage(d, "average"), 0.5, "distance")
i, j = np.triu_indices(len(h), 1)
same = labels[i] == labels[j]
print("clusters", len(set(labels)), "max", f"{d.max():.6f}", "mean", f"{d.mean():.6f}", "intra", f"{d[same].mean():.6f}", "inter", f"{d[~same].mean():.6f}")
print("silhouette", f"{silhouette_score(squareform(d), labels, metric='precomputed'):.6f}")
for method in ["average", "single"]:
    print("cophenetic correlation", method, f"{cophenet(linkage(d, method), d)[0]:.6f}")
three = fcluster(linkage(d, "average"), 0.1, "distance")
print("silhouette of three clusters", f"{silhouette_score(squareform(d), three, metric='precomputed'):.6f}")

# Twelve examples for rare_features: eight around 0 degrees, one at 60, two at 120 (equal), one opposite.
angles = np.radians([0, 1, 2, 3, 4, 5, 6, 7, 60, 120, 120, 180])
d = squareform(pdist(np.stack([np.cos(angles), np.sin(angles)], 1), "cosine"))
groups = [range(8), [9, 10], [8], [11]]
for k, members in enumerate(groups[1:], 1):
    print("rare", k, len(members), f"{8 / len(members):.1f}", f"{d[np.ix_(groups[0], members)].mean():.6f}")
labels = fcluster(linkage(squareform(d, checks=False), "average"), 0.3, "distance")
print("labels at 0.3", labels)

# Partitions for adjusted_rand_index.
for a, b in [([0, 0, 1, 2, 2, 2, 1, 0], [1, 1, 0, 0, 2, 2, 2, 1]), ([0, 0, 1, 1], [0, 1, 0, 1]), ([0, 0, 1, 2], [0, 0, 1, 1]), ([0] * 4, [1, 2, 3, 4]), ([0] * 4, [1] * 4), ([1, 2, 3, 4], [1, 2, 3, 4])]:
    print("adjusted rand", a, b, f"{adjusted_rand_score(a, b):.6f}")
x = np.arange(20000)
for g in [0, 1]:
    print("adjusted rand of a group", g, f"{adjusted_rand_score(x % 3, (x + g) % 5 % 3):.6f}")
