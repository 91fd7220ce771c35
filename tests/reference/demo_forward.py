"""Forward pass of the bundled demo model in PyTorch, float32: demo_forward.safetensors.

Run: python demo_forward.py, in this folder (torch 2.15, transformers 5, safetensors)
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import GPT2LMHeadModel

folder = Path(__file__).resolve().parents[1] / "data" / "demo" / "model"
model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
ids = torch.from_numpy(np.random.default_rng(0).integers(0, model.config.vocab_size, (2, 20)))
seen = {}


def keep(name):
    return lambda module, inputs, output: seen.setdefault(name, []).append(output.detach().clone())


for block in model.transformer.h:
    block.ln_2.register_forward_hook(keep("ln2.out"))
    block.mlp.c_fc.register_forward_hook(keep("mlp.pre"))
    block.mlp.act.register_forward_hook(keep("mlp.post"))
    block.mlp.register_forward_hook(keep("mlp.out"))
with torch.no_grad():
    logits = model(ids).logits
out = {name: torch.stack(values)[:, :, -2:].contiguous() for name, values in seen.items()}  # [layer, doc, last two, width]
out["ids"] = ids.to(torch.int64)
out["logits"] = logits[:, -1].contiguous()  # [doc, d_vocab]
save_file(out, Path(__file__).with_suffix(".safetensors"))
