"""The YAML metadata of the model card, as the hub documents it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from jagpt.corpus.stats import CorpusStats
from jagpt.errors import JagptError
from jagpt.evaluation.result import Evaluation, TaskFigures
from jagpt.recipe import Recipe
from jagpt.release import licences
from jagpt.release.facts import Facts
from jagpt.release.hub_schema import MODEL_KEYS, undocumented
from jagpt.text import one_line, printable

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

WIKIPEDIA = "wikimedia/wikipedia"
"""The hub's id of Wikipedia's text."""

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

_METRICS = {
    "loss": "Loss (nats per token)",
    "perplexity": "Perplexity (per token)",
    "bits_per_character": "Bits per character",
    "bits_per_byte": "Bits per byte",
}
"""Fields of an evaluation → the name that people read."""


def of_model(recipe: Recipe, facts: Facts) -> Any:
    """The model card's metadata, a `ModelCardData`.

    Raises `JagptError` for a key or value that the hub's documentation does not have.
    """
    from huggingface_hub import ModelCardData

    results = list(_results(facts))
    make: type[Any] = ModelCardData
    found = make(
        language="ja",
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=[recipe.model.type, "text-generation", "japanese", "jagpt"],
        base_model=base_model(recipe),
        datasets=datasets(facts.corpus, facts.datasets) or None,
        metrics=["perplexity"] if results else None,
        widget=[{"text": printable(prompt)} for prompt in recipe.release.known_prompts],
        eval_results=results or None,
        model_name=one_line(recipe.release.title) if results else None,
        **licences.metadata(licences.of_model(recipe.release.licence, facts.corpus)),
    )
    if odd := list(undocumented(found.to_dict(), MODEL_KEYS)):
        raise JagptError(f"README.md: the hub does not document {', '.join(odd)}")
    return found


def base_model(recipe: Recipe) -> str | None:
    """The hub id of the weights that training started from; None for other places, or none."""
    origin = recipe.model.from_
    return origin if origin is not None and HUB_ID.fullmatch(origin) else None


def check(card: str, head: dict[str, Any], *, dataset: bool = False) -> None:
    """The hub's own parser must find in a card what was put there, and write it back the same."""
    from huggingface_hub import DatasetCard, ModelCard

    parser: type[Any] = DatasetCard if dataset else ModelCard
    read = parser(card, ignore_metadata_errors=False)
    found = read.data.to_dict()
    if found != head:
        wrong = sorted(key for key in head.keys() | found.keys() if head.get(key) != found.get(key))
        raise JagptError(f"README.md: its metadata does not read back as written ({wrong})")
    if str(read) != card:
        raise JagptError("README.md: the hub's parser writes a different text than it read")


def datasets(corpus: CorpusStats | None, named: Mapping[str, str]) -> list[str]:
    """Ids of the hub's data sets that the model was trained on, or that hold the same text.

    `named` maps a source to its data set, by an id or a path.
    """
    found = []
    for source in corpus.sources if corpus else ():
        if licences.wikipedia(source):
            found.append(WIKIPEDIA)
        elif (origin := named.get(source.name)) and not origin.startswith(("/", ".")):
            found.append(printable(origin))
    return list(dict.fromkeys(found))


def _results(facts: Facts) -> Iterator[EvalResult]:
    from huggingface_hub import EvalResult

    test = facts.evaluation
    if test is None:
        return
    for kind, name in _METRICS.items():
        yield EvalResult(
            task_type="text-generation",
            dataset_split=test.split,
            metric_type=kind,
            metric_name=name,
            metric_value=getattr(test, kind),
            **_dataset(facts, test),
        )
    for task, found in test.tasks.items():
        yield from _task_results(task, found)


def _task_results(task: str, found: TaskFigures) -> Iterator[EvalResult]:
    """A task's metrics, each with the version of task and harness and the number of examples."""
    from huggingface_hub import EvalResult

    dataset, _, config = found.dataset.partition(" ")
    for metric, value in found.metrics.items():
        kind = metric.partition(",")[0]
        if not kind.endswith("_stderr"):
            yield EvalResult(
                task_type="text-generation",
                dataset_type=dataset or task,
                dataset_name=found.dataset or task,
                dataset_config=config or None,
                metric_type="accuracy" if kind == "acc" else kind,
                metric_name=f"{kind} ({task} {found.version}, {found.shots}-shot, {found.harness})",
                metric_value=value,
            )


def _dataset(facts: Facts, test: Evaluation) -> dict[str, Any]:
    """What the measurement used: a Wikipedia with language and date, a hub data set, or texts."""
    sources = facts.corpus.sources if facts.corpus else ()
    names = ", ".join(printable(source.name) for source in sources)
    found: dict[str, Any] = {"dataset_name": f"{names or 'corpus'}, {test.split} split"}
    ids = datasets(facts.corpus, facts.datasets)
    if len(ids) != 1 or len(sources) != 1:
        return {**found, "dataset_type": "text"}
    found["dataset_type"] = ids[0]
    if (language := licences.wikipedia(sources[0])) and sources[0].date:
        found["dataset_args"] = {"language": language, "date": sources[0].date}
    return found
