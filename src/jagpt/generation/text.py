"""From token ids to text, piece by piece, as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

REPLACEMENT = "\ufffd"
LOOKBACK = 6
"""Tokens of the prompt to decode along: a piece's spaces depend on what comes before it."""
LONGEST_CHARACTER = 4
"""Tokens, where each is one byte of UTF-8."""


class TextStream:
    """Gives the text that each token adds.

    A character made of several tokens comes with the last of them; one that is cut off at the end
    never comes. Only the last few tokens are decoded again, so that a long text costs no more.
    """

    def __init__(self, tokenizer: Any, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = self._last(prompt)
        self._begin, self._done = 0, len(self._ids)

    def push(self, token: int) -> str:
        """What the token adds to the text; empty for a special token or a part of a character."""
        self._ids.append(token)
        before = self._decode(self._ids[self._begin : self._done])
        whole = self._decode(self._ids[self._begin :])
        if len(whole) <= len(before) or whole.endswith(REPLACEMENT):
            return ""
        self._begin, self._done = self._done, len(self._ids)
        return whole[len(before) :]

    def _last(self, prompt: Sequence[int]) -> list[int]:
        """The end of the prompt, which does not begin within a character: with byte fallback,
        that would spoil all bytes up to the next piece, also those of the continuation.
        """
        ids: list[int] = []
        for length in range(LOOKBACK, LOOKBACK + LONGEST_CHARACTER):
            ids = list(prompt[-length:])
            if not self._decode(ids).startswith(REPLACEMENT):
                break
        return ids

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text
