"""Greedy generation here, in Transformers, and in llama.cpp if `llama_cpp` is installed: the same tokens, and how fast.

    python bench/peers/generate.py target/release/loract MODEL.gguf [--adapter DIR] [--tokens 200] [--rounds 3] [--threads 2]

Each round runs one after another in turn. Tokens a second are those after the first token. Transformers widens the file's weights to f32 and
must give loract's very tokens; llama.cpp computes with the weights rounded otherwise, so its text may part from theirs.
Versions: see ../../crates/testkit/golden/requirements.txt; llama-cpp-python 0.3.36.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

PROMPT = "Write a short story about a fox and a hen."


def of_loract(args):
    command = [args.loract, "generate", "--model", args.model, "--prompt", PROMPT, "--json"]
    command += ["--max-tokens", str(args.tokens), "--threads", str(args.threads)]
    if args.adapter:
        command += ["--adapter", args.adapter]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer["token_ids"], answer["tokens_per_second"], answer["prompt_seconds"]


def transformers(args):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(args.threads)
    folder, file = str(Path(args.model).parent), Path(args.model).name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    if args.adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, args.adapter).eval()
    message = [{"role": "user", "content": PROMPT}]
    ids = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids = ids["input_ids"]

    def run(tokens):
        begun = time.perf_counter()
        with torch.no_grad():
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens, repetition_penalty=1.0
            )
        return out[0, ids.shape[1] :].tolist(), time.perf_counter() - begun

    def measure():
        _, first = run(1)
        tokens, all_of_it = run(args.tokens)
        return tokens, (len(tokens) - 1) / (all_of_it - first), first

    return ids[0].tolist(), tokenizer.eos_token_id, measure


def llama_cpp(args, prompt):
    try:
        from llama_cpp import Llama
    except ImportError:
        return None
    lora = {"lora_path": args.lora_gguf} if args.lora_gguf else {}
    model = Llama(args.model, n_ctx=2048, n_threads=args.threads, n_threads_batch=args.threads, verbose=False, **lora)

    def measure():
        model.reset()
        begun, first, tokens = time.perf_counter(), None, []
        for token in model.generate(prompt, temp=0.0, repeat_penalty=1.0):
            first = first or time.perf_counter() - begun
            if token == model.token_eos() or len(tokens) == args.tokens:
                break
            tokens.append(token)
        return tokens, (len(tokens) - 1) / (time.perf_counter() - begun - first), first

    return measure


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("loract")
    parser.add_argument("model")
    parser.add_argument("--adapter")
    parser.add_argument("--lora-gguf", help="the same adapter for llama.cpp")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    prompt, end, of_transformers = transformers(args)
    peers = {"loract": lambda: of_loract(args), "Transformers": of_transformers}
    if not args.adapter or args.lora_gguf:
        if measure := llama_cpp(args, prompt):
            peers["llama.cpp"] = measure
    found = {name: [] for name in peers}
    for _ in range(args.rounds):
        for name, measure in peers.items():
            found[name].append(measure())
    want = [t for t in found["Transformers"][0][0] if t != end]
    for name, rounds in found.items():
        speeds = [speed for _, speed, _ in rounds]
        firsts = [first for _, _, first in rounds]
        tokens = rounds[0][0]
        same = next((i for i, (a, b) in enumerate(zip(tokens, want)) if a != b), min(len(tokens), len(want)))
        print(
            f"{name:13} {statistics.median(speeds):6.1f} tokens/s ({min(speeds):.1f}-{max(speeds):.1f}), prompt of "
            f"{len(prompt)} tokens {statistics.median(firsts):.2f} s; {len(tokens)} tokens, the first {same} as Transformers'"
        )


if __name__ == "__main__":
    main()
