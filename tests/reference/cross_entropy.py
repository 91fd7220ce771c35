"""Cross-entropy of the bundled demo model on the first documents of its corpus: cross_entropy.json, for tests/sae.

Run: python cross_entropy.py, in this folder (torch 2.15, transformers 5.24)

Texts are cut into documents of CONTEXT tokens, without special ones; every document is run on its own, in float64. The mean
is over the predictions of all: every token of a document but its first.
"""

import json
from pathlib import Path

import torch
from transformers import AutoTokenizer, GPT2LMHeadModel

CONTEXT, DOCUMENTS = 128, 40
here = Path(__file__).resolve().parent
folder = here.parent / "data" / "demo"
model = GPT2LMHeadModel.from_pretrained(folder / "model", dtype=torch.float64).eval()
tokenizer = AutoTokenizer.from_pretrained(folder / "model")
documents = []
for line in open(folder / "corpus.jsonl", encoding="utf-8"):
    ids = tokenizer(json.loads(line)["text"], add_special_tokens=False)["input_ids"]
    documents += [ids[at : at + CONTEXT] for at in range(0, len(ids), CONTEXT)]
nats, predictions = 0.0, 0
with torch.no_grad():
    for ids in documents[:DOCUMENTS]:
        ids = torch.tensor(ids)
        logits = model(ids[None]).logits[0, :-1]
        nats += torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum").item()
        predictions += len(ids) - 1
out = {"documents": DOCUMENTS, "predictions": predictions, "nats": nats / predictions}
(here / "cross_entropy.json").write_text(json.dumps(out) + "\n")
print(out)
