"""Vectors of one neuron for the bench `linkage`, and SciPy and fastcluster on them (matrix of distances, average linkage, cut):

    python kernels/benches/linkage.py N D topics|tree|noise FILE [scipy] [fastcluster]

`topics` is `udfs/benches/neuron.rs`'s recipe (ten topics and noise, times weights), `tree` a branching of directions eight levels
deep, `noise` has no clusters. Run with OMP_NUM_THREADS for NumPy's product; linkage has one thread."""
import sys
import time

import fastcluster
import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

n, d, kind, path, *peers = sys.argv[1:]
n, d = int(n), int(d)
rng = np.random.default_rng(0)
w = rng.standard_normal(d).astype(np.float32)
if kind == "topics":
    topics = rng.standard_normal((10, d)).astype(np.float32)
    x = topics[rng.integers(0, 10, n)] + np.float32(0.7) * rng.standard_normal((n, d), dtype=np.float32)
elif kind == "tree":
    x, node = np.zeros((n, d), np.float32), np.zeros(n, np.int64)
    for level in range(8):
        node = node * 4 + rng.integers(0, 4, n)
        names, node = np.unique(node, return_inverse=True)
        x += np.float32(0.8**level) * rng.standard_normal((len(names), d), dtype=np.float32)[node]
else:
    x = rng.standard_normal((n, d), dtype=np.float32)
x = x * w
x.tofile(path)


def distances():
    u = x / np.linalg.norm(x, axis=1, keepdims=True)
    v = np.empty(n * (n - 1) // 2)
    at = 0
    for i in range(n):  # a row at a time: no square matrix beside the condensed one
        if i % 512 == 0:
            block = np.clip(1 - u[i : i + 512] @ u[i:].T, 0, 2)
        row = block[i % 512, i % 512 + 1 :]
        v[at : at + len(row)] = row
        at += len(row)
    return v


for peer in peers:
    start, cpu = time.time(), time.process_time()
    v = distances()
    z = linkage(v, "average") if peer == "scipy" else fastcluster.linkage(v, "average", preserve_input=False)
    k = fcluster(z, 0.5, "distance").max()
    print(f"{peer}: n {n}, {time.time() - start:.2f} s, {time.process_time() - cpu:.2f} s of CPU, {k} clusters at 0.5", flush=True)
