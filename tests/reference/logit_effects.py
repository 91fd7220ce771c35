"""Direct effects of neurons on the logits of every decoder of ../data/architectures and of the bundled demo model, in
PyTorch, float64: logit_effects.json, for tests/run_model.rs and tests/slt/model/logit_effects.slt.

Run: python logit_effects.py, in this folder (torch 2.15, transformers 5.24)

Not from a formula: the real modules of transformers are run on random ids. Of one layer the activation of one neuron is
moved from what it is, what later layers add stays as it was, and the logits are differentiated through the norm of what the
MLP gives (where there is one), the last norm and the head, with the deviations that the norms divide by held fixed. The
derivative times those deviations is the effect at a deviation of 1; less its mean over all tokens it is `folded`. `raw` is the
head's product with the neuron's output weights. A model without a head, or whose norms change the whole stream, is left out.
"""

import json
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

K = 3
here = Path(__file__).resolve().parent
data = here.parent / "data"
LAST_NORM = ["transformer.ln_f", "gpt_neox.final_layer_norm", "model.decoder.final_layer_norm", "model.norm", "model.final_layernorm"]
BLOCKS = ["transformer.h", "gpt_neox.layers", "model.decoder.layers", "model.layers"]
OUT = ["mlp.c_proj", "mlp.dense_4h_to_h", "mlp.down_proj", "mlp.fc2", "fc2"]


def find(module, names):
    for name in names:
        try:
            return module.get_submodule(name)
        except AttributeError:
            pass
    return None


def deviation(norm, x):
    """What the norm divides x by, and whether it takes the mean off first."""
    centred = isinstance(norm, torch.nn.LayerNorm) or "LayerNorm" in type(norm).__name__
    # OLMo's is no attribute.
    eps = next((getattr(norm, name) for name in ("eps", "variance_epsilon") if hasattr(norm, name)), 1e-5)
    x = x - x.mean(-1, keepdim=True) if centred else x
    return torch.sqrt(x.square().mean(-1, keepdim=True) + eps), centred


def frozen(norm, x, moved):
    """norm(x + moved) - norm(x) with the deviation of x, for x that has the module's own output."""
    if norm is None:
        return moved, torch.ones(1, dtype=moved.dtype)
    by, centred = deviation(norm, x)
    scale = getattr(norm, "weight", None)
    scale = torch.ones(x.shape[-1], dtype=x.dtype) if scale is None else scale.detach()
    if "Gemma" in type(norm).__name__:
        scale = 1 + scale
    bias = getattr(norm, "bias", None)
    plain = (x - x.mean(-1, keepdim=True) if centred else x) / by * scale
    plain = plain if bias is None else plain + bias.detach()
    assert torch.allclose(plain, norm(x), atol=1e-6, rtol=1e-5), type(norm).__name__
    moved = moved - moved.mean(-1, keepdim=True) if centred else moved
    return moved / by * scale, by


def sides(effects):
    order = sorted(range(len(effects)), key=lambda t: (-effects[t], t))
    pick = lambda ids: [[t, float(f"{effects[t]:.7g}")] for t in ids]
    return {"top": pick(order[:K]), "bottom": pick(order[::-1][:K])}


def effects(model, layer, neuron):
    block = find(model, BLOCKS)[layer]
    out, last, head = find(block, OUT), find(model, LAST_NORM), model.get_output_embeddings()
    after = getattr(block, "post_feedforward_layernorm", None)
    outward = find(model, ["model.decoder.project_out"])
    seen = {}
    keep = lambda name: lambda module, inputs, output: seen.update({name: (inputs[0].detach(), output.detach())})
    hooks = [out.register_forward_hook(keep("out"))]
    if last is not None:
        hooks.append(last.register_forward_hook(keep("last")))
    ids = torch.arange(7) % model.config.vocab_size
    with torch.no_grad():
        model(ids[None])
    for hook in hooks:
        hook.remove()
    at = lambda x: x.reshape(-1, x.shape[-1])[-1]
    activations, given = map(at, seen["out"])
    by = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    unit = torch.zeros_like(activations)
    unit[neuron] = 1
    moved = out(activations + by * unit) - given
    moved, by_after = frozen(after, given, moved)
    moved, by_last = frozen(last, at(seen["last"][0]) if last is not None else None, moved)
    if outward is not None:
        moved = outward(moved)
    logits = head(moved) - head(torch.zeros_like(moved))
    derivative = torch.stack([torch.autograd.grad(x, by, retain_graph=True)[0] for x in logits])
    folded = derivative * by_after * by_last
    column = out.weight[neuron] if isinstance(out, Conv1D) else out.weight[:, neuron]
    raw = (head if outward is None else lambda x: head(outward(x)))(column.detach())
    raw = raw - (head.bias if getattr(head, "bias", None) is not None else 0)
    folded = (folded - folded.mean()).tolist() if last is not None else None
    return {
        "layer": layer,
        "neuron": neuron,
        "folded": sides(folded) if folded is not None else None,
        "raw": sides(raw.tolist()),
    }


def all_of(folder, neurons):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    n = len(find(model, BLOCKS))
    return [effects(model, layer, neuron) for layer in (0, n - 1) for neuron in neurons]


found = {"demo": all_of(data / "demo" / "model", [1, 7])}
for folder in sorted(path for path in (data / "architectures").iterdir() if path.is_dir()):
    config = AutoConfig.from_pretrained(folder)
    kind = " ".join(config.architectures or [])
    if "CausalLM" not in kind and "LMHead" not in kind:
        print("left out, no decoder with a head:", folder.name)
        continue
    if getattr(config, "do_layer_norm_before", True) is False:
        print("left out, norms of the whole stream:", folder.name)
        continue
    found[folder.name] = all_of(folder, [0, 5])
(here / "logit_effects.json").write_text("{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(of)}" for name, of in found.items()) + "\n}\n")
print(len(found), "models")
