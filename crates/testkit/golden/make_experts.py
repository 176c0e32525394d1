"""Make golden/experts/FAMILY.safetensors: a block of experts of Transformers with random weights, its output and the
gradients of the input and of every weight, in f32 on one CPU thread.

    pip install -r requirements.txt
    python make_experts.py

Versions: torch 2.15.0, transformers 5.24.0, safetensors 0.8.0.
Each file: x, dy (m×C), router (E×C), gate_up (E×2F×C: gate, then up), down (E×C×F), y, dx, and grad.NAME of each weight,
of the sum of dy∘y.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import MixtralConfig, OlmoeConfig, Qwen3MoeConfig
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
from transformers.models.olmoe.modeling_olmoe import OlmoeSparseMoeBlock
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

M, C, F, E, K = 24, 8, 6, 5, 2
COMMON = dict(hidden_size=C, num_experts_per_tok=K, num_attention_heads=2, num_hidden_layers=1, vocab_size=16)

FAMILIES = {
    "mixtral": (MixtralSparseMoeBlock, MixtralConfig(intermediate_size=F, num_local_experts=E, **COMMON)),
    "qwen3_moe": (
        Qwen3MoeSparseMoeBlock,
        Qwen3MoeConfig(moe_intermediate_size=F, num_experts=E, norm_topk_prob=True, **COMMON),
    ),
    "olmoe": (OlmoeSparseMoeBlock, OlmoeConfig(intermediate_size=F, num_experts=E, norm_topk_prob=False, **COMMON)),
}


def main():
    torch.set_num_threads(1)
    here = Path(__file__).parent / "experts"
    here.mkdir(exist_ok=True)
    for seed, (name, (block, config)) in enumerate(FAMILIES.items()):
        torch.manual_seed(seed)
        config._experts_implementation = "eager"
        moe = block(config).float()
        weights = {
            "router": moe.gate.weight,
            "gate_up": moe.experts.gate_up_proj,
            "down": moe.experts.down_proj,
        }
        for weight in weights.values():
            torch.nn.init.uniform_(weight, -0.8, 0.8)
        x = torch.randn(1, M, C, requires_grad=True)
        dy = torch.randn(1, M, C)
        y = moe(x)
        (y * dy).sum().backward()
        tensors = {"x": x[0], "dy": dy[0], "y": y[0], "dx": x.grad[0]}
        tensors |= weights | {f"grad.{key}": weight.grad for key, weight in weights.items()}
        tensors = {key: tensor.detach().clone().contiguous() for key, tensor in tensors.items()}
        save_file(tensors, here / f"{name}.safetensors")
        print(name, {key: tuple(t.shape) for key, t in tensors.items()})


if __name__ == "__main__":
    main()
