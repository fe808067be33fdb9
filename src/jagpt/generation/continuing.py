"""From prompts to complete continuations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jagpt.errors import UsageError
from jagpt.generation.generator import Continuation, TextGenerator, load
from jagpt.generation.settings import Settings
from jagpt.runtimes import Drawing


def generate(
    place: str | Path, prompts: Sequence[str], settings: Settings | None = None
) -> list[list[str]]:
    """For each prompt its continuations, without the prompt, up to the end token.

    Raises `UsageError` for a prompt or a length beyond the model's context, and as `load` does.
    """
    checked = check_prompts(prompts)
    found = scored(load(place), checked, settings or Settings())
    return [[continuation.text for continuation in row] for row in found]


def scored(
    loaded: TextGenerator, prompts: Sequence[str], settings: Settings
) -> Iterator[list[Continuation]]:
    """For each prompt its continuations with their tokens' log-probabilities, as they are made.

    All prompts are checked before the first is continued. Raises as `generate` does.
    """
    plans = planned(loaded, prompts, settings)
    return (loaded.sample(ids, drawing) for ids, drawing in plans)


def planned(
    loaded: TextGenerator, prompts: Sequence[str], settings: Settings
) -> list[tuple[list[int], Drawing]]:
    """Each prompt's token ids and its settings; `UsageError` names an impossible one."""
    encoded = [loaded.encode(text) for text in check_prompts(prompts)]
    found = []
    for number, ids in enumerate(encoded, 1):
        try:
            found.append((ids, loaded.drawing(len(ids), settings)))
        except UsageError as error:
            raise UsageError(
                f"prompt {number}: {error}" if len(encoded) > 1 else str(error)
            ) from None
    return found


def as_records(
    prompts: Sequence[str], found: Sequence[Sequence[Continuation]], *, scores: bool = False
) -> list[dict[str, Any]]:
    """Continuations as JSON values: one {"prompt", "continuations"} per prompt.

    With `scores` also "scores": for each continuation its tokens {"id", "text", "logprob"}.
    """
    return [
        {"prompt": prompt, "continuations": [each.text for each in row]}
        | ({"scores": [[vars(token) for token in each.tokens] for each in row]} if scores else {})
        for prompt, row in zip(prompts, found, strict=True)
    ]


def check_prompts(prompts: Sequence[str]) -> list[str]:
    """The prompts; `UsageError` for none, and for one that is not text."""
    if not prompts:
        raise UsageError("no prompt was given: nothing to continue")
    for text in prompts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UsageError(
                f"the prompt is not valid UTF-8 (character {error.start + 1}): "
                "set the terminal to UTF-8"
            ) from None
    return list(prompts)
