"""Tiny random models of every decoder family, and their values at every hook: ../data/architectures.

Run: python architectures.py [NAME ...], in this folder (torch 2.15, transformers 5.24, safetensors 0.8)

Every weight is drawn anew so that scales, biases, caps and eps change numbers: matrices N(0, 1/fan_in), biases and
norms 0.3 around what the class starts with (0; 1; 0 for Gemma's 1 + w). Weights are rounded to bfloat16, saved, read
back and run in float64, also where transformers itself would go down to float32 (norms, softmax, rotary angles).

Names in expected.safetensors, [doc, pos, width] unless said: tokens, logits, ln_final.out (what the head receives), and
for every block L `blocks.L.SITE`:
  resid.pre, resid.mid, resid.post  the stream before attention, between, after the MLP; no mid in parallel blocks
  ln1.out         what the q, k, v projections receive; absent where that is resid.pre
  attn.qkv        all queries, all keys, all values, heads side by side, with bias (and OLMo's clip), before QK-norm and rotary
  attn.pattern    [doc, head, query, key]
  attn.z          what the output projection receives
  attn.out        what attention adds to the stream (so after Gemma 2's and OLMo 2's norm of it)
  ln2.normalized  the MLP's norm before its scale and bias
  ln2.out         what the MLP receives from its norm; mlp.in instead where no norm comes between
  mlp.pre, mlp.up the gate's output (plain MLP: before the nonlinearity), and the up projection's of gated ones
  mlp.post        act(pre), times up
  mlp.out         what the MLP adds to the stream
Where a norm follows each sum (OPT 350m), mid and post are the norm's output, attn.out and mlp.out what was added before it.
"""

import contextlib
import shutil
import sys
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.activations import ACT2FN
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

FOLDER = Path(__file__).resolve().parents[1] / "data" / "architectures"
VOCAB, DOCS, LENGTH = 41, 2, 11
LIMIT = 100_000  # bytes of a folder


# --- The models: model_type, what its config says, and how to draw and save it ---------------------------------------


@dataclass
class Model:
    model_type: str
    config: dict
    dtype: torch.dtype = torch.float32
    embedding_std: float = 0.5


TOKENS = dict(vocab_size=VOCAB, bos_token_id=1, eos_token_id=2, pad_token_id=None)
# Heads are six wide; a part of 0.67 lets four of the six turn.
SIZES = TOKENS | dict(
    hidden_size=18, intermediate_size=23, num_hidden_layers=2, num_attention_heads=3, max_position_embeddings=40
)
GPT2 = TOKENS | dict(n_embd=18, n_layer=2, n_head=3, n_positions=40, layer_norm_epsilon=1e-3)
LLAMA = SIZES | dict(num_key_value_heads=1, rms_norm_eps=1e-3)
MHA = LLAMA | dict(num_key_value_heads=3)
GPT_NEO = TOKENS | dict(
    hidden_size=18,
    intermediate_size=23,
    num_layers=2,
    num_heads=3,
    max_position_embeddings=40,
    layer_norm_epsilon=1e-3,
)
GPT_NEOX = SIZES | dict(layer_norm_eps=1e-3)
PHI = SIZES | dict(layer_norm_eps=1e-3)
STABLELM = SIZES | dict(num_key_value_heads=3, layer_norm_eps=1e-3)
OLMO = SIZES | dict(num_key_value_heads=3)
OLMO3 = LLAMA | dict(sliding_window=4, layer_types=["sliding_attention", "full_attention"])
GEMMA3 = LLAMA | dict(
    hidden_size=12,
    intermediate_size=17,
    num_hidden_layers=3,
    head_dim=8,
    query_pre_attn_scalar=5,
    sliding_window=4,
    layer_types=["sliding_attention", "sliding_attention", "full_attention"],
)
OPT = TOKENS | dict(hidden_size=18, ffn_dim=23, num_hidden_layers=2, num_attention_heads=3, max_position_embeddings=40)
ONE_HEAD = dict(hidden_size=14, num_attention_heads=1, num_key_value_heads=1)


def rope(theta, rope_type="default", **more):
    return dict(rope_parameters=dict(rope_type=rope_type, rope_theta=theta, **more))


def by_layer_type(sliding, full):
    names = {"sliding_attention": sliding, "full_attention": full}
    return dict(rope_parameters={name: rope["rope_parameters"] for name, rope in names.items()})


def longrope(original, part):
    """Short factors up to `original` positions, long ones for all positions of a longer sequence."""
    short, long = [1.0, 1.25, 1.5], [1.5, 2.5, 4.0]
    n = int(SIZES["hidden_size"] // SIZES["num_attention_heads"] * part) // 2
    factors = dict(short_factor=short[:n], long_factor=long[:n], partial_rotary_factor=part)
    scaled = rope(50.0, "longrope", original_max_position_embeddings=original, **factors)
    return scaled | dict(original_max_position_embeddings=original)


MODELS = {
    "gpt2": Model("gpt2", GPT2 | dict(n_embd=12)),
    "gpt2-untied": Model(
        "gpt2",
        GPT2
        | dict(n_inner=23, activation_function="relu", tie_word_embeddings=False)
        | dict(scale_attn_by_inverse_layer_idx=True),
    ),
    "gpt2-one-head": Model(
        "gpt2", GPT2 | dict(n_embd=14, n_head=1, n_inner=15, scale_attn_weights=False), dtype=torch.float16
    ),
    "llama": Model("llama", LLAMA | rope(100.0) | dict(tie_word_embeddings=True)),
    "llama-llama3": Model(
        "llama",
        MHA
        | rope(
            50.0, "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32
        )
        | dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=False),
    ),
    "llama-linear": Model(
        "llama", LLAMA | ONE_HEAD | rope(1000.0, "linear", factor=2.5) | dict(hidden_act="gelu"), dtype=torch.bfloat16
    ),
    "llama-yarn": Model(
        "llama",
        LLAMA
        | rope(
            50.0,
            "yarn",
            factor=4.0,
            original_max_position_embeddings=10,
            beta_fast=0.8,
            beta_slow=0.25,
            truncate=False,
        ),
    ),
    "llama-dynamic": Model("llama", LLAMA | rope(100.0, "dynamic", factor=3.0) | dict(max_position_embeddings=8)),
    "qwen3": Model("qwen3", LLAMA | rope(200.0) | dict(head_dim=8, tie_word_embeddings=True)),
    "qwen3-untied": Model(
        "qwen3",
        MHA
        | rope(500.0)
        | dict(head_dim=4, tie_word_embeddings=False, attention_bias=True)
        | dict(use_sliding_window=True, sliding_window=5, max_window_layers=1),
        dtype=torch.bfloat16,
    ),
    "gpt_neo": Model("gpt_neo", GPT_NEO | dict(attention_types=[[["global", "local"], 1]], window_size=4)),
    "gpt_neo-global": Model(
        "gpt_neo",
        GPT_NEO
        | dict(attention_types=[[["global"], 2]], activation_function="gelu")
        | dict(hidden_size=12, intermediate_size=None),
    ),
    "gpt_neox": Model("gpt_neox", GPT_NEOX | rope(100.0, partial_rotary_factor=0.67)),
    "gpt_neox-sequential": Model(
        "gpt_neox",
        GPT_NEOX
        | rope(40.0, partial_rotary_factor=1.0)
        | dict(use_parallel_residual=False, attention_bias=False, hidden_act="gelu_fast", tie_word_embeddings=True),
    ),
    "mistral": Model("mistral", LLAMA | rope(100.0) | dict(head_dim=8, sliding_window=4)),
    "mistral-no-window": Model("mistral", MHA | rope(700.0) | dict(sliding_window=None), dtype=torch.float16),
    "qwen2": Model("qwen2", LLAMA | rope(400.0)),
    "qwen2-window": Model(
        "qwen2",
        MHA
        | rope(80.0)
        | dict(use_sliding_window=True, sliding_window=4, max_window_layers=1, tie_word_embeddings=True),
    ),
    "gemma": Model("gemma", LLAMA | rope(100.0) | dict(head_dim=8), embedding_std=0.3),
    "gemma-multi-head": Model("gemma", MHA | rope(60.0) | dict(head_dim=4, attention_bias=True), embedding_std=0.3),
    "gemma2": Model(
        "gemma2",
        LLAMA
        | rope(100.0)
        | dict(head_dim=8, query_pre_attn_scalar=3, sliding_window=4)
        | dict(attn_logit_softcapping=2.0, final_logit_softcapping=3.0),
        embedding_std=0.3,
    ),
    "gemma2-no-caps": Model(
        "gemma2",
        MHA
        | rope(300.0)
        | dict(head_dim=4, query_pre_attn_scalar=6, sliding_window=3)
        | dict(attn_logit_softcapping=None, final_logit_softcapping=None),
        embedding_std=0.3,
    ),
    "gemma3_text": Model("gemma3_text", GEMMA3 | by_layer_type(rope(10.0), rope(1000.0)), embedding_std=0.3),
    "gemma3_text-linear": Model(
        "gemma3_text",
        GEMMA3
        | by_layer_type(rope(30.0), rope(200.0, "linear", factor=8.0))
        | dict(layer_types=["full_attention", "sliding_attention"], num_hidden_layers=2)
        | dict(num_key_value_heads=3, final_logit_softcapping=3.0),
        embedding_std=0.3,
    ),
    "phi": Model("phi", PHI | dict(num_key_value_heads=1) | rope(100.0, partial_rotary_factor=0.67)),
    "phi-qk-norm": Model(
        "phi",
        PHI
        | ONE_HEAD
        | dict(hidden_size=10, qk_layernorm=True, hidden_act="gelu_fast")
        | rope(30.0, partial_rotary_factor=0.4),
    ),
    "phi3": Model("phi3", LLAMA | rope(100.0) | dict(sliding_window=4)),
    "phi3-longrope-short": Model("phi3", LLAMA | longrope(16, 1.0) | dict(tie_word_embeddings=True)),
    "phi3-longrope-long": Model("phi3", MHA | longrope(8, 0.67)),
    "olmo": Model("olmo", OLMO | rope(100.0) | dict(num_key_value_heads=1, clip_qkv=0.6), embedding_std=0.1),
    "olmo-no-clip": Model("olmo", OLMO | rope(20.0) | dict(tie_word_embeddings=True), embedding_std=0.1),
    "olmo2": Model("olmo2", LLAMA | rope(100.0)),
    "olmo2-tied": Model(
        "olmo2", MHA | rope(30.0) | dict(attention_bias=True, hidden_act="relu2", tie_word_embeddings=True)
    ),
    "olmo3": Model("olmo3", OLMO3 | by_layer_type(rope(100.0), rope(100.0))),
    "olmo3-yarn": Model(
        "olmo3",
        OLMO3
        | by_layer_type(
            rope(50.0),
            rope(50.0, "yarn", factor=4.0, original_max_position_embeddings=10, beta_slow=0.25, attention_factor=1.3),
        )
        | dict(num_key_value_heads=3, tie_word_embeddings=True),
    ),
    "stablelm": Model(
        "stablelm",
        STABLELM | dict(num_key_value_heads=1, use_qkv_bias=True) | rope(100.0, partial_rotary_factor=0.67),
    ),
    "stablelm-parallel": Model(
        "stablelm",
        STABLELM
        | rope(30.0, partial_rotary_factor=0.67)
        | dict(use_parallel_residual=True, qk_layernorm=True, tie_word_embeddings=True, hidden_act="quick_gelu"),
    ),
    "smollm3": Model("smollm3", LLAMA | rope(100.0) | dict(no_rope_layer_interval=2)),
    "smollm3-window": Model(
        "smollm3",
        MHA
        | rope(30.0)
        | dict(no_rope_layers=[0, 1], use_sliding_window=True, sliding_window=4, tie_word_embeddings=False)
        | dict(attention_bias=True, mlp_bias=True),
    ),
    "opt": Model("opt", OPT, embedding_std=0.1),
    "opt-post-norm": Model(
        "opt",
        OPT | dict(do_layer_norm_before=False, word_embed_proj_dim=7, activation_function="gelu_accurate"),
        embedding_std=0.1,
    ),
    "opt-bare": Model(
        "opt",
        OPT | dict(enable_bias=False, layer_norm_elementwise_affine=False, tie_word_embeddings=False),
        embedding_std=0.1,
    ),
}


# --- The families: names of the modules in a block -------------------------------------------------------------------


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


# --- Making a model and reading its values ---------------------------------------------------------------------------


def redraw(model, name, embedding_std):
    drawn = set()
    for path, module in model.named_modules():
        for which, parameter in module.named_parameters(recurse=False):
            if id(parameter) in drawn:  # a tied head
                continue
            drawn.add(id(parameter))
            noise = np.random.RandomState(zlib.crc32(f"{name}/{path}.{which}".encode())).standard_normal(
                parameter.shape
            )
            noise = torch.from_numpy(noise)
            if parameter.dim() == 1:
                value = parameter.round() + 0.3 * noise
            elif isinstance(module, Conv1D):  # [in, out]
                value = noise / parameter.shape[0] ** 0.5
            elif isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
                value = noise / parameter[0].numel() ** 0.5
            else:
                value = embedding_std * noise
            parameter.data = value.to(torch.bfloat16).to(torch.float32)


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


def block_sites(model, layout, block, seen):
    def module(name):
        return model.get_submodule(f"{block}.{name}")

    def value(name, side):
        tensor = seen[name][side]
        tensor = tensor[0] if isinstance(tensor, tuple) else tensor
        return tensor.reshape(DOCS, LENGTH, -1)

    def came(name):
        return value(f"{block}.{name}", 0)

    def went(name):
        return value(f"{block}.{name}", 1)

    config = model.config
    pre, post, h = value(block, 0), value(block, 1), came(layout.gate)
    sites = {"resid.pre": pre, "resid.post": post}

    qkv = queries_keys_values(config, [went(name) for name in layout.qkv])
    pattern, z = seen[f"{block}.{layout.attn}"][1][1], came(layout.o)
    attn_out = went(layout.attn_norm or layout.o)
    sites |= {"attn.qkv": torch.cat(qkv, -1), "attn.pattern": pattern, "attn.z": z, "attn.out": attn_out}
    if layout.ln1:
        sites["ln1.out"] = came(layout.qkv[0])
        normalized(module(layout.ln1), pre, sites["ln1.out"])
    d_head = z.shape[-1] // pattern.shape[1]
    same("attn.z", z, mixed(pattern, qkv[2].unflatten(-1, (-1, d_head))))
    same("pattern", pattern.sum(-1), torch.ones(DOCS, pattern.shape[1], LENGTH))
    if not layout.attn_norm:
        same("attn.out", attn_out, linear(module(layout.o), z))

    mlp_input = pre if layout.parallel else pre + attn_out
    if layout.stream_norms:
        same("norm after attention", came(layout.stream_norms[0]), mlp_input)
        mlp_input = went(layout.stream_norms[0])
    if not layout.parallel:
        sites["resid.mid"] = mlp_input
    if layout.ln2:
        same("resid.mid", came(layout.ln2), mlp_input)
        sites |= {"ln2.normalized": normalized(module(layout.ln2), mlp_input, h), "ln2.out": h}
    else:
        same("mlp.in", h, mlp_input)
        sites["mlp.in"] = h

    gate, up = went(layout.gate), went(layout.up) if layout.up else None
    same("mlp.pre", gate, linear(module(layout.gate), h))
    if layout.up == layout.gate:
        gate, up = gate.chunk(2, -1)
    activated, mlp_out = came(layout.down), went(layout.mlp_norm or layout.down)
    same("mlp.post", activated, activation(config)(gate) * (1 if up is None else up))
    sites |= {"mlp.pre": gate, "mlp.post": activated, "mlp.out": mlp_out} | ({} if up is None else {"mlp.up": up})
    if not layout.mlp_norm:
        same("mlp.out", mlp_out, linear(module(layout.down), activated))
    total = pre + attn_out + mlp_out if layout.parallel else mlp_input + mlp_out
    if layout.stream_norms:
        same("norm after the MLP", came(layout.stream_norms[1]), total)
        total = went(layout.stream_norms[1])
    same("resid.post", post, total)
    return sites


def expected(folder, tokens):
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), report
    layout = LAYOUTS[model.config.model_type](model.config)
    head = model.get_output_embeddings()
    head.name = next(name for name, module in model.named_modules() if module is head)
    seen = watch(model.eval())
    with torch.no_grad(), nowhere_narrower():
        logits = model(tokens, use_cache=False).logits
        values = {"ln_final.out": seen[head.name][0], "logits": logits}
        last = None
        for number in range(model.config.num_hidden_layers):
            sites = block_sites(model, layout, f"{layout.blocks}.{number}", seen)
            if last is not None:
                same("resid.pre", sites["resid.pre"], last)
            last = sites["resid.post"]
            values |= {f"blocks.{number}.{site}": value for site, value in sites.items()}
    assert all(value.dtype == torch.float64 and value.isfinite().all() for value in values.values())
    values = {name: value.to(torch.float32).contiguous() for name, value in values.items()}
    return {"tokens": tokens} | values


def make(name, model):
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    decoder = AutoModelForCausalLM.from_config(AutoConfig.for_model(model.model_type, **model.config))
    redraw(decoder, name, model.embedding_std)
    decoder.to(model.dtype).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokens = np.random.RandomState(zlib.crc32(name.encode())).randint(0, VOCAB, (DOCS, LENGTH))
    values = expected(folder, torch.from_numpy(tokens))
    save_file(values, folder / "expected.safetensors")
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size < LIMIT, f"{name}: {size} bytes"
    print(f"{name}: {size} bytes, logits' deviation {values['logits'].std():.2f}")


torch.set_num_threads(1)
logging.disable_progress_bar()
for name in sys.argv[1:] or MODELS:
    make(name, MODELS[name])
