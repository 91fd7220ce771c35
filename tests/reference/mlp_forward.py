"""Logits and hidden activations of two classifiers in float64, for the test in tests/models.rs: the bundled one on tiny
images, and the MNIST authors' where the reference data lie beside the workspace.

Run: python mlp_forward.py, in this folder (numpy 2, safetensors)
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

here = Path(__file__).resolve().parents[1]
for name, path in [("TINY", here / "data/mnist-tiny/mlp.safetensors"), ("MLP", here.parents[1] / "shared/data/mnist-authors/mlp.safetensors")]:
    if not path.exists():
        continue
    w = {key: value.astype(np.float64) for key, value in load_file(path).items()}
    x = ((np.arange(2 * 784) * 7919 % 1013).astype(np.float32) / np.float32(256)).reshape(2, 784)
    post = np.maximum(x @ w["layers.0.weight"].T + w["layers.0.bias"], 0)
    logits = post @ w["layers.1.weight"].T + w["layers.1.bias"]
    for of, values in [("LOGITS", logits), ("POST, first eight neurons", post[:, :8])]:
        print(f"{name}_{of}", ", ".join(f"{v:.6e}" for v in values.ravel()))
