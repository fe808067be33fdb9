"""What a model sees of a stream of tokens at a time, and which of the labels count.

Shapes: N tokens of the stream, T tokens of context, B windows of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from jagpt.errors import UsageError

Kind = Literal["blocks", "sliding"]


@dataclass(frozen=True)
class Windows:
    """`blocks`: consecutive, without overlap, as the original's `test.py`. `sliding`: each window
    begins `stride` tokens after the last, and only labels that no earlier window had count: each
    token except the first T sees at least T − stride tokens before it.

    Raises `UsageError` if the two numbers do not fit together.
    """

    block_size: int
    stride: int

    def __post_init__(self) -> None:
        if self.block_size < 1:
            raise UsageError(f"a window of {self.block_size} tokens: expected 1 or more")
        if not 1 <= self.stride <= self.block_size:
            raise UsageError(
                f"a stride of {self.stride:,} tokens: 1 to {self.block_size:,} (the window) is "
                "allowed; tokens between two windows would never be measured"
            )

    @classmethod
    def of(cls, kind: Kind, block_size: int, stride: int | None = None) -> Windows:
        """Windows by name; a sliding one advances by half its size if `stride` is not given."""
        if kind == "blocks":
            if stride is not None:
                raise UsageError("a stride is for sliding windows: blocks do not overlap")
            return cls(block_size, block_size)
        return cls(block_size, stride or max(1, block_size // 2))

    @property
    def kind(self) -> Kind:
        return "blocks" if self.stride == self.block_size else "sliding"

    def over(self, n_tokens: int) -> Iterator[Window]:
        """The windows over a stream: each token except the first counts as a label exactly once."""
        end = start = 0  # `end`: the last token that was a label
        while end < n_tokens - 1:
            stop = min(start + self.block_size, n_tokens - 1)
            yield Window(start, stop + 1, end - start)
            end, start = stop, start + self.stride


@dataclass(frozen=True)
class Window:
    """Tokens `start` … `stop` (exclusive): all but the last are inputs, all but the first are
    labels.

    Labels from number `skipped` on count; those before it counted in an earlier window.
    """

    start: int
    stop: int
    skipped: int

    @property
    def labels(self) -> int:
        """Labels that count."""
        return self.stop - self.start - 1 - self.skipped

    @property
    def first_label(self) -> int:
        """Position of the first label that counts."""
        return self.start + 1 + self.skipped


def batches(windows: Iterable[Window], size: int) -> Iterator[list[Window]]:
    """Windows of one shape, at most `size` together, in order."""
    batch: list[Window] = []
    for window in windows:
        if batch and (len(batch) == size or _shape(window) != _shape(batch[0])):
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def _shape(window: Window) -> tuple[int, int]:
    return window.stop - window.start, window.skipped
