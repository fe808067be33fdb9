"""The tokenizer stage: from the corpus, or from a tokenizer that exists, to a tokenizer folder."""

from __future__ import annotations

from jagpt import recipe as recipes
from jagpt import units
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory
from jagpt.tokenizer import imported
from jagpt.tokenizer import model as pieces
from jagpt.tokenizer.encoder import Encoder
from jagpt.tokenizer.folder import write_folder
from jagpt.tokenizer.learning import learn
from jagpt.tokenizer.stats import first_texts, measure


def run(recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
    """Write the tokenizer folder and `stats.json` (measured on the valid split)."""
    directory = run.own("tokenizer")
    if recipe.tokenizer.from_ is None:
        raw, origin = _learned(recipe, run, progress), "the trained model"
    else:
        raw, origin = _imported(recipe.tokenizer, progress)
    model = pieces.parse(raw, origin)
    pieces.check(model, origin)
    imported.check_size(recipe.tokenizer, len(model.pieces), origin)
    write_folder(model, directory)
    stats = measure(Encoder.open(directory), first_texts(run.corpus, "valid"), "valid")
    stats.write(directory)
    progress.say(
        f"tokenizer: {stats.vocab_size:,} pieces, {stats.characters_per_token:.3f} characters a "
        f"token, {units.percent(stats.unknown_share)} unknown, "
        f"{units.percent(stats.byte_share)} bytes"
    )


def _learned(recipe: Recipe, run: RunDirectory, progress: Progress) -> bytes:
    settings = recipe.tokenizer
    what = f"tokenizer ({settings.vocab_size:,} pieces)"
    with progress.bar(what, None, "documents read") as bar:
        return learn(run.corpus, settings, bar.update)


def _imported(settings: recipes.Tokenizer, progress: Progress) -> tuple[bytes, str]:
    path = imported.model_file(settings)
    progress.say(f"tokenizer: taken from {settings.from_}")
    return pieces.read(path), str(path)
