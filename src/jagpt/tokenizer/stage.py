"""The tokenizer stage: from the corpus, or from an existing tokenizer, to a tokenizer folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jagpt.stage import Hash, Stage, named_place

if TYPE_CHECKING:
    from jagpt.progress import Progress
    from jagpt.recipe import Recipe, Tokenizer
    from jagpt.rundir import RunDirectory


class TokenizerStage(Stage):
    name = "tokenizer"
    help = "Train SentencePiece and write the folder that transformers loads."
    version = 1
    sections = ("tokenizer",)
    needs = ("corpus",)

    def outside(self, recipe: Recipe, digest: Hash, known: Mapping[str, str]) -> dict[str, str]:
        if recipe.tokenizer.from_ is None:
            return {}
        from jagpt.tokenizer import imported

        path = imported.local_file(recipe.tokenizer)
        hub = f"{recipe.tokenizer.from_}@{recipe.tokenizer.revision}"
        return named_place("tokenizer", [path] if path else [], hub, digest)

    def shared_from(self, recipe: Recipe) -> str | None:
        return recipe.tokenizer.from_ or recipe.tokens.from_

    def takes(self, origin: str) -> bool:
        """A tokenizer folder, a model file or a hub id is not a run, but acceptable."""
        return True

    def check(self, recipe: Recipe) -> None:
        """A local tokenizer is checked before the corpus is made."""
        from jagpt.rundir import is_run
        from jagpt.tokenizer import imported
        from jagpt.tokenizer import model as pieces

        settings = recipe.tokenizer
        if settings.from_ is None or is_run(Path(settings.from_)):
            return
        if (path := imported.local_file(settings)) is not None:
            model = pieces.parse(pieces.read(path), path)
            pieces.check(model, path)
            imported.check_size(settings, len(model.pieces), path)

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        """Write the tokenizer folder and `stats.json` (measured on the valid split)."""
        from jagpt import units
        from jagpt.tokenizer import imported
        from jagpt.tokenizer import model as pieces
        from jagpt.tokenizer.encoder import Encoder
        from jagpt.tokenizer.folder import write_folder
        from jagpt.tokenizer.stats import first_texts, measure

        directory = run.own(self.name)
        raw, origin = _model(recipe.tokenizer, run.corpus, progress)
        model = pieces.parse(raw, origin)
        pieces.check(model, origin)
        imported.check_size(recipe.tokenizer, len(model.pieces), origin)
        write_folder(model, directory)
        stats = measure(Encoder.open(directory), first_texts(run.corpus, "valid"), "valid")
        stats.write(directory)
        progress.say(
            f"tokenizer: {stats.vocab_size:,} pieces, {stats.characters_per_token:.3f} characters "
            f"per token, {units.percent(stats.unknown_share)} unknown, "
            f"{units.percent(stats.byte_share)} bytes"
        )

    def outcome(self, run: RunDirectory) -> str:
        from jagpt.tokenizer.stats import TokenizerStats

        found = TokenizerStats.read(run.tokenizer)
        ratio = found.characters_per_token
        return f"{found.vocab_size:,} pieces; {ratio:.2f} characters per token"


TOKENIZER = TokenizerStage()


def _model(settings: Tokenizer, corpus: Path, progress: Progress) -> tuple[bytes, str]:
    """A SentencePiece model, trained or taken from elsewhere, and its origin."""
    from jagpt.tokenizer import imported
    from jagpt.tokenizer import model as pieces
    from jagpt.tokenizer.learning import learn

    if settings.from_ is not None:
        path = imported.model_file(settings)
        progress.say(f"tokenizer: taken from {settings.from_}")
        return pieces.read(path), str(path)
    size = "as many pieces as fit" if settings.size_is_open else f"{settings.vocab_size:,} pieces"
    what = f"tokenizer ({size})"
    with progress.bar(what, None, "documents read") as bar:
        return learn(corpus, settings, bar.update), "the trained model"
