"""Reconstruction errors of one small autoencoder at every place of the demo model: sae_sites.json and
tests/data/sae/sites, which the test gives one name of a place after another.

Run: python sae_sites.py, in this folder (NumPy 2.4, safetensors 0.8, tokenizers 0.23). The forward pass is the
definition in float64; it is first held against PyTorch's, demo_forward.safetensors.
"""

import json
from math import pi, sqrt
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

here = Path(__file__).resolve().parent
demo = here.parent / "data" / "demo"
config = json.loads((demo / "model" / "config.json").read_text())
weights = {name.removeprefix("transformer."): w.astype(np.float64) for name, w in load_file(demo / "model" / "model.safetensors").items()}
D, HEADS = config["n_embd"], config["n_head"]
DOCUMENTS, CONTEXT = 8, 128


def norm(x, name, affine=True):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + config["layer_norm_epsilon"])
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"] if affine else x


def linear(x, name):
    return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]


def forward(ids):
    """The value at each (layer, site) for one document. [n, d]"""
    n, seen = len(ids), {}
    x = weights["wte.weight"][ids] + weights["wpe.weight"][:n]
    for layer in range(config["n_layer"]):
        def keep(site, value):
            seen[layer, site] = value
            return value

        h = f"h.{layer}"
        keep("resid.pre", x)
        q, k, v = np.split(linear(keep("ln1.out", norm(x, f"{h}.ln_1")), f"{h}.attn.c_attn"), 3, axis=-1)
        heads = lambda a: a.reshape(n, HEADS, D // HEADS).transpose(1, 0, 2)
        scores = heads(q) @ heads(k).transpose(0, 2, 1) / sqrt(D // HEADS)
        scores = np.where(np.tril(np.ones((n, n), bool)), scores, -np.inf)
        pattern = np.exp(scores - scores.max(-1, keepdims=True))
        pattern /= pattern.sum(-1, keepdims=True)
        z = keep("attn.z", (pattern @ heads(v)).transpose(1, 0, 2).reshape(n, D))
        x = keep("resid.mid", x + keep("attn.out", linear(z, f"{h}.attn.c_proj")))
        keep("ln2.normalized", norm(x, f"{h}.ln_2", affine=False))
        pre = keep("mlp.pre", linear(keep("ln2.out", norm(x, f"{h}.ln_2")), f"{h}.mlp.c_fc"))
        post = keep("mlp.post", 0.5 * pre * (1 + np.tanh(sqrt(2 / pi) * (pre + 0.044715 * pre**3))))
        x = keep("resid.post", x + keep("mlp.out", linear(post, f"{h}.mlp.c_proj")))
    return seen


torch = load_file(here / "demo_forward.safetensors")
for document, ids in enumerate(torch["ids"]):
    seen = forward(ids)
    for site in ["ln2.out", "mlp.pre", "mlp.post", "mlp.out"]:
        for layer in range(config["n_layer"]):
            off = np.abs(seen[layer, site][-2:] - torch[site][layer, document]).max()
            assert off < 1e-4, (layer, site, off)

tokenizer = Tokenizer.from_file(str(demo / "model" / "tokenizer.json"))
documents = []
for line in (demo / "corpus.jsonl").read_text().splitlines():
    ids = tokenizer.encode(json.loads(line)["text"], add_special_tokens=False).ids
    documents += [ids[i : i + CONTEXT] for i in range(0, len(ids), CONTEXT)]
seen = [forward(ids) for ids in documents[:DOCUMENTS]]

random = np.random.default_rng(12)
sae = {
    "W_enc": random.normal(0, 0.3, (D, 4)),
    "b_enc": random.normal(0, 0.3, 4),
    "W_dec": random.normal(0, 0.3, (4, D)),
    "b_dec": random.normal(0, 0.3, D),
}
sae = {name: w.astype(np.float32) for name, w in sae.items()}
out = here.parent / "data" / "sae" / "sites"
out.mkdir(exist_ok=True)
save_file(sae, out / "sae_weights.safetensors")
linears = {"encoder.weight": sae["W_enc"].T, "bias": sae["b_dec"], "encoder.bias": sae["b_enc"], "decoder.weight": sae["W_dec"].T}
save_file({name: np.ascontiguousarray(w) for name, w in linears.items()}, out / "ae.safetensors")

w = {name: value.astype(np.float64) for name, value in sae.items()}
errors = {}
for layer, site in seen[0]:
    x = np.concatenate([document[layer, site] for document in seen])
    if x.shape[1] == D:
        code = np.maximum((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"], 0)
        errors[f"blocks.{layer}.{site}"] = float(((code @ w["W_dec"] + w["b_dec"] - x) ** 2).mean())
(here / "sae_sites.json").write_text(json.dumps({"rows": sum(map(len, documents[:DOCUMENTS])), "mse": errors}, indent=1) + "\n")
