"""Every number of the bundled demo model on its corpus, for both layer norm conventions: tests/data/golden.

Run: python demo_golden.py, in this folder; some minutes (torch 2.15, transformers 5, SciPy 1.17, scikit-learn 1.9,
pyarrow). The model runs in float32, the geometry in float64. A text is cut into documents of CONTEXT tokens. Rows of
every 16th neuron are kept; `summary.json` counts and averages over all of them.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score
from transformers import AutoTokenizer, GPT2LMHeadModel

from scc_agreement import scc

CONTEXT, SHARE, MAX_EXAMPLES, CUT, STEP, MERGES = 48, 0.75, 100, 0.5, 16, 6
here = Path(__file__).resolve().parents[1]
model = GPT2LMHeadModel.from_pretrained(here / "data/demo/model", dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(here / "data/demo/model")
texts = [json.loads(line)["text"] for line in open(here / "data/demo/corpus.jsonl", encoding="utf-8")]
ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
documents = [part[at : at + CONTEXT] for part in ids for at in range(0, len(part), CONTEXT)]
blocks = model.transformer.h

seen = {}


def keep(name):
    return lambda module, inputs, output: seen.__setitem__(name, (inputs[0][0].numpy(), output[0].numpy()))


for layer, block in enumerate(blocks):
    block.ln_2.register_forward_hook(keep(("norm", layer)))
    block.mlp.act.register_forward_hook(keep(("act", layer)))
received = {"raw": [[] for _ in blocks], "folded": [[] for _ in blocks]}
peaks, places, runners_up = ([[] for _ in blocks] for _ in range(3))
with torch.no_grad():
    for document in documents:
        model.transformer(torch.tensor([document]))
        for layer, block in enumerate(blocks):
            into, out = seen["norm", layer]
            x = into.astype(np.float64)
            x -= x.mean(-1, keepdims=True)
            received["folded"][layer].append(x / np.sqrt((x**2).mean(-1, keepdims=True) + block.ln_2.eps))
            received["raw"][layer].append(out.astype(np.float64))
            act = seen["act", layer][1].astype(np.float64)
            two = np.sort(act, axis=0)[-2:] if len(act) > 1 else np.vstack([act - 1, act])
            peaks[layer].append(act.max(0))
            places[layer].append(act.argmax(0))
            runners_up[layer].append(two[0])


def distances(e):
    u = e / np.linalg.norm(e, axis=1, keepdims=True)
    return u, np.clip(1 - u @ u.T, 0, 2)


def metrics(e, suffix):
    """The metrics of one neuron's embeddings, their clusters and merges."""
    out = {"gap": 1.0, "n_clusters": len(e) or None, "max_distance": None, "mean_distance": None,
           "intra_cluster_distance": None, "inter_cluster_distance": None}
    labels, merges, u = np.zeros(len(e), int), np.zeros((0, 4)), e
    if len(e) > 1:
        u, d = distances(e)
        i, j = np.triu_indices(len(e), 1)
        merges = linkage(d[i, j], "average")
        labels = fcluster(merges, CUT, "distance")
        same = labels[i] == labels[j]
        mean = lambda v: float(v.mean()) if len(v) else None
        out = {"gap": float(abs(merges[:, 2] - CUT).min()), "n_clusters": len(set(labels)), "max_distance": float(d[i, j].max()),
               "mean_distance": mean(d[i, j]), "intra_cluster_distance": mean(d[i, j][same]),
               "inter_cluster_distance": mean(d[i, j][~same])}
    return {name + suffix: value for name, value in out.items()}, labels, merges, u


def by_size(labels):
    members = sorted((np.flatnonzero(labels == k) for k in set(labels)), key=lambda m: (-len(m), m[0]))
    ids = np.empty(len(labels), dtype=int)
    for number, m in enumerate(members):
        ids[m] = number
    return ids


def table(rows, path):
    pq.write_table(pa.Table.from_pylist(rows), path, compression="none")


for convention, vectors in received.items():
    folder = here / f"data/golden/lm-{convention}"
    folder.mkdir(parents=True, exist_ok=True)
    neurons, examples, merged, agreement = [], [], [], []
    for layer, block in enumerate(blocks):
        weights = block.mlp.c_fc.weight.detach().double().numpy()  # [d_model, d_mlp]
        if convention == "folded":
            weights = block.ln_2.weight.detach().double().numpy()[:, None] * weights
        peak, place, second = (np.array(values[layer]) for values in (peaks, places, runners_up))  # [document, d_mlp]
        for neuron in range(weights.shape[1]):
            column, most = peak[:, neuron], peak[:, neuron].max()
            hits = np.flatnonzero(column >= SHARE * most) if most > 0 else np.zeros(0, int)
            # What hangs on a rounding: whether it is an example, and which of its tokens is the key one.
            unsure = (abs(column - SHARE * most) < 1e-5) | ((column >= SHARE * most) & (column - second[:, neuron] < 1e-5))
            kept = hits[:MAX_EXAMPLES]
            h = np.array([vectors[layer][doc][place[doc, neuron]] for doc in kept]).reshape(len(kept), -1)
            row = {"layer": layer, "neuron": neuron, "max_activation": float(most), "n_hits": len(hits),
                   "n_borderline": int(unsure.sum()), "n_examples": len(kept)}
            of_neuron, labels, merges, u = metrics(h * weights[:, neuron], "")
            neurons.append(row | of_neuron | metrics(h, "_pre_mlp")[0])
            if len(kept) > 1:
                sub = scc(u, 1.02, 256)
                agreement.append((adjusted_rand_score(labels, sub), len(set(labels)), len(set(sub))))
            if neuron % STEP:
                continue
            clusters = by_size(labels)
            for example, doc in enumerate(kept):
                pos = int(place[doc, neuron])
                examples.append({"layer": layer, "neuron": neuron, "example": example, "doc_id": int(doc), "pos": pos,
                                 "token_id": documents[doc][pos], "activation": float(column[doc]), "cluster": int(clusters[example])})
            if neuron < MERGES * STEP and layer % 2 == 0:
                for step, (a, b, height, size) in enumerate(merges):
                    merged.append({"layer": layer, "neuron": neuron, "step": step, "cluster1": int(min(a, b)), "cluster2": int(max(a, b)),
                                   "dissimilarity": float(height), "size": int(size)})
    table1 = {}
    for statistic in ("median", "mean"):
        table1[statistic] = {}
        for metric in ("n_clusters", "max_distance", "mean_distance", "intra_cluster_distance", "inter_cluster_distance"):
            table1[statistic][metric] = {
                name: float(getattr(np, statistic)([row[metric + suffix] for row in neurons if row[metric + suffix] is not None]))
                for name, suffix in (("neuron", ""), ("pre_mlp", "_pre_mlp"))}
    index, n_hac, n_scc = (np.array(values) for values in zip(*agreement))
    summary = {
        "documents": len(documents), "tokens": sum(map(len, documents)), "neurons": len(neurons),
        "examples": sum(row["n_examples"] for row in neurons), "borderline": sum(row["n_borderline"] > 0 for row in neurons),
        "merges": len(merged), "table1": table1,
        "scc": {"neurons": len(agreement), "figures": [index.mean(), np.median(index), np.mean(index > 1 - 1e-9), n_hac.mean(),
                                                       n_scc.mean(), np.mean(n_hac == n_scc)]},
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    table([row for row in neurons if row["neuron"] % STEP == 0], folder / "neurons.parquet")
    table(examples, folder / "examples.parquet")
    table(merged, folder / "linkage.parquet")
    print(convention, {name: value for name, value in summary.items() if name != "table1"})
