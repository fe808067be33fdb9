"""All benchmarks at sizes that take a few minutes together; `make bench` runs this.

    python benchmarks/run_all.py

The sizes of `docs/benchmarks.md` are larger: its commands stand there.
"""

from __future__ import annotations

import sys

import dataset
import evaluation
import extraction
import generation
import kill
import tokens
import training
from common import CommandError

QUICK_EXTRACTION = ("--size-mb", "40", "--rounds", "1", "--memory-mb", "20")
QUICK_EVALUATION = ("--blocks", "4", "--rounds", "2")
QUICK_TRAINING = ("--rounds", "3")
QUICK_TOKENS = ("--size-mb", "20", "--rounds", "1")
QUICK_DATASET = ("--tokens", "300_000_000", "--seconds", "2")
QUICK_GENERATION = ("--quick", "--rounds", "3")
QUICK_KILL = ("--kills", "5", "--steps", "100")


def main() -> None:
    """Print every benchmark's tables, the longest last."""
    print("## Training\n")
    training.main(QUICK_TRAINING)
    print("\n## Encoding\n", flush=True)
    tokens.main(QUICK_TOKENS)
    print("\n## The training data\n", flush=True)
    dataset.main(QUICK_DATASET)
    print("\n## Generation\n", flush=True)
    generation.main(QUICK_GENERATION)
    print("\n## kill -9\n", flush=True)
    kill.main(QUICK_KILL)
    print("\n## Evaluation\n", flush=True)
    evaluation.main(QUICK_EVALUATION)
    print("\n## Extraction\n", flush=True)
    extraction.main((*QUICK_EXTRACTION, *sys.argv[1:]))


if __name__ == "__main__":
    try:
        main()
    except (CommandError, RuntimeError) as error:
        sys.exit(f"benchmarks/run_all.py: {error}")
