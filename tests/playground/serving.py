"""The playground of a tiny model with a slow engine: `serving.py MODEL SECONDS GONE [NAME…]`.

Run as a program by the tests, so that a signal can end it and its memory can be seen.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jagpt import cli, generation
from jagpt.generation import Drawing, Drawn, Engine
from jagpt.playground import desk, server


@dataclass
class Slow:
    """An engine that waits before each token."""

    inner: Engine
    seconds: float

    name = "slow"

    @property
    def context(self) -> int | None:
        return self.inner.context

    @property
    def vocab_size(self) -> int:
        return self.inner.vocab_size

    def draw(self, prompt: Sequence[int], drawing: Drawing) -> Iterator[list[Drawn | None]]:
        for step in self.inner.draw(prompt, drawing):
            time.sleep(self.seconds)
            yield step


def main(model: str, seconds: str, gone: str, *names: str) -> None:
    """The verb itself, with the slow engine in place of the model's own."""
    desk.GONE = float(gone)
    loaded = generation.load(Path(model))
    slow = replace(loaded, engine=Slow(loaded.engine, float(seconds)))
    server.load_models = lambda _places: dict.fromkeys(names or ("tiny",), slow)
    bounds = ("--max-new-tokens", "40", "--queue", "4")
    cli.main(["playground", model, "--port", "0", *bounds])


if __name__ == "__main__":
    main(*sys.argv[1:])
