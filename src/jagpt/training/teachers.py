"""Models whose probabilities a run learns from, in addition to its text.

They are elsewhere (`train.teacher`), or are networks of the same recipe with other seeds,
which the run trains before its own (`train.own_teachers`), in `teachers/1` and so on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from jagpt import files, hub, models
from jagpt.errors import DataError, UsageError
from jagpt.manifests import MANIFEST, Manifest
from jagpt.models import (
    ModelFolder,
    build,
    checkpoint_folder,
    load_tokenizer,
    place,
    pretrained,
)
from jagpt.models.tokenizer import has_one, other_ids
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.rundir import TEACHERS, RunDirectory
from jagpt.stage import Stage
from jagpt.training import cpu
from jagpt.training.data import sums
from jagpt.training.loss import Lesson, last_hidden, separates_documents
from jagpt.training.plan import same_steps

KEY = "train.teacher"
SEEDS = 2**64
OTHER = "it is of another training"


@dataclass(frozen=True)
class Teachers:
    """Networks that are evaluated and do not learn; they compute like the training around them."""

    networks: Sequence[PreTrainedModel]
    temperature: float
    weight: float

    @torch.no_grad()
    def lesson(self, inputs: Tensor, end_id: int | None) -> Lesson:
        """Their predictions for each token after `inputs` (B, T)."""
        hidden = [last_hidden(one, inputs, end_id).flatten(0, 1) for one in self.networks]
        matrices = [one.get_output_embeddings().weight for one in self.networks]
        return Lesson(tuple(hidden), tuple(matrices), self.temperature, self.weight)


def check(recipe: Recipe) -> None:
    """Refuse teachers that cannot serve this recipe, before anything is made.

    `UsageError` if one is not a model, or a hub id without a revision; `DataError` if
    it is damaged, a pickle, or reads fewer tokens than a sequence has.
    """
    for name in recipe.train.teacher:
        found = _opened(name)
        if found.context is not None and found.context < recipe.block_size:
            raise DataError(
                f"{KEY}: {name} reads at most {found.context:,} tokens, but this recipe's "
                "sequences "
                f"have {recipe.block_size:,}; use --set train.block_size={found.context} or "
                "another "
                "teacher"
            )


def preflight(recipe: Recipe, run: RunDirectory) -> None:
    """Refuse teachers whose ids are not those of the run's tokenizer, and the run itself."""
    for name in recipe.train.teacher:
        if Path(name).exists() and Path(name).resolve().is_relative_to(run.root.resolve()):
            raise UsageError(
                f"{KEY}: {name} is this run itself; name another run, or use "
                "--set train.own_teachers=1 for a teacher of the same recipe"
            )
        found = _opened(name)
        if not has_one(found.tokenizer_folder):
            raise DataError(
                f"{KEY}: {name} has no tokenizer to compare with the run's; name its "
                "export (`jagpt export` makes one)"
            )
        odd = other_ids(load_tokenizer(run.tokenizer), found.tokenizer)
        if odd:
            raise DataError(
                f"{KEY}: {odd:,} pieces have a different id in {name} than in the run's tokenizer; "
                f"share that tokenizer (--set tokenizer.from={name}) or choose another teacher"
            )


def input_files(name: str) -> list[Path]:
    """The files whose content decides a teacher's output; none for a hub id."""
    folder = place.local(name)
    if folder is not None:
        return pretrained.weight_files(folder)
    if not hub.is_hub_id(name.partition("@")[0]):
        _opened(name)
    return []


def load(
    recipe: Recipe, run: RunDirectory, vocab_size: int, end_id: int | None, device: torch.device
) -> Teachers | None:
    """The recipe's teachers on `device`, in evaluation mode; None if it has none."""
    named = [_opened(name) for name in recipe.train.teacher]
    own = [
        models.open(checkpoint_folder.resolve(taught.checkpoints, "last"))
        for _, taught in own_runs(recipe, run)
    ]
    networks = [_network(found, vocab_size, end_id, device) for found in (*named, *own)]
    if not networks:
        return None
    train = recipe.train
    return Teachers(networks, train.teacher_temperature, train.teacher_weight)


def _network(
    found: ModelFolder, vocab_size: int, end_id: int | None, device: torch.device
) -> PreTrainedModel:
    if found.vocab_size != vocab_size:
        raise DataError(
            f"{KEY}: {found.name} has {found.vocab_size:,} rows of logits, but this network "
            f"has {vocab_size:,}: their probabilities are for different pieces"
        )
    network = build.checked(build.prepared(found.network)).requires_grad_(False).eval()
    if end_id is not None and not separates_documents(network, end_id):
        raise UsageError(
            f"{KEY}: {found.name} does not keep the documents in a block apart, "
            "as train.document_mask requires; choose another teacher"
        )
    network.to(device)
    if device.type == "cpu":
        cpu.adapt(network, learns=False)
    return network


def _opened(name: str) -> ModelFolder:
    if hub.is_hub_id(name) and not Path(name).exists():
        raise UsageError(
            f"{KEY}: no revision given for the hub id {name}; a commit or tag is required "
            f"({name}@REVISION): without it the same recipe can learn from different weights "
            "tomorrow"
        )
    return models.open(name, where=KEY)


# --- of the same recipe ---------------------------------------------------------------------------


def own_runs(recipe: Recipe, run: RunDirectory) -> Iterator[tuple[Recipe, RunDirectory]]:
    """Recipe and place of each teacher that the run trains itself; it shares the run's tokens."""
    for number in range(1, recipe.train.own_teachers + 1):
        changes = {
            "seed": (recipe.train.seed + number) % SEEDS,
            "own_teachers": 0,
            "teacher": (),
            "patience": None,
            "keep_checkpoints": 1,
        }
        train = recipe.train.model_copy(update=changes)
        shared = {"tokenizer": run.tokenizer, "tokens": run.tokens}
        taught = RunDirectory(run.root / TEACHERS / str(number), shared)
        yield recipe.model_copy(update={"train": train}), taught


def manifest(stage: Stage, recipe: Recipe, run: RunDirectory) -> Manifest:
    """What one of the run's own teachers is made from: all that the train `stage` names."""
    section = stage.semantic(recipe)
    inputs = sums(run.tokens) | stage.outside(recipe, files.sha256, {})
    fingerprint = files.fingerprint_of(["teacher", stage.version, section, inputs])
    return Manifest(stage.name, stage.version, fingerprint, section, inputs)


def make_room(
    wanted: Manifest, run: RunDirectory, taught: RunDirectory, progress: Progress
) -> bool:
    """Leave in the teacher's folder only what it can continue from.

    Returns whether it still has to be trained: it, or one that was moved aside, may be finished.
    """
    flaw, known = _flaw(wanted, taught), _unfinished(taught)
    if flaw is None or (known is not None and _alike(known, wanted)):
        return flaw is not None
    name = f"teacher {taught.root.name}"
    if taught.own("train").is_dir():
        aside = files.move_directory(taught.root, run.superseded / name.replace(" ", "-"))
        progress.say(f"{name}: {OTHER if known else flaw}; moved aside to {aside}")
    earlier = _earlier(wanted, run)
    if earlier is None:
        wanted.begin(taught.own("train"))
        return True
    files.remove(taught.root)  # logs alone
    files.move(earlier.root, taught.root)
    progress.say(f"{name}: made earlier with this recipe, restored from {earlier.root}")
    return _flaw(wanted, taught) is not None


def _earlier(wanted: Manifest, run: RunDirectory) -> RunDirectory | None:
    """The same teacher among those that were moved aside; a finished one is preferred."""
    aside = [RunDirectory(place) for place in sorted(run.superseded.glob("teacher-*"))]
    finished = (one for one in aside if _flaw(wanted, one) is None)
    begun = (one for one in aside if (known := _unfinished(one)) and _alike(known, wanted))
    return next(chain(finished, begun), None)


def _flaw(wanted: Manifest, taught: RunDirectory) -> str | None:
    """Why a teacher is not the finished one of this manifest; None if it is.

    All of its files are hashed: damaged weights would teach all the same.
    """
    directory = taught.own("train")
    try:
        found = Manifest.read(directory)
    except DataError:
        return f"{directory / MANIFEST}: missing or damaged"
    return found.altered(directory) if _alike(found, wanted) else OTHER


def _unfinished(taught: RunDirectory) -> Manifest | None:
    """What an unfinished teacher is made from; None if there is none, or its note is damaged."""
    try:
        return Manifest.unfinished(taught.own("train"))
    except DataError:
        return None


def _alike(known: Manifest, wanted: Manifest) -> bool:
    """Whether both are of the same steps, as the run's own training would continue."""
    made_of = [(one.version, one.inputs) for one in (known, wanted)]
    return made_of[0] == made_of[1] and same_steps(known.section, wanted.section)
