"""A tiny GPT-2 folder with a SentencePiece tokenizer, to export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fakes
from safetensors.torch import save_file

from jagpt import files
from jagpt.formats.source import ModelSource
from jagpt.models import build
from jagpt.tokenizer import model as pieces
from jagpt.tokenizer.folder import write_folder

CHARACTERS = fakes.CHARACTERS + pieces.SPELLING
TEXT = "統計的推定を使うことで、日本語を使う。\n京都と東京。\nあいうえお、かきくけこ。\n" * 12


def sentencepiece() -> Any:
    """A unigram model with a piece per character, special and byte pieces: exact, as jagpt
    trains.
    """
    from sentencepiece import sentencepiece_model_pb2 as protocol

    made = protocol.ModelProto()
    made.trainer_spec.model_type = pieces.UNIGRAM
    for name, number in (("pad", 0), ("unk", 1), ("bos", 2), ("eos", 3)):
        setattr(made.trainer_spec, f"{name}_id", number)
    made.trainer_spec.byte_fallback = True
    made.normalizer_spec.name = "identity"
    made.normalizer_spec.add_dummy_prefix = False
    made.normalizer_spec.remove_extra_whitespaces = False
    made.normalizer_spec.escape_whitespaces = True
    kinds = (pieces.CONTROL, pieces.UNKNOWN, pieces.CONTROL, pieces.CONTROL)
    for piece, kind in zip(pieces.RESERVED, kinds, strict=True):
        made.pieces.add(piece=piece, score=0.0, type=kind)
    for number in range(256):
        made.pieces.add(piece=f"<0x{number:02X}>", score=0.0, type=pieces.BYTE)
    for character in dict.fromkeys(CHARACTERS + "\n"):
        made.pieces.add(piece=character, score=-2.0, type=pieces.NORMAL)
    for word, score in (("京都", -2.5), ("統計的", -3.0), ("こと", -2.25)):
        made.pieces.add(piece=word, score=score, type=pieces.NORMAL)
    return made


def write(folder: Path, **shape: int) -> ModelSource:
    """The folder: two layers, 32 wide, 64 positions; random weights with some spread."""
    files.make_directory(folder)
    made = sentencepiece()
    write_folder(made, folder)
    sizes = {"n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 64} | shape
    keys = "\n".join(f"{key} = {value}" for key, value in sizes.items())
    recipe = fakes.recipe(fakes.RECIPE.replace(MODEL, f"[model]\n{keys}\n"))
    rows = len(made.pieces) + 5
    network = build.network(recipe.model, rows, build.SpecialIds(2, 3, 0), seed=1)
    for parameter in network.parameters():
        parameter.data *= 4.0  # so that no two tokens are as likely
    weights = {name: value.detach() for name, value in network.named_parameters()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = {**network.config.to_dict(), "architectures": ["GPT2LMHeadModel"], "n_ctx": 64}
    config |= {"model_type": "gpt2"}
    files.write_json(folder / "config.json", {k: v for k, v in config.items() if k != "dtype"})
    files.write_json(folder / "generation_config.json", {"eos_token_id": 3, "max_new_tokens": 8})
    return ModelSource.open(folder)


MODEL = fakes.RECIPE[fakes.RECIPE.index("[model]") : fakes.RECIPE.index("[train]")]
