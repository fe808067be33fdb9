"""What a release says about its run: the records that the earlier stages left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from jagpt import manifests
from jagpt.corpus.stats import CorpusStats
from jagpt.errors import DataError
from jagpt.evaluation.result import Evaluation
from jagpt.manifests import Manifest
from jagpt.models import size
from jagpt.models.checkpoint_folder import CheckpointIndex
from jagpt.recipe import SECTIONS, Recipe, Section
from jagpt.release.samples import Sample, Samples
from jagpt.rundir import RunDirectory
from jagpt.tokens.index import TokenIndex
from jagpt.training.state import SavedState, State

WEIGHTS = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Each part is None (or empty) if its stage has not got that far.

    `datasets` maps a source to its data set on the hub, `training` is the last checkpoint's state,
    `parameters` are those of the exported model.
    """

    corpus: CorpusStats | None = None
    datasets: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    tokens: TokenIndex | None = None
    training: State | None = None
    evaluation: Evaluation | None = None
    parameters: int | None = None
    samples: tuple[Sample, ...] = ()


def facts_of(run: RunDirectory) -> Facts:
    """What the stages of `run` left, however far they got; `DataError` if a file is damaged."""
    index, samples = CheckpointIndex.find(run.checkpoints), Samples.find(run.release)
    saved = SavedState.find(run.checkpoints / index.last) if index else None
    weights = run.model / WEIGHTS
    return Facts(
        corpus=CorpusStats.find(run.corpus),
        datasets=hub_datasets(run.corpus),
        tokens=TokenIndex.find(run.tokens),
        training=saved.state() if saved else None,
        evaluation=Evaluation.find(run.evaluation),
        parameters=size.count_parameters(weights) if weights.is_file() else None,
        samples=samples.samples if samples else (),
    )


def as_made(recipe: Recipe, run: RunDirectory) -> Recipe:
    """The recipe with what other runs made as their recipes say: its own keys had no effect there.

    `DataError` for a manifest whose section is none of a recipe.
    """
    sections: dict[str, Section] = {}
    for name, place in run.shared.items():
        manifest = Manifest.read(place)
        if name not in manifest.section:
            continue
        try:
            values = {**manifest.section[name], "from": str(place)}
            sections[name] = SECTIONS[name].model_validate(values)
        except ValidationError as error:
            raise DataError(
                f"{place / manifests.MANIFEST}: its [{name}] is none that this jagpt reads "
                f"({error.errors()[0]['msg']}); run the recipe of that run again"
            ) from None
    return recipe.model_copy(update=sections)


def hub_datasets(corpus: Path) -> Mapping[str, str]:
    """Source → data set of the hub, which only the manifest of the corpus records."""
    if not (corpus / manifests.MANIFEST).is_file():
        return {}
    rows = Manifest.read(corpus).section.get("corpus", {}).get("source")
    tables = (row for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()
    named = (row for row in tables if row.get("kind") == "hf")
    return {str(row.get("name")): str(row.get("dataset")) for row in named}
