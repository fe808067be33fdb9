"""`release/samples.json`: what the exported model makes of the recipe's prompts, drawn once."""

from __future__ import annotations

from dataclasses import dataclass

from jagpt.records import Count, Record, remake


@dataclass(frozen=True)
class Sample:
    """A prompt and its continuations (without the prompt)."""

    prompt: str
    continuations: tuple[str, ...]


@dataclass(frozen=True)
class Samples(Record):
    """Samples that were drawn with a fixed seed."""

    FILE = "samples.json"
    KIND = "record of samples"
    REMEDY = remake("release")

    seed: Count
    samples: tuple[Sample, ...]
