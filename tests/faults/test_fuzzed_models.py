"""A stranger's model folder with one file altered (`JAGPT_MUTATIONS` each), loaded and used."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakes
import pytest

from jagpt import generation

from .test_strangers import MUTATIONS, damaged_bytes, header_of, mutated, with_header
from .watched import Tell, watch

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is told by Linux's /proc"
)

COUNT = MUTATIONS if "JAGPT_MUTATIONS" in os.environ else 25
GENERATION: dict[str, Any] = {
    "do_sample": True, "temperature": 0.9, "top_k": 50, "top_p": 0.95, "repetition_penalty": 1.1,
    "max_new_tokens": 20, "eos_token_id": [3], "bos_token_id": 2, "pad_token_id": 0,
    "suppress_tokens": [1], "num_beams": 1, "transformers_version": "5.3.0",
}  # fmt: skip
FILES = (
    "config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json",
    "model.safetensors", "model.safetensors.index.json",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole folder, which also says how to generate."""
    made = fakes.model_folder(tmp_path / "inside" / "model")
    (made / "generation_config.json").write_text(json.dumps(GENERATION))
    return made


def through_an_index(folder: Path) -> dict[str, Any]:
    """An index in place of the one file of tensors, which gets another name."""
    header, _ = header_of((folder / "model.safetensors").read_bytes())
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    places = dict.fromkeys(header.keys() - {"__metadata__"}, "weights.safetensors")
    return {"metadata": {"total_size": 1}, "weight_map": places}


def json_maker(value: Any) -> Callable[[random.Random], bytes]:
    raw = json.dumps(value, indent=2).encode()

    def make(rng: random.Random) -> bytes:
        changed = json.dumps(mutated(value, rng)).encode()
        return changed if rng.random() < 0.6 else damaged_bytes(raw, rng)

    return make


def tensors_maker(raw: bytes) -> Callable[[random.Random], bytes]:
    """Types, shapes, offsets, lengths and names that lie; bytes of the header and of the data."""
    header, data = header_of(raw)

    def make(rng: random.Random) -> bytes:
        kind = rng.choice(("length", "bytes", "header", "header", "whole"))
        if kind == "length":
            lengths = (0, 1, 2**32, 2**63, 2**64 - 1, len(raw), rng.randrange(len(raw)))
            return rng.choice(lengths).to_bytes(8, "little") + raw[8:]
        if kind == "bytes":
            return damaged_bytes(raw[: len(raw) - len(data)], rng) + data
        if kind == "header":
            return with_header(mutated(header, rng), data)
        return damaged_bytes(raw, rng)

    return make


@pytest.mark.parametrize("name", FILES)
def test_a_model_folder_with_an_altered_file_is_used_or_refused(
    name: str, folder: Path, tmp_path: Path, tally: Tell
) -> None:
    path, outside = folder / name, tmp_path / "outside"
    if name.endswith("index.json"):
        make = json_maker(through_an_index(folder))
    elif name.endswith(".json"):
        make = json_maker(json.loads(path.read_text("utf-8")))
    else:
        make = tensors_maker(path.read_bytes())
    outside.mkdir()
    (outside / "file").write_text("whole")
    settings = generation.Settings(max_new_tokens=1)

    def inputs() -> Iterator[bytes]:
        for number in range(COUNT):
            yield make(random.Random(f"{name} {number}"))

    def use(content: bytes) -> None:
        path.write_bytes(content)
        generation.generate(folder, ["京都"], settings)

    found = watch(use, inputs(), outside)
    assert 0 < found.refused <= found.tried == COUNT
    tally(name, found)
