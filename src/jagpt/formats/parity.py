"""Whether an export computes the same as PyTorch: measured in its own runtime, on real text.

logits        largest difference from PyTorch in fp32; of log-probabilities if a runtime gives
              nothing else
greedy        of at least 20 prompts, how many are continued by exactly the same tokens; a prompt
              that diverges where PyTorch's own two best are closer than `TIE` is a tie
perplexity    of the same windows of text in both
token ids     lines that the format's own tokenizer encodes like the folder's
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jagpt import units
from jagpt.errors import JagptError
from jagpt.formats.bounds import Bounds
from jagpt.formats.material import Material
from jagpt.models.tokenizer import token_ids
from jagpt.runtimes import Runtime

if TYPE_CHECKING:
    from jagpt.runtimes.base import Floats

TIE = 1e-3
COSTLY_ROWS = 16
"""Total rows of logits, if each needs a separate call."""


@dataclass(frozen=True)
class Measured:
    """One runtime compared with PyTorch; perplexities are None if the text is too short.

    The fields are those of `Parity`.
    """

    logit_difference: float
    prompts: int
    greedy_tokens: int
    greedy_equal: int
    greedy_ties: int
    perplexity: float
    perplexity_pytorch: float
    texts: int = 0
    texts_equal: int = 0
    byte_texts: int = 0
    byte_texts_equal: int = 0

    @property
    def perplexity_difference(self) -> float:
        """Relative to PyTorch's."""
        return abs(self.perplexity / self.perplexity_pytorch - 1)


def measure(runtime: Runtime, reference: Runtime, material: Material, tokenizer: Any) -> Measured:
    """Everything that is compared."""
    equal, ties = _greedy(runtime, reference, material)
    tokens = sum(len(window) - 1 for window in material.windows)
    nats, theirs = (
        sum(each.nats(window) for window in material.windows) for each in (runtime, reference)
    )
    return Measured(
        logit_difference=_logit_difference(runtime, reference, material.windows),
        prompts=len(material.prompts),
        greedy_tokens=material.greedy_tokens,
        greedy_equal=equal,
        greedy_ties=ties,
        perplexity=units.perplexity(nats / tokens),
        perplexity_pytorch=units.perplexity(theirs / tokens),
        **_token_ids(runtime, material.texts, tokenizer),
    )


def problems(found: Measured, bounds: Bounds) -> list[str]:
    """What is out of bounds, one sentence each; empty if all is well."""
    wrong = []
    if bounds.logits is not None and not found.logit_difference <= bounds.logits:
        wrong.append(
            f"a logit differs by {found.logit_difference:.2g} (at most {bounds.logits:g} allowed)"
        )
    if bounds.perplexity is not None and not found.perplexity_difference <= bounds.perplexity:
        wrong.append(
            f"perplexity is {found.perplexity:.4f}, PyTorch's {found.perplexity_pytorch:.4f} "
            f"(a difference of at most {bounds.perplexity:.2%} is allowed)"
        )
    different = found.prompts - found.greedy_equal - found.greedy_ties
    if bounds.greedy and different:
        wrong.append(f"{different} of {found.prompts} prompts are continued differently")
    if found.texts_equal < found.texts:
        wrong.append(
            f"{found.texts - found.texts_equal} of {found.texts} lines get different token ids"
        )
    return wrong


def require(name: str, found: Measured, bounds: Bounds) -> None:
    """`JagptError` if the export is out of bounds."""
    if wrong := problems(found, bounds):
        raise JagptError(
            f"{name}: not the same model as its source: {'; '.join(wrong)}; nothing was kept"
        )


# --- the measures ---------------------------------------------------------------------------------


def _logit_difference(
    runtime: Runtime, reference: Runtime, windows: Sequence[Sequence[int]]
) -> float:
    """The largest over all rows; a runtime that needs a call per row is asked for only a few."""
    import numpy as np

    worst = 0.0
    for window in windows:
        rows = list(range(len(window)))
        if runtime.costly:
            rows = rows[:: max(1, len(rows) * len(windows) // COSTLY_ROWS)]
        ours, theirs = runtime.logits(window, rows), reference.logits(window, rows)
        if runtime.normalized:
            ours, theirs = _normalized(ours), _normalized(theirs)
        worst = max(worst, float(np.abs(ours - theirs).max()))
        if math.isnan(worst):
            return math.inf
    return worst


def _normalized(logits: Floats) -> Any:
    """Log-probabilities in double precision."""
    import numpy as np

    scores = logits.astype(np.float64)
    scores -= scores.max(-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


def _greedy(runtime: Runtime, reference: Runtime, material: Material) -> tuple[int, int]:
    """Prompts that are continued by the same tokens, and those that diverge at a tie."""
    equal = ties = 0
    for prompt in material.prompts:
        wanted = reference.greedy(prompt, material.greedy_tokens)
        found = runtime.greedy(prompt, material.greedy_tokens)
        if found == wanted:
            equal += 1
        elif _parts_at_tie(reference, prompt, wanted, found):
            ties += 1
    return equal, ties


def _parts_at_tie(
    reference: Runtime, prompt: Sequence[int], wanted: Sequence[int], found: Sequence[int]
) -> bool:
    """Whether PyTorch itself hardly prefers its token where the two diverge."""
    pairs = zip(wanted, found, strict=True)
    place = next(number for number, (ours, theirs) in enumerate(pairs) if ours != theirs)
    before = [*prompt, *wanted[:place]]
    (logits,) = reference.logits(before, [len(before) - 1])
    return bool(logits[wanted[place]] - logits[found[place]] < TIE)


def _token_ids(runtime: Runtime, texts: Sequence[str], tokenizer: Any) -> dict[str, int]:
    """Lines whose ids are equal; those that need byte pieces or have unknowns are counted
    separately.
    """
    counts = dict.fromkeys(("texts", "texts_equal", "byte_texts", "byte_texts_equal"), 0)
    byte_ids = {number for piece, number in tokenizer.get_vocab().items() if _is_byte(piece)} | {
        tokenizer.unk_token_id
    }
    for text in texts:
        found = runtime.encode(text)
        if found is None:
            break
        (wanted,) = token_ids(tokenizer, [text])
        kind = "byte_texts" if byte_ids.intersection(wanted) else "texts"
        counts[kind] += 1
        counts[f"{kind}_equal"] += found == wanted
    return counts


def _is_byte(piece: str) -> bool:
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")
