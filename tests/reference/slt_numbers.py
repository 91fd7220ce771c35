"""Merges and metrics of the five vectors that tests/slt uses, by SciPy. Prints what slt_numbers.txt holds.

    python tests/reference/slt_numbers.py > tests/reference/slt_numbers.txt        (SciPy 1.17, NumPy 2)
"""
import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

h = np.array([[1.0, 0.0], [4.0, 3.0], [0.0, 1.0], [12.0, 5.0], [0.0, 2.0]])
d = pdist(h, "cosine")
for method in ["average", "single", "complete", "weighted", "ward", "centroid", "median"]:
    for step, (a, b, height, size) in enumerate(linkage(d, method)):
        print(method, step, int(a), int(b), f"{abs(height):.6f}", int(size))
labels = fcluster(linkage(d, "average"), 0.5, "distance")
i, j = np.triu_indices(len(h), 1)
same = labels[i] == labels[j]
print("clusters", len(set(labels)), "max", f"{d.max():.6f}", "mean", f"{d.mean():.6f}", "intra", f"{d[same].mean():.6f}", "inter", f"{d[~same].mean():.6f}")
