"""Activation and importance maps of the small classifier and autoencoder, as the authors' MNIST explorer computes them, by
NumPy in float64. Prints pixel_maps.json: every 7th pixel, and the sums over all.

    python tests/reference/pixel_maps.py > tests/reference/pixel_maps.json        (NumPy 2)

The authors' code gives a hidden neuron the map max(w white, w black); a latent the maps of all hidden neurons above 0, weighted by
its encoder row. The importance map is the part of that map above its first pixel, times the mean of the examples, both scaled to
[0, 1]. Examples are the first 100 training images on which the neuron reaches 0.5, the latent 0.005.
"""
import gzip
import json
import struct
from pathlib import Path

import numpy as np

data = Path(__file__).resolve().parents[1] / "data"


def tensors(path):
    raw = path.read_bytes()
    (n,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + n])
    header.pop("__metadata__", None)
    at = lambda f: np.frombuffer(raw[8 + n :][slice(*f["data_offsets"])], np.float32).reshape(f["shape"]).astype(np.float64)
    return {name: at(facts) for name, facts in header.items()}


with gzip.open(data / "mnist-tiny/train-images-idx3-ubyte.gz") as file:
    images = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 784).astype(np.float64)
normalised = lambda x: (x / 255 - 0.1307) / 0.3081
x, black, white = normalised(images), normalised(0), normalised(255)
mlp, sae = tensors(data / "mnist-tiny/mlp.safetensors"), tensors(data / "mnist-tiny-golden/sae.safetensors")
relu = lambda v: np.maximum(v, 0)
scaled = lambda v: (v - v.min()) / (v.max() - v.min())
w = mlp["layers.0.weight"]
hidden = relu(x @ w.T + mlp["layers.0.bias"])
latents = relu((hidden - sae["1.bias"]) @ sae["0.weight"].T + sae["0.bias"])
of_neurons = np.maximum(w * white, w * black)
of_latents = sae["0.weight"] @ relu(of_neurons)

maps = []
for layer, activation, values, least in [(0, of_neurons, hidden, 0.5), (1, of_latents, latents, 0.005)]:
    for neuron in range(len(activation)):
        kept = np.flatnonzero(values[:, neuron] >= least)[:100]
        found = {"layer": layer, "neuron": neuron, "n_examples": len(kept), "activation": activation[neuron]}
        if len(kept):
            mean = x[kept].mean(axis=0)
            above = relu(activation[neuron] - activation[neuron][0])
            importance = scaled(above) * scaled(mean) if above.max() > above.min() else np.zeros(784)
            found |= {"mean_pixel": mean, "importance": importance}
        for name, value in list(found.items()):
            if isinstance(value, np.ndarray):
                found[name] = [round(v, 7) for v in value[::7].tolist()]
                found[f"sum_of_{name}"] = float(value.sum())
        maps.append(found)
print(json.dumps({"tool": f"numpy {np.__version__}", "maps": maps}))
