"""Time loract's presets against PyTorch + PEFT on this machine, in turn, and print one table.

    python bench/peers/compare.py --loract target/release/loract --python PYTHON_WITH_TORCH [--shape qwen3-0.6b]

PyTorch builds a random model of the shape, in f32 (torch_peft_step.py); loract trains a random folder of the same shape, in
bf16 (random_model.py, written for the time of the comparison), or with --model the file given, which must have that shape.
Both: LoRA r 16, alpha 32, all seven projections, B x T random tokens, f32 arithmetic, AdamW, the same number of threads.
Each round runs every contestant once (a warm-up step, then --steps counted ones); the table has medians over all counted
steps, and ratios to the first contestant of the same round, with their smallest and largest.

Of a shape of images (vision_shapes.py) `loract bench step` measures all presets of a round in one process, with random weights:
LoRA r 8 on all linear maps of the encoder and a trained classifier, B random images, by default 32. No process peak of a single
preset is known then.
What is saved after forward is there for PyTorch too: every storage that autograd keeps, without parameters.

    python bench/peers/compare.py --loract target/release/loract --python PYTHON_WITH_TORCH --shape vit-base

bf16 against bf16: --torch plain,autocast --presets "exact,exact --mixed-precision bf16".

Where PyTorch does not fit into memory, leave it out with --torch none, or --torch checkpointed. Its peak, drawn on from one
and three layers at T = 512 (2026-11-26): qwen3-0.6b about 7.3 GB at B = 1 and 4.1 GB for every further row; gemma2-2b about
20 GB at B = 1. Of vit-base PyTorch keeps 9.7 MB an image and layer from forward to backward (2 and 4 layers, B = 2 to 8):
3.8 GB at B = 32. The folder of gemma2-2b takes 5.2 GB where temporary files are (TMPDIR), and some minutes to write.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from random_model import SHAPES, config_of, write
from vision_shapes import VISION_SHAPES

HERE = Path(__file__).resolve().parent
# Names, and flags of their scripts.
TORCH = {
    "plain": ("PyTorch + PEFT", []),
    "checkpointed": ("PyTorch + PEFT, checkpointed", ["--checkpoint"]),
    "autocast": ("PyTorch + PEFT, bf16 autocast", ["--autocast"]),
}
CLASSES, VISION_RANK = 10, 8
PRESETS = ["exact", "checkpoint", "loract", "loract-fast", "loract-layer --rank 1/16 --residual-bits 5", "loract-paper", "loract-sublayer", "loract-layer"]


def run(command):
    """What a program wrote; if it failed, its messages. A negative status is the signal that killed it: -9, no memory left."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nended with status {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def run_torch(args, flags):
    script = "torch_peft_vit_step.py" if args.shape in VISION_SHAPES else "torch_peft_step.py"
    command = [args.python, str(HERE / script), "--shape", args.shape, "--batch-size", str(args.batch_size)]
    command += ["--layers", str(args.layers)] if args.layers else []
    if args.shape in VISION_SHAPES:
        command += ["--classes", str(CLASSES), "--rank", str(VISION_RANK)]
    else:
        command += ["--seq-len", str(args.seq_len)]
    command += ["--steps", str(args.steps), "--warmup", "1", "--threads", str(args.threads)]
    command += flags
    result = json.loads(run(command).strip().splitlines()[-1])
    return {
        "seconds": result["all"][-args.steps :],
        "over_baseline": result["peak_over_baseline_bytes"],
        "peak": result["peak_bytes"],
        "saved": result["saved_bytes"],
        "tokens": result.get("tokens"),
    }


def run_loract(args, preset, model, data, out):
    command = [args.loract, "train", "--model", model, "--data", data, "--out", out, "--steps", str(args.steps + 1)]
    command += ["--batch-size", str(args.batch_size), "--threads", str(args.threads), "--activations", *preset.split()]
    run(command)
    steps = [json.loads(line) for line in (Path(out) / "metrics.jsonl").read_text().splitlines()]
    report = json.loads((Path(out) / "report.json").read_text())
    return {
        "seconds": [step["seconds"] for step in steps[1:]],
        "over_baseline": report["process_peak_bytes"] - report["process_resident_before_bytes"],
        "peak": report["process_peak_bytes"],
        "saved": steps[-1]["saved_bytes"],
        "activations": steps[-1]["peak_activation_bytes"],
    }


def run_loract_vision(args, presets, model):
    """Results by preset. Those with flags of their own have a process each, and are its `as given`."""
    together = [preset for preset in presets if " " not in preset]
    calls = [(["--presets", ",".join(together)], together)] if together else []
    calls += [(["--activations", *preset.split()], [preset]) for preset in presets if " " in preset]
    results = {}
    for flags, of_call in calls:
        command = [args.loract, "bench", "step", "--model", model, "--batch-size", str(args.batch_size)]
        command += ["--lora-rank", str(VISION_RANK), "--threads", str(args.threads)]
        report = json.loads(run([*command, "--rounds", str(args.steps), "--json", *flags]))
        settings = {setting["activations"]: setting for setting in report["settings"]}
        for preset in of_call:
            # With bf16 there are two of each setting; flags that leave `exact` as it is do not give it another name.
            name = "as given" if " " in preset else preset
            if preset == "exact --mixed-precision bf16":
                name = "exact"
            setting = settings[f"{name} bf16" if "--mixed-precision bf16" in preset else name]
            results[preset] = {
                "seconds": setting["seconds"],
                "saved": setting["saved_bytes"],
                "activations": setting["peak_activation_bytes"],
                "tokens": report["tokens"] // report["rows"],
            }
    return results


class Decoders:
    """Contestants on rows of tokens: a folder with a model, and data."""

    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        config = config_of(args.shape, args.layers)
        self.what = f"{config['num_hidden_layers']} layers, B={args.batch_size} T={args.seq_len}"
        self.model = args.model or os.path.join(folder, "model")
        if not args.model:
            write(self.model, config)
        self.data = os.path.join(folder, "tokens.jsonl")
        draw = random.Random(1)
        with open(self.data, "w") as file:
            for _ in range(4 * args.batch_size):
                ids = [draw.randrange(config["vocab_size"]) for _ in range(args.seq_len)]
                file.write(json.dumps({"input_ids": ids}) + "\n")

    def run(self, presets):
        """Results of a round, one preset after the other."""
        for number, preset in enumerate(presets):
            yield preset, run_loract(self.args, preset, self.model, self.data, os.path.join(self.folder, str(number)))


class Encoders:
    """Contestants on random images: a folder with a config.json alone."""

    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        config = {**VISION_SHAPES[args.shape], "num_labels": CLASSES}
        config["num_hidden_layers"] = args.layers or config["num_hidden_layers"]
        (Path(folder) / "config.json").write_text(json.dumps(config))
        self.what = f"{config['num_hidden_layers']} layers, B={args.batch_size} images"

    def run(self, presets):
        yield from run_loract_vision(self.args, presets, self.folder).items()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loract", default="target/release/loract")
    parser.add_argument("--shape", choices=[*SHAPES, *VISION_SHAPES], default="smollm2-135m")
    parser.add_argument("--layers", type=int, help="fewer layers than the shape has, to try it out; not with --model")
    parser.add_argument("--model", help="a file or folder of the shape [default: a random folder]")
    parser.add_argument("--python", default="python3")
    parser.add_argument("--batch-size", type=int, help="rows, or images [default: 4, or 32]")
    parser.add_argument("--seq-len", type=int, default=512)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--presets", default=",".join(PRESETS), help="names of presets, each with flags after it if need be, or none")
    parser.add_argument("--torch", default="plain,checkpointed", help=f"of {', '.join(TORCH)}, or none [default: plain,checkpointed]")
    args = parser.parse_args()
    if args.model and args.layers:
        parser.error("--layers is for random models, --model gives one")
    vision = args.shape in VISION_SHAPES
    args.batch_size = args.batch_size or (32 if vision else 4)
    presets = [] if args.presets == "none" else args.presets.split(",")
    if vision and args.model:
        parser.error("--model is for decoders")

    kinds = [] if args.torch == "none" else args.torch.split(",")
    if unknown := set(kinds) - set(TORCH):
        parser.error(f"--torch: {', '.join(unknown)} is none of {', '.join(TORCH)}, none")
    torch = dict(TORCH[kind] for kind in kinds)
    names = [*torch, *(f"loract {preset}" for preset in presets)]
    if not names:
        parser.error("--torch none and --presets none leave nobody")
    rounds = {name: [] for name in names}

    def keep(number, name, result):
        rounds[name].append(result)
        print(f"round {number + 1} {name}: {statistics.median(result['seconds']):.2f} s, load {os.getloadavg()[0]:.1f}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        contest = Encoders(args, folder) if vision else Decoders(args, folder)
        for number in range(args.rounds):
            for name, flags in torch.items():
                keep(number, name, run_torch(args, flags))
            for preset, result in contest.run(presets):
                keep(number, f"loract {preset}", result)

    tokens = {result.get("tokens") for results in rounds.values() for result in results} - {None}
    if len(tokens) > 1:
        sys.exit(f"contestants have images of {' and '.join(map(str, sorted(tokens)))} tokens")
    what = contest.what + "".join(f" of {count} tokens" for count in tokens)
    print(f"\n{args.shape}, {what}, {args.threads} threads, {args.rounds} rounds of {args.steps} steps")
    print_table(names, rounds)


def print_table(names, rounds):
    def mb(bytes_):
        return f"{bytes_ / 1e6:,.0f} MB" if bytes_ is not None else "–"

    print(
        "| | s a step (median) | ÷ first of the same round (min–max) | saved after forward | ÷ first | peak activations "
        "| process over baseline | process peak |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        results = rounds[name]
        seconds = statistics.median([s for r in results for s in r["seconds"]])
        ratios = [statistics.median(r["seconds"]) / statistics.median(t["seconds"]) for r, t in zip(results, rounds[names[0]])]
        first = results[0]
        print(
            f"| {name} | {seconds:.2f} | {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) "
            f"| {mb(first['saved'])} | {first['saved'] / rounds[names[0]][0]['saved']:.2f} | {mb(first.get('activations'))} "
            f"| {mb(first.get('over_baseline'))} | {mb(first.get('peak'))} |"
        )


if __name__ == "__main__":
    main()
