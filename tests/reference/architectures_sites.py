"""Where each family's modules lie, and what the hooks on them see: for architectures.py, which says what the names mean."""

import contextlib
from dataclasses import dataclass, replace
from unittest import mock

import torch
from transformers.activations import ACT2FN
from transformers.pytorch_utils import Conv1D


@dataclass(frozen=True)
class Layout:
    blocks: str = "model.layers"
    attn: str = "self_attn"
    qkv: tuple = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    o: str = "self_attn.o_proj"
    gate: str = "mlp.gate_proj"
    up: str | None = "mlp.up_proj"
    down: str = "mlp.down_proj"
    ln1: str | None = "input_layernorm"
    ln2: str | None = "post_attention_layernorm"
    attn_norm: str | None = None  # of what attention adds
    mlp_norm: str | None = None  # of what the MLP adds
    parallel: bool = False
    stream_norms: tuple | None = None  # of the stream after attention and after the MLP
    final: str | None = None  # the norm after the last block, where no head tells it


LLAMA_LAYOUT = Layout()
GEMMA2_LAYOUT = Layout(
    ln2="pre_feedforward_layernorm", attn_norm="post_attention_layernorm", mlp_norm="post_feedforward_layernorm"
)
OLMO2_LAYOUT = Layout(ln1=None, ln2=None, attn_norm="post_attention_layernorm", mlp_norm="post_feedforward_layernorm")
GPT2_LAYOUT = Layout(
    blocks="transformer.h",
    attn="attn",
    qkv=("attn.c_attn",),
    o="attn.c_proj",
    gate="mlp.c_fc",
    up=None,
    down="mlp.c_proj",
    ln1="ln_1",
    ln2="ln_2",
)
GPT_NEO_LAYOUT = replace(
    GPT2_LAYOUT,
    qkv=("attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj"),
    o="attn.attention.out_proj",
)
GPT_NEOX_LAYOUT = Layout(
    blocks="gpt_neox.layers",
    attn="attention",
    qkv=("attention.query_key_value",),
    o="attention.dense",
    gate="mlp.dense_h_to_4h",
    up=None,
    down="mlp.dense_4h_to_h",
)
PHI_LAYOUT = Layout(o="self_attn.dense", gate="mlp.fc1", up=None, down="mlp.fc2", ln2="input_layernorm", parallel=True)
PHI3_LAYOUT = Layout(qkv=("self_attn.qkv_proj",), gate="mlp.gate_up_proj", up="mlp.gate_up_proj")
OPT_LAYOUT = Layout(
    blocks="model.decoder.layers",
    o="self_attn.out_proj",
    gate="fc1",
    up=None,
    down="fc2",
    ln1="self_attn_layer_norm",
    ln2="final_layer_norm",
)


BERT_LAYOUT = Layout(
    blocks="encoder.layer",
    attn="attention.self",
    qkv=("attention.self.query", "attention.self.key", "attention.self.value"),
    o="attention.output.dense",
    gate="intermediate.dense",
    up=None,
    down="output.dense",
    ln1=None,
    ln2=None,
    stream_norms=("attention.output.LayerNorm", "output.LayerNorm"),
)
VIT_LAYOUT = Layout(
    blocks="layers",
    attn="attention",
    qkv=("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    o="attention.o_proj",
    gate="mlp.fc1",
    up=None,
    down="mlp.fc2",
    ln1="layernorm_before",
    ln2="layernorm_after",
    final="layernorm",
)
CLIP_LAYOUT = Layout(
    blocks="encoder.layers",
    o="self_attn.out_proj",
    gate="mlp.fc1",
    up=None,
    down="mlp.fc2",
    ln1="layer_norm1",
    ln2="layer_norm2",
    final="post_layernorm",
)


def stablelm_layout(config):
    return replace(LLAMA_LAYOUT, ln2="input_layernorm", parallel=True) if config.use_parallel_residual else LLAMA_LAYOUT


def opt_layout(config):
    after = replace(OPT_LAYOUT, ln1=None, ln2=None, stream_norms=("self_attn_layer_norm", "final_layer_norm"))
    return OPT_LAYOUT if config.do_layer_norm_before else after


LAYOUTS = {
    "gpt2": lambda config: GPT2_LAYOUT,
    "gpt_neo": lambda config: GPT_NEO_LAYOUT,
    "gpt_neox": lambda config: replace(GPT_NEOX_LAYOUT, parallel=config.use_parallel_residual),
    "gemma2": lambda config: GEMMA2_LAYOUT,
    "gemma3_text": lambda config: GEMMA2_LAYOUT,
    "phi": lambda config: PHI_LAYOUT,
    "phi3": lambda config: PHI3_LAYOUT,
    "olmo2": lambda config: OLMO2_LAYOUT,
    "olmo3": lambda config: OLMO2_LAYOUT,
    "stablelm": stablelm_layout,
    "opt": opt_layout,
    "bert": lambda config: BERT_LAYOUT,
    "vit": lambda config: VIT_LAYOUT,
    "clip_vision_model": lambda config: CLIP_LAYOUT,
} | {name: lambda config: LLAMA_LAYOUT for name in ("llama", "mistral", "qwen2", "qwen3", "gemma", "olmo", "smollm3")}


def queries_keys_values(config, outputs):
    """[all queries, all keys, all values] out of the projections' outputs."""
    n_heads = config.num_attention_heads
    if config.model_type == "gpt_neox":  # each head's query, key, value
        return [part.flatten(-2) for part in outputs[0].unflatten(-1, (n_heads, 3, -1)).unbind(-2)]
    if len(outputs) == 1:
        n_kv_heads = getattr(config, "num_key_value_heads", n_heads)
        d_head = outputs[0].shape[-1] // (n_heads + 2 * n_kv_heads)
        outputs = outputs[0].split([n_heads * d_head, n_kv_heads * d_head, n_kv_heads * d_head], -1)
    clip = getattr(config, "clip_qkv", None)
    return list(outputs) if clip is None else [output.clamp(-clip, clip) for output in outputs]


@contextlib.contextmanager
def nowhere_narrower():
    """Lets code that asks for float32 have float64."""
    with (
        mock.patch.object(torch, "float32", torch.float64),
        mock.patch.object(torch, "float", torch.float64),
        mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
    ):
        yield


def watch(model):
    """Fills {module's name: (input, output)} when the model runs."""
    seen = {}

    def copy(value):  # OLMo clips in place
        return value.clone() if isinstance(value, torch.Tensor) else value

    def keeper(name):
        def keep(module, args, kwargs, output):
            given = args[0] if args else kwargs.get("hidden_states")
            seen[name] = copy(given), tuple(map(copy, output)) if isinstance(output, tuple) else copy(output)

        return keep

    for name, module in model.named_modules():
        module.register_forward_hook(keeper(name), with_kwargs=True)
    return seen


def same(what, value, expected):
    error = (value - expected).abs().max() / expected.abs().max()
    assert error < 1e-12, f"{what}: differs by {error:.1e}"


def normalized(norm, x, output):
    """The norm's output before its scale and bias, checked against its output with them."""
    kind = type(norm).__name__
    eps = next((getattr(norm, key) for key in ("eps", "variance_epsilon") if hasattr(norm, key)), 1e-5)  # OLMo's
    if "RMSNorm" not in kind:
        x = x - x.mean(-1, keepdim=True)
    bare = x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps)
    scale, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    scale = 1 if scale is None else scale + 1 if kind.startswith("Gemma") else scale
    same(kind, bare * scale + (0 if bias is None else bias), output)
    return bare


def linear(module, x):
    y = x @ (module.weight if isinstance(module, Conv1D) else module.weight.T)
    return y if module.bias is None else y + module.bias


def activation(config):
    names = ("hidden_activation", "activation_function", "hidden_act")
    return ACT2FN[next(getattr(config, name) for name in names if hasattr(config, name))]


def mixed(pattern, values):
    """attn.z: each key and value head serves several query heads."""
    n_heads = pattern.shape[1]
    values = values.transpose(1, 2)  # [doc, kv head, pos, d_head]
    return (pattern @ values.repeat_interleave(n_heads // values.shape[1], 1)).transpose(1, 2).flatten(-2)


class Block:
    """One block's modules, and what came into them and went out, as [doc, pos, width]."""

    def __init__(self, model, seen, path):
        self.model, self.seen, self.path = model, seen, path
        self.shape = seen[path][0].shape[:2]

    def module(self, name):
        return self.model.get_submodule(f"{self.path}.{name}")

    def value(self, name, side):
        tensor = self.seen[f"{self.path}.{name}".rstrip(".")][side]
        tensor = tensor[0] if isinstance(tensor, tuple) else tensor
        return tensor.reshape(*self.shape, -1)  # OPT's MLP sees all documents as one

    def came(self, name=""):
        return self.value(name, 0)

    def went(self, name=""):
        return self.value(name, 1)


def attention_sites(config, layout, block):
    qkv = queries_keys_values(config, [block.went(name) for name in layout.qkv])
    pattern, z = block.seen[f"{block.path}.{layout.attn}"][1][1], block.came(layout.o)
    out = block.went(layout.attn_norm or layout.o)
    sites = {"attn.qkv": torch.cat(qkv, -1), "attn.pattern": pattern, "attn.z": z, "attn.out": out}
    if layout.ln1:
        sites["ln1.out"] = block.came(layout.qkv[0])
        normalized(block.module(layout.ln1), block.came(), sites["ln1.out"])
    d_head = z.shape[-1] // pattern.shape[1]
    same("attn.z", z, mixed(pattern, qkv[2].unflatten(-1, (-1, d_head))))
    same("attn.pattern", pattern.sum(-1), torch.ones_like(pattern[..., 0]))
    if not layout.attn_norm:
        same("attn.out", out, linear(block.module(layout.o), z))
    return sites


def mlp_sites(config, layout, block, resid):
    """Of an MLP that reads `resid`, behind a norm or not."""
    h, gate, up = block.came(layout.gate), block.went(layout.gate), block.went(layout.up) if layout.up else None
    if layout.ln2:
        same("resid.mid", block.came(layout.ln2), resid)
        sites = {"ln2.normalized": normalized(block.module(layout.ln2), resid, h), "ln2.out": h}
    else:
        same("mlp.in", h, resid)
        sites = {"mlp.in": h}
    same("mlp.pre", gate, linear(block.module(layout.gate), h))
    if layout.up == layout.gate:
        gate, up = gate.chunk(2, -1)
    post, out = block.came(layout.down), block.went(layout.mlp_norm or layout.down)
    same("mlp.post", post, activation(config)(gate) * (1 if up is None else up))
    if not layout.mlp_norm:
        same("mlp.out", out, linear(block.module(layout.down), post))
    if up is not None:
        sites["mlp.up"] = up
    return sites | {"mlp.pre": gate, "mlp.post": post, "mlp.out": out}


def block_sites(config, layout, block):
    def added(number, what, resid, out):
        """The stream after `out` is added, and after the norm that follows in some."""
        if not layout.stream_norms:
            return resid + out
        same(f"{what} before its norm", block.came(layout.stream_norms[number]), resid + out)
        return block.went(layout.stream_norms[number])

    sites = {"resid.pre": block.came(), "resid.post": block.went()} | attention_sites(config, layout, block)
    mid = added(0, "resid.mid", sites["resid.pre"], sites["attn.out"])
    sites |= mlp_sites(config, layout, block, sites["resid.pre"] if layout.parallel else mid)
    same("resid.post", sites["resid.post"], added(1, "resid.post", mid, sites["mlp.out"]))
    return sites if layout.parallel else sites | {"resid.mid": mid}


def all_sites(model, seen, tower=""):
    """`blocks.L.SITE` of the part of a model that is called `tower`, which ends in a dot."""
    config = model.config
    config = getattr(config, "vision_config", config)
    layout = LAYOUTS[config.model_type](config)
    values = {"ln_final.out": seen[tower + layout.final][1]} if layout.final else {}
    last = None
    for number in range(config.num_hidden_layers):
        sites = block_sites(config, layout, Block(model, seen, f"{tower}{layout.blocks}.{number}"))
        if last is not None:
            same("resid.pre", sites["resid.pre"], last)
        last = sites["resid.post"]
        values |= {f"blocks.{number}.{site}": value for site, value in sites.items()}
    return values
