"""The tiny Llama of tests/data/architectures as torch saves it: ../data/torch-llama, with a mask that nobody asks for, a head that
shares the embedding's numbers, and a weight stored transposed.

Run: python torch_folder.py, in this folder (torch 2.15, safetensors 0.8)
"""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

data = Path(__file__).resolve().parents[1] / "data"
source, target = data / "architectures" / "llama", data / "torch-llama"
target.mkdir(exist_ok=True)
shutil.copy(source / "config.json", target / "config.json")
state = load_file(source / "model.safetensors")
state["model.layers.0.self_attn.mask"] = torch.tril(torch.ones(4, 4, dtype=torch.bool))
state["lm_head.weight"] = state["model.embed_tokens.weight"]
name = "model.layers.1.mlp.down_proj.weight"
state[name] = state[name].T.contiguous().T
torch.save(state, target / "pytorch_model.bin")
