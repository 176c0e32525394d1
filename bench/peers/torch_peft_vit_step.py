"""Time and memory of LoRA training steps of a ViT with torch + transformers + PEFT on CPU.

    python bench/peers/torch_peft_vit_step.py [--shape vit-base] [--checkpoint] [--batch-size 32] ...

Builds a randomly initialised ViTForImageClassification of a published shape (vision_shapes.py) in f32 with LoRA on all six linear
maps of every layer and a trained classifier, AdamW on both, and trains it on random images. Prints one JSON object, whose keys
torch_steps.py tells, with `tokens`: those of an image.

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
from transformers import ViTConfig, ViTForImageClassification
from vision_shapes import VISION_SHAPES

MAPS = ["q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"]
# Flags that say another size than the shape's.
SIZES = {
    "--layers": "num_hidden_layers",
    "--hidden": "hidden_size",
    "--intermediate": "intermediate_size",
    "--heads": "num_attention_heads",
    "--image-size": "image_size",
    "--patch-size": "patch_size",
}


def parse_args():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shape", choices=VISION_SHAPES, default="vit-base")
    for flag, key in SIZES.items():
        p.add_argument(flag, dest=key, type=int, help=f"another {key.replace('_', ' ')} than the shape's")
    p.add_argument("--classes", type=int, default=10)
    p.add_argument("--rank", type=int, default=8)
    p.add_argument("--alpha", type=int, default=16)
    p.add_argument("--batch-size", type=int, default=32)
    torch_steps.add_arguments(p)
    return p.parse_args()


def build(args):
    sizes = {key: value for key in SIZES.values() if (value := getattr(args, key)) is not None}
    config = ViTConfig(**{**VISION_SHAPES[args.shape], **sizes}, num_labels=args.classes)
    model = ViTForImageClassification._from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    if args.checkpoint:
        torch_steps.checkpoint(model)
    lora = LoraConfig(
        r=args.rank, lora_alpha=args.alpha, lora_dropout=0.0, target_modules=MAPS, modules_to_save=["classifier"]
    )
    return get_peft_model(model, lora).train()


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = build(args)
    config = model.config

    def make_batch():
        images = torch.randn(args.batch_size, config.num_channels, config.image_size, config.image_size)
        return images, torch.randint(args.classes, (args.batch_size,))

    def loss_of(model, batch):
        images, labels = batch
        return torch.nn.functional.cross_entropy(model(pixel_values=images).logits, labels)

    report = torch_steps.measure(args, model, make_batch, loss_of)
    report["tokens"] = model.get_base_model().vit.embeddings.position_embeddings.shape[1]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
