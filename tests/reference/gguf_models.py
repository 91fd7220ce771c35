"""The tiny models of every family (architectures.py) as GGUF files, converted as llama.cpp does, with their logits.

usage: gguf_models.py       -> ../data/gguf/models/*.gguf, and gguf_models.json beside this file
needs: torch 2.15, transformers 5.24, gguf 0.17, numpy

What a GGUF file cannot say is set to what it stands for before the logits are computed: the scale of Gemma's scores is
that of its heads, and yarn has its usual limits.
"""

import json
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != here]

import gguf  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

source = os.path.join(here, "../data/architectures")
target = os.path.join(here, "../data/gguf/models")
os.makedirs(target, exist_ok=True)

LLAMA = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
}
GEMMA = LLAMA | {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
GPT2 = {
    "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down", "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm", "lm_head": "output",
}
NEOX = {
    "input_layernorm": "attn_norm", "attention.query_key_value": "attn_qkv", "attention.dense": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down",
    "gpt_neox.embed_in": "token_embd", "gpt_neox.final_layer_norm": "output_norm", "embed_out": "output", "lm_head": "output",
}
CASES = {
    "llama": ("llama", LLAMA), "llama-llama3": ("llama", LLAMA), "llama-linear": ("llama", LLAMA),
    "llama-yarn": ("llama", LLAMA), "mistral": ("llama", LLAMA), "mistral-no-window": ("llama", LLAMA),
    "qwen2": ("qwen2", LLAMA), "qwen3": ("qwen3", LLAMA), "qwen3-untied": ("qwen3", LLAMA), "gemma": ("gemma", LLAMA),
    "gemma2": ("gemma2", GEMMA), "gemma3_text": ("gemma3", GEMMA), "gemma3_text-linear": ("gemma3", GEMMA),
    "phi3": ("phi3", LLAMA), "phi3-longrope-long": ("phi3", LLAMA), "phi3-longrope-short": ("phi3", LLAMA),
    "gpt2": ("gpt2", GPT2), "gpt2-untied": ("gpt2", GPT2), "gpt_neox": ("gptneox", NEOX),
    "gpt_neox-sequential": ("gptneox", NEOX),
}


def adjusted(name):
    """The configuration, where a GGUF file cannot say what it says."""
    config = AutoConfig.from_pretrained(os.path.join(source, name))
    if config.model_type in ("gemma2", "gemma3_text"):
        config.query_pre_attn_scalar = config.head_dim
    if config.model_type in ("qwen2", "qwen3"):
        config.use_sliding_window, config.sliding_window = False, None
        config.layer_types = ["full_attention"] * config.num_hidden_layers
    if name == "llama-yarn":
        rope = config.rope_parameters
        config.rope_parameters = {k: rope[k] for k in ("rope_theta", "rope_type", "factor", "original_max_position_embeddings")}
    if name.startswith("gpt2"):
        config.scale_attn_by_inverse_layer_idx = False
        config.scale_attn_weights = True
        config.activation_function = "gelu_new"
    if name.startswith("gpt_neox"):
        config.hidden_act = "gelu"
    if config.model_type in ("llama", "mistral", "qwen2", "qwen3", "phi3"):
        config.hidden_act = "silu"
    return config


def permuted(weight, n):
    return weight.reshape(n, 2, weight.shape[0] // n // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def written(name, architecture, names, config, model):
    out = gguf.GGUFWriter(os.path.join(target, f"{name}.gguf"), architecture)
    put = lambda kind, key, value: getattr(out, f"add_{kind}")(f"{architecture}.{key}", value)  # noqa: E731
    heads, width = config.num_attention_heads, config.hidden_size
    head = getattr(config, "head_dim", None) or width // heads
    kv = getattr(config, "num_key_value_heads", None) or heads
    plain = architecture in ("gpt2", "gptneox")
    put("uint32", "block_count", config.num_hidden_layers)
    put("uint32", "context_length", config.max_position_embeddings)
    put("uint32", "embedding_length", width)
    inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * width
    put("uint32", "feed_forward_length", inner)
    put("uint32", "attention.head_count", heads)
    epsilon = next(getattr(config, k) for k in ("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps") if hasattr(config, k))
    put("float32", "attention.layer_norm_epsilon" if plain else "attention.layer_norm_rms_epsilon", epsilon)
    if not plain:
        put("uint32", "attention.head_count_kv", kv)
        put("uint32", "attention.key_length", head)
        put("uint32", "attention.value_length", head)
    rope = getattr(config, "rope_parameters", None) or {}
    turn = rope.get("full_attention", rope)
    if turn:
        put("float32", "rope.freq_base", turn["rope_theta"])
        put("uint32", "rope.dimension_count", int(head * turn.get("partial_rotary_factor", 1.0)))
        kind = turn.get("rope_type", "default")
        if kind in ("linear", "yarn"):
            put("string", "rope.scaling.type", kind)
            put("float32", "rope.scaling.factor", turn["factor"])
        if kind in ("yarn", "longrope"):
            put("uint32", "rope.scaling.original_context_length", turn["original_max_position_embeddings"])
        if kind == "longrope":
            put("float32", "rope.scaling.attn_factor", model.model.rotary_emb.attention_scaling)
            out.add_tensor("rope_factors_short.weight", np.array(turn["short_factor"], np.float32))
            out.add_tensor("rope_factors_long.weight", np.array(turn["long_factor"], np.float32))
        if kind == "llama3":
            scaled = model.model.rotary_emb.inv_freq.double().numpy()
            plain_freq = turn["rope_theta"] ** (-np.arange(0, head, 2) / head)
            out.add_tensor("rope_freqs.weight", (plain_freq / scaled).astype(np.float32))
    if "sliding_attention" in rope:
        put("float32", "rope.freq_base_swa", rope["sliding_attention"]["rope_theta"])
    window = getattr(config, "sliding_window", None)
    if window and architecture in ("llama", "phi3", "gemma2", "gemma3"):
        put("uint32", "attention.sliding_window", window)
    if architecture == "gemma3":
        kinds = [kind == "sliding_attention" for kind in config.layer_types]
        put("array", "attention.sliding_window_pattern", kinds)
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if getattr(config, key, None) is not None:
            put("float32", key, getattr(config, key))
    if architecture == "gptneox":
        put("bool", "use_parallel_residual", config.use_parallel_residual)
    for key, tensor in model.state_dict().items():
        if key.startswith(("lm_head", "embed_out")) and config.tie_word_embeddings:
            continue
        stem, kind = key.rsplit(".", 1)
        array = tensor.float().numpy()
        blocks = next((b for b in ("model.layers.", "transformer.h.", "gpt_neox.layers.") if stem.startswith(b)), None)
        if blocks:
            layer, stem = stem[len(blocks):].split(".", 1)
        if stem not in names:
            continue
        stored = names[stem]
        if architecture == "llama" and stored in ("attn_q", "attn_k"):
            array = permuted(array, heads if stored == "attn_q" else kv)
        if architecture == "gpt2" and array.ndim == 2 and blocks:
            array = np.ascontiguousarray(array.T)
        if architecture == "gptneox" and stored == "attn_qkv":
            array = array.reshape(heads, 3, head, -1).swapaxes(0, 1).reshape(array.shape)
        if architecture.startswith("gemma") and stored.endswith("norm"):
            array = array + np.float32(1)
        prefix = f"blk.{layer}." if blocks else ""
        out.add_tensor(f"{prefix}{stored}.{kind}", np.ascontiguousarray(array))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


out = {}
for name, (architecture, names) in CASES.items():
    config = adjusted(name)
    model = AutoModelForCausalLM.from_pretrained(
        os.path.join(source, name), config=config, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    written(name, architecture, names, config, model)
    ids = torch.randint(0, config.vocab_size, (1, 12), generator=torch.Generator().manual_seed(len(name)))
    with torch.no_grad():
        logits = model.double()(ids).logits[0, -2:]
    out[name] = {"ids": ids[0].tolist(), "logits": [round(x, 7) for x in logits.flatten().tolist()]}
    print(name, config.model_type, float(logits.abs().max()))
with open(os.path.join(here, "gguf_models.json"), "w") as file:
    json.dump(out, file, separators=(",", ":"))
    file.write("\n")
