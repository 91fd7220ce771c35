"""A folder as import_run reads it, and the dataset examples that follow from it by their definition, in NumPy.

    python tests/reference/import_run.py        (NumPy 2; writes tests/data/import and tests/reference/import_run.json)
"""
import json
import struct
from pathlib import Path

import numpy as np

here = Path(__file__).parent
folder = here.parent / "data" / "import"
rng = np.random.default_rng(23)

# Twelve documents of one to six tokens, numbered as they were elsewhere.
lengths = rng.integers(1, 7, 12)
doc_id = np.repeat(100 + 3 * np.arange(12), lengths)
pos = np.concatenate([np.arange(n) for n in lengths])
words = [" the", " river", " bank", "\n", ",", " note"]
token_id = rng.integers(0, len(words), len(doc_id))


def layer(d_in, n_neurons):
    h = rng.standard_normal((len(doc_id), d_in)).astype(np.float32)
    w_in = rng.standard_normal((n_neurons, d_in)).astype(np.float32)
    b_in = rng.standard_normal(n_neurons).astype(np.float32) - 1
    pre = h.astype(np.float64) @ w_in.astype(np.float64).T + b_in
    return h, w_in, b_in, np.maximum(pre, 0)


def safetensors(path, tensors):
    header, data = {}, b""
    for name, (dtype, array) in tensors.items():
        raw = array.tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def expected(number, a, skip=0.75, most=100):
    """Neurons, and the documents whose maximum reaches the share of the neuron's maximum."""
    neurons, examples = [], []
    starts = np.concatenate([[0], np.cumsum(lengths)])
    for neuron in range(a.shape[1]):
        column = a[:, neuron]
        found = 0
        for d in range(len(lengths)):
            values = column[starts[d]:starts[d + 1]]
            peak = int(np.argmax(values))
            floor = skip * column.max()
            assert abs(values[peak] - floor) > 1e-4 or column.max() == 0, "no example hangs on a rounding"
            if column.max() > 0 and values[peak] >= floor and found < most:
                examples.append([number, neuron, found, d, peak, float(values[peak])])
                found += 1
        neurons.append([number, neuron, float(column.max()), float(column.mean()), float((column > 0).mean()), found])
    return neurons, examples


def weighted(number, h, w, a, skip=0.2, window=2):
    """Of each example: what the neuron received up to the key token, weighted by its activations; and the cosine distances
    of the neuron embeddings made of these; and how many vectors that takes."""
    vectors, distances, rows = [], [], set()
    starts = np.concatenate([[0], np.cumsum(lengths)])
    by_neuron = {}
    for _, neuron, example, d, peak, _ in expected(number, a, skip)[1]:
        at = np.arange(starts[d] + max(0, peak - window), starts[d] + peak + 1)
        mean = np.average(h[at].astype(np.float64), axis=0, weights=a[at, neuron])
        rows.update(at[a[at, neuron] > 0].tolist())
        vectors.append([number, neuron, example, *mean.tolist()])
        by_neuron.setdefault(neuron, []).append(mean * w[neuron])
    for neuron, embeddings in by_neuron.items():
        unit = np.array(embeddings) / np.linalg.norm(embeddings, axis=1, keepdims=True)
        distance = 1 - unit @ unit.T
        distances += [[number, neuron, i, j, distance[i, j]] for i in range(len(unit)) for j in range(i + 1, len(unit))]
    return vectors, distances, len(rows)


h0, w0, b0, a0 = layer(5, 7)
h1, w1, b1, a1 = layer(4, 3)
# A neuron that never fires.
a1[:, 2] = 0
folder.mkdir(exist_ok=True)
np.save(folder / "doc_id.npy", doc_id.astype(np.int64))
np.save(folder / "pos.npy", pos.astype(np.int32))
np.save(folder / "token_id.npy", token_id.astype(np.int32))
(folder / "tokens.jsonl").write_text("".join(json.dumps(words[t]) + "\n" for t in token_id))
for name, array in [("h", h0), ("w_in", w0), ("b_in", b0)]:
    np.save(folder / f"0.{name}.npy", array)
a1 = a1.astype(np.float32)
w_out = rng.standard_normal((3, 2)).astype(np.float32)
safetensors(folder / "layer_1.safetensors", {
    "1.h": ("F32", h1), "1.activations": ("F32", a1), "1.w_in": ("F64", w1.astype(np.float64)),
    "1.b_in": ("F32", b1), "1.w_out": ("F32", w_out),
})
parts = [expected(0, a0), expected(1, a1.astype(np.float64))]
windows = [weighted(0, h0, w0, a0), weighted(1, h1, w1, a1.astype(np.float64))]
print(sum(f.stat().st_size for f in folder.iterdir()), "bytes")
(here / "import_run.json").write_text(json.dumps({
    "neurons": sum((p[0] for p in parts), []), "examples": sum((p[1] for p in parts), []),
    "weighted": sum((p[0] for p in windows), []), "weighted_distances": sum((p[1] for p in windows), []),
    "n_vectors": sum(p[2] for p in windows),
    "documents": [[i, 100 + 3 * i, int(n)] for i, n in enumerate(lengths)],
}))
