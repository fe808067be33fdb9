"""The stages, in order; each is defined in the `stage.py` of its package."""

from __future__ import annotations

from jagpt.corpus.stage import CORPUS
from jagpt.evaluation.stage import EVALUATE
from jagpt.export.stage import EXPORT
from jagpt.formats.stage import FORMATS
from jagpt.release.stage import RELEASE
from jagpt.stage import Stage
from jagpt.tokenizer.stage import TOKENIZER
from jagpt.tokens.stage import TOKENS
from jagpt.training.stage import TRAIN

__all__ = [
    "CORPUS", "EVALUATE", "EXPORT", "FORMATS", "RELEASE", "STAGES", "STAGE_NAMES", "TOKENIZER",
    "TOKENS", "TRAIN",
]  # fmt: skip

STAGES: tuple[Stage, ...] = (
    CORPUS, TOKENIZER, TOKENS, TRAIN, EVALUATE, EXPORT, FORMATS, RELEASE,
)  # fmt: skip
STAGE_NAMES = tuple(stage.name for stage in STAGES)
