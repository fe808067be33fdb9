"""Small runs to test what follows training: a tiny GPT-2 with a character tokenizer.

The shards and checkpoints are made by jagpt's own writers, so that the formats are the real ones.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from jagpt import files
from jagpt.corpus.documents import SPLITS, Document
from jagpt.corpus.shards import SplitWriter
from jagpt.files import Manifest
from jagpt.models import build
from jagpt.recipe import Recipe, parse
from jagpt.rundir import STAGE_DIRECTORIES, RunDirectory
from jagpt.tokens.shards import Index, ShardWriter, dtype_for
from jagpt.training import checkpoints
from jagpt.training.state import State, Validation

CHARACTERS = "あいうえおかきくけこさしすせそたちつてと、。統計的推定を使うことで日本語京都東"
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
VOCAB_SIZE = len(SPECIAL) + len(dict.fromkeys(CHARACTERS))
END = 3
TEXTS = ("統計的推定を使うことで、日本語を使う。", "京都と東京。\nあいうえお、かきくけこ。")

RECIPE = """
name = "tiny"
description = "A tiny run."

[[corpus.source]]
name = "jawiki"
path = "jawiki-20210820-pages-articles.xml.bz2"
licence = "cc-by-sa-3.0"

[model]
n_layer = 2
n_head = 2
n_embd = 16
n_positions = 48

[train]
block_size = 16
max_steps = 20

[release]
title = "Tiny GPT-2"
licence = "cc-by-sa-3.0"
"""

STATS: dict[str, Any] = {
    "sources": [
        {
            "name": "jawiki", "kind": "dump", "licence": "cc-by-sa-3.0", "wiki": "jawiki",
            "date": "20210820", "pages": 9, "redirects": 3, "other_namespaces": 2, "documents": 4,
            "files": [{"size": 1234, "sha256": "ab" * 32}],
        }
    ],
    "splits": {
        "train": {"documents": 2, "characters": 40, "bytes": 120},
        "valid": {"documents": 1, "characters": 20, "bytes": 60},
        "test": {"documents": 1, "characters": 20, "bytes": 60},
    },
    "dropped": {"too short": 4, "duplicate": 1},
    "unknown_templates": [{"name": "謎の<b>テンプレート</b>", "characters": 77}],
    "lengths": {"edges": [0, 100, 1000], "documents": [1, 2, 1]},
}  # fmt: skip


def recipe(text: str = RECIPE, *overrides: str) -> Recipe:
    """The tiny run's recipe."""
    return parse(text, overrides=overrides)


def run_directory(root: Path) -> RunDirectory:
    """A run whose corpus, tokenizer, tokens and training are done; nothing after them."""
    run = RunDirectory(root)
    files.write_text(run.recipe, recipe().to_toml())
    files.write_json(run.own("corpus") / "stats.json", STATS)
    write_corpus(run.own("corpus"))
    write_tokenizer(run.own("tokenizer"))
    write_tokens(run.own("tokens"))
    write_checkpoints(run.own("train"))
    write_logs(run.logs)
    for stage in ("corpus", "tokenizer", "tokens", "train"):
        finish(run, stage)
    return run


def finish(run: RunDirectory, stage: str) -> None:
    """Write a stage's manifest, as the pipeline does when it is done."""
    directory = run.root / STAGE_DIRECTORIES[stage]
    Manifest(stage, 1, "f" * 64, {}, {}, files.entries(directory)).write(directory)


def write_corpus(directory: Path, texts: tuple[str, ...] = TEXTS) -> None:
    """Three splits with the same documents."""
    for split in SPLITS:
        with SplitWriter(directory, split) as writer:
            for number, text in enumerate(texts):
                writer.add(Document(str(number), "jawiki", "", None, None, text))


def write_tokenizer(directory: Path, characters: str = CHARACTERS) -> None:
    """A tokenizer folder with one piece a character, and a stage's `stats.json` beside."""
    pieces = [*SPECIAL, *dict.fromkeys(characters)]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
        "pre_tokenizer": None, "post_processor": None, "decoder": {"type": "Fuse"},
        "added_tokens": [
            {"id": number, "content": piece, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True}
            for number, piece in enumerate(SPECIAL)
        ],
        "model": {"type": "Unigram", "unk_id": 1, "byte_fallback": False,
                  "vocab": [[piece, -float(number > 3)] for number, piece in enumerate(pieces)]},
    }  # fmt: skip
    names = dict(zip(("pad_token", "unk_token", "bos_token", "eos_token"), SPECIAL, strict=True))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    config |= {"split_special_tokens": True, "clean_up_tokenization_spaces": False}
    config["model_input_names"] = ["input_ids", "attention_mask"]
    files.write_json(directory / "tokenizer.json", tokenizer)
    files.write_json(directory / "tokenizer_config.json", config)
    files.write_json(
        directory / "stats.json",
        {"vocab_size": len(pieces), "type": "unigram", "longest_pieces": ["とうきょう"]},
    )


def encode(text: str) -> list[int]:
    """The ids that `write_tokenizer`'s tokenizer gives, and the end token."""
    pieces = [*SPECIAL, *dict.fromkeys(CHARACTERS)]
    return [pieces.index(c) if c in pieces else 1 for c in text] + [END]


def write_tokens(directory: Path, texts: tuple[str, ...] = TEXTS) -> None:
    """Three splits with the same documents."""
    splits = {}
    for split in ("train", "valid", "test"):
        name = f"{split}-00000"
        dtype = dtype_for(VOCAB_SIZE)
        files.make_directory(directory)
        with (directory / f"{name}.bin").open("wb") as binary:
            writer = ShardWriter(binary, dtype)
            for number, text in enumerate(texts):
                writer.add(str(number), text, encode(text))
            writer.finish(directory / f"{name}.idx")
        from jagpt.tokens.shards import Shard

        splits[split] = [Shard(directory, name, dtype).size()]
    Index(dtype_for(VOCAB_SIZE), VOCAB_SIZE, END, "t" * 64, splits).write(directory)


def write_checkpoints(directory: Path, vocab_size: int = VOCAB_SIZE) -> None:
    """Steps 10 (the best) and 20 (the last), with different weights."""
    validations = (Validation(10, 5120, 3.25), Validation(20, 10240, 3.5))
    for step, seed in ((10, 1), (20, 2)):
        state = State(step, step * 32, step * 512, validations[: step // 10], validations[0])
        checkpoints.save(
            directory, state, lambda folder, seed=seed: _write(folder, seed, vocab_size)
        )
    files.write_json(
        directory / "index.json",
        {
            "best": "step-00000010", "best_loss": 3.25, "last": "step-00000020",
            "checkpoints": [{"name": f"step-000000{s}", "step": s, "loss": None} for s in (10, 20)],
        },
    )  # fmt: skip


def _write(folder: Path, seed: int, vocab_size: int) -> None:
    special = build.SpecialIds(bos=2, eos=END, pad=0)
    network = build.network(recipe().model, vocab_size, special, seed)
    tensors = {name: weight.detach() for name, weight in network.named_parameters()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    save_file({"step": torch.zeros(1)}, folder / "optimizer.safetensors")
    text = json.dumps(
        {**network.config.to_dict(), "architectures": ["GPT2LMHeadModel"]}, default=str
    )
    (folder / "config.json").write_text(text)


def model_folder(folder: Path, step: str = "step-00000010") -> Path:
    """A model as others hand it over: `config.json`, weights and tokenizer in one folder."""
    write_tokenizer(folder)
    (folder / "stats.json").unlink()
    made = folder.parent / f"{folder.name}-checkpoints"
    write_checkpoints(made)
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(made / step / name, folder / name)
    return folder


def write_logs(directory: Path) -> None:
    """Metrics of 20 steps, and the pipeline's timing."""
    train = [
        {"kind": "train", "step": step, "tokens": step * 512, "loss": 4 - step / 20,
         "learning_rate": step * 1e-5, "gradient_norm": 1.5, "tokens_per_second": 1000.0,
         "seconds": step * 0.5}
        for step in range(1, 21)
    ]  # fmt: skip
    valid = [
        {"kind": "valid", "step": step, "tokens": step * 512, "loss": loss, "perplexity": 26.0}
        for step, loss in ((10, 3.25), (20, 3.5))
    ]
    rows: list[dict[str, Any]] = [*train, *valid]
    files.write_text(directory / "metrics.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
    stages = {"corpus": (1.5, "2026-01-01T00:00:00+00:00"), "train": (63.0, None)}
    timing = {
        "stages": {
            name: {"seconds": seconds, "started": None, "finished": finished}
            for name, (seconds, finished) in stages.items()
        },
        "machine": {"platform": "Linux", "cores": 2, "versions": {"torch": "2.13.0"}},
    }
    files.write_json(directory / "timing.json", timing)
