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
from collections.abc import Callable
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
SIZES = TOKENS | dict(
    hidden_size=18, intermediate_size=23, num_hidden_layers=2, num_attention_heads=3, max_position_embeddings=40
)
GPT2 = TOKENS | dict(n_embd=18, n_layer=2, n_head=3, n_positions=40, layer_norm_epsilon=1e-3)
LLAMA = SIZES | dict(num_key_value_heads=1, rms_norm_eps=1e-3)
MHA = LLAMA | dict(num_key_value_heads=3)
ONE_HEAD = dict(hidden_size=14, num_attention_heads=1, num_key_value_heads=1)


def rope(theta, rope_type="default", **more):
    return dict(rope_parameters=dict(rope_type=rope_type, rope_theta=theta, **more))


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
        | rope(50.0, "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
        | dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=False),
    ),
    "llama-linear": Model(
        "llama", LLAMA | ONE_HEAD | rope(1000.0, "linear", factor=2.5) | dict(hidden_act="gelu"), dtype=torch.bfloat16
    ),
    "llama-yarn": Model(
        "llama", LLAMA | rope(50.0, "yarn", factor=4.0, original_max_position_embeddings=10, beta_slow=0.25)
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
    parallel: Callable = lambda config: False


LLAMA_LAYOUT = Layout()
GEMMA2_LAYOUT = replace(
    LLAMA_LAYOUT,
    ln2="pre_feedforward_layernorm",
    attn_norm="post_attention_layernorm",
    mlp_norm="post_feedforward_layernorm",
)
LAYOUTS = {
    "gpt2": Layout(
        "transformer.h", "attn", ("attn.c_attn",), "attn.c_proj", "mlp.c_fc", None, "mlp.c_proj", "ln_1", "ln_2"
    ),
    "llama": LLAMA_LAYOUT,
    "qwen3": LLAMA_LAYOUT,
    "gemma2": GEMMA2_LAYOUT,
}


def queries_keys_values(config, outputs):
    """[all queries, all keys, all values] of the projections' outputs."""
    if len(outputs) == 1:
        outputs = outputs[0].chunk(3, -1)
    return list(outputs)


# --- Making a model and reading its values ---------------------------------------------------------------------------


def redraw(model, name, embedding_std):
    drawn = set()
    for path, module in model.named_modules():
        for which, parameter in module.named_parameters(recurse=False):
            if id(parameter) in drawn:  # a tied head
                continue
            drawn.add(id(parameter))
            noise = np.random.RandomState(zlib.crc32(f"{name}/{path}.{which}".encode())).standard_normal(parameter.shape)
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
    eps = next(getattr(norm, key) for key in ("eps", "variance_epsilon") if hasattr(norm, key))
    if "RMSNorm" not in kind:
        x = x - x.mean(-1, keepdim=True)
    bare = x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps)
    scale = norm.weight + 1 if kind.startswith("Gemma") else norm.weight
    same(kind, bare * scale + (getattr(norm, "bias", None) if hasattr(norm, "bias") else 0), output)
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
    parallel = layout.parallel(config)
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

    mlp_input = pre if parallel else pre + attn_out
    if not parallel:
        sites["resid.mid"] = mlp_input
    if layout.ln2:
        same("resid.mid", came(layout.ln2), mlp_input)
        sites |= {"ln2.normalized": normalized(module(layout.ln2), mlp_input, h), "ln2.out": h}
    else:
        same("mlp.in", h, mlp_input)
        sites["mlp.in"] = h

    gate, up = went(layout.gate), went(layout.up) if layout.up else None
    same("mlp.pre", gate, linear(module(layout.gate), h))
    activated, mlp_out = came(layout.down), went(layout.mlp_norm or layout.down)
    same("mlp.post", activated, activation(config)(gate) * (1 if up is None else up))
    sites |= {"mlp.pre": gate, "mlp.post": activated, "mlp.out": mlp_out} | ({} if up is None else {"mlp.up": up})
    if not layout.mlp_norm:
        same("mlp.out", mlp_out, linear(module(layout.down), activated))
    same("resid.post", post, pre + attn_out + mlp_out)
    return sites


def expected(folder, tokens):
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), report
    layout = LAYOUTS[model.config.model_type]
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
