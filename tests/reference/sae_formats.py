"""Sparse autoencoders and transcoders in the formats that the field publishes, small and of odd sizes, and what each format's
own definition makes of some vectors, in float64: the activations of the latents, and what is given back.

    pip install torch safetensors numpy
    python tests/reference/sae_formats.py     writes tests/data/sae/formats and tests/reference/sae_formats.json

Where ../shared/cases/saes/02-formats lies beside the project, its samples are answered, too. The definitions are those of
SAELens 6, dictionary_learning 0.1, sparsify 1.3, openai/sparse_autoencoder, Gemma Scope's tutorials and
Language-Model-SAEs of November 2024 (Llama Scope), each written down again here from what they compute.
"""
import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

here = Path(__file__).parent
data = here.parent / "data" / "sae" / "formats"
shared = here.parents[2] / "shared" / "cases" / "saes" / "02-formats"
D_IN, D_SAE, D_OUT, K = 5, 9, 4, 3
torch.manual_seed(17)
X = torch.randn(7, D_IN) * 1.5 + 0.3


def randn(*shape, scale=0.6):
    return torch.randn(*shape) * scale


def weights(d_out=D_IN):
    """Encoder, decoder and biases by the names of SAELens."""
    return {"W_enc": randn(D_IN, D_SAE), "b_enc": randn(D_SAE, scale=0.3), "W_dec": randn(D_SAE, d_out),
            "b_dec": randn(d_out, scale=0.3)}


# What the formats compute.

def relu(z):
    return z.clamp(min=0)


def topk(z, k):
    """The k largest, none below 0."""
    values, places = torch.topk(z, k, dim=-1)
    return torch.zeros_like(z).scatter_(-1, places, relu(values))


def jump(z, threshold):
    """What is above the threshold, none below 0."""
    return relu(z) * (z > threshold)


def layer_norm(x):
    mean = x.mean(-1, keepdim=True)
    std = (x - mean).std(-1, keepdim=True)
    return (x - mean) / (std + 1e-5), lambda y: y * std + mean


def norm_rescale(x):
    coefficient = math.sqrt(x.shape[-1]) / x.norm(dim=-1, keepdim=True)
    return x * coefficient, lambda y: y / coefficient


def plain(x):
    return x, lambda y: y


def double(tensors):
    return {name: t.double() if t.is_floating_point() else t for name, t in tensors.items()}


def by_names_of_saelens(x, t, activation, centred, norm=plain):
    u, back = norm(x)
    if centred:
        u = u - t["b_dec"]
    codes = activation(u @ t["W_enc"] + t["b_enc"])
    out = back(codes @ t["W_dec"] + t["b_dec"])
    if "W_skip" in t:
        out = out + x @ t["W_skip"].T
    return codes, out


def saelens(folder, x):
    cfg = json.loads((folder / "cfg.json").read_text())
    t = double(load_file(folder / "sae_weights.safetensors"))
    architecture = cfg["architecture"]
    if cfg.get("activation_fn") == "topk" or architecture == "topk":
        k = cfg.get("k") or cfg["activation_fn_kwargs"]["k"]
        activation = lambda z: topk(z, k)
    elif architecture == "matryoshka_batchtopk":
        activation = lambda z: jump(z, t["topk_threshold"])
    elif architecture.startswith("jumprelu"):
        activation = lambda z: jump(z, t["threshold"])
    else:
        activation = relu
    norm = {"layer_norm": layer_norm, "constant_norm_rescale": norm_rescale, "none": plain}
    transcodes = architecture.endswith("transcoder")
    centred = cfg.get("apply_b_dec_to_input", True) and not transcodes
    return by_names_of_saelens(x, t, activation, centred, norm[cfg["normalize_activations"]])


def dictionary_learning(path, x):
    t = double(torch.load(path))
    if "group_sizes" in t:
        z = (x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]
        codes = relu(z) * (relu(z) > t["threshold"])
        return codes, codes @ t["W_dec"] + t["b_dec"]
    codes = relu((x - t["bias"]) @ t["encoder.weight"].T + t["encoder.bias"])
    return codes, codes @ t["decoder.weight"].T + t["bias"]


def gemma_scope(folder, x):
    if (folder / "params.npz").exists():
        t = {name: torch.tensor(np.ascontiguousarray(a)).double() for name, a in np.load(folder / "params.npz").items()}
    else:
        t = double(load_file(folder / "params.safetensors"))
        t = {("W" + name[1:] if name.startswith("w_") else name): tensor for name, tensor in t.items()}
    codes = jump(x @ t["W_enc"] + t["b_enc"], t["threshold"])
    out = codes @ t["W_dec"] + t["b_dec"]
    if "affine_skip_connection" in t:
        out = out + x @ t["affine_skip_connection"]
    return codes, out


def sparsify(folder, x):
    cfg = json.loads((folder / "cfg.json").read_text())
    t = double(load_file(folder / "sae.safetensors"))
    u = x if cfg.get("transcode") else x - t["b_dec"]
    codes = topk(relu(u @ t["encoder.weight"].T + t["encoder.bias"]), cfg["k"])
    out = codes @ t["W_dec"] + t["b_dec"]
    if "W_skip" in t:
        out = out + x @ t["W_skip"].T
    return codes, out


def openai(path, x):
    state = torch.load(path)
    words = {name: state.pop(name) for name in list(state) if not torch.is_tensor(state[name])}
    t = double(state)
    top = words.get("activation") == "TopK"
    u, back = layer_norm(x) if top else plain(x)
    z = (u - t["pre_bias"]) @ t["encoder.weight"].T + t["latent_bias"]
    codes = topk(z, words["activation_state_dict"]["k"]) if top else relu(z)
    return codes, back(codes @ t["decoder.weight"].T + t["pre_bias"])


def llama_scope(folder, x):
    h = json.loads((folder / "hyperparams.json").read_text())
    t = double(load_file(folder / "checkpoints" / "final.safetensors"))
    norm = plain
    if h["norm_activation"] == "dataset-wise":
        # What its loader does with the parameters.
        read, given = (math.sqrt(h["d_model"]) / h["dataset_average_activation_norm"][side] for side in ["in", "out"])
        t["encoder.bias"] = t["encoder.bias"] / read
        t["decoder.bias"] = t["decoder.bias"] / given
        t["decoder.weight"] = t["decoder.weight"] * read / given
    elif h["norm_activation"] == "token-wise":
        norm = norm_rescale
    if h.get("sparsity_include_decoder_norm", True):
        norms = t["decoder.weight"].norm(dim=0)
        t["decoder.weight"] = t["decoder.weight"] / norms
        t["encoder.weight"] = t["encoder.weight"] * norms[:, None]
        t["encoder.bias"] = t["encoder.bias"] * norms
    u, back = norm(x)
    if h["apply_decoder_bias_to_pre_encoder"]:
        u = u - t["decoder.bias"]
    z = u @ t["encoder.weight"].T + t["encoder.bias"]
    jumps = h["act_fn"] == "jumprelu" or h["jump_relu_threshold"] > 0
    codes = torch.where(z > h["jump_relu_threshold"], z, 0.0) if jumps else topk(relu(z), h["top_k"])
    return codes, back(codes @ t["decoder.weight"].T + t["decoder.bias"])


# Samples of our own.

def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def write_saelens(name, extra=None, tensors=None, d_out=D_IN, **cfg):
    folder = data / name
    usual = {"d_in": D_IN, "d_sae": D_SAE, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True,
             "normalize_activations": "none", "architecture": "standard",
             "metadata": {"hook_name": "blocks.2.hook_resid_post", "sae_lens_version": "6.10.0", **(extra or {})}}
    if cfg.get("architecture", "").endswith("transcoder"):
        usual["d_out"] = d_out
    write_json(folder / "cfg.json", {k: v for k, v in {**usual, **cfg}.items() if v is not None})
    save_file({**weights(d_out), **(tensors or {})}, folder / "sae_weights.safetensors")
    return saelens(folder, X.double())


def write_gemma_scope(name):
    folder = data / name
    folder.mkdir(parents=True, exist_ok=True)
    t = {**weights(), "threshold": torch.rand(D_SAE) * 0.5}
    arrays = {name: tensor.numpy() for name, tensor in t.items()}
    # As an array that was turned is saved: its columns one after the other.
    arrays["W_enc"] = np.asfortranarray(arrays["W_enc"])
    np.savez(folder / "params.npz", **arrays)
    return gemma_scope(folder, X.double())


def write_gemma_scope_2(name, d_out=D_IN, affine=False, **cfg):
    folder = data / name
    write_json(folder / "config.json", {"architecture": "jump_relu", "model_name": "gemma-v3-270m-pt", "width": D_SAE,
                                        "l0": 3, "affine_connection": affine, **cfg})
    t = {**weights(d_out), "threshold": torch.rand(D_SAE) * 0.5}
    t = {("w" + name[1:] if name.startswith("W_") else name): tensor for name, tensor in t.items()}
    if affine:
        t["affine_skip_connection"] = randn(D_IN, d_out)
    save_file(t, folder / "params.safetensors")
    return gemma_scope(folder, X.double())


def write_sparsify(name, skip=False, **cfg):
    folder = data / name
    write_json(folder / "cfg.json", {"activation": "topk", "expansion_factor": 2, "normalize_decoder": True,
                                     "num_latents": D_SAE, "k": K, "multi_topk": False, "skip_connection": skip,
                                     "transcode": False, "d_in": D_IN, **cfg})
    n = cfg.get("num_latents", D_SAE) or 2 * D_IN
    t = {"encoder.weight": randn(n, D_IN), "encoder.bias": randn(n, scale=0.3), "W_dec": randn(n, D_IN),
         "b_dec": randn(D_IN, scale=0.3)}
    save_file({**t, "W_skip": randn(D_IN, D_IN)} if skip else t, folder / "sae.safetensors")
    return sparsify(folder, X.double())


def write_openai(name, words):
    path = data / name
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"pre_bias": randn(D_IN, scale=0.3), "latent_bias": randn(D_SAE, scale=0.3),
             "stats_last_nonzero": torch.zeros(D_SAE, dtype=torch.long), "latents_activation_frequency": torch.ones(D_SAE),
             "latents_mean_square": torch.zeros(D_SAE), "encoder.weight": randn(D_SAE, D_IN),
             "decoder.weight": randn(D_IN, D_SAE), **words}
    torch.save(state, path)
    return openai(path, X.double())


def write_llama_scope(name, **hyperparams):
    folder = data / name
    write_json(folder / "hyperparams.json", {
        "hook_point_in": "blocks.2.hook_resid_post", "hook_point_out": "blocks.2.hook_resid_post", "use_decoder_bias": True,
        "apply_decoder_bias_to_pre_encoder": False, "expansion_factor": 2, "d_model": D_IN, "d_sae": D_SAE,
        "norm_activation": "dataset-wise", "dataset_average_activation_norm": {"in": 3.5, "out": 2.5}, "act_fn": "jumprelu",
        "jump_relu_threshold": 0.3, "top_k": K, **hyperparams})
    (folder / "checkpoints").mkdir(exist_ok=True)
    t = {"encoder.weight": randn(D_SAE, D_IN), "encoder.bias": randn(D_SAE, scale=0.3),
         "decoder.weight": randn(D_IN, D_SAE), "decoder.bias": randn(D_IN, scale=0.3)}
    save_file(t, folder / "checkpoints" / "final.safetensors")
    return llama_scope(folder, X.double())


def write_dictionary(name, tensors, trainer):
    path = data / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, path)
    if trainer:
        write_json(path.parent / "config.json", {"trainer": {"activation_dim": D_IN, "dict_size": D_SAE, "layer": 2, **trainer},
                                                 "buffer": {"ctx_len": 64}})
    return dictionary_learning(path, X.double())


def standard():
    return {"bias": randn(D_IN, scale=0.3), "encoder.weight": randn(D_SAE, D_IN), "encoder.bias": randn(D_SAE, scale=0.3),
            "decoder.weight": randn(D_IN, D_SAE)}


def write():
    skip = {"W_skip": randn(D_OUT, D_IN)}
    through = {"hook_name": "blocks.2.ln2.hook_normalized", "hook_name_out": "blocks.2.hook_mlp_out"}
    transcoder = {"extra": through, "d_out": D_OUT, "apply_b_dec_to_input": False}
    threshold = {"threshold": torch.rand(D_SAE) * 0.5}
    no_version = {"hook_name": "blocks.2.hook_resid_pre", "prepend_bos": False, "context_size": 64}
    matryoshka = {**weights(), "k": torch.tensor(K, dtype=torch.int32), "threshold": torch.tensor(0.3),
                  "group_sizes": torch.tensor([2, 3, 4])}
    cases = {
        "gemma-scope-2b-pt-res/layer_2/width_9/average_l0_3": write_gemma_scope,
        "gemma-scope-2b-pt-transcoders/layer_2/width_9/average_l0_3": write_gemma_scope,
        "gemma-scope-2/resid_post": lambda name: write_gemma_scope_2(
            name, type="sae", hf_hook_point_in="model.layers.2.output", hf_hook_point_out="model.layers.2.output"),
        "gemma-scope-2/transcoder-affine": lambda name: write_gemma_scope_2(
            name, D_OUT, True, type="transcoder", hf_hook_point_in="model.layers.2.pre_feedforward_layernorm.output",
            hf_hook_point_out="model.layers.2.post_feedforward_layernorm.output"),
        "sparsify/layers.2": write_sparsify,
        "sparsify/layers.10": lambda name: write_sparsify(name, num_latents=0, signed=False),
        "sparsify/layers.2.mlp": lambda name: write_sparsify(name, skip=True, transcode=True),
        "resid_post_mlp/autoencoders/2.pt": lambda name: write_openai(name, {}),
        "resid_delta_mlp_v5_32k/autoencoders/2.pt": lambda name: write_openai(
            name, {"activation": "TopK", "activation_state_dict": {"k": K, "postact_fn": "ReLU"}}),
        "llama-scope": write_llama_scope,
        "llama-scope-token-wise": lambda name: write_llama_scope(
            name, norm_activation="token-wise", act_fn="topk", jump_relu_threshold=0.0,
            apply_decoder_bias_to_pre_encoder=True, sparsity_include_decoder_norm=False),
        "dictionary-matryoshka/ae.pt": lambda name: write_dictionary(
            name, matryoshka, {"trainer_class": "MatryoshkaBatchTopKTrainer", "dict_class": "MatryoshkaBatchTopKSAE",
                               "group_sizes": [2, 3, 4], "k": K, "submodule_name": "resid_post_layer_2"}),
        "dictionary-early/ae.pt": lambda name: write_dictionary(
            name, standard(), {"trainer_class": "StandardTrainer", "submodule_name": "mlp_out_layer2"}),
        "dictionary-alone/0_2048.pt": lambda name: write_dictionary(name, standard(), None),
        "saelens-transcoder": lambda name: write_saelens(name, architecture="transcoder", **transcoder),
        "saelens-skip": lambda name: write_saelens(name, architecture="skip_transcoder", tensors=skip, **transcoder),
        "saelens-jump-skip": lambda name: write_saelens(
            name, architecture="jumprelu_skip_transcoder", tensors={**skip, **threshold}, **transcoder),
        "saelens-layer-norm": lambda name: write_saelens(name, architecture="topk", k=K, normalize_activations="layer_norm"),
        "saelens-norm-rescale": lambda name: write_saelens(name, normalize_activations="constant_norm_rescale"),
        "saelens-no-version": lambda name: write_saelens(name, architecture="topk", k=K, dtype=None, metadata=no_version),
        "saelens-matryoshka": lambda name: write_saelens(
            name, architecture="matryoshka_batchtopk", k=K, matryoshka_widths=[2, 5],
            tensors={"topk_threshold": torch.tensor(0.25)}),
    }
    return {name: make(name) for name, make in cases.items()}


def answer_shared(x):
    read = {
        "gemma_scope": gemma_scope, "gemma_scope_2": gemma_scope, "sparsify/layers.2.mlp": sparsify,
        "sparsify_old/layers.2": sparsify, "sparsify_skip/layers.2.mlp": sparsify, "openai_relu.pt": openai,
        "openai_topk.pt": openai, "llama_scope": llama_scope,
        "dl_old": lambda path, x: dictionary_learning(path / "ae.pt", x),
        "dl_matryoshka": lambda path, x: dictionary_learning(path / "ae.pt", x),
        "saelens_transcoder": saelens, "m_issue553": saelens, "m_nodtype": saelens, "m_rc": saelens,
        "m_v6_nover": saelens, "m_v6_nover_out": saelens,
    }
    return {name: of(shared / name, x) for name, of in read.items()}


def rounded(tensor):
    return [[float(f"{value:.9g}") for value in row] for row in tensor.tolist()]


def main():
    kept = here / "sae_formats.json"
    answers = {"inputs": rounded(X), "cases": {n: list(map(rounded, a)) for n, a in write().items()}}
    if shared.exists():
        x = torch.tensor(np.load(shared / "x.npy"))[:6]
        found = answer_shared(x.double())
        answers |= {"shared_inputs": rounded(x), "shared": {n: list(map(rounded, a)) for n, a in found.items()}}
    elif kept.exists():
        before = json.loads(kept.read_text())
        answers |= {name: before[name] for name in ["shared_inputs", "shared"]}
    for name, (codes, _) in answers["cases"].items():
        active = sum(value > 0 for row in codes for value in row)
        assert 8 < active < len(X) * 2 * D_IN, (name, active)
    kept.write_text(json.dumps(answers) + "\n")


main()
