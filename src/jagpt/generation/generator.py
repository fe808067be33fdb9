"""A model that is ready to continue texts: tokenizer, defaults and the engine that computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jagpt import models, units
from jagpt.errors import UsageError
from jagpt.generation.engine import Engine
from jagpt.generation.settings import Defaults, Settings
from jagpt.generation.text import TextStream
from jagpt.generation.transformers_engine import TransformersEngine
from jagpt.models.tokenizer import check_match, token_ids
from jagpt.runtimes import Drawing

MAX_ROWS = 16
"""Continuations computed at once: their caches must fit into memory."""


@dataclass(frozen=True)
class Token:
    """A token of a continuation: the text that it adds, and its natural log-probability."""

    id: int
    text: str
    logprob: float


@dataclass(frozen=True)
class Continuation:
    """A continuation without its prompt; `ended` if it ended with the model's end token."""

    tokens: tuple[Token, ...]
    ended: bool

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)


@dataclass(frozen=True)
class TextGenerator:
    """A model's folder, its tokenizer and defaults, and the engine."""

    directory: Path
    tokenizer: Any
    defaults: Defaults
    engine: Engine

    @property
    def context(self) -> int | None:
        """The most tokens that prompt and continuation may have together."""
        return self.engine.context

    @property
    def model(self) -> Any:
        """The network itself, where the engine is transformers."""
        found = getattr(self.engine, "model", None)
        if found is None:
            raise UsageError(f"the engine {self.engine.name} has no transformers model")
        return found

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a prompt; an empty one begins a text, after the end of another."""
        (ids,) = token_ids(self.tokenizer, [prompt])
        if ids:
            return ids
        start = self.tokenizer.eos_token_id
        if start is None:
            raise UsageError("the prompt is empty, and this model has no token that begins a text")
        return [start]

    def drawing(self, prompt_tokens: int, settings: Settings) -> Drawing:
        """The settings for a prompt of this many tokens; `UsageError` if it does not fit."""
        new_tokens = self._new_tokens(prompt_tokens, settings.max_new_tokens)
        return settings.drawing(self.defaults, new_tokens)

    def _new_tokens(self, prompt_tokens: int, asked: int | None) -> int:
        """What the caller asks for must fit; the folder's own default is reduced to fit."""
        wanted = asked or self.defaults.max_new_tokens
        if self.context is None:
            return wanted
        room = self.context - prompt_tokens
        if room < 1:
            raise UsageError(
                f"the prompt has {units.counted(prompt_tokens, 'token')}, but the model's context "
                f"is {self.context:,}: at most {self.context - 1:,} can be continued"
            )
        if asked is not None and asked > room:
            raise UsageError(
                f"--max-new-tokens {asked}: the prompt has {units.counted(prompt_tokens, 'token')} "
                f"and the model's context is {self.context:,}, so at most {room:,} fit"
            )
        return min(wanted, room)

    def stream(self, prompt: Sequence[int], drawing: Drawing) -> Iterator[list[Token | None]]:
        """What each step adds to each row; None for a row that has ended, or ends here."""
        texts = [TextStream(self.tokenizer, prompt) for _ in range(drawing.rows)]
        for step in self.engine.draw(prompt, drawing):
            yield [
                None
                if drawn is None or drawn.end
                else Token(drawn.id, text.push(drawn.id), drawn.logprob)
                for drawn, text in zip(step, texts, strict=True)
            ]

    def sample(self, prompt: Sequence[int], drawing: Drawing) -> list[Continuation]:
        """All continuations of a prompt."""
        rows = range(drawing.first_row, drawing.first_row + drawing.rows)
        parts = [rows[begin : begin + MAX_ROWS] for begin in range(0, len(rows), MAX_ROWS)]
        return [
            continuation
            for part in parts
            for continuation in self._together(
                prompt, replace(drawing, first_row=part.start, rows=len(part))
            )
        ]

    def _together(self, prompt: Sequence[int], drawing: Drawing) -> Iterator[Continuation]:
        columns: list[list[Token]] = [[] for _ in range(drawing.rows)]
        ended = [False] * drawing.rows
        for step in self.stream(prompt, drawing):
            for row, token in enumerate(step):
                if token is None:
                    ended[row] = True
                else:
                    columns[row].append(token)
        for tokens, end in zip(columns, ended, strict=True):
            yield Continuation(tuple(tokens), end)


def load(place: str | Path | models.ModelFolder, engine: Engine | None = None) -> TextGenerator:
    """The model of a place (fp32, CPU), ready; a given `engine` runs it instead.

    Raises as `models.open` does, and `DataError` if parts of the folder do not match.
    """
    opened = place if isinstance(place, models.ModelFolder) else models.open(place)
    tokenizer = opened.tokenizer
    engine = engine or TransformersEngine(opened.network, opened.context)
    check_match(opened.name, len(tokenizer), engine.vocab_size)
    defaults = Defaults.of(opened, engine.vocab_size)
    return TextGenerator(opened.folder, tokenizer, defaults, engine)
