"""What one request may cost, so that a page for many people stays up."""

from __future__ import annotations

from dataclasses import dataclass

from jagpt.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """Limits of a request: new tokens, samples, seconds of work; `queue` is how many may wait.

    Raises `UsageError`, naming the flag and what is allowed.
    """

    max_new_tokens: int = 512
    max_samples: int = 4
    max_seconds: float = 60.0
    queue: int = 16
    prompt_characters: int = 10_000

    def __post_init__(self) -> None:
        bounds = (
            ("--max-new-tokens", self.max_new_tokens, 1, 100_000),
            ("--max-samples", self.max_samples, 1, 16),
            ("--max-seconds", self.max_seconds, 1, 3600),
            ("--queue", self.queue, 0, 1000),
        )
        for flag, value, low, high in bounds:
            if not low <= value <= high:
                raise UsageError(f"{flag} {value:g}: allowed is {low:,} to {high:,}")
