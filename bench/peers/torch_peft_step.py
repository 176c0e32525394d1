"""Time and memory of LoRA training steps with torch + transformers + PEFT on CPU.

    python bench/peers/torch_peft_step.py [--shape qwen3-0.6b] [--checkpoint] [--batch-size 4] ...

Builds a randomly initialised model of a published shape (random_model.py) in f32
with LoRA on all seven projections and AdamW on the LoRA parameters, and trains it on
random tokens with labels = input_ids. Prints one JSON object: step_seconds is the
median after warm-up; baseline_bytes is the RSS after the model is built, before
the first step; peak_bytes is the peak RSS (VmHWM, reset just before the first
step) over warm-up and timed steps. Linux only.

Versions: crates/testkit/golden/requirements.txt
(torch 2.15.0, transformers 5.24.0, peft 0.21.2).
"""

import argparse
import ctypes
import gc
import json
import os
import statistics
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from random_model import SHAPES, config_of
from transformers import AutoConfig, AutoModelForCausalLM

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def parse_args():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shape", choices=SHAPES, default="smollm2-135m")
    p.add_argument("--layers", type=int, help="fewer layers than the model has")
    p.add_argument("--rank", type=int, default=16)
    p.add_argument("--alpha", type=int, default=32)
    p.add_argument("--lr", type=float, default=1e-4)
    p.add_argument("--batch-size", type=int, default=4)
    p.add_argument("--seq-len", type=int, default=512)
    p.add_argument("--steps", type=int, default=3)
    p.add_argument("--warmup", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--checkpoint", action="store_true", help="gradient checkpointing")
    return p.parse_args()


def status_bytes(key):
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    raise KeyError(key)


def build(args):
    config = AutoConfig.for_model(**config_of(args.shape, args.layers), use_cache=False)
    # There is no cap on scores in SDPA.
    attention = "eager" if getattr(config, "attn_logit_softcapping", None) else "sdpa"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention)
    if args.checkpoint:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    lora = LoraConfig(
        r=args.rank,
        lora_alpha=args.alpha,
        lora_dropout=0.0,
        target_modules=PROJECTIONS,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora).train()


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = build(args)
    params = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(params, lr=args.lr)

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # memory freed during the build is not part of the baseline
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")
    baseline = status_bytes("VmRSS")

    seconds, losses = [], []
    for _ in range(args.warmup + args.steps):
        ids = torch.randint(model.config.vocab_size, (args.batch_size, args.seq_len))
        start = time.perf_counter()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        opt.step()
        opt.zero_grad(set_to_none=True)
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    peak = status_bytes("VmHWM")

    timed = seconds[args.warmup :]
    report = {
        "peer": "torch+peft",
        "checkpoint": args.checkpoint,
        "step_seconds": statistics.median(timed),
        "all": timed,
        "warmup_seconds": seconds[: args.warmup],
        "losses": losses,
        "baseline_bytes": baseline,
        "peak_bytes": peak,
        "peak_over_baseline_bytes": peak - baseline,
        "params": sum(p.numel() for p in model.parameters()),
        "trainable_params": sum(p.numel() for p in params),
        "flags": vars(args),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
