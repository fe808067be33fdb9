"""Generation speed: the engines that `jagpt generate` takes beside transformers' own `generate`.

    python benchmarks/generation.py [--run DIR] [--tokens 64] [--rounds 5] [--quick]

On the processor, greedily, one text at a time and sixteen at once. Without --run the model is
GPT-2 small with random weights and 32,000 pieces: as fast as a trained one. Each side is a process
of its own, as for a user, since the threads of idle engines slow others down; they take turns.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common import (
    CACHE,
    RATIO_COLUMNS,
    ROOT,
    Ratio,
    alone,
    commands_block,
    environment,
    environment_line,
    paired,
    publish,
    python,
    table,
    tell,
)
from turns import Process, serve

BATCHES = (1, 16)
PROMPT_TOKENS = 16
FORMATS = ("onnx", "gguf-q8_0")
"""What `auto` and `fastest` take."""
EVERY = ("onnx", "openvino", "ctranslate2", "ctranslate2-int8", "gguf-f16", "gguf-q8_0")
TOGETHER = ("onnx", "openvino", "ctranslate2", "ctranslate2-int8")
"""Those that continue several texts at once."""
SIZES = {"small": (12, 12, 768, 32_000), "quick": (2, 4, 128, 2_000)}
"""Layers, heads, width, pieces."""
GOALS = {("auto", 1): "≥ 1.4", ("auto", 16): "≥ 1.4", ("fastest", 1): "≥ 4"}
WISHES = tuple(dict.fromkeys(side for side, _ in GOALS))
PLAIN = "transformers"
Side = Callable[[], list[int]]
"""Continues a batch of equal prompts; the tokens of the first."""
Key = tuple[str, int]
"""A side and how many texts it continues at once."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, then print Markdown or JSON."""
    options = _options(arguments)
    if options.serve:
        _serve(options)
        return
    folder = options.run / "model" if options.run else _random_model(options.quick)
    _export(folder, options.run, EVERY if options.all else FORMATS)
    told = _told(folder, options)
    with alone():
        facts = environment("jagpt", "torch", "transformers", "onnxruntime", "xllamacpp")
        rates, found = _measured(folder, list(told), options)
    equal = {key: digest == found[PLAIN, 1] for key, digest in found.items()}
    ratios = [
        Ratio(
            f"{side} / transformers, {batch} at once",
            paired(rates[side, batch], rates[PLAIN, batch]),
            GOALS.get((side, batch), ""),
        )
        for side, batch in rates
        if side != PLAIN
    ]
    if options.json:
        same = {f"{side} {batch}": value for (side, batch), value in equal.items()}
        values = {"environment": facts, "engines": told, "greedy_equal": same}
        print(json.dumps({**values, "ratios": [ratio.as_json() for ratio in ratios]}, indent=1))
        return
    blocks = [
        environment_line(facts),
        commands_block([_command(options)]),
        table(
            ("", "engine", "at once", "tokens/s", "greedy tokens", "perplexity"),
            [_row(key, rates[key], told, equal) for key in rates],
        ),
        table(RATIO_COLUMNS, [ratio.row() for ratio in ratios]),
    ]
    publish("\n\n".join(blocks), "benchmarks/generation.py", options.update)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--run", type=Path, metavar="DIR", help="a run, whose model is used")
    add("--tokens", type=int, default=64, help="new tokens a text (default: 64)")
    add("--rounds", type=int, default=5, help="turns of each side that count (default: 5)")
    add("--all", action="store_true", help="every format that has an engine, by its name")
    add("--quick", action="store_true", help="a tiny model: shows that it works, not how fast")
    add("--json", action="store_true", help="print every round as JSON")
    add("--update", type=Path, metavar="PAGE", help="put the tables into docs/benchmarks.md too")
    # what a process of this benchmark runs
    add("--serve", metavar="SIDE", help=argparse.SUPPRESS)
    add("--batch", type=int, help=argparse.SUPPRESS)
    add("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _command(options: argparse.Namespace) -> list[str | Path]:
    flags = [flag for flag in ("--all", "--quick") if getattr(options, flag[2:])]
    run = ["--run", options.run] if options.run else []
    sizes = ["--tokens", str(options.tokens), "--rounds", str(options.rounds)]
    return [python(), "benchmarks/generation.py", *run, *sizes, *flags]


def _row(
    key: Key, rates: Sequence[float], told: dict[str, Any], equal: dict[Key, bool]
) -> tuple[str, ...]:
    side, batch = key
    engine, perplexity = told[side]
    same = "" if side == PLAIN else "equal" if equal[key] else "differ"
    best = sorted(rates)[len(rates) // 2]
    return (side, engine, str(batch), f"{best:,.1f}", same, perplexity)


def _told(folder: Path, options: argparse.Namespace) -> dict[str, tuple[str, str]]:
    """Each side's engine, with the perplexity that its export was found to have."""
    from jagpt.formats.bounds import Parity

    told = {PLAIN: ("generate", "")}
    for side in (*WISHES, *(EVERY if options.all else ())):
        export = _chosen(folder, side)
        parity = Parity.read(export.folder)
        told[side] = (export.format.title, f"{parity.perplexity:.2f}")
        told[PLAIN] = ("generate", f"{parity.perplexity_pytorch:.2f}")
    return told


def _chosen(folder: Path, side: str) -> Any:
    """The export of a wish (`auto`, `fastest`) or of a format's name."""
    from jagpt import models
    from jagpt.formats import engines

    model = models.open(folder)
    if side in WISHES:
        found = engines.choose(model, side, drawn=False)
    else:
        found = next((one for one in engines.find(model) if one.format.name == side), None)
    if found is None:
        raise RuntimeError(f"{folder}: no export for {side}")
    return found


# --- the sides ------------------------------------------------------------------------------------


def _serve(options: argparse.Namespace) -> None:
    """Continue a batch whenever it is asked for; answers seconds and a digest of the tokens."""
    from jagpt import generation, models
    from jagpt.formats import engines

    folder: Path = options.folder
    loaded = generation.load(folder)
    words = loaded.encode("統計的推定を使うことで、日本の歴史と文化について" * 4)
    prompt, batch = words[:PROMPT_TOKENS], options.batch
    if options.serve == PLAIN:
        work = _transformers(loaded.model, prompt, options.tokens, batch)
    else:
        del loaded  # a user's process holds one engine
        engine = engines.engine(_chosen(folder, options.serve), models.open(folder))
        work = _engine(engine, prompt, options.tokens, batch)
    work()
    serve(work, lambda tokens: zlib.crc32(repr(tokens).encode()))


def _transformers(model: Any, prompt: list[int], tokens: int, batch: int) -> Side:
    import torch

    def run() -> list[int]:
        ids = torch.tensor([prompt] * batch)
        with torch.inference_mode():
            found = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, eos_token_id=None,
                max_new_tokens=tokens, min_new_tokens=None, pad_token_id=0,
            )  # fmt: skip
        new: list[int] = found[0, len(prompt) :].tolist()
        return new

    return run


def _engine(engine: Any, prompt: list[int], tokens: int, batch: int) -> Side:
    from jagpt.generation import Drawing

    def run() -> list[int]:
        drawing = Drawing(new_tokens=tokens, rows=batch)
        return [step[0].id for step in engine.draw(prompt, drawing)]

    return run


def _measured(
    folder: Path, sides: Sequence[str], options: argparse.Namespace
) -> tuple[dict[Key, list[float]], dict[Key, float]]:
    """Tokens a second of each side and batch, round by round, and a digest of its tokens."""
    keys = [(side, batch) for batch in BATCHES for side in sides if _is_taken(side, batch)]
    rates: dict[Key, list[float]] = {key: [] for key in keys}
    found: dict[Key, float] = {}
    processes: dict[Key, Process] = {}
    command = [sys.executable, __file__, "--folder", str(folder), "--tokens", str(options.tokens)]
    try:
        for side, batch in keys:  # one after the other, as each needs all cores to get ready
            asked = [*command, "--batch", str(batch), "--serve", side]
            processes[side, batch] = Process(f"{side}, {batch} at once", asked)
            processes[side, batch].wait()
        for number in range(options.rounds):
            tell(f"round {number + 1} of {options.rounds}")
            for key, process in processes.items():
                numbers = process.work()
                rates[key].append(key[1] * options.tokens / numbers["seconds"])
                found[key] = numbers["count"]
    finally:
        for process in processes.values():
            process.end()
    return rates, found


def _is_taken(side: str, batch: int) -> bool:
    return batch == 1 or side in (PLAIN, *TOGETHER) or (side, batch) in GOALS


# --- the model ------------------------------------------------------------------------------------


def _export(folder: Path, run: Path | None, formats: Sequence[str]) -> None:
    """The exports that the engines need, as far as they are not there."""
    from jagpt import models
    from jagpt.formats import engines, making
    from jagpt.progress import Progress

    place = run / "export" if run else folder / "export"
    there = {export.format.name for export in engines.find(models.open(folder))}
    missing = [name for name in formats if name not in there]
    if missing:
        tell(f"exporting {', '.join(missing)}")
        making.export_folder(folder, missing, place, Progress("quiet"))


def _random_model(quick: bool) -> Path:
    """GPT-2 with random weights, kept for the next time."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from jagpt.tokenizer.folder import write_folder

    name = "quick" if quick else "small"
    folder = ROOT / CACHE / f"gpt2-{name}"
    if (folder / "done").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    n_layer, n_head, n_embd, pieces = SIZES[name]
    write_folder(_tokenizer(pieces), folder)
    import torch

    torch.manual_seed(1000)
    make: Any = GPT2Config
    config = make(
        vocab_size=pieces, n_positions=1024, n_embd=n_embd, n_layer=n_layer, n_head=n_head,
        bos_token_id=2, eos_token_id=3, pad_token_id=0, initializer_range=0.05,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    (folder / "done").touch()
    return folder


def _tokenizer(size: int) -> Any:
    """A SentencePiece model of so many pieces; most are characters that no text has."""
    from sentencepiece import sentencepiece_model_pb2 as protocol

    from jagpt.tokenizer import model as kinds

    made: Any = protocol.ModelProto()
    made.trainer_spec.model_type = kinds.UNIGRAM
    for number, name in enumerate(("pad", "unk", "bos", "eos")):
        setattr(made.trainer_spec, f"{name}_id", number)
    made.trainer_spec.byte_fallback = True
    made.normalizer_spec.name = "identity"
    made.normalizer_spec.add_dummy_prefix = False
    made.normalizer_spec.remove_extra_whitespaces = False
    made.normalizer_spec.escape_whitespaces = True
    types = (kinds.CONTROL, kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL)
    for piece, kind in zip(kinds.RESERVED, types, strict=True):
        made.pieces.add(piece=piece, score=0.0, type=kind)
    for number in range(256):
        made.pieces.add(piece=f"<0x{number:02X}>", score=0.0, type=kinds.BYTE)
    spelled = dict.fromkeys(kinds.SPELLING)
    letters = (chr(code) for code in range(0x3041, 0xD000) if chr(code) not in spelled)
    for character in (*spelled, *letters):
        if len(made.pieces) == size:
            break
        made.pieces.add(piece=character, score=-2.0, type=kinds.NORMAL)
    return made


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(f"benchmarks/generation.py: {error}")
