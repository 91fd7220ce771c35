"""Two small autoencoders for tests/slt/sae/feature_splitting.slt: a latent of one is two latents of the other.

    python tests/reference/feature_splitting.py      (NumPy, safetensors; run in the project's folder)
"""

import numpy as np
from safetensors.numpy import save_file


def write(name, w_enc):
    w_enc = np.array(w_enc, dtype=np.float32)
    save_file(
        {
            "0.weight": w_enc,
            "0.bias": np.full(len(w_enc), -0.1, dtype=np.float32),
            "1.weight": np.ascontiguousarray(w_enc.T),
            "1.bias": np.zeros(w_enc.shape[1], dtype=np.float32),
        },
        f"tests/data/sae/{name}.safetensors",
    )


# The second latent of both fires on the third dimension alone.
write("split-small", [[1, 1, 0], [0, 0, 1]])
write("split-large", [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
