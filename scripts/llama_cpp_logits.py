"""Run what `loract export` makes of tiny models in llama.cpp, and compare its logits with those of Transformers.

    pip install -r crates/testkit/golden/requirements.txt llama-cpp-python==0.3.36
    python scripts/llama_cpp_logits.py target/release/loract

The models are those of crates/testkit/golden, with the configurations of gguf/converted where a GGUF file can say them.
llama.cpp keeps keys and values in f16, so a relative error of about 1e-3 is what to expect. Not among them: what llama.cpp
does not do (windows of Phi-3, YaRN's beta_fast and beta_slow), and tiny models of shapes that it refuses (the Command R and
OLMoE of the golden files, a Qwen3-MoE with a dense layer).
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from llama_cpp import Llama
from transformers import AutoModelForCausalLM

GOLDEN = Path(__file__).resolve().parent.parent / "crates/testkit/golden"
AS_IN_FOLDER = ["llama-tied", "llama-untied", "llama-linear", "llama-yarn", "phi", "stablelm-sequential"]
OTHERWISE = {
    "phi3": dict(sliding_window=None),
    "smollm3": dict(rope_parameters=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, rope_theta=20.0)),
}
NOT_READ = ["cohere", "olmoe", "qwen3-moe"]
# Else the Python package puts its defaults in the place of the file's.
FROM_FILE = dict(yarn_ext_factor=-1.0, yarn_attn_factor=-1.0, yarn_beta_fast=-1.0, yarn_beta_slow=-1.0)


def compare(loract, name, config, scratch):
    model, file = scratch / name, scratch / f"{name}.gguf"
    shutil.copytree(GOLDEN / name, model, ignore=shutil.ignore_patterns("adapter*", "golden*"))
    (model / "config.json").write_text(json.dumps(config))
    ids = json.loads((model / "rows.jsonl").read_text().splitlines()[0])["input_ids"]
    reference = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        want = reference(input_ids=torch.tensor([ids]), use_cache=False).logits[0].numpy()
    command = [loract, "export", "--model", str(model), "--out", str(file), "--dtype", "f32"]
    subprocess.run(command, check=True, capture_output=True)
    llama = Llama(model_path=str(file), n_ctx=64, n_threads=1, logits_all=True, verbose=False, **FROM_FILE)
    llama.eval(ids)
    got = np.array(llama.scores[: len(ids)])
    return np.linalg.norm(got - want) / np.linalg.norm(want)


if __name__ == "__main__":
    converted = sorted(path.stem for path in (GOLDEN / "gguf/converted").glob("*.json"))
    cases = {name: GOLDEN / f"gguf/converted/{name}.json" for name in converted if name not in NOT_READ}
    cases |= {name: GOLDEN / name / "config.json" for name in AS_IN_FOLDER}
    with tempfile.TemporaryDirectory() as scratch:
        for name, path in sorted(cases.items()):
            config = json.loads(path.read_text()) | OTHERWISE.get(name, {})
            print(f"{name:20} {compare(sys.argv[1], name, config, Path(scratch)):.1e}", flush=True)
