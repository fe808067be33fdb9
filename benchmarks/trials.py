"""Trials of a study: each trains through jagpt's own stages and leaves one line of JSON.

A trial's line is found again by what it was made of, so that a study that was stopped goes on with
the next trial, and a trial that was stopped with its next step.
"""

from __future__ import annotations

import argparse
import json
import lzma
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from common import tell

from jagpt import files, manifests, pipeline
from jagpt.evaluation.result import Evaluation
from jagpt.progress import QUIET
from jagpt.recipe import parse
from jagpt.rundir import RunDirectory
from jagpt.stages import EVALUATE
from jagpt.training import session
from jagpt.training.metrics import read_metrics

HELD_OUT = 20
"""One document in so many is for validation, and the one after it for the test."""
SEED = 1000
CHECKPOINT_EVERY = 100


@dataclass(frozen=True)
class Scale:
    """What all trials of a study share: the network, its batch and the text."""

    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 256
    block_size: int = 256
    batch_size: int = 4
    vocab_size: int = 8000
    documents: int | None = None
    """Documents to train on; all if None."""
    validate_tokens: int = 131_072
    character_coverage: float | None = None
    """Of the tokenizer, where so few pieces are not enough for all characters; its own if None."""

    @classmethod
    def asked(cls, options: argparse.Namespace, **others: Any) -> Scale:
        """What the options of a study's command line say."""
        return cls(
            n_layer=options.layers,
            n_head=options.heads,
            n_embd=options.width,
            block_size=options.block,
            batch_size=options.batch,
            vocab_size=options.vocabulary,
            documents=options.documents,
            **others,
        )

    @property
    def tokens_per_step(self) -> int:
        return self.block_size * self.batch_size


@dataclass(frozen=True)
class Trial:
    """One training: keys of `[train]` (and three of `[model]`), a length and a seed."""

    settings: Mapping[str, Any]
    steps: int
    seed: int = SEED
    test: bool = False

    def named(self) -> str:
        shown = ", ".join(f"{key} {_short(value)}" for key, value in sorted(self.settings.items()))
        return f"{self.steps:,} steps, seed {self.seed}: {shown}"


@dataclass(frozen=True)
class Result:
    """A trial's curve of (tokens, valid loss), its training seconds, and the test loss if asked."""

    curve: tuple[tuple[int, float], ...]
    seconds: float
    test: float | None = None
    unstable: bool = False

    @property
    def loss(self) -> float:
        """The last validation loss: that of the averaged weights where there are any."""
        return float("inf") if self.unstable else self.curve[-1][1]

    @property
    def tokens(self) -> int:
        return self.curve[-1][0]


class NotMeasured(RuntimeError):  # noqa: N818
    """A trial that is wanted has not been trained yet."""


@dataclass
class Study:
    """A work folder: the text's splits, tokenizer and tokens, made once, and the trials' lines."""

    text: Path
    work: Path
    scale: Scale
    threads: int | None = None
    """A trial's; the machine's cores if None."""
    kept_only: bool = False
    """Train nothing: `NotMeasured` for a trial that has no line yet."""
    results: dict[str, Result] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        self._lines = self.work / "trials.jsonl"
        if self._lines.exists():
            for line in self._lines.read_text("utf-8").splitlines():
                value = json.loads(line)
                curve = tuple((int(tokens), float(loss)) for tokens, loss in value["curve"])
                self.results[value["key"]] = Result(
                    curve, value["seconds"], value["test"], value["unstable"]
                )

    def result(self, trial: Trial) -> Result:
        """The trial's result, from its line or by training now."""
        key = self.key(trial)
        if key not in self.results:
            if self.kept_only:
                raise NotMeasured(trial.named())
            tell(f"trial {len(self.results) + 1}: {trial.named()}")
            found = self._train(trial, key)
            line = {"key": key, **asdict(self.scale), **asdict(trial), **asdict(found)}
            with self._lines.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
            self.results[key] = found
            tell(f"  loss {found.loss:.4f} in {found.seconds:,.0f} s")
        return self.results[key]

    def key(self, trial: Trial) -> str:
        """A name that depends on everything that the result depends on."""
        settings = {key: trial.settings[key] for key in sorted(trial.settings)}
        scale = asdict(self.scale)
        if scale["character_coverage"] is None:  # lines of older studies are found again
            del scale["character_coverage"]
        parts = [scale, {**asdict(trial), "settings": settings}, self.text.name]
        return sha256(json.dumps(parts).encode()).hexdigest()[:16]

    # --- making -----------------------------------------------------------------------------------

    def prepare(self) -> RunDirectory:
        """The run whose tokens all trials share; made at the first call."""
        amount = self.scale.documents or "all"
        data = RunDirectory(self.work / f"data-{self.scale.vocab_size}-{amount}")
        if not (data.tokens / manifests.MANIFEST).is_file():
            tell("corpus, tokenizer and tokens")
            texts = self._write_texts()
            recipe = parse(_data_recipe(texts, self.scale))
            pipeline.run_stages(recipe, data, QUIET, until="tokens")
        return data

    def _write_texts(self) -> dict[str, Path]:
        opener = lzma.open if self.text.suffix == ".xz" else open
        with opener(self.text, "rt", encoding="utf-8") as lines:
            documents = [text for text in lines.read().split("\n\n") if text.strip()]
        splits: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
        for number, text in enumerate(documents):
            splits[{0: "valid", 1: "test"}.get(number % HELD_OUT, "train")].append(text)
        splits["train"] = splits["train"][: self.scale.documents]
        paths = {}
        for split, texts in splits.items():
            paths[split] = self.work / f"{split}-{self.scale.documents or 'all'}.txt"
            paths[split].write_text("\n\n".join(texts) + "\n", "utf-8")
        return paths

    def _train(self, trial: Trial, key: str) -> Result:
        data = self.prepare()
        shared = {name: data.own(name) for name in ("corpus", "tokenizer", "tokens")}
        run = RunDirectory(self.work / "runs" / key, shared)
        files.make_directory(run.root)
        recipe, _ = pipeline.settled(parse(_trial_recipe(self.scale, trial, self.threads)), run)
        unstable = False
        try:
            session.run(recipe, run, QUIET)
        except Exception as error:
            if "not finite" not in str(error) and "validation loss is" not in str(error):
                raise
            unstable = True
        train, valid = read_metrics(run.logs)
        curve = tuple((row.tokens, row.loss) for row in valid if row.loss is not None)
        seconds = max((row.seconds or 0.0 for row in train), default=0.0)
        test = None
        if trial.test and not unstable:
            EVALUATE.run(recipe, run, QUIET)
            test = Evaluation.read(run.evaluation).loss
        files.remove(run.own("train"))
        return Result(curve, seconds, test, unstable)


def _data_recipe(texts: Mapping[str, Path], scale: Scale) -> str:
    sources = "".join(
        f"[[corpus.source]]\nname = \"{split}\"\nkind = \"text\"\nlayout = \"block\"\n"
        f"path = {json.dumps(str(path.absolute()))}\nsplit = \"{split}\"\n"
        for split, path in texts.items()
    )  # fmt: skip
    share = scale.character_coverage
    coverage = f"character_coverage = {share}\n" if share else ""
    return (
        f'name = "study"\n{sources}[tokenizer]\nvocab_size = {scale.vocab_size}\n'
        f"sentences = 100000\n{coverage}[train]\nmax_steps = 1\n"
    )


def _trial_recipe(scale: Scale, trial: Trial, threads: int | None) -> str:
    settings = dict(trial.settings)
    dropout = settings.pop("dropout", 0.0)
    embeddings = settings.pop("embeddings", "random")
    counted = settings.pop("embeddings_tokens", trial.steps * scale.tokens_per_step)
    values: dict[str, Any] = {
        "seed": trial.seed,
        "batch_size": scale.batch_size,
        "grad_accum_steps": 1,
        "max_steps": trial.steps,
        "validate_every": trial.steps,
        "validate_tokens": scale.validate_tokens,
        "checkpoint_every": min(trial.steps, CHECKPOINT_EVERY),
        "keep_checkpoints": 1,
        **settings,
    }
    train = "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
    return f"""
name = "trial"
[[corpus.source]]
name = "none"
kind = "text"
path = "none.txt"
[model]
n_layer = {scale.n_layer}
n_head = {scale.n_head}
n_embd = {scale.n_embd}
n_positions = {scale.block_size}
dropout = {dropout}
embeddings = "{embeddings}"
embeddings_tokens = {counted}
[train]
{train}
[evaluate]
checkpoint = "last"
memorization_samples = 0
[execution]
tensorboard = false
sample_prompts = []
{f"threads = {threads}" if threads else ""}
"""


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
