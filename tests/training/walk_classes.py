"""Try every causal class of transformers in a tiny shape, and make docs/classes.md of it.

usage: walk_classes.py [TYPE...]    without a type: all of them, which takes an hour on two cores;
                                    with types, their rows alone change in the page

Each class is rehearsed as `jagpt run` does it; what passes trains, goes on from a checkpoint to the
same bytes, and is exported. Each is in a process of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "classes.md"
SHAPE: dict[str, Any] = {"n_head": 4, "n_embd": 32, "n_positions": 16}
NARROW = {
    "moe_intermediate_size": 16, "n_routed_experts": 16, "num_experts": 16,
    "num_local_experts": 16, "moe_num_experts": 16,
}  # fmt: skip
"""Keys of `[model.config]`, where they are larger by default: experts are many and wide."""
LAYERS = (2, 8)
"""Eight only where two are too few."""
HEAD = """# Model classes

`model.type` is the name that transformers gives a class. Here is every causal class of
transformers {version}, tried in a tiny network (`python tests/training/walk_classes.py`).
{trained} were trained with Muon, stopped, resumed to the same bytes, exported and loaded again.
The other {refused} `jagpt run` refuses in one line before its first stage, in this shape:
`[model.config]` takes further keys of a class.

## Classes that train

| `model.type` | class | |
| --- | --- | --- |
"""
REFUSED = """
## Classes that are refused

| `model.type` | reason |
| --- | --- |
"""


@dataclass(frozen=True)
class Walked:
    """What became of a class; `reason` if it is refused, `broken` if it should have been."""

    kind: str
    name: str = ""
    notes: tuple[str, ...] = ()
    reason: str | None = None
    broken: str | None = None

    def row(self) -> str:
        """Its line in the page."""
        if self.reason is not None:
            return f"| `{self.kind}` | {self.reason.replace('|', '/')} |"
        return f"| `{self.kind}` | {self.name} | {'; '.join(self.notes)} |"


def main(arguments: list[str]) -> int:
    """Print each class's row and put it into the page."""
    import transformers

    kinds = arguments or causal()
    rows = _rows_of_the_page() if arguments else {}
    broken = 0
    for kind in kinds:
        walked = apart(kind)
        print(walked.broken or walked.row(), flush=True)
        broken += walked.broken is not None
        if walked.broken is None:
            rows[kind] = walked.row()
            PAGE.write_text(page(rows, transformers.__version__), "utf-8")
    return 1 if broken else 0


def page(rows: dict[str, str], version: str) -> str:
    """docs/classes.md; a row of a class that trains has three cells, of one that is refused two."""
    trained = [rows[kind] for kind in sorted(rows) if rows[kind].count("|") == 4]
    refused = [rows[kind] for kind in sorted(rows) if rows[kind].count("|") == 3]
    head = HEAD.format(version=version, trained=len(trained), refused=len(refused))
    return head + "\n".join([*trained, REFUSED + "\n".join(refused), ""])


def _rows_of_the_page() -> dict[str, str]:
    lines = PAGE.read_text("utf-8").splitlines() if PAGE.exists() else []
    rows = [line for line in lines if line.startswith("| `") and "`model.type`" not in line]
    return {line.split("`")[1]: line for line in rows}


def causal() -> list[str]:
    """Every type that transformers has a causal language model for."""
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

    return sorted(
        kind for kind in CONFIG_MAPPING if CONFIG_MAPPING[kind] in MODEL_FOR_CAUSAL_LM_MAPPING
    )


def apart(kind: str) -> Walked:
    """`walk` in a process of its own, which gives its memory back and may die.

    What it needs is imported here, once, and not used: threads of PyTorch do not survive a fork.
    """
    for module in (
        "jagpt.export.huggingface",
        "jagpt.training.rehearsal",
        "jagpt.training.session",
    ):
        importlib.import_module(module)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        with os.fdopen(writing, "w") as answer:
            json.dump(asdict(walk(kind)), answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not text:
        return Walked(kind, broken=f"{kind}: its process ended with {status}")
    value = json.loads(text)
    return Walked(**{**value, "notes": tuple(value["notes"])})


def walk(kind: str) -> Walked:
    """Rehearse a class, and train, resume and export it if it passes."""
    from jagpt.errors import UsageError

    try:
        shape, notes = _rehearsed(kind)
    except UsageError as error:
        return Walked(kind, reason=str(error))
    except Exception:
        return Walked(kind, broken=f"{kind}: {traceback.format_exc()}")
    try:
        with tempfile.TemporaryDirectory(prefix="jagpt-walk-") as place:
            name, idle = _used(shape, Path(place))
    except Exception:
        return Walked(kind, broken=f"{kind}: {traceback.format_exc()}")
    return Walked(kind, name, (*notes, *idle))


def _rehearsed(kind: str) -> tuple[dict[str, Any], list[str]]:
    """The shape in which a class passes, and what is to be said of it; else its last refusal."""
    from transformers import CONFIG_MAPPING

    from jagpt.errors import UsageError
    from jagpt.recipe import Model
    from jagpt.training.rehearsal import rehearse

    known: dict[str, Any] = {}
    with suppress(Exception):  # a class without a default is refused below
        known = CONFIG_MAPPING[kind]().to_dict()
    narrow = {
        key: value
        for key, value in NARROW.items()
        if isinstance(known.get(key), int) and known[key] > value
    }
    for n_layer in LAYERS:
        for dropout in (0.1, 0.0):
            shape: dict[str, Any] = {"type": kind, "n_layer": n_layer, "dropout": dropout}
            shape |= SHAPE | {"config": narrow}
            try:
                rehearse(Model(**shape), 64)
            except UsageError as error:
                refusal = error
                continue
            notes = [] if dropout else ["only with `model.dropout = 0.0`"]
            return shape, notes + (["more than two layers"] if n_layer > LAYERS[0] else [])
    raise refusal


def _used(shape: dict[str, Any], place: Path) -> tuple[str, list[str]]:
    """The class that was trained, resumed and exported, and what is to be said of its weights."""
    from tiny_training import Heard, contents, make_recipe, write_tokenizer, write_tokens

    from jagpt import models
    from jagpt.export import huggingface
    from jagpt.progress import QUIET
    from jagpt.rundir import RunDirectory
    from jagpt.training import session

    inputs = {"tokens": place / "tokens", "tokenizer": place / "tokenizer"}
    write_tokens(inputs["tokens"], {"train": 60, "valid": 6, "test": 4})
    write_tokenizer(inputs["tokenizer"])
    whole, broken = (RunDirectory(place / name, inputs) for name in ("whole", "broken"))

    def recipe(steps: int) -> Any:
        every = {"validate_every": 2, "checkpoint_every": 2}
        return make_recipe(
            max_steps=steps, schedule="constant", optimizer="muon", model=flat, **every
        )

    flat = {key: value for key, value in shape.items() if key != "config"}
    flat |= {f"config.{key}": value for key, value in shape["config"].items()}
    heard = Heard()
    session.run(recipe(4), whole, heard)
    session.run(recipe(2), broken, QUIET)
    session.run(recipe(4), broken, QUIET)
    if contents(whole.own("train")) != contents(broken.own("train")):
        raise AssertionError("a resumed run is another than one that was never stopped")
    huggingface.run(recipe(4), RunDirectory(whole.root, inputs), QUIET)
    network = models.open(whole.own("export")).network
    idle = [
        line.partition(" of the")[0] for line in heard.lines if "do not affect its loss" in line
    ]
    return type(network).__name__, [f"weights that do not learn: {count}" for count in idle]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
