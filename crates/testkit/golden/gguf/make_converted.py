"""Convert tiny models with llama.cpp's own convert_hf_to_gguf.py. Run after
make_golden.py:

    pip install -r ../requirements.txt
    pip download --no-binary :all: --no-deps llama-cpp-python==0.3.36   # holds llama.cpp's source
    tar xzf llama_cpp_python-0.3.36.tar.gz
    python make_converted.py llama_cpp_python-0.3.36/vendor/llama.cpp

It writes to converted/:

  NAME.gguf           the model ../NAME with matrices in BF16
  NAME.json           its config.json, in which what such a file cannot say is
                      as llama.cpp takes it (the values of CASES)
  logits.safetensors  NAME: what Transformers computes from that configuration
                      and the model's weights, matrices rounded to BF16, for
                      row 0 of ../NAME/rows.jsonl

Tensors, their names, order and numbers, and the hyperparameters are the
converter's work. The models have no tokenizer, so its `set_vocab` is replaced by
the 64-token vocabulary of make_gguf.py, and the count of tokens that it takes
from tokenizer.json is that.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LLAMA_CPP = Path(sys.argv[1]).resolve()
sys.path[:0] = [str(LLAMA_CPP), str(LLAMA_CPP / "gguf-py")]

import gguf
import torch
from conversion import ModelBase, ModelType, get_model_architecture, get_model_class
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import make_gguf

YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, rope_theta=20.0, beta_fast=2.0, beta_slow=0.5)
CASES = {
    "llama3-rope": {},
    "mixtral": {},
    "qwen2": dict(use_sliding_window=False, sliding_window=None, layer_types=["full_attention"] * 2),
    "qwen3": {},
    "qwen3-moe": dict(num_hidden_layers=1, mlp_only_layers=[]),  # of the second layer: llama.cpp has experts in all
    "gemma": dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0)),
    "gemma2": dict(query_pre_attn_scalar=8, rope_theta=10000.0),
    "gemma3": dict(query_pre_attn_scalar=8, sliding_window_pattern=6),
    "phi": dict(intermediate_size=96, rope_theta=10000.0),  # the converter takes 4 times the width: filled up with zeros
    "phi3": {},
    "phi3-longrope": {},
    "olmo": {},
    "olmo2": {},
    "olmoe": dict(rms_norm_eps=1e-5, clip_qkv=None),
    "granite": {},
    "cohere": {},
    "cohere2": dict(sliding_window_pattern=4, rotary_pct=1.0),
    "glm4": {},
    "smollm3": dict(no_rope_layers=[1, 1], rope_parameters=YARN),
    "stablelm": dict(rope_theta=10000.0),
    "starcoder2": dict(sliding_window=None),
}


def convert(name, changes, folder):
    shutil.copytree(HERE.parent / name, folder, ignore=shutil.ignore_patterns("adapter*", "golden*"))
    config = json.loads((folder / "config.json").read_text()) | changes
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (HERE / "converted" / f"{name}.json").write_text(text)
    (folder / "config.json").write_text(text)
    path = folder / "model.safetensors"
    if name == "qwen3-moe":
        second = "model.layers.1."
        kept = {n.replace(second, "model.layers.0."): w for n, w in load_file(path).items() if "model.layers.0." not in n}
        save_file(kept, path, {"format": "pt"})
    if name == "phi":
        save_file({n: filled(n, w) for n, w in load_file(path).items()}, path, {"format": "pt"})
    tokens = {"model": {"vocab": {str(i): i for i in range(64)}}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(tokens))
    kind = get_model_class(get_model_architecture(ModelBase.load_hparams(folder, False), ModelType.TEXT))
    kind.set_vocab = lambda self: make_gguf.add_tokenizer(self.gguf_writer)
    with torch.inference_mode():
        to = HERE / "converted" / f"{name}.gguf"
        kind(folder, gguf.LlamaFileType.MOSTLY_BF16, to, model_name=name).write()


def filled(name, w):
    """An MLP of Phi with 56 features more that are nothing."""
    if ".fc1." in name:
        return torch.cat([w, torch.zeros(56, *w.shape[1:], dtype=w.dtype)])
    return torch.nn.functional.pad(w, (0, 56)).contiguous() if name.endswith(".fc2.weight") else w


def logits(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    row = json.loads((folder / "rows.jsonl").read_text().splitlines()[0])
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.copy_(p.bfloat16().float())
        return model(input_ids=torch.tensor([row["input_ids"]]), use_cache=False).logits[0].clone()


if __name__ == "__main__":
    torch.set_num_threads(1)
    (HERE / "converted").mkdir(exist_ok=True)
    wanted = {}
    for name, changes in CASES.items():
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / name
            convert(name, changes, folder)
            wanted[name] = logits(folder)
    save_file(wanted, HERE / "converted" / "logits.safetensors")
