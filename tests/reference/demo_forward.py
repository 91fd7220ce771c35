"""Forward pass of the bundled demo model in PyTorch, float32, at every hook: demo_forward.safetensors.

Run: python demo_forward.py, in this folder (torch 2.15, transformers 5, safetensors)
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer, GPT2LMHeadModel

folder = Path(__file__).resolve().parents[1] / "data" / "demo"
model = GPT2LMHeadModel.from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="eager").eval()
seen = {}


def put(name, value):
    seen.setdefault(name, []).append(value.detach().clone())


def keep(name, before=None):
    def hook(module, inputs, output):
        if before:
            put(before, inputs[0])
        put(name, output[0] if isinstance(output, tuple) else output)

    return hook


def keep_norm(norm, inputs, output):
    x = inputs[0] - inputs[0].mean(-1, keepdim=True)
    put("ln2.normalized", x / torch.sqrt(x.square().mean(-1, keepdim=True) + norm.eps))


def keep_scores(c_attn, inputs, output):
    q, k, _ = (part.unflatten(-1, (model.config.n_head, -1)).transpose(1, 2) for part in output.chunk(3, -1))
    put("attn.scores", q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5)


for block in model.transformer.h:
    block.ln_1.register_forward_hook(keep("ln1.out", before="resid.pre"))
    block.attn.c_attn.register_forward_hook(keep("attn.qkv"))
    block.attn.c_attn.register_forward_hook(keep_scores)
    block.attn.c_proj.register_forward_hook(keep("attn.out", before="attn.z"))
    block.attn.register_forward_hook(lambda module, inputs, output: put("attn.pattern", output[1]))
    block.ln_2.register_forward_hook(keep("ln2.out", before="resid.mid"))
    block.ln_2.register_forward_hook(keep_norm)
    block.mlp.c_fc.register_forward_hook(keep("mlp.pre"))
    block.mlp.act.register_forward_hook(keep("mlp.post"))
    block.mlp.register_forward_hook(keep("mlp.out"))
    block.register_forward_hook(keep("resid.post"))
model.transformer.ln_f.register_forward_hook(keep("ln_final.out"))

ids = torch.from_numpy(np.random.default_rng(0).integers(0, model.config.vocab_size, (2, 20)))
with torch.no_grad():
    logits = model(ids).logits
# [layer, doc, last two, width], of scores and pattern [layer, doc, head, last two, seq]
out = {name: torch.stack(values)[..., -2:, :].contiguous() for name, values in seen.items()}
out["ids"] = ids.to(torch.int64)
out["logits"] = logits[:, -1].contiguous()  # [doc, d_vocab]

# Four texts of the corpus: their first tokens, what the MLPs receive at the last positions and answer at the last one.
lines = open(folder / "corpus.jsonl", encoding="utf-8").read().splitlines()
tokenizer = AutoTokenizer.from_pretrained(folder / "model")
texts = [json.loads(lines[at])["text"] for at in (0, 80, 160, 240)]
ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"][:64] for text in texts])
seen.clear()
with torch.no_grad():
    model(ids)
out["text_ids"] = ids.to(torch.int64)
out["text_h"] = torch.stack(seen["ln2.out"])[:, :, -8:].contiguous()  # [layer, doc, last eight, d_model]
out["text_post"] = torch.stack(seen["mlp.post"])[:, :, -1:].contiguous()  # [layer, doc, 1, d_mlp]
save_file(out, Path(__file__).with_suffix(".safetensors"))
