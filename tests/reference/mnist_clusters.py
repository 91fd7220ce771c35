"""What the authors published of their MNIST models, for the tiny ones: example lists, clusters and metrics of the classifier's
neurons and of a sparse autoencoder's latents, and the autoencoder's Table 2, in float64: tests/data/mnist-tiny-golden.

Run: python mnist_clusters.py, in this folder, after mnist_tiny.py (NumPy 2, SciPy 1.17, safetensors, pyarrow)
"""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

MIN_MLP, CUT_MLP, MIN_SAE, CUT_SAE = 0.5, 0.5, 0.005, 0.2
data = Path(__file__).resolve().parents[1] / "data"
out = data / "mnist-tiny-golden"
out.mkdir(exist_ok=True)


def images(name, opened):
    with opened(data / "mnist-tiny" / name, "rb") as file:
        pixels = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 784).astype(np.float32)
    return ((pixels / np.float32(255) - np.float32(0.1307)) / np.float32(0.3081)).astype(np.float64)


train = images("train-images-idx3-ubyte.gz", gzip.open)
test = images("t10k-images-idx3-ubyte", open)
labels = np.frombuffer((data / "mnist-tiny/t10k-labels-idx1-ubyte").read_bytes()[8:], np.uint8)
w = {name: value.astype(np.float64) for name, value in load_file(data / "mnist-tiny/mlp.safetensors").items()}
hidden = lambda x: np.maximum(x @ w["layers.0.weight"].T + w["layers.0.bias"], 0)
classes = lambda h: (h @ w["layers.1.weight"].T + w["layers.1.bias"]).argmax(1)

# 6 -> 12: each latent reads two neurons and writes them back, as trained ones do, with some noise; two never live.
rng = np.random.default_rng(5)
w_enc = np.vstack([np.eye(6), np.roll(np.eye(6), 1, 1) * 0.5]) + rng.normal(0, 0.2, (12, 6))
sae = {"0.weight": w_enc, "0.bias": rng.normal(0, 0.1, 12), "1.weight": 0.7 * w_enc.T + rng.normal(0, 0.1, (6, 12)),
       "1.bias": rng.normal(0, 0.2, 6)}
sae["0.bias"][[3, 8]] = -20
sae = {name: np.ascontiguousarray(value, np.float32) for name, value in sae.items()}
save_file(sae, out / "sae.safetensors")
sae = {name: value.astype(np.float64) for name, value in sae.items()}
encode = lambda h: np.maximum((h - sae["1.bias"]) @ sae["0.weight"].T + sae["0.bias"], 0)
decode = lambda a: a @ sae["1.weight"].T + sae["1.bias"]

rows, neurons = [], []
for layer, received, weights, activations, least, cut in [
    (0, train, w["layers.0.weight"], hidden(train), MIN_MLP, CUT_MLP),
    (1, hidden(train), sae["0.weight"], encode(hidden(train)), MIN_SAE, CUT_SAE),
]:
    assert abs(activations - least).min() > 1e-5, "no example hangs on a rounding"
    for neuron, column in enumerate(activations.T):
        kept = np.flatnonzero(column >= least)[:100]
        found = {"layer": layer, "neuron": neuron, "n_examples": len(kept), "n_clusters": None, "max_distance": None,
                 "mean_distance": None, "intra_cluster_distance": None, "inter_cluster_distance": None}
        clusters = np.ones(len(kept), int)
        if len(kept) > 1:
            e = received[kept] * weights[neuron]
            assert (np.linalg.norm(e, axis=1) > 0).all(), "every example has a direction"
            d = pdist(e, "cosine")
            merges = linkage(d, "average")
            assert abs(merges[:, 2] - cut).min() > 1e-5, "no cluster hangs on a rounding"
            clusters = fcluster(merges, cut, "distance")
            i, j = np.triu_indices(len(kept), 1)
            same, mean = clusters[i] == clusters[j], lambda v: float(v.mean()) if len(v) else None
            found |= {"max_distance": float(d.max()), "mean_distance": mean(d), "intra_cluster_distance": mean(d[same]),
                      "inter_cluster_distance": mean(d[~same])}
        if len(kept):
            found["n_clusters"] = len(set(clusters))
        neurons.append(found)
        rows += [{"layer": layer, "neuron": neuron, "example": example, "train_index": int(row), "cluster": int(cluster)}
                 for example, (row, cluster) in enumerate(zip(kept, clusters))]
for name, table in [("clusters", rows), ("neurons", neurons)]:
    pq.write_table(pa.Table.from_pylist(table), out / f"{name}.parquet", compression="none")

h = hidden(test)
a = encode(h)
far, near, size = [], [], []
for j in range(12):
    active = h[a[:, j] > 0]
    if len(active) >= 2:
        d = pdist(active[:100] * sae["0.weight"][j], "cosine")
        far.append(d.max())
        near.append(d.mean())
        size.append(len(active))
accuracy = lambda h: 100 * float((classes(h) == labels).mean())
table2 = {"mse": float(((decode(a) - h) ** 2).mean()), "l0_percent": 100 * float((a > 0).mean()), "l1_per_batch": float(a.sum()),
          "accuracy_percent": accuracy(h), "accuracy_with_sae_percent": accuracy(decode(a)),
          "dead_percent": 100 * float((encode(hidden(train)).max(0) < 0.005).mean()),
          "max_distance": float(np.median(far)), "mean_distance": float(np.median(near)), "size": float(np.median(size))}
(out / "table2.json").write_text(json.dumps(table2, indent=1) + "\n")
print(table2)
for row in neurons:
    print(row)
