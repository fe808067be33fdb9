"""From a folder to what can continue texts: safetensors only, and no code from the folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jagpt.errors import DataError
from jagpt.generation.engine import Engine
from jagpt.generation.loaded import Loaded
from jagpt.generation.settings import Defaults
from jagpt.generation.transformers_engine import TransformersEngine
from jagpt.rundir import is_run

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "spiece.model", "vocab.json")
"""One of these at least is there where a tokenizer is."""
MAX_PADDING_ROWS = 1024
"""Rows that a model may have beyond its tokenizer's pieces: vocabularies are padded for speed."""


def model_folder(place: Path) -> Path:
    """The model folder that a path means: itself, or that of a run directory."""
    return place / "model" if is_run(place) else place


def load(model_dir: Path, engine: Engine | None = None) -> Loaded:
    """The model (fp32, CPU) and tokenizer of a folder; an `engine` that is given computes instead.

    Raises `DataError` naming what is missing, unreadable, or does not match.
    """
    config = _check_folder(model_dir)
    if engine is not None:
        return _with_engine(model_dir, engine)
    with quiet():
        tokenizer = load_tokenizer(model_dir)
        model = load_model(model_dir)
    engine = TransformersEngine(model, _context(model.config, config))
    check_match(model_dir, len(tokenizer), engine.vocab_size)
    defaults = Defaults.of(model.generation_config, tokenizer, engine.vocab_size)
    return Loaded(model_dir, tokenizer, defaults, engine)


def _with_engine(model_dir: Path, engine: Engine) -> Loaded:
    """Tokenizer and defaults of the folder, and an engine from elsewhere."""
    from transformers import GenerationConfig

    with quiet():
        tokenizer = load_tokenizer(model_dir)
    check_match(model_dir, len(tokenizer), engine.vocab_size)
    untyped: Any = GenerationConfig
    named = (model_dir / "generation_config.json").is_file()
    config = untyped.from_pretrained(model_dir) if named else untyped()
    return Loaded(model_dir, tokenizer, Defaults.of(config, tokenizer, engine.vocab_size), engine)


def _context(config: Any, raw: dict[str, Any]) -> int | None:
    positions = getattr(config, "max_position_embeddings", None) or raw.get("n_positions")
    return int(positions) if positions else None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' bars and advice off the terminal."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _check_folder(model_dir: Path) -> dict[str, Any]:
    """The folder's `config.json`, once everything that loading needs is seen to be there."""
    if not model_dir.is_dir():
        raise DataError(f"{model_dir}: no such folder; a model folder is wanted (RUN_DIR/model)")
    if not (model_dir / "config.json").is_file():
        raise DataError(f"{model_dir}: no model folder (it has no config.json)")
    try:
        config = json.loads((model_dir / "config.json").read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{model_dir / 'config.json'}: not readable as JSON ({error})") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise DataError(f"{model_dir / 'config.json'}: no model's configuration (no model_type)")
    if not any((model_dir / f"model.safetensors{end}").is_file() for end in ("", ".index.json")):
        raise DataError(f"{model_dir}: no model.safetensors; other formats of weights are not read")
    if not any((model_dir / name).is_file() for name in TOKENIZER_FILES):
        raise DataError(f"{model_dir}: no tokenizer ({', '.join(TOKENIZER_FILES)}: none is there)")
    return config


def load_tokenizer(model_dir: Path) -> Any:
    """The folder's tokenizer; `DataError` where there is none that loads."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            model_dir, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise DataError(f"{model_dir}: its tokenizer cannot be loaded ({_line(error)})") from None


def load_model(model_dir: Path) -> Any:
    """The folder's model (fp32, CPU); `DataError` where weights and `config.json` do not fit."""
    import torch
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    try:
        model, info = auto.from_pretrained(
            model_dir,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise DataError(f"{model_dir}: its model cannot be loaded ({_line(error)})") from None
    for problem in ("missing_keys", "mismatched_keys"):
        if names := sorted(str(name) for name in info[problem]):
            raise DataError(
                f"{model_dir}: its weights do not fit its config.json "
                f"({problem.replace('_', ' ')}: {', '.join(names[:3])}{'…' * (len(names) > 3)})"
            )
    return model.eval()


def check_match(model: Path | str, pieces: int, rows: int) -> None:
    """`DataError` where a tokenizer of so many pieces does not belong to a model's rows."""
    if pieces > rows or rows - pieces > MAX_PADDING_ROWS:
        raise DataError(
            f"{model}: the tokenizer has {pieces:,} pieces and the model {rows:,} rows: "
            "they do not belong together"
        )


def _line(error: Exception) -> str:
    """The first line of a library's message."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
