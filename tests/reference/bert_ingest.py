"""What BERT gives for a small corpus, document by document: for tests/encoders.rs.

usage: bert_ingest.py       -> bert_ingest.json and bert_ingest.safetensors beside this file
needs: torch 2.15, transformers 5.24, safetensors 0.8

The model is ../data/architectures/bert with a vocabulary of its 41 words. Texts are cut as the tokenizer cuts them with
`max_length` and `return_overflowing_tokens`: each window between [CLS] and [SEP]. Every window is run on its own, in
float64, and all of them once more padded under an attention mask, which must give the same.

bert_ingest.safetensors: `blocks.L.mlp.in` and `blocks.L.mlp.post`, the rows of all windows one after the other, without
those of [CLS] and [SEP], and these two of each window as `blocks.L.mlp.post.around`.
"""

import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BertModel, BertTokenizer
from transformers.utils import logging

here = Path(__file__).resolve().parent
FOLDER = here.parent / "data" / "architectures" / "bert"
CONTEXT = 9
WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] . , ' ! a b c d e g h i k n o r s t u w the river bank ran old money "
    "##s ##ed ##er ##ing ##a ##e ##n ##r ##t ##o"
).split()
TEXTS = [
    "The river ran past the old bank.",
    "the bank's money!",
    "Rivers ran, and the old banker banked the money; he was sure.",
    "a",
    "money " * 23,
    "Noise: naïve, 日本 [SEP] banking\n\tthe  river",
    "the river the river the",
    "Ran!",
]


def blocks(model, ids, mask=None):
    """What the neurons of each block received and gave. [doc, pos, width]"""
    seen = {}

    def keep(name):
        def hook(module, args, output):
            seen[name] = args[0]

        return hook

    handles = []
    for number, layer in enumerate(model.encoder.layer):
        handles.append(layer.intermediate.dense.register_forward_hook(keep(f"blocks.{number}.mlp.in")))
        handles.append(layer.output.dense.register_forward_hook(keep(f"blocks.{number}.mlp.post")))
    with torch.no_grad():
        model(ids, attention_mask=mask)
    for handle in handles:
        handle.remove()
    return seen


logging.disable_progress_bar()
assert len(WORDS) == 41
vocabulary = "".join(f"{word}\n" for word in WORDS)
with tempfile.TemporaryDirectory() as folder:
    Path(folder, "vocab.txt").write_text(vocabulary, encoding="utf-8")
    Path(folder, "config.json").write_text((FOLDER / "config.json").read_text())
    tokenizer = BertTokenizer.from_pretrained(folder)
model = BertModel.from_pretrained(FOLDER, dtype=torch.float64, attn_implementation="eager").eval()
windows = []
for text in TEXTS:
    windows += tokenizer(text, max_length=CONTEXT, truncation=True, return_overflowing_tokens=True)["input_ids"]
rows = {}
for window in windows:
    for name, values in blocks(model, torch.tensor([window])).items():
        rows.setdefault(name, []).append(values[0, 1:-1])
        if name.endswith("mlp.post"):
            rows.setdefault(f"{name}.around", []).append(values[0, [0, -1]])
longest = max(map(len, windows))
padded = torch.tensor([window + [0] * (longest - len(window)) for window in windows])
mask = torch.tensor([[1] * len(window) + [0] * (longest - len(window)) for window in windows])
for name, values in blocks(model, padded, mask).items():
    for window, alone, together in zip(windows, rows[name], values):
        assert (together[1 : len(window) - 1] - alone).abs().max() < 1e-12
save_file(
    {name: torch.cat(values).to(torch.float32) for name, values in rows.items()}, here / "bert_ingest.safetensors"
)
out = {"context": CONTEXT, "vocabulary": vocabulary, "texts": TEXTS, "windows": windows}
(here / "bert_ingest.json").write_text(json.dumps(out, ensure_ascii=False) + "\n", encoding="utf-8")
print(len(windows), "windows", [len(window) for window in windows], tokenizer.convert_ids_to_tokens(windows[6]))
