"""Two models on one text, document by document, and whether the second one is better.

Costs are in bits per character, which is comparable across tokenizers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from jagpt import devices, files, models, units
from jagpt.evaluation import comparing
from jagpt.evaluation.comparing import MeasuredDocuments, MeasureSettings, ModelMeasured
from jagpt.evaluation.measures import FEWEST_PAIRS, LEVEL, DocumentNats, paired_bounds
from jagpt.evaluation.result import Limits
from jagpt.evaluation.texts import Text
from jagpt.models import ModelFolder
from jagpt.progress import Progress

Verdict = Literal["better", "worse", "no difference", "too few documents"]


@dataclass(frozen=True, kw_only=True)
class DocumentPair:
    """Bits per character that one document cost each model."""

    characters: int
    a: float
    b: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What B costs compared with A. `difference` is B − A in bits per character: below 0, B is
    better.

    `interval` is None if there are too few documents; `cheaper` counts those that cost B less.
    """

    a: ModelMeasured
    b: ModelMeasured
    difference: float
    level: float
    interval: Limits | None
    cheaper: int
    verdict: Verdict
    sentence: str
    documents: tuple[DocumentPair, ...]


def compare(
    a: str, b: str, text: Text, settings: MeasureSettings, progress: Progress
) -> Comparison:
    """Measure both models on `text`, one after the other, and compare them.

    Raises as `models.open` does, and `UsageError` if a window exceeds a context.
    """
    subjects = [models.open(name) for name in (a, b)]  # before either is measured
    (first, nats_a), (second, nats_b) = (
        _measured(subject, text, settings, progress) for subject in subjects
    )
    return _compared(first, second, nats_a, nats_b)


def split_text(corpus: Path, split: str) -> Text | None:
    """The documents of a corpus's split; None if it has none.

    Its `path` is the corpus's folder, its `sha256` one over the split's files.
    """
    from jagpt.corpus.shards import iter_documents, shard_name, split_shards

    if not (corpus / shard_name(split, 0)).is_file():
        return None
    documents = [one.text for one in iter_documents(corpus, split) if one.text]
    if not documents:
        return None
    digest = files.fingerprint_of([files.sha256(path) for path in split_shards(corpus, split)])
    return Text(corpus, digest, documents)


def _measured(
    folder: ModelFolder, text: Text, settings: MeasureSettings, progress: Progress
) -> tuple[ModelMeasured, DocumentNats]:
    from jagpt.evaluation.scoring import Scorer, choose

    device, precision = choose(settings.device, settings.precision)
    subject = replace(folder).read()  # its network is freed before the next one is read
    with devices.explained(device, "--device"):
        scorer = Scorer(subject.network, device, precision)
        found: MeasuredDocuments = comparing.measure_documents(
            subject, scorer, text, settings, progress
        )
    measured = ModelMeasured(
        model=subject.name,
        fingerprint=subject.fingerprint(),
        text=found.figures(text),
        precision=precision,
        device=device.type,
    )
    return measured, found.nats


def _compared(
    a: ModelMeasured, b: ModelMeasured, nats_a: DocumentNats, nats_b: DocumentNats
) -> Comparison:
    characters = nats_a.characters
    bits_a, bits_b = nats_a.paid / math.log(2), nats_b.paid / math.log(2)
    differences = bits_b - bits_a
    interval = paired_bounds(differences, characters)
    difference = float(differences.sum() / characters.sum())
    cheaper = int(np.count_nonzero(differences < 0))
    verdict = _verdict(interval)
    return Comparison(
        a=a,
        b=b,
        difference=difference,
        level=LEVEL,
        interval=interval,
        cheaper=cheaper,
        verdict=verdict,
        sentence=_sentence(a, b, verdict, difference, interval, cheaper, len(characters)),
        documents=tuple(
            DocumentPair(characters=int(n), a=float(x / n), b=float(y / n))
            for n, x, y in zip(characters, bits_a, bits_b, strict=True)
        ),
    )


def _verdict(interval: Limits | None) -> Verdict:
    if interval is None:
        return "too few documents"
    low, high = interval
    return "better" if high < 0 else "worse" if low > 0 else "no difference"


def _sentence(
    a: ModelMeasured,
    b: ModelMeasured,
    verdict: Verdict,
    difference: float,
    interval: Limits | None,
    cheaper: int,
    documents: int,
) -> str:
    if interval is None:
        return (
            f"{units.counted(documents, 'document')}: too few to tell which of the two is better; "
            f"at least {FEWEST_PAIRS} are needed (--layout line makes each line a document)."
        )
    low, high = interval
    span = f"{LEVEL:.0%} interval {low:+.4f} to {high:+.4f}"
    if verdict == "no difference":
        return (
            f"This text shows no difference between {a.model} and {b.model}: {difference:+.4f} "
            f"bits per character ({span})."
        )
    return (
        f"{b.model} is {verdict} than {a.model}: {difference:+.4f} bits per character ({span}); it "
        f"needs fewer bits for {cheaper:,} of {units.counted(documents, 'document')}."
    )
