"""What is lost of a neuron's activation without each token before it, in PyTorch with hooks, float64: token_importance.json, for
tests/run_model.rs and tests/slt/model/token_importance.slt.

Run: python token_importance.py, in this folder (torch 2.15, transformers 5.24)

docs/definitions.md section 10: each token up to the key token (of the largest activation, or of the least) is replaced by the
pad token, the model is run on the document as it then is, and the drop of the activation at the key token is divided by that
of the key token's own replacement. Of the demo's model the pad token is the one that ends a text; of the tiny Llama, whose
neurons are gated, it is token 2. Documents are of token ids, drawn anew; the last positions stand behind the key token.
"""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

here = Path(__file__).resolve().parent
data = here.parent / "data"


def importance(model, family, layer, neuron, ids, pad, least):
    block = model.get_submodule("transformer.h" if family == "gpt2" else "model.layers")[layer]
    out = block.mlp.c_proj if family == "gpt2" else block.mlp.down_proj
    seen = []
    hook = out.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))

    def activations(ids):
        seen.clear()
        with torch.no_grad():
            model(ids[None])
        return seen[0].reshape(len(ids), -1)[:, neuron]

    whole = activations(ids)
    sign = -1 if least else 1
    key = int((sign * whole).argmax())
    replaced = []
    for pos in range(key + 1):
        other = ids.clone()
        other[pos] = pad
        replaced.append(float(activations(other)[key]))
    hook.remove()
    drops = [sign * (float(whole[key]) - a) for a in replaced]
    share = [min(1.0, max(0.0, drop / drops[key])) if drops[key] > 0 else None for drop in drops]
    return {
        "layer": layer, "neuron": neuron, "pad": pad, "least": least, "ids": ids.tolist(), "pos": key,
        "whole": whole.tolist(), "activation": replaced, "drop": drops, "importance": share,
    }


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()


draw = torch.Generator().manual_seed(3)
found = {}
model = load(data / "demo" / "model")
found["demo"] = [
    importance(model, "gpt2", layer, neuron, torch.randint(1, 4096, (n,), generator=draw), 0, False)
    for layer, neuron, n in [(0, 1, 12), (1, 40, 40), (3, 300, 17)]
]
model = load(data / "architectures" / "llama")
found["llama"] = [
    importance(model, "llama", layer, neuron, torch.randint(0, 41, (n,), generator=draw), 2, least)
    for layer, neuron, n, least in [(0, 3, 12, False), (1, 8, 25, False), (1, 8, 25, True)]
]
(here / "token_importance.json").write_text(json.dumps(found) + "\n")
for name, cases in found.items():
    print(name, [(case["pos"], [share and round(share, 3) for share in case["importance"]]) for case in cases])
