"""Make the GGUF test files, with the gguf package as the oracle. Run after
make_golden.py (llama.gguf is made from ../llama-tied):

    pip install -r ../requirements.txt
    python make_gguf.py

Versions: gguf 0.19.0, numpy 2.4.6, safetensors 0.8.0. It writes next to itself:

  blocks.gguf         one random tensor per type, named after its type: 3 rows
                      x 64 columns quantised by the package (F32, F16, BF16,
                      Q8_0, ...), 2 rows x 512 columns of random codes and
                      scales in the types that it only reads (Q2_K to Q6_K)
  blocks.safetensors  the same tensors dequantised to f32
  written.gguf        rows that are hard to round (F32), and the same rows as
                      `gguf.quants.quantize` stores them in each type that
                      we write: F16, BF16, Q8_0, Q4_0
  llama.gguf          the llama-tied base model in F32 under llama.cpp's names,
                      metadata and q/k row order, with a 64-token byte-level
                      vocabulary; no output.weight, as the embedding is tied
"""

import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent / "llama-tied"
TYPES = [Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1]
# Blocks of 256, and where their f16 numbers are.
SUPER_BLOCKS = {Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208]}

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
BYTES = ["Ċ", "Ġ", *".,?!", *"0123456789", *"abcdefghijklmnopqrstuvwxyz"]
MERGES = [
    "Ġ t", "h e", "Ġ a", "i n", "r e", "o n", "Ġt he", "e r", "Ġ s", "a t",
    "n d", "o r", "e n", "Ġa nd", "u s", "us er", "s t", "in g", "e s",
]  # fmt: skip
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_blocks():
    rng = np.random.default_rng(1)
    path = HERE / "blocks.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for t in TYPES:
        values = rng.normal(0.0, 1.0, (3, 64)).astype(np.float32)
        values[1] *= 100.0  # rows of different scale, and one block of zeros
        values[2, :32] = 0.0
        writer.add_tensor(t.name, gguf.quants.quantize(values, t), raw_dtype=t)
    for t, places in SUPER_BLOCKS.items():
        blocks = rng.integers(0, 256, (4, gguf.GGML_QUANT_SIZES[t][1]), dtype=np.uint8)
        for at in places:
            scales = np.array([[0.5], [-1e-2], [1e-6], [0.0]]) * rng.uniform(1.0, 2.0, (4, 1))
            blocks[:, at : at + 2] = scales.astype(np.float16).view(np.uint8)
        writer.add_tensor(t.name, blocks.reshape(2, -1), raw_dtype=t)
    finish(writer)

    tensors = gguf.GGUFReader(path).tensors
    save_file(
        {t.name: np.array(gguf.quants.dequantize(t.data, t.tensor_type), dtype=np.float32) for t in tensors},
        HERE / "blocks.safetensors",
    )


def make_written():
    rng = np.random.default_rng(2)
    normal = rng.normal(0.0, 1.0, (12, 64)).astype(np.float32)
    scales = np.array([[1.0], [1e-2], [1e4], [3e5], [1e30], [3e37], [1e-6], [1e-30]], dtype=np.float32)
    ties = np.arange(64, dtype=np.float32) - 31.5  # halves ...
    ties[[0, 32]] = -127.0, 127.0  # ... of a step of 1 in Q8_0
    eighths = (np.arange(64, dtype=np.float32) - 32) / 4  # halves and quarters of a step of 1 in Q4_0
    eighths[[5, 37]] = -8.0, 8.0
    both = np.tile(np.array([3.0, -3.0, 1.5, -1.5], dtype=np.float32), 16)  # the first of two largest
    both[32:] *= -1.0
    spike = np.zeros(64, dtype=np.float32)
    spike[[7, 40]] = 1e-3, -65504.0
    halves = (1.0 + np.arange(64) * 2.0**-12).astype(np.float32)  # between numbers of f16
    bits = rng.integers(0x33000000, 0x39000000, 64, dtype=np.uint32).view(np.float32)  # f16's subnormal numbers
    between = (np.uint32(0x3F800000) + np.arange(64, dtype=np.uint32) * 0x4000).view(np.float32)  # of bf16
    zeros = np.zeros(64, dtype=np.float32)
    half_zero = np.where(np.arange(64) < 32, 0.0, normal[11]).astype(np.float32)
    rows = np.vstack([normal[:8] * scales, ties, eighths, both, spike, halves, bits, between, zeros, half_zero])
    writer = gguf.GGUFWriter(HERE / "written.gguf", "llama")
    writer.add_tensor("F32", rows)
    for t in [Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0]:
        with np.errstate(over="ignore"):
            data = gguf.quants.quantize(rows, t)
        writer.add_tensor(t.name, data, raw_dtype=t)
    finish(writer)


def permute(w, heads):
    """Within each head, interleave the two rotary halves (Hugging Face to GGML order)."""
    return w.reshape(heads, 2, -1, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def add_tokenizer(writer):
    tokens = SPECIAL + BYTES + [m.replace(" ", "") for m in MERGES]
    assert len(tokens) == len(set(tokens)) == 64
    kinds = [gguf.TokenType.CONTROL] * len(SPECIAL)
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def make_llama():
    config = json.loads((MODEL / "config.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(HERE / "llama.gguf", "llama")
    writer.add_type("model")
    writer.add_name("llama-tied")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_tokenizer(writer)

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, w in load_file(MODEL / "model.safetensors").items():
        if name.endswith("q_proj.weight"):
            w = permute(w, heads)
        elif name.endswith("k_proj.weight"):
            w = permute(w, kv_heads)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), w)
    finish(writer)


if __name__ == "__main__":
    make_blocks()
    make_written()
    make_llama()
