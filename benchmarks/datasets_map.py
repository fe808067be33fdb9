"""A side of `tokens.py`, run in an environment of its own: `datasets.map` with a fast tokenizer.

    python datasets_map.py CORPUS TOKENIZER BYTES PROCESSES

The texts of a corpus are repeated to so many bytes and held in memory. Only ids are asked for.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
os.environ["TRANSFORMERS_VERBOSITY"] = "error"  # it says that PyTorch is not there

import datasets
import pyarrow.parquet as pq
from transformers import AutoTokenizer
from turns import serve


def main(corpus: Path, tokenizer: Path, n_bytes: int, processes: int) -> None:
    """Serve turns; a call on as many documents as processes counts as start-up."""
    datasets.disable_progress_bars()
    texts = _repeated(corpus, n_bytes)
    encode = _Encode(AutoTokenizer.from_pretrained(tokenizer))
    everything, little = (
        datasets.Dataset.from_dict({"text": some}) for some in (texts, texts[:processes])
    )

    def run(some: Any) -> Any:
        columns = ["text"]
        return some.map(encode, batched=True, num_proc=processes, remove_columns=columns)

    serve(lambda: run(everything), _count, start_up=lambda: run(little))


class _Encode:
    """What `map` calls with a batch."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, batch: Any) -> dict[str, Any]:
        return {"input_ids": self.tokenizer(batch["text"], return_attention_mask=False).input_ids}


def _count(mapped: Any) -> int:
    return sum(len(chunk.flatten()) for chunk in mapped.data.column("input_ids").chunks)


def _repeated(corpus: Path, n_bytes: int) -> list[str]:
    shards = sorted(corpus.glob("*.parquet"))
    texts = [
        text for path in shards for text in pq.read_table(path, columns=["text"])[0].to_pylist()
    ]
    size = sum(len(text.encode()) for text in texts)
    return texts * -(-n_bytes // size)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
