"""The model card: YAML metadata that the hub reads, and a body in English and Japanese.

It states what was measured and what the recipe says. What depends on the clock or the machine
stands only in a published card, and comes from the run's logs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jagpt import __version__, files, units
from jagpt.recipe import Recipe
from jagpt.release import licences, metadata, usage
from jagpt.release.changelog import Entry
from jagpt.release.curve import CURVE
from jagpt.release.exports import Export
from jagpt.release.markdown import Markdown, code, environment, fenced
from jagpt.release.recipe_text import recipe_text
from jagpt.rundir import RunDirectory
from jagpt.summary import Summary

FEW_TOKENS = 10_000_000
"""A model trained on fewer distinct tokens than these is called a demonstration."""

_FAMILIES = {"gpt2": "GPT-2", "gpt_neo": "GPT-Neo", "gpt_neox": "GPT-NeoX", "llama": "Llama"}
"""Model types of transformers → how their makers write them; others stand as they are."""


@dataclass(frozen=True)
class Cost:
    """On what and how long the model was trained, as its logs say."""

    seconds: float | None
    device: str | None
    versions: tuple[str, ...]

    @property
    def hours(self) -> str | None:
        """The time as a card says it."""
        return None if self.seconds is None else units.rough_duration(self.seconds)


@dataclass(frozen=True)
class Published:
    """What only a card in a repository can say.

    `place` is an id on the hub, or None; `commits` has those of earlier revisions.
    """

    place: str | None
    commits: Mapping[str, str]
    cost: Cost


@dataclass(frozen=True)
class Extras:
    """What a card tells beside recipe and summary; `evaluation` is the whole `test.json`."""

    exports: tuple[Export, ...] = ()
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    curve: bool = False
    published: Published | None = None


def render(
    recipe: Recipe, summary: Summary, versions: Sequence[Entry], extras: Extras | None = None
) -> str:
    """The whole `README.md`; `versions` has this revision first.

    Raises `JagptError` where the hub does not document the metadata, or its own parser would not
    read them back.
    """
    head = metadata.of_model(recipe, summary)
    card = f"---\n{head.to_yaml()}\n---\n\n{_body(recipe, summary, versions, extras or Extras())}"
    metadata.check(card, head.to_dict())
    return card


def cost_of(summary: Summary, run: RunDirectory) -> Cost:
    """What the run's logs say of its training."""
    time = summary.times.get("train")
    path = run.logs / "environment.json"
    host = files.read_json(path, "record of the host") if path.is_file() else {}
    device = str(host["device"]) if host.get("device") else None
    if device == "cpu":
        processor = summary.machine.get("processor")
        device = f"CPU ({processor}, {host.get('threads')} threads)" if processor else "CPU"
    return Cost(
        seconds=time.seconds if time else None,
        device=device,
        versions=tuple(
            f"{name} {host[name]}" for name in ("python", "torch", "transformers") if name in host
        ),
    )


def evaluation_of(run: RunDirectory) -> Mapping[str, Any]:
    """The whole of what the evaluation wrote; nothing where it has not come so far."""
    path = run.evaluation / "test.json"
    return files.read_json(path) if path.is_file() else {}


def _body(recipe: Recipe, summary: Summary, versions: Sequence[Entry], extras: Extras) -> str:
    template = environment("jagpt.release", code=code, fenced=fenced).get_template("card.md.j2")
    published = extras.published
    return template.render(
        recipe=recipe,
        demonstration=_is_demonstration(summary),
        summary=summary,
        corpus=summary.corpus,
        tokens=summary.tokens,
        training=summary.training,
        test=summary.evaluation,
        how=_how(recipe, extras.evaluation),
        memorization=_memorization(extras.evaluation),
        samples=summary.samples,
        exports=extras.exports,
        cost=published.cost if published else None,
        curve=Markdown(CURVE) if extras.curve else None,
        snippets=usage.snippets(
            recipe,
            extras.exports,
            summary.samples[0].prompt if summary.samples else recipe.release.prompts[0],
            place=published.place if published else None,
            revision=versions[0].revision,
        ),
        versions=[
            (entry.revision, _commit(entry, published), Markdown("<br>".join(entry.lines)))
            for entry in versions
        ],
        jagpt_version=__version__,
        licence=licences.of_model(recipe.release.licence, summary.corpus),
        licence_of=licences.of_source,
        tokenizer_origin=_tokenizer_origin(recipe),
        recipe_text=recipe_text(recipe),
        model_type=_FAMILIES.get(recipe.model.type, recipe.model.type),
        started_from=metadata.base_model(recipe),
    )


def _is_demonstration(summary: Summary) -> bool:
    return summary.tokens is not None and summary.tokens.splits.get("train", 0) < FEW_TOKENS


def _how(recipe: Recipe, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """How the figures were measured; blocks in fp32 where the evaluation does not say."""
    block_size = int(evaluation.get("block_size") or recipe.block_size)
    return {
        "precision": str(evaluation.get("precision") or "fp32"),
        "sliding": evaluation.get("windows") == "sliding",
        "block_size": block_size,
        "stride": int(evaluation.get("stride") or block_size),
    }


def _memorization(evaluation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The share of generated spans that stand in the training text, where it was measured."""
    found = evaluation.get("memorization")
    wanted = ("span_characters", "samples", "spans", "found", "share")
    if not isinstance(found, Mapping) or not all(
        isinstance(found.get(key), (int, float)) for key in wanted
    ):
        return None
    return found if found["spans"] else None


def _commit(entry: Entry, published: Published | None) -> str:
    """The first figures of an earlier revision's commit; nothing for this one's own."""
    return published.commits.get(entry.revision, "")[:12] if published else ""


def _tokenizer_origin(recipe: Recipe) -> str | None:
    """The hub id of a tokenizer that was not trained here (a path says nothing to others)."""
    origin = recipe.tokenizer.from_
    return origin if origin is not None and metadata.HUB_ID.fullmatch(origin) else None
