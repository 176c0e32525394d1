"""Folders with random models of published shapes, for measuring: config.json and bf16 safetensors, a shard for every layer.

    python bench/peers/random_model.py --shape qwen3-0.6b --out DIR [--layers 1]

Needs nothing but Python, and 20 MB: tensors are written a piece at a time. A weight is ±x, with |x| in 2^-7..2^-5 and a
root mean square of .019; norms are at the start of training (all 1; of Gemma, which keeps what is added to 1, all 0).
"""

import argparse
import json
import math
import random
import struct
from pathlib import Path

SHAPES = {
    "smollm2-135m": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
    },
    "qwen3-0.6b": {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": 151936,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "use_sliding_window": False,
        "tie_word_embeddings": True,
    },
    "gemma2-2b": {
        "architectures": ["Gemma2ForCausalLM"],
        "model_type": "gemma2",
        "vocab_size": 256000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "tie_word_embeddings": True,
    },
}
PIECE = 1 << 20
# The upper byte of a bf16 number, of a random byte: its sign, and an exponent of -7 or (with the lower byte's first bit) -6.
UPPER = bytes(0x3C | (byte & 0x80) for byte in range(256))
ONE = bytes([0x80, 0x3F])


def config_of(shape, layers=None):
    """config.json of a shape, of fewer layers if asked."""
    config = dict(SHAPES[shape])
    if layers is not None:
        config["num_hidden_layers"] = layers
    return config


def shards(config):
    """Lists of (name, dimensions): the embedding with the last norm, and a list for every layer."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim", hidden // config["num_attention_heads"])
    q, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    tensors = {
        "self_attn.q_proj": (q, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, q),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    if config["model_type"] == "qwen3":
        tensors |= {"self_attn.q_norm": (head,), "self_attn.k_norm": (head,)}
    if config["model_type"] == "gemma2":
        tensors |= {"pre_feedforward_layernorm": (hidden,), "post_feedforward_layernorm": (hidden,)}
    outer = {"model.embed_tokens": (config["vocab_size"], hidden), "model.norm": (hidden,)}
    if not config["tie_word_embeddings"]:
        outer["lm_head"] = outer["model.embed_tokens"]
    layers = [{f"model.layers.{i}.{n}": size for n, size in tensors.items()} for i in range(config["num_hidden_layers"])]
    return [[(f"{name}.weight", size) for name, size in shard.items()] for shard in [outer, *layers]]


def pieces(size, draw, norm):
    """The bytes of a tensor, a piece at a time."""
    numbers = math.prod(size)
    if len(size) == 1:
        yield norm * numbers
        return
    for start in range(0, numbers, PIECE):
        count = min(PIECE, numbers - start)
        piece = bytearray(2 * count)
        piece[0::2] = draw.randbytes(count)
        piece[1::2] = draw.randbytes(count).translate(UPPER)
        yield piece


def write_shard(path, tensors, draw, norm):
    """One safetensors file."""
    header, end = {}, 0
    for name, size in tensors:
        begin, end = end, end + 2 * math.prod(size)
        header[name] = {"dtype": "BF16", "shape": list(size), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, size in tensors:
            for piece in pieces(size, draw, norm):
                file.write(piece)
    return end


def write(folder, config, seed=0):
    """A model folder; returns its parameters."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    norm = bytes(2) if config["model_type"].startswith("gemma") else ONE
    parts, places, total = shards(config), {}, 0
    for number, tensors in enumerate(parts, 1):
        name = f"model-{number:05}-of-{len(parts):05}.safetensors"
        total += write_shard(folder / name, tensors, draw, norm)
        places |= {tensor: name for tensor, _ in tensors}
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}, indent=2) + "\n")
    return total // 2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--layers", type=int, help="fewer layers than the model has")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    parameters = write(args.out, config_of(args.shape, args.layers), args.seed)
    print(f"{args.out}: {parameters:,} parameters, {2 * parameters / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
