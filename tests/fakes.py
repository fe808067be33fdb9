"""Small runs to test what follows training: a tiny GPT-2 with a character tokenizer.

The shards and checkpoints are made by jagpt's own writers, so that the formats are the real ones.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from jagpt import files, manifests
from jagpt.corpus.documents import SPLITS, Document
from jagpt.corpus.shards import SplitWriter
from jagpt.corpus.stats import (
    CorpusStats,
    InputFile,
    LengthCounts,
    SourceStats,
    SplitCounts,
    UnknownTemplate,
)
from jagpt.evaluation.result import Evaluation, Interval, Memorization
from jagpt.formats.bounds import Parity
from jagpt.machines import Host
from jagpt.manifests import Manifest
from jagpt.models import build
from jagpt.models.checkpoint_folder import CheckpointIndex, KeptCheckpoint
from jagpt.recipe import Recipe, parse
from jagpt.release.exports import ReleasedFormat
from jagpt.rundir import STAGE_DIRECTORIES, RunDirectory
from jagpt.timing import StageTime, Timing
from jagpt.tokenizer.stats import TokenizerStats
from jagpt.tokens.index import TokenIndex, dtype_for
from jagpt.tokens.shards import ShardWriter
from jagpt.training import checkpoints
from jagpt.training.environment import Environment
from jagpt.training.metrics import Metrics
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

CORPUS = CorpusStats(
    sources=(
        SourceStats(
            name="jawiki", kind="dump", licence="cc-by-sa-3.0", wiki="jawiki", date="20210820",
            files=(InputFile(1234, "ab" * 32),), pages=9, redirects=3, other_namespaces=2,
            articles=9, documents=4,
        ),
    ),
    splits={
        "train": SplitCounts(2, 40, 120), "valid": SplitCounts(1, 20, 60),
        "test": SplitCounts(1, 20, 60),
    },
    dropped={"too short": 4, "duplicate": 1},
    exclude_unmatched={},
    unknown_templates=(UnknownTemplate("謎の<b>テンプレート</b>", 3, 77),),
    lengths=LengthCounts((0, 100, 1000), (1, 2, 1)),
)  # fmt: skip

EVALUATION = Evaluation(
    split="test", checkpoint="step-00000010", step=10, documents=2, tokens=39, characters=38,
    bytes=112, nats=144.0, loss=3.5, perplexity=33.12345, bits_per_character=5.5, bits_per_byte=1.9,
    interval=Interval(
        level=0.95, resamples=1000, loss=(3.4, 3.6), perplexity=(29.96, 36.6),
        bits_per_character=(5.4, 5.6), bits_per_byte=(1.8, 2.0),
    ),
    windows="blocks", block_size=16, stride=16, precision="fp32",
    memorization=Memorization(span_characters=50, samples=4, spans=800, found=2, share=0.0025),
)  # fmt: skip

TOKENIZER = TokenizerStats(
    vocab_size=VOCAB_SIZE, split="valid", documents=1, characters=20, bytes=60, tokens=20,
    characters_per_token=1.0, bytes_per_token=3.0, unknown_share=0.0, byte_share=0.05,
    vocabulary_use=0.5, longest_pieces=("とうきょう",),
)  # fmt: skip

TIMING = Timing(
    machine=Host("Linux", "A processor", 2, {"torch": "2.13.0"}),
    stages={
        "corpus": StageTime(None, "2026-01-01T00:00:00+00:00", 1.5),
        "train": StageTime(None, None, 63.0),
    },
    times={},
    inputs={},
)


PARITY = Parity(
    format="onnx", weights="model.onnx", source="0" * 64, precision="fp32", compared="logits",
    logit_difference=2.5e-6, prompts=20, greedy_tokens=40, greedy_equal=19, greedy_ties=1,
    perplexity=12.34567, perplexity_pytorch=12.34566, texts=9, texts_equal=9, byte_texts=0,
)  # fmt: skip

ENVIRONMENT = Environment(
    world_size=1, device="Some GPU", processor="A processor", cores=8, threads=2, python="3.11",
    torch="2.13.0", transformers="5.0",
)  # fmt: skip


def recipe(text: str = RECIPE, *overrides: str) -> Recipe:
    """The tiny run's recipe."""
    return parse(text, overrides=overrides)


def run_directory(root: Path) -> RunDirectory:
    """A run whose corpus, tokenizer, tokens and training are done; nothing after them."""
    run = RunDirectory(root)
    files.write_text(run.recipe, recipe().to_toml())
    CORPUS.write(run.own("corpus"))
    write_corpus(run.own("corpus"))
    write_tokenizer(run.own("tokenizer"))
    write_tokens(run.own("tokens"))
    write_checkpoints(run.own("train"))
    write_logs(run.logs)
    for stage in ("corpus", "tokenizer", "tokens", "train"):
        finish(run, stage)
    return run


def released(name: str) -> ReleasedFormat:
    """A format of a release, without its files."""
    return ReleasedFormat(name, {}, replace(PARITY, format=name))


def finish(run: RunDirectory, stage: str) -> None:
    """Write a stage's manifest, as the pipeline does when it is done."""
    directory = run.root / STAGE_DIRECTORIES[stage]
    Manifest(stage, 1, "f" * 64, {}, {}, manifests.entries(directory)).write(directory)


def write_corpus(directory: Path, texts: tuple[str, ...] = TEXTS) -> None:
    """Three splits with the same documents."""
    for split in SPLITS:
        with SplitWriter(directory, split) as writer:
            for number, text in enumerate(texts):
                writer.add(Document(str(number), "jawiki", "", None, None, text))


def write_tokenizer(directory: Path, characters: str = CHARACTERS) -> None:
    """A tokenizer folder with one piece per character, and a stage's `stats.json` beside."""
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
    TOKENIZER.write(directory)


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
    TokenIndex(dtype_for(VOCAB_SIZE), VOCAB_SIZE, END, "t" * 64, splits).write(directory)


def write_checkpoints(directory: Path, vocab_size: int = VOCAB_SIZE) -> None:
    """Steps 10 (the best) and 20 (the last), with different weights."""
    validations = (Validation(10, 5120, 3.25), Validation(20, 10240, 3.5))
    for step, seed in ((10, 1), (20, 2)):
        state = State(step, step * 32, step * 512, validations[: step // 10], validations[0])
        checkpoints.save(
            directory, state, lambda folder, seed=seed: _write(folder, seed, vocab_size)
        )
    kept = tuple(KeptCheckpoint(f"step-000000{step}", step, None) for step in (10, 20))
    CheckpointIndex("step-00000010", 3.25, "step-00000020", kept).write(directory)


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
    with Metrics(directory) as metrics:
        metrics.begin(0)
        for step in range(1, 21):
            metrics.train(
                step, step * 512, loss=4 - step / 20, learning_rate=step * 1e-5, gradient_norm=1.5,
                tokens_per_second=1000.0, seconds=0.5,
            )  # fmt: skip
            if step % 10 == 0:
                loss = 3.25 if step == 10 else 3.5
                metrics.valid(step, step * 512, loss=loss, perplexity=26.0)
    TIMING.write(directory)


def cuda(
    monkeypatch: pytest.MonkeyPatch,
    gpus: Mapping[str, tuple[int, int]],
    *,
    built: Sequence[str] = ("sm_75", "sm_80", "sm_86", "sm_90", "compute_90"),
    bf16: bool = True,
    free: int = 8 << 30,
) -> None:
    """PyTorch as if it saw GPUs of 8 GiB (name → compute capability), with code for `built`."""
    names = list(gpus)
    answers = {
        "is_available": lambda: bool(gpus),
        "device_count": lambda: len(gpus),
        "get_arch_list": lambda: list(built),
        "get_device_name": lambda index=0: names[_index(index)],
        "get_device_capability": lambda index=0: gpus[names[_index(index)]],
        "is_bf16_supported": lambda including_emulation=True: bf16,
        "mem_get_info": lambda _device=0: (free, 8 << 30),
        "memory_reserved": lambda _device=0: 0,
        "set_device": lambda _device: None,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(torch.version, "cuda", "13.0")


def _index(device: torch.device | int) -> int:
    return device if isinstance(device, int) else device.index or 0


def mps(monkeypatch: pytest.MonkeyPatch, name: str = "Apple M3 Pro", macos: int = 15) -> None:
    """PyTorch as if it saw an Apple GPU."""
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "get_name", lambda: name)
    newer = lambda major, minor: (macos, 0) >= (major, minor)  # noqa: E731
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", newer)
