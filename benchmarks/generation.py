"""Generation speed: the engines that `jagpt generate` takes beside transformers' own `generate`.

    python benchmarks/generation.py [--run DIR] [--tokens 64] [--rounds 5] [--quick]

On the processor, greedily, one text at a time and sixteen at once. Without --run the model is
GPT-2 small with random weights and 32,000 pieces: as fast as a trained one. The sides take turns.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
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

BATCHES = (1, 16)
PROMPT_TOKENS = 16
FORMATS = ("ctranslate2", "gguf-q8_0")
SIZES = {"small": (12, 12, 768, 32_000), "quick": (2, 4, 128, 2_000)}
"""Layers, heads, width, pieces."""
GOALS = {("auto", 1): "≥ 1.4", ("auto", 16): "≥ 1.4", ("fastest", 1): "≥ 4"}
Side = Callable[[int], list[int]]
"""Continues a batch of so many equal prompts; the tokens of the first."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, then print Markdown or JSON."""
    options = _options(arguments)
    folder = options.run / "model" if options.run else _random_model(options.quick)
    _export(folder, options.run)
    with alone():
        facts = environment("jagpt", "torch", "transformers", "ctranslate2", "xllamacpp")
        sides, told = _sides(folder, options.tokens)
        rates, found = _measured(sides, options.tokens, options.rounds)
    ratios = [
        Ratio(
            f"{side} / transformers, {batch} at once",
            paired(rates[side, batch], rates["transformers", batch]),
            GOALS[side, batch],
        )
        for side, batch in rates
        if side != "transformers"
    ]
    equal = {side: found[side] == found["transformers"] for side in ("auto", "fastest")}
    if options.json:
        values = {"environment": facts, "engines": told, "greedy_equal": equal}
        print(json.dumps({**values, "ratios": [ratio.as_json() for ratio in ratios]}, indent=1))
        return
    blocks = [
        environment_line(facts),
        commands_block([_command(options)]),
        table(
            ("", "engine", "at once", "tokens/s", "greedy tokens", "perplexity"),
            [_row(side, batch, rates[side, batch], told, equal) for side, batch in rates],
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
    add("--quick", action="store_true", help="a tiny model: shows that it works, not how fast")
    add("--json", action="store_true", help="print every round as JSON")
    add("--update", type=Path, metavar="PAGE", help="put the tables into docs/benchmarks.md too")
    return parser.parse_args(arguments)


def _command(options: argparse.Namespace) -> list[str | Path]:
    flags = ["--quick"] if options.quick else []
    return [python(), "benchmarks/generation.py", "--tokens", str(options.tokens), *flags]


def _row(
    side: str, batch: int, rates: Sequence[float], told: dict[str, Any], equal: dict[str, bool]
) -> tuple[str, ...]:
    engine, perplexity = told[side]
    same = "" if side == "transformers" else "equal" if equal[side] else "differ"
    best = sorted(rates)[len(rates) // 2]
    return (side, engine, str(batch), f"{best:,.1f}", same, perplexity)


# --- the sides ------------------------------------------------------------------------------------


def _sides(folder: Path, tokens: int) -> tuple[dict[str, Side], dict[str, tuple[str, str]]]:
    """What each side runs, and its engine with the perplexity that its export was found to have."""
    from jagpt import files, generation
    from jagpt.export import engines

    loaded = generation.load(folder)
    words = loaded.encode("統計的推定を使うことで、日本の歴史と文化について" * 4)
    prompt = words[:PROMPT_TOKENS]
    sides: dict[str, Side] = {"transformers": _transformers(loaded.model, prompt, tokens)}
    told = {"transformers": ("generate", "")}
    for wish in (engines.AUTO, engines.FASTEST):
        export = engines.choose(folder, wish, drawn=False)
        if export is None:
            raise RuntimeError(f"{folder}: no export for --engine {wish}")
        sides[wish] = _engine(engines.engine(export, folder), prompt, tokens)
        parity = files.read_json(export.folder / "parity.json")
        told[wish] = (export.format.title, f"{parity['perplexity']:.2f}")
        told["transformers"] = ("generate", f"{parity['perplexity_pytorch']:.2f}")
    return sides, told


def _transformers(model: Any, prompt: list[int], tokens: int) -> Side:
    import torch

    def run(batch: int) -> list[int]:
        ids = torch.tensor([prompt] * batch)
        with torch.inference_mode():
            found = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, eos_token_id=None,
                max_new_tokens=tokens, min_new_tokens=None, pad_token_id=0,
            )  # fmt: skip
        new: list[int] = found[0, len(prompt) :].tolist()
        return new

    return run


def _engine(engine: Any, prompt: list[int], tokens: int) -> Side:
    from jagpt.generation import Plan

    def run(batch: int) -> list[int]:
        plan = Plan(new_tokens=tokens, rows=batch)
        return [step[0].id for step in engine.draw(prompt, plan)]

    return run


def _measured(
    sides: dict[str, Side], tokens: int, rounds: int
) -> tuple[dict[tuple[str, int], list[float]], dict[str, list[int]]]:
    """Tokens a second of each side and batch, round by round, and each side's tokens."""
    pairs = [(side, batch) for batch in BATCHES for side in sides if (side, batch) in _shown()]
    rates: dict[tuple[str, int], list[float]] = {pair: [] for pair in pairs}
    found: dict[str, list[int]] = {}
    for number in range(rounds + 1):  # the first warms up
        tell(f"round {number} of {rounds}")
        for side, batch in pairs:
            started = time.perf_counter()
            found[side] = sides[side](batch)
            if number:
                rates[side, batch].append(batch * tokens / (time.perf_counter() - started))
    return rates, found


def _shown() -> set[tuple[str, int]]:
    """llama.cpp takes one text at a time here."""
    return {*GOALS, *(("transformers", batch) for batch in BATCHES)}


# --- the model ------------------------------------------------------------------------------------


def _export(folder: Path, run: Path | None) -> None:
    """The exports that the engines need, as far as they are not there."""
    from jagpt.export import engines, stage
    from jagpt.progress import Progress

    place = run / "export" if run else folder / "export"
    there = {export.format.name for export in engines.find(folder)}
    missing = [name for name in FORMATS if name not in there]
    if missing:
        tell(f"exporting {', '.join(missing)}")
        stage.export_folder(folder, missing, place, Progress("quiet"))


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

    made: Any = protocol.ModelProto()  # type: ignore[attr-defined]
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
