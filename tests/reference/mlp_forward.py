"""Logits and hidden activations of the MNIST authors' classifier in float64, for the test in tests/models.rs.

Run: python mlp_forward.py, in this folder, with the reference data beside the workspace (numpy 2, safetensors)
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

w = load_file(Path(__file__).resolve().parents[2].parent / "shared/data/mnist-authors/mlp.safetensors")
w = {name: value.astype(np.float64) for name, value in w.items()}
x = ((np.arange(2 * 784) * 7919 % 1013).astype(np.float32) / np.float32(256)).reshape(2, 784)
post = np.maximum(x @ w["layers.0.weight"].T + w["layers.0.bias"], 0)
logits = post @ w["layers.1.weight"].T + w["layers.1.bias"]
for name, values in [("LOGITS", logits), ("POST, first eight neurons", post[:, :8])]:
    print(name, ", ".join(f"{v:.6e}" for v in values.ravel()))
