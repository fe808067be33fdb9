"""The model card: YAML metadata that the hub reads, and a body in English and Japanese.

It states what was measured and what the recipe says. What depends on the clock or the machine
stands only in a published card, and comes from the run's logs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jagpt import __version__, units
from jagpt.recipe import Recipe
from jagpt.release import licences, metadata, servers, usage
from jagpt.release.browser import SameIds
from jagpt.release.changelog import Entry
from jagpt.release.exports import ReleasedFormat
from jagpt.release.facts import Facts
from jagpt.release.markdown import Markdown, code, environment, fenced
from jagpt.release.recipe_text import recipe_text
from jagpt.training.environment import Environment

CURVE = "valid_loss_curve.png"
FEW_TOKENS = 10_000_000
"""A model trained on fewer distinct tokens is called a demonstration."""

_FAMILIES = {"gpt2": "GPT-2", "gpt_neo": "GPT-Neo", "gpt_neox": "GPT-NeoX", "llama": "Llama"}
"""Model types in transformers → how their makers spell them; others stay as they are."""


@dataclass(frozen=True)
class Published:
    """What only a published card can say.

    `place` is an id on the hub, or None; `commits` has those of earlier revisions. `trained_on` and
    the `seconds` of training are what the run's logs say.
    """

    place: str | None
    commits: Mapping[str, str]
    trained_on: Environment | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Extras:
    """What a card says besides recipe and facts; `in_browser` is what `browser.same_ids` counts."""

    exports: tuple[ReleasedFormat, ...] = ()
    curve: bool = False
    published: Published | None = None
    in_browser: SameIds | None = None


def render(
    recipe: Recipe, facts: Facts, versions: Sequence[Entry], extras: Extras | None = None
) -> str:
    """The whole `README.md`; `versions` has this revision first.

    Raises `JagptError` if the hub does not document the metadata, or its own parser would not
    read them back.
    """
    head = metadata.of_model(recipe, facts)
    card = f"---\n{head.to_yaml()}\n---\n\n{_body(recipe, facts, versions, extras or Extras())}"
    metadata.check(card, head.to_dict())
    return card


def _body(recipe: Recipe, facts: Facts, versions: Sequence[Entry], extras: Extras) -> str:
    template = environment(
        "jagpt.release", code=code, fenced=fenced, duration=units.rough_duration
    ).get_template("card.md.j2")
    published = extras.published
    place = published.place if published else None
    revision = versions[0].revision
    prompt = facts.samples[0].prompt if facts.samples else recipe.release.known_prompts[0]
    return template.render(
        recipe=recipe,
        demonstration=_is_demonstration(facts),
        facts=facts,
        datasets=facts.datasets,
        corpus=facts.corpus,
        tokens=facts.tokens,
        training=facts.training,
        test=facts.evaluation,
        samples=facts.samples,
        exports=extras.exports,
        published=published,
        curve=Markdown(CURVE) if extras.curve else None,
        in_browser=extras.in_browser,
        snippets=usage.snippets(recipe, extras.exports, prompt, place=place, revision=revision),
        servers=list(servers.servers(recipe, extras.exports, place, revision)),
        client=servers.client(prompt, servers.name_of(place, revision), usage.new_tokens(recipe)),
        versions=[
            (entry.revision, _commit(entry, published), Markdown("<br>".join(entry.lines)))
            for entry in versions
        ],
        jagpt_version=__version__,
        licence=licences.of_model(recipe.release.licence, facts.corpus),
        licence_of=licences.of_source,
        tokenizer_origin=_tokenizer_origin(recipe),
        recipe_text=recipe_text(recipe),
        model_type=_FAMILIES.get(recipe.model.type, recipe.model.type),
        started_from=metadata.base_model(recipe),
    )


def _is_demonstration(facts: Facts) -> bool:
    return facts.tokens is not None and facts.tokens.counts.get("train", 0) < FEW_TOKENS


def _commit(entry: Entry, published: Published | None) -> str:
    """The first figures of an earlier revision's commit; nothing for this one's own."""
    return published.commits.get(entry.revision, "")[:12] if published else ""


def _tokenizer_origin(recipe: Recipe) -> str | None:
    """The hub id of a tokenizer that was not trained here (a path says nothing to others)."""
    origin = recipe.tokenizer.from_
    return origin if origin is not None and metadata.HUB_ID.fullmatch(origin) else None
