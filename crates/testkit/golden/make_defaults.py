"""Make defaults.json: what Transformers takes for granted of each family, if config.json says its sizes only.

    pip install -r requirements.txt
    python make_defaults.py
"""

import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

from transformers import AutoConfig

HERE = Path(__file__).resolve().parent
FAMILIES = """llama mistral mixtral qwen2 qwen3 qwen3_moe gemma gemma2 gemma3_text phi phi3 olmo olmo2 olmoe granite cohere cohere2
glm glm4 helium smollm3 stablelm starcoder2""".split()
# Heads that every family's number of key and value heads divides; 30 layers, so that each pattern shows.
SIZES = dict(hidden_size=3840, num_attention_heads=480, num_hidden_layers=30, intermediate_size=96, vocab_size=100)


def first(config, *names, default=None):
    return next((getattr(config, name) for name in names if getattr(config, name, None) is not None), default)


def window_of(config, layer):
    """As the modelling code of the families: by layer_types where there are some, else everywhere if it is used."""
    types = getattr(config, "layer_types", None)
    used = getattr(config, "use_sliding_window", True)
    if types is not None:
        return config.sliding_window if types[layer] == "sliding_attention" else None
    return getattr(config, "sliding_window", None) if used else None


def defaults(name):
    config = AutoConfig.for_model(name, **SIZES)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    head_dim = first(config, "head_dim", default=SIZES["hidden_size"] // SIZES["num_attention_heads"])
    experts = None
    if (count := first(config, "num_local_experts", "num_experts")) is not None:
        width = first(config, "moe_intermediate_size", default=config.intermediate_size)
        experts = [count, config.num_experts_per_tok, width]
    return {
        "kv_heads": config.num_key_value_heads,
        "head_dim": head_dim,
        "context": config.max_position_embeddings,
        "theta": rope["rope_theta"],
        "rotated": int(head_dim * rope.get("partial_rotary_factor", 1.0)),
        "eps": first(config, "rms_norm_eps", "layer_norm_eps", "norm_epsilon", default=1e-5),
        "tied": config.tie_word_embeddings,
        "activation": first(config, "hidden_activation", "hidden_act"),
        "windows": [window_of(config, layer) for layer in range(config.num_hidden_layers)],
        "experts": experts,
        "softcaps": [getattr(config, f"{of}_logit_softcapping", None) for of in ("attn", "final")],
    }


if __name__ == "__main__":
    found = {"sizes": SIZES, "families": {name: defaults(name) for name in FAMILIES}}
    (HERE / "defaults.json").write_text(json.dumps(found) + "\n")
