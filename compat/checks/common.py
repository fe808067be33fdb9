"""What every check does in its own environment: compare with what PyTorch said, and print JSON.

Nothing of jagpt is imported here: a check sees what any user of that library sees. `material.npz`
holds, for a model in fp32 under PyTorch: windows (W, T), their logits (W, T, V), prompts (P, N),
their greedy continuations (P, G), and by how much each token of those was preferred (P, G).
`texts.json` holds lines and their ids by SentencePiece.
"""

from __future__ import annotations

import json
import math
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np

TIE = 1e-3


def places() -> tuple[Path, Path]:
    """The folder to check, and that with the material."""
    return Path(sys.argv[1]), Path(sys.argv[2])


def model(
    format: str,  # noqa: A002
    logits: Callable[[Any], Any],
    greedy: Callable[[Any, int], Sequence[int]],
) -> None:
    """Print what a model's `logits` ((1, T) → (1, T, V)) and `greedy` ((1, N), G → G ids) give."""
    material = np.load(places()[1] / "material.npz")
    worst, nats, tokens = 0.0, 0.0, 0
    for window, wanted in zip(material["windows"], material["logits"], strict=True):
        found = np.asarray(logits(window[None]), dtype=np.float32)[0]
        worst = max(worst, float(np.abs(found - wanted).max()))
        nats += summed_nats(found, window)
        tokens += len(window) - 1
    equal, ties = _greedy(material, greedy)
    _print(
        format=format,
        logit_difference=worst,
        prompts=len(material["prompts"]),
        greedy_equal=equal,
        greedy_ties=ties,
        perplexity=math.exp(nats / tokens),
    )


def _greedy(material: Any, greedy: Callable[[Any, int], Sequence[int]]) -> tuple[int, int]:
    equal = ties = 0
    rows = zip(material["prompts"], material["greedy"], material["preferred"], strict=True)
    for prompt, wanted, preferred in rows:
        found = np.asarray(greedy(prompt[None], len(wanted)))
        if np.array_equal(found, wanted):
            equal += 1
        elif preferred[int(np.argmax(found != wanted))] < TIE:
            ties += 1
    return equal, ties


def summed_nats(logits: Any, ids: Any) -> float:
    """−log p of each token after those before it; `logits` (T, V)."""
    scores = logits[:-1].astype(np.float64)
    highest = scores.max(-1)
    norms = highest + np.log(np.exp(scores - highest[:, None]).sum(-1))
    return float((norms - scores[np.arange(len(ids) - 1), ids[1:]]).sum())


def tokenizer(format: str, encode: Callable[[str], list[int]]) -> None:  # noqa: A002
    """Print for how many lines `encode` gives SentencePiece's own ids, and the first other one."""
    rows = json.loads((places()[1] / "texts.json").read_text("utf-8"))
    wrong = [row["text"] for row in rows if encode(row["text"]) != row["ids"]]
    _print(format=format, texts=len(rows), texts_equal=len(rows) - len(wrong), first=wrong[:1])


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def passed(format: str) -> None:  # noqa: A002
    """Print that what needs no figures holds."""
    _print(format=format, runs=True)


def _print(**values: Any) -> None:
    print("RESULT " + json.dumps(values, ensure_ascii=True), flush=True)
