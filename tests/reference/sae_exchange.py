"""Sparse autoencoders written by the field's own packages, with what the packages compute from them; and the packages'
answers from the folders that we wrote.

    pip install sae-lens dictionary-learning        (SAELens 6.54.12, dictionary_learning 0.1.0, torch 2.15)
    python tests/reference/sae_exchange.py          writes tests/data/sae
    POLYSEMA_SAE_OUT=OUT cargo test --test exchange_sae      rewrites every folder of tests/data/sae in both formats
    python tests/reference/sae_exchange.py OUT      loads those; writes tests/reference/sae_exchange.json
"""
import json
import sys
import warnings
from pathlib import Path

import sae_lens
import torch
from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
from dictionary_learning.trainers.top_k import AutoEncoderTopK
from dictionary_learning.utils import load_dictionary
from sae_lens import SAE
from safetensors.torch import load_file, save_file

warnings.filterwarnings("ignore")
here = Path(__file__).parent
data = here.parent / "data" / "sae"
D_IN, D_SAE, K = 6, 10, 3
torch.manual_seed(41)
X = torch.randn(8, D_IN)


@torch.no_grad()
def randomize(module):
    """Parameters of every size, nothing at its start value; half of the codes active."""
    for name, parameter in module.named_parameters():
        scale = 0.3 if parameter.dim() == 1 else 0.6
        parameter.copy_(torch.randn_like(parameter) * scale)
        if name == "threshold":
            parameter.copy_(torch.rand_like(parameter) * 0.5)


@torch.no_grad()
def answers(encode, decode):
    codes = encode(X)
    return {"codes": codes.float().tolist(), "outputs": decode(codes).float().tolist()}


def saelens(name, architecture, dtype="float32", change=lambda sae: None, **fields):
    cfg = {
        "d_in": D_IN, "d_sae": D_SAE, "dtype": dtype, "device": "cpu", "architecture": architecture,
        "metadata": {"model_name": "gpt2", "hook_name": "blocks.3.hook_mlp_out", "prepend_bos": False,
                     "context_size": 64, "dataset_path": "a/text", "sae_lens_version": sae_lens.__version__,
                     "sae_lens_training_version": sae_lens.__version__},
        **fields,
    }
    config_class = SAE.get_sae_config_class_for_architecture(architecture)
    sae = SAE.get_sae_class_for_architecture(architecture)(config_class.from_dict(cfg))
    randomize(sae)
    change(sae)
    sae.save_model(data / name)
    return answers(*loaded_saelens(data / name))


def loaded_saelens(folder):
    # Computed in float32 whatever the weights are stored in: the question is what was read.
    loaded = SAE.load_from_disk(folder, dtype="float32")
    return loaded.encode, loaded.decode


def saelens_flat(name, architecture, **fields):
    """A configuration of a version before 6, around weights of the same names."""
    saelens(name, architecture, **({"k": K} if architecture == "topk" else {}))
    cfg = {
        "architecture": "standard", "d_in": D_IN, "d_sae": D_SAE, "dtype": "torch.float32", "device": "cpu",
        "model_name": "gpt2", "hook_point": "blocks.3.hook_mlp_out", "hook_point_layer": 3, "context_size": 64,
        "normalize_activations": False, "sae_lens_training_version": None, "dataset_path": "a/text", **fields,
    }
    (data / name / "cfg.json").write_text(json.dumps(cfg))
    weights = load_file(data / name / "sae_weights.safetensors")
    save_file(weights | {"scaling_factor": torch.ones(D_SAE)}, data / name / "sae_weights.safetensors")
    return answers(*loaded_saelens(data / name))


def dictionary(name, module, **trainer):
    randomize(module)
    folder = data / name
    folder.mkdir(parents=True, exist_ok=True)
    # As dictionary_learning's training loop saves them.
    torch.save({k: v.cpu() for k, v in module.state_dict().items()}, folder / "ae.pt")
    config = {
        "trainer": {"dict_class": type(module).__name__, "trainer_class": "StandardTrainer", "activation_dim": D_IN,
                    "dict_size": D_SAE, "lr": 0.001, "layer": 3, "lm_name": "gpt2", "submodule_name": "mlp_3", **trainer},
        "buffer": {"ctx_len": 64, "d_submodule": D_IN},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=4))
    return answers(*loaded_dictionary(folder))


def loaded_dictionary(folder):
    loaded, _ = load_dictionary(str(folder), "cpu")
    if isinstance(loaded, AutoEncoder):
        # The loader rescales latents by default; as stored they are what was trained.
        loaded = AutoEncoder.from_pretrained(folder / "ae.pt", normalize_decoder=False)
    return loaded.encode, loaded.decode


def constant_threshold(sae):
    sae.threshold.data.fill_(0.25)


def write():
    cases = {
        "saelens-standard": saelens("saelens-standard", "standard"),
        "saelens-uncentered": saelens("saelens-uncentered", "standard", apply_b_dec_to_input=False),
        "saelens-topk": saelens("saelens-topk", "topk", k=K),
        "saelens-topk-rescaled": saelens("saelens-topk-rescaled", "topk", k=K, rescale_acts_by_decoder_norm=True),
        "saelens-jumprelu": saelens("saelens-jumprelu", "jumprelu", apply_b_dec_to_input=False),
        "saelens-batchtopk": saelens("saelens-batchtopk", "jumprelu", change=constant_threshold),
        "saelens-gated": saelens("saelens-gated", "gated"),
        "saelens-float16": saelens("saelens-float16", "standard", dtype="float16"),
        "saelens-bfloat16": saelens("saelens-bfloat16", "gated", dtype="bfloat16"),
        "saelens-3": saelens_flat("saelens-3", "standard", activation_fn_str="relu", sae_lens_version="3.13.0"),
        "saelens-5-topk": saelens_flat("saelens-5-topk", "topk", activation_fn_str="topk", sae_lens_version="5.9.1",
                                       activation_fn_kwargs={"k": K}, apply_b_dec_to_input=False),
        "saelens-scaled": saelens("saelens-scaled", "standard", normalize_activations="expected_average_only_in"),
    }
    # What SAELens does with the scale of a checkpoint once training ends.
    (data / "saelens-scaled" / "activation_scaler.json").write_text('{"scaling_factor": 1.75, "has_whitening": false}')
    scaled = SAE.load_from_disk(data / "saelens-scaled")
    scaled.fold_activation_norm_scaling_factor(1.75)
    cases["saelens-scaled"] = answers(scaled.encode, scaled.decode)

    learned_topk, learned_batch = AutoEncoderTopK(D_IN, D_SAE, K), BatchTopKSAE(D_IN, D_SAE, K)
    learned_topk.threshold.fill_(0.125)
    learned_batch.threshold.fill_(0.3)
    for module, trainer in [
        (AutoEncoder(D_IN, D_SAE), {}),
        (AutoEncoderNew(D_IN, D_SAE), {}),
        (GatedAutoEncoder(D_IN, D_SAE), {}),
        (JumpReluAutoEncoder(D_IN, D_SAE), {}),
        (learned_topk, {"k": K}),
        (learned_batch, {"k": K}),
    ]:
        name = f"dictionary-{type(module).__name__}"
        cases[name] = dictionary(name, module, **trainer)
    untrained = BatchTopKSAE(D_IN, D_SAE, K)
    cases["dictionary-BatchTopKSAE-untrained"] = dictionary("dictionary-BatchTopKSAE-untrained", untrained, k=K)

    # A bare network, as Foote's published ones are, in both containers.
    network = torch.nn.Sequential(torch.nn.Linear(D_IN, D_SAE), torch.nn.Linear(D_SAE, D_IN))
    randomize(network)
    torch.save(network.state_dict(), data / "bare.pt")
    save_file(network.state_dict(), data / "bare.safetensors")
    bare = answers(lambda x: torch.relu(network[0](x - network[1].bias)), network[1])
    cases |= {"bare.pt": bare, "bare.safetensors": bare}
    (data / "answers.json").write_text(json.dumps({"inputs": X.tolist(), "cases": cases}))


def load(out):
    """Largest difference between the packages' answers from our folders and from their own."""
    expected = json.loads((data / "answers.json").read_text())["cases"]
    found = {"sae_lens": sae_lens.__version__, "dictionary_learning": "0.1.0", "torch": torch.__version__.split("+")[0]}
    differences = {}
    for folder in sorted(out.iterdir()):
        case, form = folder.name.split("@")
        if form == "saelens":
            got = answers(*loaded_saelens(folder))
        else:
            weights = load_file(folder / "ae.safetensors")
            torch.save(weights, folder / "ae.pt")
            loaded, _ = load_dictionary(str(folder), "cpu")
            got = answers(*loaded_dictionary(folder))
            # The reconstruction does not depend on the loader's rescaling of latents.
            rescaled = answers(loaded.encode, loaded.decode)["outputs"]
            assert (torch.tensor(rescaled) - torch.tensor(got["outputs"])).abs().max() < 1e-5, folder
        differences[folder.name] = max(
            (torch.tensor(got[key]) - torch.tensor(expected[case][key])).abs().max().item() for key in got
        )
    found["largest_difference"] = differences
    (here / "sae_exchange.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if len(sys.argv) > 1:
    load(Path(sys.argv[1]))
else:
    write()
