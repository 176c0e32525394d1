"""Loss of a base model with a LoRA adapter, as transformers + PEFT compute it.

    python scripts/peft_roundtrip.py MODEL_DIR ADAPTER_DIR ROWS.jsonl

Loads the base model in f32 and the adapter with PeftModel.from_pretrained, and
prints {"loss": NLL per trained token over the file, "tokens": trained tokens}.
Rows are {"input_ids", "labels"} as in crates/testkit/golden (no "labels" means
labels = input_ids, -100 is not trained) and run one at a time, unpadded.

Versions: crates/testkit/golden/requirements.txt
(torch 2.15.0, transformers 5.24.0, peft 0.21.2).
"""

import argparse
import json
import os
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import torch.nn.functional as F
from peft import PeftModel
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model_dir")
parser.add_argument("adapter_dir")
parser.add_argument("rows")
args = parser.parse_args()

# PEFT only warns when adapter keys are missing: the base would be measured instead
warnings.filterwarnings("error", message=".*missing adapter keys.*")

base = AutoModelForCausalLM.from_pretrained(args.model_dir, dtype=torch.float32, attn_implementation="eager")
model = PeftModel.from_pretrained(base, args.adapter_dir).eval()

total, tokens = 0.0, 0
with torch.no_grad(), open(args.rows, encoding="utf-8") as rows:
    for row in map(json.loads, filter(str.strip, rows)):
        labels = torch.tensor(row.get("labels", row["input_ids"]))[1:]
        logits = model(input_ids=torch.tensor([row["input_ids"]]), use_cache=False).logits[0, :-1]
        total += F.cross_entropy(logits, labels, ignore_index=-100, reduction="sum").item()
        tokens += int((labels != -100).sum())
print(json.dumps({"loss": total / tokens, "tokens": tokens}))
