"""Every format in the programs that people load it with; `make compat` runs this.

    python compat/run.py [--run DIR] [--text FILE] [--only NAME | --formats]…

A small model is trained and exported (kept in `.venv/compat` for the next time; --run takes another
finished run). What `jagpt export` measured in the runtimes that it needs anyway is told from their
`parity.json`; everything else is loaded in side environments, made from `requirements-*.txt`, that
hold no jagpt. --formats prints the first part alone. Exit code 1 where anything is out of bounds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environments
import material

from jagpt import units
from jagpt.formats.bounds import TENSORS, Parity
from jagpt.formats.source import ModelSource
from jagpt.formats.table import FORMATS
from jagpt.recipe import load
from jagpt.release import servers, usage

PLACE = environments.PLACE
BOUND = 1e-4
"""Largest logit difference of full precision."""
TIMEOUT = 900
PROGRAM = "the card's program"
EMPTY = "empty"
"""A new environment for each program of a card, made by the card's own line."""
CARDS_PROGRAM = re.compile(r"^```python\n(.*?)^```\n\n`(pip install [^`\n]+)`$", re.M | re.S)
BROWSER, PAGES_LIBRARY = "browser", "transformersjs-4"
"""The project's own environment, with the library that a release's page loads."""
VLLM = "vllm"
"""1.3 GB, and for the CPU build of PyTorch alone."""
STORES, AZURITE = "stores", "azurite"
"""fsspec's file systems for clouds and an emulator; the emulator of another."""
QUIETLY = {"HF_HUB_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
COLUMNS = ("format", "size", "logits", "greedy", "token ids", "perplexity")
ORIGINAL = (
    "tokenizer.normalization=nmt_nfkc",
    "tokenizer.byte_fallback=false",
    "tokenizer.keep_newlines=false",
    "tokenizer.split_digits=false",
    "tokenizer.add_dummy_prefix=true",
    "tokenizer.character_coverage=0.98",
    'export.formats=["onnx", "onnx-fp16", "onnx-int8", "gguf-f32"]',
)


@dataclass(frozen=True)
class Check:
    """A folder of the run, loaded in an environment: by a script with its material, or, without
    one, by the program that the model card shows for it."""

    environment: str
    folder: str
    script: str | None = None
    material: str = "model"

    def __str__(self) -> str:
        return f"{self.environment}: {self.script or PROGRAM} on {self.folder}"


CHECKS = (
    Check(BROWSER, "release", "check_playground.py"),
    Check("servers", "release", "check_servers.py"),
    Check(VLLM, "release", "check_vllm.py"),
    Check("transformersjs-3", "release", "check_transformersjs.mjs"),
    Check("transformersjs-4", "release", "check_transformersjs.mjs"),
    Check("transformersjs-3", "original/release", "check_transformersjs.mjs", "original"),
    Check("transformersjs-4", "original/release", "check_transformersjs.mjs", "original"),
    Check("harness", "model", "check_harness.py"),
    Check("trl", "model", "check_trl.py"),
    Check(STORES, ".", "check_stores.py"),
    Check("tensorflow", "export/tensorflow", "check_tensorflow.py"),
    Check("tensorflow", "export/tensorflow"),
    Check("flax", "export/flax", "check_flax.py"),
    Check("flax", "export/flax"),
    Check("keras", "model", "check_keras.py"),
    Check("transformers-4.57", "model", "check_transformers.py"),
    Check("transformers-4.57", "export/pytorch", "check_transformers.py"),
    Check("transformers-4.57", "original/release", "check_slow_tokenizer.py", "original"),
    Check("transformers-4.57", "model"),
    Check("transformers-4.41", "model", "check_transformers.py"),
    Check("transformers-4.41", "export/pytorch", "check_transformers.py"),
    Check("transformers-4.41", "original/release", "check_slow_tokenizer.py", "original"),
    Check("transformers-4.41", "model"),
    Check(EMPTY, "release"),
    Check(EMPTY, "original/release"),
)

ENVIRONMENTS = {check.environment for check in CHECKS} - {VLLM}
"""Those that are not large: the other when it is asked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit code."""
    options = _options(arguments)
    PLACE.mkdir(parents=True, exist_ok=True)
    run = options.run or _own_run()
    if options.formats:
        _print_table(list(_exported(run)))
        return 0
    _write_material(run, options.text)
    rows: list[dict[str, Any]] = []
    if not options.only:
        original = PLACE / "original"
        rows += [*_exported(run), *_awkward(run, "model"), *_awkward(original, "original")]
    for check in CHECKS:
        if check.environment in (options.only or ENVIRONMENTS):
            _tell(str(check))
            rows += _made(check, run)
    _print_table(rows)
    problems = [problem for row in rows for problem in _problems(row)]
    for problem in problems:
        _tell(f"error: {problem}")
    return 1 if problems else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--run", type=Path, help="a run with every format exported")
    parser.add_argument("--text", type=Path, help="lines to compare tokenizers on")
    parser.add_argument("--formats", action="store_true", help="only what the export measured")
    parser.add_argument(
        "--only", action="append", choices=sorted({check.environment for check in CHECKS})
    )
    return parser.parse_args(arguments)


# --- the model ------------------------------------------------------------------------------------


def _own_run() -> Path:
    """The small run and a tokenizer of the original's settings, as far as they are not done."""
    return _run_named("run")


def _original_run() -> Path:
    """The same with the original's settings, where only the tokenizer makes a difference."""
    return _run_named("original", *(word for setting in ORIGINAL for word in ("--set", setting)))


def _run_named(name: str, *settings: str) -> Path:
    """The run of this name; what an earlier jagpt made otherwise is moved aside."""
    run, recipe = PLACE / name, str(environments.HERE / "recipe.toml")
    _jagpt("run", recipe, "--run-dir", str(run), *settings, "--until", "release", "--yes")
    return run


def _jagpt(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "jagpt", *arguments], check=True, stdout=sys.stderr)  # noqa: S603


def _write_material(run: Path, text: Path | None) -> None:
    model, original = PLACE / "material" / "model", PLACE / "material" / "original"
    for place in (model, original):
        place.mkdir(parents=True, exist_ok=True)
    material.write_model(run / "model", run / "tokens", model)
    material.write_texts(run / "model", text, model)
    recipe = load(run / "recipe.toml")
    client = servers.client(recipe.release.known_prompts[0], ".", usage.new_tokens(recipe))
    (model / "client.py").write_text(client, "utf-8")
    other = _original_run()
    material.write_model(other / "model", other / "tokens", original)
    material.write_texts(other / "model", text, original)


# --- the rows -------------------------------------------------------------------------------------


def _exported(run: Path) -> Iterator[dict[str, Any]]:
    """What the export itself measured."""
    for name, one in FORMATS.items():
        told = Parity.read(run / "export" / name)
        yield {**told.as_json(), "format": one.title}


def _awkward(run: Path, title: str) -> Iterator[dict[str, Any]]:
    """The awkward texts in the libraries that are here; what differs must have a known reason."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    bare = Tokenizer.from_file(str(run / "model" / "tokenizer.json"))
    plain = AutoTokenizer.from_pretrained(run / "model")  # the slow class of the original's
    runtime = FORMATS["gguf-f32"].runtime
    if runtime is None:
        raise AssertionError("gguf-f32 has a runtime")
    llama = runtime(ModelSource.open(run / "model"), run / "export" / "gguf-f32", 1)
    consumers = {
        "tokenizers": lambda text: bare.encode(text, add_special_tokens=False).ids,
        "AutoTokenizer": lambda text: plain.encode(text, add_special_tokens=False),
        "llama.cpp": llama.encode,
    }
    rows = json.loads((PLACE / "material" / title / "awkward.json").read_text("utf-8"))
    for name, encode in consumers.items():
        wrong = [row for row in rows if encode(row["text"]) != row["ids"]]
        if odd := [row for row in wrong if not row["bytes"] and not row["special"]]:
            raise RuntimeError(f"{name}: other ids without a known reason: {odd[0]}")
        yield {
            "format": f"{name}, {title}: awkward texts", "texts": len(rows),
            "texts_equal": len(rows) - len(wrong), "explained": len(wrong),
        }  # fmt: skip
    llama.close()


def _made(check: Check, run: Path) -> list[dict[str, Any]]:
    if check.environment == EMPTY:
        return _by_cards_lines(check, run)
    return _by_script(check, run) if check.script else _by_card(check, run)


def _folder(check: Check, run: Path) -> Path:
    return (PLACE if check.folder.startswith("original/") else run) / check.folder


def _by_script(check: Check, run: Path) -> list[dict[str, Any]]:
    """What the check's script printed."""
    folder = _folder(check, run)
    script = environments.HERE / "checks" / str(check.script)
    done = _in_environment(check.environment, script, folder, PLACE / "material" / check.material)
    rows = [
        json.loads(line.removeprefix("RESULT "))
        for line in done.splitlines()
        if line.startswith("RESULT ")
    ]
    if not rows:
        raise RuntimeError(f"{check}: no result\n{done[-1500:]}")
    return rows


def _by_card(check: Check, run: Path) -> list[dict[str, Any]]:
    """Whether the card's program continues its prompt."""
    name = "transformers" if check.folder == "model" else Path(check.folder).name
    recipe, folder = load(run / "recipe.toml"), usage.literal(str(run / check.folder))
    prompt = recipe.release.known_prompts[0]
    script = PLACE / "material" / f"usage_{name}.py"
    source = usage.program(usage.USAGES[name], name, recipe, prompt, folder)
    script.write_text(source, "utf-8")
    printed = _in_environment(check.environment, script)
    if prompt not in printed:
        raise RuntimeError(f"{check}: prints {printed[-1500:]!r}")
    return [{"format": f"{check.environment}: {PROGRAM}", "runs": True}]


def _by_cards_lines(check: Check, run: Path) -> list[dict[str, Any]]:
    """Each program of a card as it stands there, after its own install line."""
    folder = _folder(check, run)
    programs = CARDS_PROGRAM.findall((folder / "README.md").read_text("utf-8"))
    rows = []
    for source, line in programs:
        _tell(f"  {line}")
        with environments.empty(line) as python:
            printed = _printed([str(python), "-c", source], f"{check}, {line}", folder)
        if len(printed.split()) == 0:
            raise RuntimeError(f"{check}, {line}: prints nothing")
        rows.append({"format": f"{check.folder}: {line}", "runs": True})
    if len(rows) < 2:
        raise RuntimeError(f"{folder}: no programs were found on its card")
    return rows


def _in_environment(environment: str, script: Path, *arguments: Path) -> str:
    """What a script prints in a side environment."""
    command: list[Path | str]
    if environment == BROWSER:
        command = [sys.executable, script, environments.packages(PAGES_LIBRARY), *arguments]
    elif environment == STORES:
        node = environments.packages(AZURITE)
        command = [environments.python(environment), script, node, *arguments]
    elif script.suffix == ".mjs":
        command = ["node", script, environments.packages(environment), *arguments]
    else:
        command = [environments.python(environment), script, *arguments]
    return _printed([str(part) for part in command], f"{environment}, {script.name}")


def _printed(command: list[str], what: str, place: Path | None = None) -> str:
    """What a command prints; `RuntimeError` where it fails."""
    surroundings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(  # noqa: S603
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=place,
        timeout=TIMEOUT, check=False, env=surroundings | QUIETLY,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(
            f"{what}: exit code {done.returncode}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
        )
    return done.stdout


def _problems(row: dict[str, Any]) -> Iterator[str]:
    """What is out of bounds; an export's own bounds held when it was made."""
    name = row["format"]
    if {"bounds", "compared", "runs", "explained"} & row.keys():
        return
    if row.get("logit_difference", 0.0) > BOUND:
        yield f"{name}: a logit differs by {row['logit_difference']:.2g}"
    different = row.get("prompts", 0) - row.get("greedy_equal", 0) - row.get("greedy_ties", 0)
    if different:
        yield f"{name}: {different} prompts are continued differently"
    if row.get("texts_equal") != row.get("texts"):
        yield f"{name}: different token ids, first of {row['first'][0]!r}"


# --- the table ------------------------------------------------------------------------------------


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    lines = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1)), *map(_cells, rows)]
    for cells in lines:
        print(f"| {' | '.join(cells)} |")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    greedy = ids = logits = perplexity = ""
    if "logit_difference" in row:
        logits = f"{row['logit_difference']:.1e}"
        tied = f" + {row['greedy_ties']} tied" if row["greedy_ties"] else ""
        greedy = f"{row['greedy_equal']}{tied} of {row['prompts']}"
        perplexity = f"{row['perplexity']:.4f}"
    if "runs" in row:
        logits, greedy = "runs", row["runs"] if isinstance(row["runs"], str) else ""
    if row.get("compared") == TENSORS:
        logits = "every tensor equal"
    if row.get("texts"):
        ids = f"{row['texts_equal']:,} of {row['texts']:,}"
    size = units.size(row["size"]) if row.get("size") else ""
    return (row["format"], size, logits, greedy, ids, perplexity)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, subprocess.SubprocessError, OSError) as error:
        sys.exit(f"compat/run.py: {error}")
