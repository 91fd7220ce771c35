"""The part of the golden probe that fits here: wikitext_probe.safetensors, since candle cannot read a compressed npz.

Run: python wikitext_probe.py, in this folder, with the reference data beside the workspace (numpy 2, safetensors)
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

here = Path(__file__).resolve()
golden = np.load(here.parents[2].parent / "shared/data/golden/lm-raw/probe_activations.npz")
save_file(
    {
        "doc": golden["doc"],  # [4], chunks of 128 tokens of wikitext-2/valid.txt
        "h": np.ascontiguousarray(golden["h"][:, :, -8:]),  # [layer, doc, last 8 positions, d_model]
        "post_last_token": golden["post_last_token"],  # [layer, doc, d_mlp]
    },
    here.with_suffix(".safetensors"),
)
