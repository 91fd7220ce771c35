"""What the authors of the paper publish of some neurons of their MNIST classifier and of some latents of its Standard
autoencoder: example lists, feature clusters and metrics (Apache-2.0, the mechMNISTic page): tests/data/mnist-authors.

Their images and weights are not copied. Of each neuron's embeddings only what distances know is kept: vectors of as many
numbers as there are examples (or dimensions), with the same products, the triangular factor of the matrix of embeddings.

Run: python mnist_authors.py FOLDER, with the authors' files in FOLDER/mnist-authors and MNIST in FOLDER/mnist
(NumPy 2, SciPy 1.17, safetensors, pyarrow)
"""

import gzip
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors.numpy import load_file
from scipy.spatial.distance import pdist

source = Path(sys.argv[1])
out = Path(__file__).resolve().parents[1] / "data/mnist-authors"
out.mkdir(exist_ok=True)
# Every so many of them in the order of their number of clusters.
WANTED = {0: 6, 1: 14}

with gzip.open(source / "mnist/train-images-idx3-ubyte.gz") as file:
    pixels = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 784)
train = ((pixels / np.float32(255) - np.float32(0.1307)) / np.float32(0.3081)).astype(np.float64)
load = lambda name: {key: value.astype(np.float64) for key, value in load_file(source / "mnist-authors" / name).items()}
mlp, sae = load("mlp.safetensors"), load("sae-standard.safetensors")
weights = {0: mlp["layers.0.weight"], 1: sae["0.weight"]}
clusters = pq.read_table(source / "mnist-authors/clusters.parquet")
neurons = pq.read_table(source / "mnist-authors/neurons.parquet")

examples, kept = [], []
for layer, n in WANTED.items():
    of_layer = [row for row in neurons.filter(pc.equal(neurons["layer"], layer)).to_pylist() if row["n_examples"] > 1]
    by_clusters = sorted(of_layer, key=lambda row: (row["n_clusters"], row["n_examples"], row["neuron"]))
    chosen = [by_clusters[i * (len(by_clusters) - 1) // (n - 1)] for i in range(n)]
    width = {0: 100, 1: 64}[layer]
    for neuron in sorted(chosen, key=lambda row: row["neuron"]):
        of_neuron = pc.and_(pc.equal(clusters["layer"], layer), pc.equal(clusters["neuron"], neuron["neuron"]))
        rows = sorted(clusters.filter(of_neuron).to_pylist(), key=lambda row: row["example"])
        received = train[[row["train_index"] for row in rows]]
        if layer == 1:
            received = np.maximum(received @ mlp["layers.0.weight"].T + mlp["layers.0.bias"], 0)
        embeddings = received * weights[layer][neuron["neuron"]]
        factor = np.linalg.qr(embeddings.T, mode="r")
        vectors = np.zeros((len(rows), width), np.float32)
        vectors[:, : len(factor)] = factor.T
        off = abs(pdist(vectors.astype(np.float64), "cosine") - pdist(embeddings, "cosine")).max()
        assert off < 2e-7, off
        examples += [{"layer": layer, "neuron": row["neuron"], "example": row["example"], "train_index": row["train_index"],
                      "their_cluster": row["cluster"], "pre_mlp": vector.tolist()} for row, vector in zip(rows, vectors)]
        kept.append({**neuron, "w_in": [1.0] * width})

index, vector = pa.int32(), pa.list_(pa.float32())
names = ["layer", "neuron", "example", "train_index", "their_cluster"]
pq.write_table(pa.Table.from_pylist(examples, pa.schema([(name, index) for name in names] + [("pre_mlp", vector)])),
               out / "examples.parquet", compression="gzip")
figures = ["max_distance", "mean_distance", "intra_cluster_distance", "inter_cluster_distance"]
counts = ["layer", "neuron", "n_examples", "n_clusters"]
schema = pa.schema([(name, index) for name in counts] + [(name, pa.float64()) for name in figures] + [("w_in", vector)])
pq.write_table(pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in kept], schema),
               out / "neurons.parquet", compression="gzip")
print(len(kept), "neurons,", len(examples), "examples")
