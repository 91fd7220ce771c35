"""Metrics, codes and matches of a small sparse autoencoder in float64, for tests/slt/sae/*.slt.

    python tests/reference/sae_metrics.py      (NumPy 2, SciPy 1, safetensors; run in the project's folder)

The autoencoder is tests/data/sae/bare.safetensors (6 -> 10), the rows x[i, k] = sin(0.37 i + 1.1 k) (1 + i mod 5).
"""

import numpy as np
from safetensors.numpy import load_file
from scipy.spatial.distance import pdist

w = {k: v.astype(np.float64) for k, v in load_file("tests/data/sae/bare.safetensors").items()}
w_enc, b_enc, w_dec, b_dec = w["0.weight"], w["0.bias"], w["1.weight"].T, w["1.bias"]
i, k = np.arange(300)[:, None], np.arange(6)[None, :]
x = (np.sin(0.37 * i + 1.1 * k) * (1 + i % 5)).astype(np.float32).astype(np.float64)

a = np.maximum((x - b_dec) @ w_enc.T + b_enc, 0)
y = a @ w_dec + b_dec
n = len(x)
sse = ((y - x) ** 2).sum()
metrics = {
    "rows": n,
    "mse": sse / x.size,
    "sse_per_row": sse / n,
    "fvu": sse / ((x - x.mean(0)) ** 2).sum(),
    "l0": (a > 0).sum(1).mean(),
    "l0_percent": 100 * (a > 0).mean(),
    "l1_per_row": a.sum(1).mean(),
    "l1_per_batch": np.mean([a[b : b + 128].sum() for b in range(0, n, 128)]),
    "frac_alive": (a > 0).any(0).mean(),
}
metrics["explained_variance"] = 1 - metrics["fvu"]
far, mean, size = [], [], []
for j in range(len(w_enc)):
    rows = x[a[:, j] > 0]
    if len(rows) >= 2:
        d = pdist(rows[:100] * w_enc[j], "cosine")
        far.append(d.max())
        mean.append(d.mean())
        size.append(len(rows))
metrics |= {"max_distance": np.median(far), "mean_distance": np.median(mean), "size": np.median(size)}
metrics["dead_percent"] = 100 * (a.max(0) < 0.005).mean()
for name, value in sorted(metrics.items()):
    print(f"{name} {value:.5f}")

print("code of row 7:", [(int(j), round(float(a[7, j]), 5)) for j in np.flatnonzero(a[7])])
print("its reconstruction:", np.round(y[7], 5).tolist())

share = (a > 0).mean(0)
buckets = np.floor(np.log10(share[share > 0]) / 0.5)
print("log10 density:", [(float(b * 0.5), int((buckets == b).sum())) for b in np.unique(buckets)], int((share == 0).sum()))

unit = lambda m: m / np.linalg.norm(m, axis=1, keepdims=True)
dec, enc = unit(w_dec) @ unit(w_dec).T, unit(w_enc) @ unit(w_enc).T
for j in range(3):
    best = np.argsort(-dec[j], kind="stable")[:2]
    print("latent", j, [(int(b), round(float(dec[j, b]), 5), round(float(enc[j, b]), 5)) for b in best])
