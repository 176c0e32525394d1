"""Make golden/vision: tiny random encoders of images (save_pretrained), PEFT LoRA adapters of them with a trained classifier,
images, and what torch + transformers + peft compute from them in f32 on one CPU thread. The cases are in vision_cases.py.

    pip install -r requirements.txt
    python make_vision.py              # all cases
    python make_vision.py vit swin     # some cases

Versions: torch 2.15.0, transformers 5.24.0, peft 0.21.2, safetensors 0.8.0, Pillow 13.0.0.
Each case folder, written to vision/ next to this script, holds:

  config.json, model.safetensors   base model in f32, as save_pretrained writes it; in the cases with `saved` the checkpoint of a
                               model that has no `classifier`
  preprocessor_config.json     as the image processor of the family writes it
  adapter/                     PEFT adapter of every linear map of the encoder: r 2, alpha 6, modules_to_save = the classifier,
                               which is not that of the base
  adapter-all/                 (siglip) the same, and pairs in the attention-pooling head, on which logits do not depend
  adapter-all-linear/          (vit, siglip) the same by target_modules="all-linear", for which PEFT writes down whole names, and
                               "classifier" among them, though that has no pair; of siglip with the head's, too
  input.safetensors            pixel_values (images x channels x height x width, f32), labels (images, i64)
  golden.json                  loss (mean cross-entropy over all images), accuracy, top5_accuracy, and the same of the base
                               (`base_…`), if it has a classifier; merged_difference: largest |logit| difference between the
                               model merged by PEFT and the adapter
  golden.safetensors           logits, base_logits: images x classes
                               grad.KEY:  gradient of the loss, KEY as in adapter_model.safetensors
                               steps.KEY: adapter after ten AdamW steps (cases with `steps`; batches of half the images, the
                               first half and the second in turn; their losses and gradient norms in golden.json)
  fullgrad.safetensors         (cases with `full`) gradient of the loss of the base, without adapter, for every parameter under
                               its name in model.safetensors; a mask token, which is for pre-training, has none. Those of
                               `zero_gradients` in golden.json (biases of keys, which add the same to every score of a row)
                               are zero but for rounding
"""

import copy
import json
import shutil
import sys
import tempfile
from pathlib import Path

from make_golden import ADAMW, MAX_GRAD_NORM, STEPS, lora

import torch
import torch.nn.functional as F
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from vision_cases import CASES, CLASSES

HERE = Path(__file__).resolve().parent / "vision"
RANK, ALPHA = 2, 6
# Standard deviations of parameters by a part of their name; classifiers have the case's own, all else 0.3.
SPREAD = {
    "relative_position_bias_table": 1.0,
    "cls_token": 0.5,
    "distillation_token": 0.5,
    "class_embedding": 0.5,
    "position_embedding": 0.5,
}


def randomise(model, case):
    """Norms and layer scales in 0.5..1.5, all else normal."""
    gen = torch.Generator().manual_seed(case.seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ("norm" in name and name.endswith(".weight")) or name.endswith("lambda1"):
                p.uniform_(0.5, 1.5, generator=gen)
            else:
                spread = {"classifier": case.head, **SPREAD}
                p.normal_(0.0, next((std for part, std in spread.items() if part in name), 0.3), generator=gen)


def save_base(folder, case):
    """The checkpoint on disk."""
    kind = case.saved or case.runs
    config = case.config.vision_config if kind.__name__.endswith("VisionModel") else case.config
    if case.saved:  # a checkpoint for another purpose says nothing of our classes
        config = copy.deepcopy(config)
        config.num_labels = 2
    model = kind(config)
    randomise(model, case)
    model.save_pretrained(folder)
    if case.older:
        path = folder / "model.safetensors"
        save_file({**load_file(path), **older_tensors(model)}, path, metadata={"format": "pt"})
    case.processor.save_pretrained(folder)


def older_tensors(model):
    """Integers that are computed and that older versions of Transformers wrote all the same."""
    found = {}
    for name, buffer in model.named_buffers():
        if name.endswith("position_ids"):
            found[name] = buffer.clone()
        elif name.endswith("relative_position_index"):
            side = int(len(buffer) ** 0.5)
            found[name.replace("relative_position_bias", "self")] = buffer.view(side, side).clone()
    assert found
    return found


def load_base(folder, case):
    """The model for classification, from disk. A classifier that is not there is random, and the same every time."""
    settings = dict(num_labels=CLASSES, dtype=torch.float32, attn_implementation="eager")
    if case.saved and case.saved.__name__.endswith("VisionModel"):
        # No from_pretrained makes a classifier of a bare vision tower.
        tower = case.saved.from_pretrained(folder)
        model = case.runs._from_config(case.config, dtype=torch.float32, attn_implementation="eager")
        model.vision_model.load_state_dict(tower.state_dict())
    else:
        # Not AutoModelForImageClassification: of a distilled DeiT that takes the two classifiers, which cannot be trained.
        model = case.runs.from_pretrained(folder, **settings)
    if case.saved:
        gen = torch.Generator().manual_seed(400 + case.seed)
        with torch.no_grad():
            for p in model.classifier.parameters():
                p.normal_(0.0, case.head, generator=gen)
    return model.eval()


def add_adapter(base, folder, case, kind="", targets=None, exclude=None):
    """A random LoRA adapter (A and B both non-zero) with a classifier of its own, saved in PEFT's format."""
    gen = torch.Generator().manual_seed(100 + case.seed)
    base.name_or_path = folder.name  # what PEFT writes as base_model_name_or_path
    config = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        target_modules=targets or case.targets,
        exclude_modules=exclude,
        modules_to_save=["classifier"],
    )
    model = get_peft_model(base, config).eval()
    with torch.no_grad():
        # The pairs of the encoder and the classifier first, so that they are the same with and without others.
        for key, p in sorted(lora(model).items(), key=lambda pair: ".head." in pair[0]):
            p.normal_(0.0, 0.1 if "lora_B" in key else 0.3 if "lora_A" in key else case.head, generator=gen)
    out = folder / f"adapter{kind}"
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    # target_modules is a set: sort it, so that the file does not change from run to run
    path = out / "adapter_config.json"
    saved = json.loads(path.read_text())
    saved["target_modules"] = sorted(saved["target_modules"])
    path.write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n")
    check_saved(model, out / "adapter_model.safetensors", case)
    return model


def check_saved(model, path, case):
    """The file must have our names of parameters, and every linear map of the encoder a pair."""
    on_disk, ours = load_file(path), lora(model)
    assert on_disk.keys() == ours.keys(), on_disk.keys() ^ ours.keys()
    assert all(torch.equal(on_disk[key], p) for key, p in ours.items())
    maps = [
        name
        for name, module in model.get_base_model().named_modules()
        if isinstance(module, torch.nn.Linear) and "lora_" not in name and "classifier" not in name and ".head." not in name
    ]
    pairs = {key.removesuffix(".lora_A.weight").removeprefix("base_model.model.") for key in ours if "lora_A" in key}
    assert {name.removesuffix(".base_layer") for name in maps} == {name for name in pairs if ".head." not in name}
    assert case.exclude is None or path.parent.name != "adapter" or len(maps) == len(pairs)


def make_images(case):
    """Images that differ in brightness and contrast, channel by channel, and not in noise alone."""
    gen = torch.Generator().manual_seed(200 + case.seed)
    vision = getattr(case.config, "vision_config", case.config)
    height, width = case.size or (vision.image_size, vision.image_size)
    shape = (case.images, vision.num_channels, height, width)
    noise = torch.randn(shape, generator=gen)
    contrast = torch.empty(*shape[:2], 1, 1).uniform_(0.3, 1.2, generator=gen)
    return noise * contrast + torch.randn(*shape[:2], 1, 1, generator=gen)


def logits(model, case, images):
    """Of any size: DINOv2 needs not be asked to resize its positions."""
    vision = getattr(case.config, "vision_config", case.config)
    resized = case.size is not None and case.size != (vision.image_size, vision.image_size)
    ask = {"interpolate_pos_encoding": True} if resized and vision.model_type != "dinov2" else {}
    return model(pixel_values=images, **ask).logits


def accuracies(found, labels, prefix=""):
    ranked = found.argsort(-1, descending=True)
    top = found.sort(-1, descending=True).values
    assert (top[:, :-1] - top[:, 1:]).min() > 1e-4, "two classes are as likely"
    hits = ranked == labels[:, None]
    return {f"{prefix}accuracy": hits[:, 0].float().mean().item(), f"{prefix}top5_accuracy": hits[:, :5].any(-1).float().mean().item()}


def published(model, tensors, folder):
    """Tensors by names of modules, under the names that save_pretrained gives to parameters; those that are None left out."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, p in model.named_parameters():
            given = tensors[name]
            p.copy_(torch.full_like(p, torch.nan) if given is None else given)
    with tempfile.TemporaryDirectory() as out:
        model.save_pretrained(out)
        saved = load_file(Path(out) / "model.safetensors")
    on_disk = load_file(folder / "model.safetensors")
    assert {k: v.shape for k, v in saved.items()} == {k: v.shape for k, v in on_disk.items()}
    return {name: t for name, t in saved.items() if not t.isnan().all()}


def full_gradients(base, case, folder, images, labels):
    """Writes them; returns the names of those that are zero."""
    values = published(base, dict(base.named_parameters()), folder)
    on_disk = load_file(folder / "model.safetensors")
    assert all(torch.equal(values[name], t) for name, t in on_disk.items())
    F.cross_entropy(logits(base, case, images), labels).backward()
    found = published(base, {name: p.grad for name, p in base.named_parameters()}, folder)
    assert all("mask_token" in name for name in on_disk.keys() - found.keys()), on_disk.keys() - found.keys()
    zero = sorted(name for name, t in found.items() if t.norm() < 1e-6)
    assert all("key.bias" in name for name in zero), zero
    assert all(t.norm() > 1e-3 for name, t in found.items() if name not in zero)
    save_file(found, folder / "fullgrad.safetensors")
    return zero


def ten_steps(model, case, images, labels, tensors, golden):
    """Ten AdamW steps of the adapter and its classifier."""
    params, half = lora(model), len(images) // 2
    opt = torch.optim.AdamW(params.values(), **ADAMW)
    golden["step_losses"], golden["grad_norms"] = [], []
    for step in range(STEPS):
        batch = slice(step % 2 * half, (step % 2 + 1) * half)
        opt.zero_grad()
        loss = F.cross_entropy(logits(model, case, images[batch]), labels[batch])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(params.values(), MAX_GRAD_NORM)
        golden["step_losses"].append(loss.item())
        golden["grad_norms"].append(norm.item())
        opt.step()
    for key, p in params.items():
        tensors[f"steps.{key}"] = p.detach().clone()
    golden.update(ADAMW, max_grad_norm=MAX_GRAD_NORM, batch_images=half)


def check_loaded(folder, case, kind, images, want, tolerance=0.0):
    """The adapter as PEFT loads it from disk."""
    loaded = PeftModel.from_pretrained(load_base(folder, case), folder / f"adapter{kind}").eval()
    with torch.no_grad():
        found = logits(loaded, case, images)
    assert (found - want).abs().max() <= tolerance, (kind, (found - want).abs().max())
    return loaded


def make(name):
    case = CASES[name]
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_base(folder, case)
    images = make_images(case)
    base = load_base(folder, case)
    with torch.no_grad():
        of_base = logits(base, case, images)

    untouched = copy.deepcopy(base)
    model = add_adapter(base, folder, case, exclude=case.exclude)
    found = logits(model, case, images)
    # Every other image is labelled as the model sees it.
    gen = torch.Generator().manual_seed(300 + case.seed)
    labels = torch.randint(CLASSES, (len(images),), generator=gen)
    labels[::2] = found.argmax(-1)[::2]
    save_file({"pixel_values": images, "labels": labels}, folder / "input.safetensors")

    tensors = {"logits": found.detach().clone()}
    loss = F.cross_entropy(found, labels)
    loss.backward()
    golden = {"loss": loss.item(), **accuracies(found, labels)}
    for key, p in lora(model).items():
        assert p.grad.any(), key
        tensors[f"grad.{key}"] = p.grad.clone()
    if not case.saved:
        tensors["base_logits"] = of_base
        golden |= {"base_loss": F.cross_entropy(of_base, labels).item(), **accuracies(of_base, labels, "base_")}
    assert (of_base - found).abs().max() > 0.1, "the adapter does not show"
    assert all(0.2 < value < 8 for key, value in golden.items() if key.endswith("loss")), golden

    loaded = check_loaded(folder, case, "", images, found)
    more = {"vit": {"-all-linear": "all-linear"}, "siglip": {"-all": case.targets, "-all-linear": "all-linear"}}
    for kind, targets in more.get(name, {}).items():
        add_adapter(copy.deepcopy(untouched), folder, case, kind, targets)
        check_loaded(folder, case, kind, images, found)
    if case.merged:
        with torch.no_grad():
            difference = logits(loaded.merge_and_unload(), case, images) - found
        golden["merged_difference"] = difference.abs().max().item()
        assert golden["merged_difference"] < 1e-4, golden
    if case.full:
        golden["zero_gradients"] = full_gradients(untouched, case, folder, images, labels)
    if case.steps:
        ten_steps(model, case, images, labels, tensors, golden)

    save_file(tensors, folder / "golden.safetensors")
    (folder / "golden.json").write_text(json.dumps(golden, indent=2, sort_keys=True) + "\n")
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(f"{name}: {size} bytes, {tuple(images.shape)}, " + ", ".join(f"{k} {v:.4g}" for k, v in golden.items() if isinstance(v, float)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in sys.argv[1:] or CASES:
        make(name)
