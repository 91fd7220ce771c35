"""Tiny random models of every family, and their values at every hook: ../data/architectures.

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
Encoders of images have pixels [doc, channel, height, width] for tokens, a classifier's logits [doc, label], and as
ln_final.out the last norm's output (CLIP's: of the first position alone, [doc, width]). A BERT without a head has neither.
Where a norm follows each sum (OPT 350m, BERT), mid and post are the norm's output, attn.out and mlp.out what was added before it.
"""

import shutil
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from architectures_sites import all_sites, nowhere_narrower, watch
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
)
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

FOLDER = Path(__file__).resolve().parents[1] / "data" / "architectures"
VOCAB, DOCS, LENGTH = 41, 2, 11
LIMIT = 100_000  # bytes of a folder


@dataclass
class Model:
    model_type: str
    config: dict
    dtype: torch.dtype = torch.float32
    embedding_std: float = 0.5
    auto: type = AutoModelForCausalLM
    tower: str = ""  # where the blocks lie that are looked at
    pixels: tuple | None = None  # height and width of an image


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
BERT = SIZES | dict(layer_norm_eps=1e-3)
VISION = dict(
    hidden_size=18,
    intermediate_size=23,
    num_hidden_layers=2,
    num_attention_heads=3,
    patch_size=4,
    num_channels=3,
    layer_norm_eps=1e-3,
)
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
    # Decoders.
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
    # Encoders of text and of images.
    "bert": Model("bert", BERT, auto=AutoModel),
    "bert-masked": Model(
        "bert",
        BERT | dict(hidden_size=14, num_attention_heads=1, hidden_act="gelu_new", type_vocab_size=1),
        auto=AutoModelForMaskedLM,
        tower="bert.",
    ),
    "vit": Model("vit", VISION | dict(image_size=12, qkv_bias=False), auto=AutoModel, pixels=(12, 12)),
    "vit-classifier": Model(
        "vit",
        VISION | dict(hidden_size=14, num_attention_heads=1, hidden_act="gelu_new", image_size=[8, 16], num_labels=5),
        auto=AutoModelForImageClassification,
        tower="vit.",
        pixels=(8, 16),
    ),
    "clip_vision_model": Model("clip_vision_model", VISION | dict(image_size=12), auto=AutoModel, pixels=(12, 12)),
    "clip": Model(
        "clip",
        dict(
            vision_config=VISION | dict(image_size=8, hidden_size=14, num_attention_heads=1, hidden_act="gelu"),
            text_config=TOKENS
            | dict(vocab_size=5, hidden_size=6, intermediate_size=3, num_hidden_layers=1)
            | dict(num_attention_heads=1, max_position_embeddings=4),
            projection_dim=7,
        ),
        auto=AutoModel,
        tower="vision_model.",
        pixels=(8, 8),
    ),
}


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
            if parameter.dim() == 1 and which in ("weight", "bias"):
                value = parameter.round() + 0.3 * noise
            elif isinstance(module, Conv1D):  # [in, out]
                value = noise / parameter.shape[0] ** 0.5
            elif isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
                value = noise / parameter[0].numel() ** 0.5
            else:
                value = embedding_std * noise
            parameter.data = value.to(torch.bfloat16).to(torch.float32)


def run(model, inputs, tower):
    """Every site's value, and logits of decoders and classifiers."""
    seen = watch(model)
    with torch.no_grad(), nowhere_narrower():
        if "tokens" in inputs:
            output = model(inputs["tokens"])
        else:  # of CLIP only the part that sees
            output = getattr(model, "vision_model", model)(pixel_values=inputs["pixels"].double())
        values = all_sites(model, seen, tower)
    heads = {"lm_head", "embed_out", "classifier", "cls.predictions.decoder"} & seen.keys()
    for head in heads:
        values["logits"] = output.logits
        if "tokens" in inputs:
            values["ln_final.out"] = seen[head][0]
    return values


def make(name, model):
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    drawn = model.auto.from_config(AutoConfig.for_model(model.model_type, **model.config))
    redraw(drawn, name, model.embedding_std)
    drawn.to(model.dtype).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)

    random = np.random.RandomState(zlib.crc32(name.encode()))
    if model.pixels:
        inputs = {"pixels": torch.from_numpy(random.standard_normal((DOCS, 3, *model.pixels)).astype(np.float32))}
    else:
        inputs = {"tokens": torch.from_numpy(random.randint(0, VOCAB, (DOCS, LENGTH)))}
    read, report = model.auto.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), report
    values = run(read.eval(), inputs, model.tower)
    assert all(value.dtype == torch.float64 and value.isfinite().all() for value in values.values())
    values = {site: value.to(torch.float32).contiguous() for site, value in values.items()}
    save_file(inputs | values, folder / "expected.safetensors")
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size < LIMIT, f"{name}: {size} bytes"
    print(f"{name}: {size} bytes")


torch.set_num_threads(1)
logging.disable_progress_bar()
for name in sys.argv[1:] or MODELS:
    make(name, MODELS[name])
