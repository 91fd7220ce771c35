"""Sub-cluster components against average linkage on every neuron of the golden model, in float64: adjusted Rand index and
numbers of clusters, for the test in tests/golden.rs and for the constants of kernels/src/scc.rs.

Run: python scc_agreement.py [ratio levels ..], with the reference data beside the workspace (NumPy 2, SciPy 1.17,
scikit-learn 1.9, PyTorch, transformers 5); some minutes. Without arguments: 1.02 256.
"""
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score
from transformers import AutoTokenizer, GPT2LMHeadModel

THRESHOLD, CONTEXT = 0.5, 128
shared = Path(__file__).resolve().parents[3] / "shared/data"


def embeddings():
    """Unit neuron embeddings of every neuron's examples, with the layer norm folded. [n, d] each"""
    model = GPT2LMHeadModel.from_pretrained(shared / "gpt2-wikitext-tiny").eval()
    tokenizer = AutoTokenizer.from_pretrained(shared / "gpt2-wikitext-tiny")
    ids = tokenizer((shared / "wikitext-2/valid.txt").read_text(), add_special_tokens=False)["input_ids"]
    ids = torch.tensor(ids[: len(ids) // CONTEXT * CONTEXT]).view(-1, CONTEXT)
    blocks = model.transformer.h
    seen = [[] for _ in blocks]

    def keep(layer):
        def hook(norm, inputs, output):
            x = inputs[0] - inputs[0].mean(-1, keepdim=True)
            seen[layer].append((x / torch.sqrt(x.square().mean(-1, keepdim=True) + norm.eps)).numpy())
        return hook

    for layer, block in enumerate(blocks):
        block.ln_2.register_forward_hook(keep(layer))
    with torch.no_grad():
        for batch in ids.split(64):
            model.transformer(batch)
    examples = pq.read_table(shared / "golden/lm-folded/examples.parquet").to_pandas()
    for layer, block in enumerate(blocks):
        h = np.concatenate(seen[layer])
        w = (block.ln_2.weight[:, None] * block.mlp.c_fc.weight).detach().numpy()
        for neuron, of in examples[examples.layer == layer].groupby("neuron"):
            e = h[of.doc_id.values, of.pos.values].astype(np.float64) * w[:, neuron]
            yield e / np.linalg.norm(e, axis=1, keepdims=True)


def scc(u, ratio, levels):
    """Labels; means of unit vectors stand for the sub-clusters, as their products are the mean distances."""
    labels, sums, sizes = np.arange(len(u)), u, np.ones(len(u))
    thresholds = [THRESHOLD]
    while len(thresholds) < levels:
        thresholds.append(thresholds[-1] / ratio)
    while thresholds and len(sums) > 1:
        means = sums / sizes[:, None]
        d = 1 - means @ means.T
        np.fill_diagonal(d, np.inf)
        nearest = d.argmin(1)
        linked = d.min(1)
        while thresholds and not (linked <= thresholds[-1]).any():
            thresholds.pop()
        if not thresholds:
            break
        joined = np.arange(len(sums))
        while True:
            before = joined.copy()
            for a in np.flatnonzero(linked <= thresholds[-1]):
                joined[a] = joined[nearest[a]] = min(joined[a], joined[nearest[a]])
            if (before == joined).all():
                break
        roots, place = np.unique(joined, return_inverse=True)
        labels = place[labels]
        sums = np.array([sums[place == k].sum(0) for k in range(len(roots))])
        sizes = np.bincount(place, weights=sizes)
    return labels


if __name__ == "__main__":
    everything = [u for u in embeddings() if len(u) > 1]
    pairs = [np.triu_indices(n, 1) for n in range(101)]
    hac = [fcluster(linkage(np.clip(1 - u @ u.T, 0, 2)[pairs[len(u)]], "average"), THRESHOLD, "distance") for u in everything]
    settings = [float(x) for x in sys.argv[1:]] or [1.02, 256]
    for ratio, levels in zip(settings[::2], settings[1::2]):
        found = [scc(u, ratio, int(levels)) for u in everything]
        index = np.array([adjusted_rand_score(a, b) for a, b in zip(hac, found)])
        n_hac, n_scc = (np.array([len(set(labels)) for labels in all]) for all in (hac, found))
        print(f"ratio {ratio}, {int(levels)} levels, {len(index)} neurons: index mean {index.mean():.6f} median {np.median(index):.6f}"
              f" equal {np.mean(index > 1 - 1e-9):.6f}; clusters {n_hac.mean():.6f} and {n_scc.mean():.6f},"
              f" equal numbers {np.mean(n_hac == n_scc):.6f}")
