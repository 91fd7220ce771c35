"""Principal components by NumPy's SVD, the entry of largest magnitude in each direction positive. Prints projection.json.

    python tests/reference/projection.py > tests/reference/projection.json        (NumPy 2)
"""
import json

import numpy as np

rng = np.random.default_rng(23)


def projected(rows, k, normalize):
    x = rows / np.linalg.norm(rows, axis=1, keepdims=True) if normalize else rows
    x = x - x.mean(axis=0)
    _, s, vt = np.linalg.svd(x, full_matrices=False)
    assert np.min(-np.diff(s[: k + 1]) / s[0]) > 1e-3, "no direction hangs on a rounding"
    largest = np.abs(vt).argmax(axis=1)
    signs = np.sign(vt[np.arange(len(vt)), largest])
    top = np.sort(np.abs(vt[:k]), axis=1)
    assert np.min(top[:, -1] - top[:, -2]) > 1e-6, "no sign hangs on a rounding"
    return (x @ (vt * signs[:, None])[:k].T).tolist()


cases = []
# More vectors than they are wide, and fewer; around a mean far from 0.
for n, d, k in [(200, 12, 3), (15, 40, 2)]:
    for normalize in [False, True]:
        rows = rng.standard_normal((n, d)) * np.geomspace(1, 0.1, d) + 3
        rows = np.round(rows, 3).astype(np.float32).astype(np.float64)
        cases.append({"k": k, "normalize": normalize, "rows": [[round(x, 3) for x in row] for row in rows.tolist()],
                      "expected": projected(rows, k, normalize)})
print(json.dumps({"tool": f"numpy {np.__version__}", "cases": cases}))
