"""What encoders of images give for images of bytes: for tests/image_encoders.rs.

usage: image_ingest.py      -> image_ingest.json and image_ingest.safetensors beside this file
needs: torch 2.15, transformers 5.24, pillow 13, safetensors 0.8

The models are ../data/architectures/vit-classifier (8 x 16 pixels) and clip_vision_model (12 x 12). transformers' own
processors, without torchvision, make pixel values of random images, whose size is the model's, so that the resize and the
crop that they are told leave them as they are. image_ingest.json has each processor's preprocessor_config.json.

image_ingest.safetensors, after the model's name: images [n, height, width, channel] of bytes, pixels [n, channel, height,
width], and for the last block ln2.out, ln2.normalized, mlp.post and resid.post [n, pos, width].
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from architectures_sites import all_sites, nowhere_narrower, watch
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForImageClassification
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.utils import logging

here = Path(__file__).resolve().parent
MODELS = here.parent / "data" / "architectures"
N = 5
SITES = ("ln2.out", "ln2.normalized", "mlp.post", "resid.post")
PROCESSORS = {
    "vit-classifier": (
        AutoModelForImageClassification,
        "vit.",
        ViTImageProcessorPil(size=dict(height=8, width=16), image_mean=[0.5, 0.4, 0.3], image_std=[0.5, 0.25, 0.2]),
    ),
    "clip_vision_model": (
        AutoModel,
        "",
        CLIPImageProcessorPil(size=dict(shortest_edge=12), crop_size=dict(height=12, width=12)),
    ),
}

logging.disable_progress_bar()
values, configs = {}, {}
for name, (auto, tower, processor) in PROCESSORS.items():
    model = auto.from_pretrained(MODELS / name, dtype=torch.float64, attn_implementation="eager").eval()
    height, width = (8, 16) if name.startswith("vit") else (12, 12)
    images = np.random.RandomState(7).randint(0, 256, (N, height, width, 3), dtype=np.uint8)
    pixels = processor(list(images), return_tensors="pt", input_data_format="channels_last").pixel_values
    assert pixels.shape == (N, 3, height, width)
    seen = watch(model)
    with torch.no_grad(), nowhere_narrower():
        result = model(pixel_values=pixels.double())
    if "logits" in result:
        values[f"{name}.classes"] = result.logits.argmax(-1).to(torch.int32)
    sites = all_sites(model, seen, tower)
    last = model.config.num_hidden_layers - 1
    values[f"{name}.images"] = torch.from_numpy(images)
    values[f"{name}.pixels"] = pixels.to(torch.float32)
    for site in SITES:
        values[f"{name}.{site}"] = sites[f"blocks.{last}.{site}"].to(torch.float32).contiguous()
    with tempfile.TemporaryDirectory() as folder:
        processor.save_pretrained(folder)
        configs[name] = json.loads(Path(folder, "preprocessor_config.json").read_text())
save_file({name: value.contiguous() for name, value in values.items()}, here / "image_ingest.safetensors")
(here / "image_ingest.json").write_text(json.dumps(configs, indent=1) + "\n", encoding="utf-8")
print({name: tuple(value.shape) for name, value in values.items()})
