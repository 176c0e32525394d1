"""Timed LoRA training steps of a PEFT model, and the memory that they take: what torch_peft_step.py and torch_peft_vit_step.py
share. `measure` gives the object that both print:

  step_seconds    median after warm-up; all: every one of them
  baseline_bytes  RSS after the model is built, before the first step
  peak_bytes      peak RSS (VmHWM, reset just before the first step) over warm-up and timed steps
  saved_bytes     what autograd keeps from forward to backward: storages that a forward pass saves, each counted once, without
                  those of parameters; of the inputs of checkpointed layers too. Counted in one more forward, which is not timed.

Linux only.
"""

import ctypes
import gc
import statistics
import time

import peft
import torch
import transformers
from peft.tuners.lora import LoraLayer


def status_bytes(key):
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    raise KeyError(key)


def add_arguments(parser):
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpoint", action="store_true", help="gradient checkpointing")
    parser.add_argument("--autocast", action="store_true", help="forward under torch.autocast in bf16, as Trainer has it with bf16=True")


def checkpoint(model):
    """Layers are run again in backward. Where all weights are frozen nothing would be, if no input needed a gradient."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()


def saved_bytes(model, loss_of, batch):
    """Bytes that a forward pass leaves for backward."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = loss_of(model, batch)
        # While the graph lives no address is used twice.
        total = sum(found.values())
    del loss
    return total


def measure(args, model, make_batch, loss_of):
    """Steps of AdamW on the trained parameters, each on a new batch."""
    params = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(params, lr=args.lr)
    first = next(module for module in model.modules() if isinstance(module, LoraLayer))
    calls = []
    first.register_forward_hook(lambda *_: calls.append(None))

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # memory freed during the build is not part of the baseline
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")
    baseline = status_bytes("VmRSS")

    seconds, losses = [], []
    for _ in range(args.warmup + args.steps):
        batch = make_batch()
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=args.autocast):
            loss = loss_of(model, batch)
        loss.backward()
        opt.step()
        opt.zero_grad(set_to_none=True)
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    peak = status_bytes("VmHWM")
    del loss
    assert len(calls) == (args.warmup + args.steps) * (2 if args.checkpoint else 1), "layers ran more or less often"

    with torch.autocast("cpu", torch.bfloat16, enabled=args.autocast):
        saved = saved_bytes(model, loss_of, make_batch())
    timed = seconds[args.warmup :]
    return {
        "peer": "torch+peft",
        "checkpoint": args.checkpoint,
        "autocast": args.autocast,
        "step_seconds": statistics.median(timed),
        "all": timed,
        "warmup_seconds": seconds[: args.warmup],
        "losses": losses,
        "baseline_bytes": baseline,
        "peak_bytes": peak,
        "peak_over_baseline_bytes": peak - baseline,
        "saved_bytes": saved,
        "params": sum(p.numel() for p in model.parameters()),
        "trainable_params": sum(p.numel() for p in params),
        "flags": vars(args),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }
