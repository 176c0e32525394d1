"""Make vision-defaults.json: what Transformers takes for granted of each encoder of images, if config.json says its sizes only.

    pip install -r requirements.txt
    python make_vision_defaults.py

What an encoder does not have is null. The pooler of ViT and DeiT is not here, as no classifier uses it. Of CLIP and SigLIP
these are the values of `vision_config`, within a config.json of the whole model as well as in one of the tower alone.
`bare` has the values for a config.json that says nothing but its model_type.
"""

import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

from torch import nn
from transformers import (
    AutoConfig,
    CLIPForImageClassification,
    CLIPVisionModel,
    DeiTForImageClassification,
    Dinov2ForImageClassification,
    SiglipForImageClassification,
    SiglipVisionModel,
    SwinForImageClassification,
    ViTForImageClassification,
)

HERE = Path(__file__).resolve().parent
SIZES = dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=6, intermediate_size=96)
# Of the types that say their sizes otherwise.
OWN_SIZES = {
    "dinov2": {key: SIZES[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")},
    "swin": dict(embed_dim=48),
}
WHOLE = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}
MODELS = {
    "vit": ViTForImageClassification,
    "deit": DeiTForImageClassification,
    "dinov2": Dinov2ForImageClassification,
    "clip": CLIPForImageClassification,
    "clip_vision_model": CLIPVisionModel,
    "siglip": SiglipForImageClassification,
    "siglip_vision_model": SiglipVisionModel,
    "swin": SwinForImageClassification,
}
KEYS = """hidden_size num_hidden_layers num_attention_heads intermediate_size image_size patch_size num_channels hidden_act
layer_norm_eps qkv_bias mlp_ratio layerscale_value use_swiglu_ffn embed_dim depths num_heads window_size
use_absolute_embeddings hidden_dropout_prob attention_probs_dropout_prob attention_dropout drop_path_rate
vision_use_head""".split()


def values(config):
    found = {key: getattr(config, key, None) for key in KEYS}
    found |= {key: list(value) for key, value in found.items() if isinstance(value, tuple)}
    if config.model_type == "swin":  # other names of the same, which are those of the last stage
        found |= dict(hidden_size=None, num_hidden_layers=None, num_attention_heads=None)
    return found


def eps_of_norms(name, config):
    """Every eps in the model, by the last part of the norm's name: not all are the configured one."""
    norms = {n: m for n, m in MODELS[name]._from_config(config).named_modules() if isinstance(m, nn.LayerNorm)}
    found = {}
    for place, norm in norms.items():
        found.setdefault(".".join(part for part in place.split(".")[-2:] if not part.isdigit()), set()).add(norm.eps)
    assert all(len(eps) == 1 for eps in found.values()), found
    return {place: eps.pop() for place, eps in sorted(found.items())}


def defaults(name, sizes):
    config = AutoConfig.for_model(name, **({"vision_config": sizes} if name in WHOLE else sizes))
    return {**values(config.vision_config if name in WHOLE else config), "num_labels": config.num_labels}


def all_of(name):
    sizes = OWN_SIZES.get(name, SIZES)
    # Another eps than any default, to see which norms take it.
    given = {**sizes, "layer_norm_eps": 0.25}
    config = AutoConfig.for_model(name, **({"vision_config": given} if name in WHOLE else given))
    return {"sizes": sizes, "values": defaults(name, sizes), "bare": defaults(name, {}), "eps_if_0.25": eps_of_norms(name, config)}


if __name__ == "__main__":
    found = {name: all_of(name) for name in MODELS}
    (HERE / "vision-defaults.json").write_text(json.dumps(found) + "\n")
