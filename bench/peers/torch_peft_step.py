"""Time and memory of LoRA training steps with torch + transformers + PEFT on CPU.

    python bench/peers/torch_peft_step.py [--shape qwen3-0.6b] [--checkpoint] [--batch-size 4] ...

Builds a randomly initialised model of a published shape (random_model.py) in f32
with LoRA on all seven projections and AdamW on the LoRA parameters, and trains it on
random tokens with labels = input_ids. Prints one JSON object, whose keys
torch_steps.py tells.

Versions: crates/testkit/golden/requirements.txt
(torch 2.15.0, transformers 5.24.0, peft 0.21.2).
"""

import argparse
import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import torch_steps
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
    p.add_argument("--batch-size", type=int, default=4)
    p.add_argument("--seq-len", type=int, default=512)
    torch_steps.add_arguments(p)
    return p.parse_args()


def build(args):
    config = AutoConfig.for_model(**config_of(args.shape, args.layers), use_cache=False)
    # There is no cap on scores in SDPA.
    attention = "eager" if getattr(config, "attn_logit_softcapping", None) else "sdpa"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention)
    if args.checkpoint:
        torch_steps.checkpoint(model)
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

    def make_batch():
        return torch.randint(model.config.vocab_size, (args.batch_size, args.seq_len))

    def loss_of(model, ids):
        return model(input_ids=ids, labels=ids).loss

    print(json.dumps(torch_steps.measure(args, model, make_batch, loss_of)))


if __name__ == "__main__":
    main()
