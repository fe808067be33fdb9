"""What a release offers browsers: a page that loads the model with transformers.js.

The page computes what is asked of it by itself. It takes the library from the public npm mirror
that its makers name, by exact version and SHA-384: 15 MB of WebAssembly would be more than many a
model, and a copy in each release could be neither renewed nor checked by readers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path

from jagpt import files
from jagpt.formats.table import FORMATS
from jagpt.recipe import Recipe
from jagpt.release import usage
from jagpt.release.exports import ONNX
from jagpt.tokenizer import awkward
from jagpt.tokenizer.encoder import Encoder
from jagpt.tokenizer.folder import FAST_FILE, MODEL_FILE

PAGE = "playground.html"
NEW_TOKENS = 64
_PLACE = "{{ settings }}"


def add_page(recipe: Recipe, folder: Path) -> None:
    """`playground.html`, if the release has what it loads: int8 ONNX and a `tokenizer.json`."""
    weights = folder / ONNX / FORMATS["onnx-int8"].weights
    if weights.is_file() and (folder / FAST_FILE).is_file():
        files.write_text(folder / PAGE, page(recipe))


def page(recipe: Recipe) -> str:
    """The page for a recipe's model, with its own title, prompts and defaults."""
    settings = {
        "title": recipe.release.title,
        "prompts": recipe.release.known_prompts,
        "context": recipe.model.n_positions,
        "count": usage.new_tokens(recipe, NEW_TOKENS),
        "do_sample": recipe.export.do_sample,
        "top_k": recipe.export.top_k,
        "top_p": recipe.export.top_p,
    }
    text = json.dumps(settings).replace("<", "\\u003c")  # ASCII, and no end of the script in it
    template = resources("jagpt.release").joinpath("templates", PAGE).read_text("utf-8")
    return template.replace(_PLACE, text)


@dataclass(frozen=True)
class SameIds:
    """Of how many awkward texts transformers.js makes a tokenizer's own ids.

    With `byte_pieces` it makes others of characters without a piece, which become `<unk>` there,
    without them of zero-width joiners.
    """

    equal: int
    texts: int
    byte_pieces: bool


def same_ids(folder: Path) -> SameIds | None:
    """What transformers.js makes of a release's tokenizer; None if the release has no page.

    `make compat` of jagpt proves the rule that is counted by.
    """
    if not ((folder / PAGE).is_file() and (folder / MODEL_FILE).is_file()):
        return None
    encoder = Encoder.open(folder)
    byte_pieces = any(encoder.is_byte(number) for number in range(encoder.vocab_size))
    joined = 0 if byte_pieces else sum(map(awkward.joins, awkward.AWKWARD))
    return SameIds(awkward.plain(encoder) - joined, len(awkward.AWKWARD), byte_pieces)
