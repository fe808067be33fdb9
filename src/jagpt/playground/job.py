"""The continuations of one request by one model or by two, made by turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from jagpt.errors import UsageError
from jagpt.generation import Settings, TextGenerator, Token, check_prompts
from jagpt.playground.limits import Limits

State = Literal["running", "done", "stopped", "out of time"]


class PromptTooLongError(UsageError):
    """A prompt that leaves a model no room for even one token."""

    def __init__(self, model: str, tokens: int, context: int) -> None:
        self.model, self.tokens, self.most = model, tokens, context - 1
        super().__init__(
            f"the prompt has {tokens:,} tokens, but {model} can continue at most {self.most:,}"
        )


@dataclass
class Row:
    """One continuation so far."""

    tokens: list[Token] = field(default_factory=list)
    ended: bool = False


@dataclass
class Column:
    """What one model has made so far."""

    model: str
    rows: list[Row]


class Job:
    """Continues a prompt a little with each call of `advance`; `columns` holds the result so
    far.
    """

    def __init__(
        self,
        models: dict[str, TextGenerator],
        prompt: str,
        settings: Settings,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Check everything; `PromptTooLongError` or `UsageError` for what cannot be continued."""
        if len(prompt) > limits.prompt_characters:
            raise UsageError(f"the prompt has more than {limits.prompt_characters:,} characters")
        (self.prompt,) = check_prompts([prompt])
        self.state: State = "running"
        self.columns = [
            Column(name, [Row() for _ in range(settings.num_return_sequences)]) for name in models
        ]
        self._limits, self._clock = limits, clock
        self._spent = 0.0
        self.seed = settings.seed
        self._streams = [_stream(*model, prompt, settings) for model in models.items()]

    def advance(self, seconds: float) -> bool:
        """Work for about this many seconds, at least one token per model; False once everything is
        done.
        """
        begun = self._clock()
        while self.state == "running":
            self._turn()
            now = self._clock() - begun
            if self.state == "running" and self._spent + now >= self._limits.max_seconds:
                self._finish("out of time")
            if now >= seconds:
                break
        self._spent += self._clock() - begun
        return self.state == "running"

    def stop(self) -> None:
        """End here; what is done so far stays."""
        if self.state == "running":
            self._finish("stopped")

    def _turn(self) -> None:
        """One token for each row of each model."""
        alive = False
        for column, stream in zip(self.columns, self._streams, strict=True):
            step = next(stream, None)
            if step is not None:
                alive = True
                _extend(column.rows, step)
        if not alive:
            self._finish("done")

    def _finish(self, state: State) -> None:
        self.state = state
        self._streams = [iter(()) for _ in self.columns]


def _stream(name: str, loaded: TextGenerator, prompt: str, settings: Settings) -> Iterator[_Step]:
    """The model's steps; what does not fit its context is cut, since the page's slider cannot know
    it.
    """
    ids = loaded.encode(prompt)
    if loaded.context is not None:
        room = loaded.context - len(ids)
        if room < 1:
            raise PromptTooLongError(name, len(ids), loaded.context)
        wanted = min(settings.max_new_tokens or room, room)
        settings = replace(settings, max_new_tokens=wanted)
    return loaded.stream(ids, loaded.drawing(len(ids), settings))


_Step = Sequence[Token | None]


def _extend(rows: Sequence[Row], step: _Step) -> None:
    for row, token in zip(rows, step, strict=True):
        if token is None:
            row.ended = True
        else:
            row.tokens.append(token)
