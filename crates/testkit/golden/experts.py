"""Mixtures with one module for every expert, as checkpoints name them and as PEFT adapters of them are found.

Transformers 5 keeps the experts of a layer as two 3-D parameters (`gate_up_proj`, `down_proj`), and PEFT 0.21 turns an
adapter whose targets are named as in checkpoints (`experts.3.gate_proj`, Mixtral `experts.3.w1`) into one of those
parameters, with block-diagonal B. Its own gradients are then not those of the pairs in the adapter's file. So `split`
puts a plain linear module in place of each slice, and within `checkpoint_names` PEFT leaves targets and tensors alone:
names, shapes and gradients are PEFT's own for a linear map.
"""

from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import nn

# Names of gate, up and down projections, and of the block, where a checkpoint has others than Transformers 5.
NAMES = {"mixtral": ("w1", "w3", "w2")}
BLOCKS = {"mixtral": "block_sparse_moe"}
LLAMA_NAMES = ("gate_proj", "up_proj", "down_proj")


class Expert(nn.Module):
    """A gated MLP under the names of a checkpoint."""

    def __init__(self, names, gate_up, down, act):
        super().__init__()
        self.names, self.act = names, act
        for name, weight in zip(names, [*gate_up.chunk(2), down]):
            linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            linear.weight = nn.Parameter(weight.detach().clone())
            self.add_module(name, linear)

    def forward(self, x):
        gate, up, down = (getattr(self, name) for name in self.names)
        return down(self.act(gate(x)) * up(x))


class Experts(nn.ModuleList):
    """Stands for MixtralExperts and its like; an expert that no token chose does not run."""

    def forward(self, hidden, chosen, shares):
        out = torch.zeros_like(hidden)
        for number, expert in enumerate(self):
            token, place = torch.where(chosen == number)
            if len(token):
                out = out.index_add(0, token, expert(hidden[token]) * shares[token, place, None])
        return out


def is_mixture(config):
    return hasattr(config, "num_experts_per_tok")


def split(model):
    """Replaces the experts of every layer by `Experts`, in place; logits stay what they were."""
    names = NAMES.get(model.config.model_type, LLAMA_NAMES)
    for layer in model.model.layers:
        fused = getattr(layer.mlp, "experts", None)
        if fused is None:
            continue  # a dense layer among sparse ones
        pairs = zip(fused.gate_up_proj, fused.down_proj)
        layer.mlp.experts = Experts(Expert(names, gate_up, down, fused.act_fn) for gate_up, down in pairs)
        if block := BLOCKS.get(model.config.model_type):
            # The layer runs `self.mlp`; PEFT finds modules, and names them, by where they are registered.
            mlp = layer._modules.pop("mlp")
            layer.add_module(block, mlp)
            object.__setattr__(layer, "mlp", mlp)
    return model


@contextmanager
def checkpoint_names():
    """PEFT takes targets and tensors of adapters as they are named."""
    convert = "peft.utils.transformers_weight_conversion.convert_peft"
    with (
        patch(f"{convert}_config_for_transformers", lambda *args, **kwargs: None),
        patch(f"{convert}_adapter_state_dict_for_transformers", lambda adapter_state_dict, **kwargs: adapter_state_dict),
    ):
        yield


def chosen_by_layer(model, ids):
    """Experts chosen for every token [tokens, k], layer by layer, and the least margin between the last one chosen and the
    first one not."""
    chosen, margins = [], []

    def hook(router, _, output):
        scores = output[0].softmax(-1).sort(-1, descending=True).values
        k = output[2].shape[-1]
        margins.append(float((scores[:, k - 1] - scores[:, k]).min()))
        chosen.append(output[2])

    routers = [m for name, m in model.named_modules() if name.endswith(".gate")]
    hooks = [router.register_forward_hook(hook) for router in routers]
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]), use_cache=False)
    for handle in hooks:
        handle.remove()
    return chosen, min(margins)
