"""Make the golden cases that the Rust tests compare against: tiny random base
models (save_pretrained), a PEFT LoRA adapter, token rows, and what torch +
transformers + peft compute from them in f32 on one CPU thread. The cases of
Llama and its nearest relatives are here, those of other families in families.py.

    pip install -r requirements.txt
    python make_golden.py              # all cases
    python make_golden.py llama-tied   # some cases

Versions: torch 2.15.0, transformers 5.24.0, peft 0.21.2, safetensors 0.8.0.
Each case folder, written next to this script, holds:

  config.json, *.safetensors   base model, stored in the case's dtype
  adapter/                     PEFT adapter of every linear map but the head: r 4
                               (families.py: r 2), alpha 3 r
  rows.jsonl                   {"input_ids", "labels"}; labels line up with
                               input_ids (the loss shifts by one), -100 is not
                               trained, no "labels" means labels = input_ids
  golden.json                  losses and gradient norms (see `make`)
  golden.safetensors           logits.0, base_logits.0: row 0 with/without adapter
                               grad.KEY:  gradient of the loss over rows 0..3
                               steps.KEY: adapter after ten AdamW steps (cases with
                               `steps`, as the numbers of the steps in golden.json)
                               idle.grad.KEY: (mixtures) gradient of the loss over the
                               last row, on which some experts of every layer have no
                               tokens; theirs are not there. idle_loss in golden.json
  adapter-rslora/, -dora/,     (llama-tied) adapters of other kinds, as PEFT saves them;
  -modules/                    the last has modules_to_save, one of them the tied head
  variants.json, .safetensors  (llama-tied) for rslora, dora, fa (the plain adapter with
                               A frozen) and modules: KIND.loss, KIND.grad.KEY over
                               rows 0..3
  fullgrad.safetensors         (llama-tied) gradient of the base model's loss
                               over rows 0..3 for every base parameter

Every loss is (sum of NLL over trained tokens) / (number of trained tokens), with
rows run one at a time, unpadded.
"""

import json
import os
import shutil
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from experts import checkpoint_names, chosen_by_layer, is_mixture, split
from families import FAMILIES, LLAMA, Case, rope

HERE = Path(__file__).resolve().parent
ALPHA_BY_RANK = 3
LENGTHS = [20, 6, 13, 9, 17, 8, 11, 16, 7, 19, 10, 14]
GRAD_ROWS, STEPS, BATCH_ROWS = 4, 10, 2
ADAMW = dict(lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
MAX_GRAD_NORM = 1.0

SHAPE = dict(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    rms_norm_eps=1e-3,
)


def llama(seed, config, dtype, save_args={}):
    """A case of the first kind: Llama and its nearest relatives, rank 4, with ten steps."""
    return Case(seed, config, dtype, save_args, rank=4, steps=True)


CASES = {
    "llama-tied": llama(1, LlamaConfig(**SHAPE, **rope(50000.0), tie_word_embeddings=True), torch.float32),
    "llama-untied": llama(
        2,
        LlamaConfig(
            **{**SHAPE, "num_key_value_heads": 1, "rms_norm_eps": 1e-4},
            **rope(500.0),
            head_dim=12,
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=False,
        ),
        torch.float32,
        {"max_shard_size": "40KB"},
    ),
    "llama3-rope": llama(
        3,
        LlamaConfig(
            **SHAPE,
            **rope(
                50.0,
                rope_type="llama3",
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=32,
            ),
            tie_word_embeddings=False,
        ),
        torch.bfloat16,
    ),
    "mistral-window": llama(
        4,
        MistralConfig(**SHAPE, **rope(50000.0), sliding_window=5, tie_word_embeddings=False),
        torch.float16,
    ),
    "qwen2": llama(
        5,
        Qwen2Config(
            **SHAPE,
            **rope(50000.0),
            use_sliding_window=True,
            sliding_window=5,
            max_window_layers=1,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
        ),
        torch.float32,
    ),
    "qwen3": llama(
        6,
        Qwen3Config(
            **SHAPE, **rope(50000.0), head_dim=12, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2
        ),
        torch.float32,
    ),
    **FAMILIES,
}


def save_base(folder, case):
    """A random base model: norms in 0.5..1.5 (Gemma keeps what is added to 1), biases off 0, the rest N(0, 0.3)."""
    gen = torch.Generator().manual_seed(case.seed)
    model = AutoModelForCausalLM.from_config(case.config, dtype=torch.float32)
    norms = (-0.5, 0.5) if case.config.model_type.startswith("gemma") else (0.5, 1.5)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("norm.weight"):
                p.uniform_(*norms, generator=gen)
            else:
                p.normal_(0.0, 0.3, generator=gen)
    model.to(case.dtype).save_pretrained(folder, **case.save_args)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if case.older is not None:
        write_older_config(folder / "config.json", case)


def write_older_config(path, case):
    """Some keys of config.json as checkpoints older than Transformers 5 have them; it must read the same from them."""
    config = {**json.loads(path.read_text()), **case.older}
    config = {key: value for key, value in config.items() if key not in case.older or value is not None}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    again = AutoConfig.from_pretrained(path.parent)
    found, want = again.rope_parameters, case.config.rope_parameters
    found = {key: value for key, value in found.items() if key != "type"}  # the older name of rope_type, which is there too
    assert found == want, f"{found}, not {want}"
    assert getattr(again, "layer_types", None) == getattr(case.config, "layer_types", None)


def load_base(folder):
    """The base model as it is on disk (rounded), in f32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def load_split(folder, ids):
    """A mixture with a module for every expert; it must compute what Transformers' own does."""
    whole, model = load_base(folder), split(load_base(folder))
    ids = torch.tensor([ids])
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits, whole(input_ids=ids).logits, rtol=1e-5, atol=1e-5)
    return model


def add_adapter(base, folder, seed, kind="", targets=LLAMA, rank=4, **settings):
    """A random LoRA adapter (A and B both non-zero), saved in PEFT's format. A DoRA magnitude is off its first value, as
    are modules that are trained as a whole."""
    gen = torch.Generator().manual_seed(100 + seed)
    base.name_or_path = folder.name  # what PEFT writes as base_model_name_or_path
    config = LoraConfig(
        r=rank,
        lora_alpha=ALPHA_BY_RANK * rank,
        lora_dropout=0.0,
        target_modules=targets,
        task_type="CAUSAL_LM",
        **settings,
    )
    model = get_peft_model(base, config)
    with torch.no_grad():
        for key, p in lora(model).items():
            if "magnitude" in key or "lora_" not in key:
                p.mul_(torch.empty_like(p).uniform_(0.5, 1.5, generator=gen))
            else:
                p.normal_(0.0, 0.3 if "lora_A" in key else 0.1, generator=gen)
    out = folder / f"adapter{kind}"
    model.save_pretrained(out, save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)
    # target_modules is a set: sort it, so that the file does not change from run to run
    path = out / "adapter_config.json"
    saved = json.loads(path.read_text())
    saved["target_modules"] = sorted(saved["target_modules"])
    path.write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n")
    return model


def lora(model):
    """Parameters of the adapter under the names PEFT gives them in adapter_model.safetensors."""
    part = (".lora_", ".modules_to_save.")
    names = {n: n.replace(".default.", ".") for n, _ in model.named_parameters() if any(p in n for p in part)}
    names = {n: key.replace(".modules_to_save.", ".") for n, key in names.items()}
    names = {n: key.removesuffix(".weight") if "magnitude" in key else key for n, key in names.items()}
    return {names[n]: p for n, p in model.named_parameters() if n in names}


def make_rows(seed, vocab):
    """Rows with masked prompts and masked tokens in the middle; row 2 has no labels."""
    gen = torch.Generator().manual_seed(200 + seed)
    rows = []
    for i, length in enumerate(LENGTHS):
        ids = torch.randint(vocab, (length,), generator=gen).tolist()
        row = {"input_ids": ids, "labels": list(ids)}
        if i % 3 != 1:  # prompt mask
            row["labels"][: length // 3] = [-100] * (length // 3)
        if i % 2 == 1:  # hole in the middle
            row["labels"][length // 2 : length // 2 + 2] = [-100, -100]
        if i == 2:
            del row["labels"]
        rows.append(row)
    return rows


def idle_row(model, seed, vocab):
    """A row on whose tokens some expert of every layer has nothing to do, with and without the adapter."""
    gen = torch.Generator().manual_seed(300 + seed)
    while True:
        ids = torch.randint(vocab, (4,), generator=gen).tolist()
        chosen, _ = chosen_by_layer(model, ids)
        with model.disable_adapter():
            of_base, _ = chosen_by_layer(model, ids)
        if all(len(layer.unique()) < model.config.num_experts for layer in chosen + of_base):
            return {"input_ids": ids, "labels": list(ids)}


def check_conversion(folder, model, row):
    """What PEFT makes of the adapter's file for Transformers' own experts must compute the same. (Of a dense layer among
    sparse ones PEFT 0.21 leaves the pairs out, as it takes their names for those of experts.)"""
    converted = PeftModel.from_pretrained(load_base(folder), folder / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(logits(model, row), logits(converted, row), rtol=1e-5, atol=1e-5)


def check_choices(model, rows):
    """No choice of experts may hang on rounding."""
    margins = [chosen_by_layer(model, row["input_ids"])[1] for row in rows]
    assert min(margins) >= 1e-4, min(margins)


def logits(model, row):
    return model(input_ids=torch.tensor([row["input_ids"]]), use_cache=False).logits[0]


def labels(row):
    return torch.tensor(row.get("labels", row["input_ids"]))[1:]


def tokens(rows):
    return sum(int((labels(r) != -100).sum()) for r in rows)


def loss(model, rows, backward=False):
    """Mean NLL per trained token; optionally adds its gradient to .grad."""
    count, total = tokens(rows), 0.0
    for row in rows:
        nll = F.cross_entropy(logits(model, row)[:-1], labels(row), ignore_index=-100, reduction="sum")
        if backward:
            (nll / count).backward()
        total += nll.item()
    return total / count


def variants(folder, seed, rows):
    """Gradients of other kinds of adapters on the same base model."""
    tensors, numbers = {}, {}
    modules = dict(targets=["q_proj", "v_proj"], modules_to_save=["lm_head", "input_layernorm", "layers.1.mlp.up_proj"])
    kinds = dict(rslora=dict(use_rslora=True), dora=dict(use_dora=True), fa={}, modules=modules)
    for kind, settings in kinds.items():
        if kind == "fa":
            model = PeftModel.from_pretrained(load_base(folder), folder / "adapter", is_trainable=True).eval()
            for key, p in lora(model).items():
                p.requires_grad_("lora_B" in key)
        else:
            model = add_adapter(load_base(folder), folder, seed, f"-{kind}", **settings).eval()
        numbers[f"{kind}.loss"] = loss(model, rows[:GRAD_ROWS], backward=True)
        for key, p in lora(model).items():
            if p.grad is not None:
                tensors[f"{kind}.grad.{key}"] = p.grad.clone()
    save_file(tensors, folder / "variants.safetensors")
    (folder / "variants.json").write_text(json.dumps(numbers, indent=2, sort_keys=True) + "\n")


def make(name):
    case = CASES[name]
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    save_base(folder, case)
    rows = make_rows(case.seed, case.config.vocab_size)
    mixture = is_mixture(case.config)
    base = load_split(folder, rows[0]["input_ids"]) if mixture else load_base(folder)

    if name == "llama-tied":
        loss(base, rows[:GRAD_ROWS], backward=True)
        save_file({n: p.grad for n, p in base.named_parameters()}, folder / "fullgrad.safetensors")
        base.zero_grad(set_to_none=True)

    with checkpoint_names():
        model = add_adapter(base, folder, case.seed, targets=case.targets, rank=case.rank).eval()
    if mixture:
        rows.append(idle_row(model, case.seed, case.config.vocab_size))
        check_choices(model, rows)
        if not getattr(case.config, "mlp_only_layers", None):
            check_conversion(folder, model, rows[0])
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    if name == "llama-tied":
        variants(folder, case.seed, rows)
    tensors, golden = {}, {}
    with torch.no_grad():
        tensors["logits.0"] = logits(model, rows[0]).clone()
        golden["file_loss"] = loss(model, rows)
        golden["file_tokens"] = tokens(rows)
        with model.disable_adapter():
            if mixture:
                check_choices(model, rows)
            tensors["base_logits.0"] = logits(model, rows[0]).clone()
            golden["base_loss"] = loss(model, rows[:GRAD_ROWS])

    params = lora(model)
    golden["loss"] = loss(model, rows[:GRAD_ROWS], backward=True)
    for key, p in params.items():
        assert p.grad.any(), key
        tensors[f"grad.{key}"] = p.grad.clone()
    assert all(2 < golden[key] < 8 for key in ("loss", "base_loss", "file_loss")), golden
    if mixture:
        model.zero_grad(set_to_none=True)
        golden["idle_loss"] = loss(model, rows[-1:], backward=True)
        tensors.update({f"idle.grad.{key}": p.grad.clone() for key, p in params.items() if p.grad is not None})
    if case.steps:
        ten_steps(model, params, rows, tensors, golden)

    save_file(tensors, folder / "golden.safetensors")
    (folder / "golden.json").write_text(json.dumps(golden, indent=2, sort_keys=True) + "\n")
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(f"{name}: {size} bytes, loss {golden['loss']:.4f}, base {golden['base_loss']:.4f}")


def ten_steps(model, params, rows, tensors, golden):
    """Ten AdamW steps of the adapter."""
    opt = torch.optim.AdamW(params.values(), **ADAMW)
    golden["step_losses"], golden["grad_norms"] = [], []
    for step in range(STEPS):
        batch = [rows[(step * BATCH_ROWS + i) % len(rows)] for i in range(BATCH_ROWS)]
        opt.zero_grad()
        golden["step_losses"].append(loss(model, batch, backward=True))
        norm = torch.nn.utils.clip_grad_norm_(params.values(), MAX_GRAD_NORM)
        golden["grad_norms"].append(norm.item())
        opt.step()
    for key, p in params.items():
        tensors[f"steps.{key}"] = p.detach().clone()

    golden.update(ADAMW, max_grad_norm=MAX_GRAD_NORM, batch_rows=BATCH_ROWS)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in sys.argv[1:] or CASES:
        make(name)
