"""The release stage: a folder that can be published as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jagpt.stage import Stage

if TYPE_CHECKING:
    from jagpt.progress import Progress
    from jagpt.recipe import Recipe
    from jagpt.rundir import RunDirectory


class ReleaseStage(Stage):
    name = "release"
    help = "The folder to publish: model, card, changelog, checksums."
    version = 7
    sections = ("release",)
    needs = ("corpus", "tokenizer", "tokens", "train", "evaluate", "export", "formats")

    def semantic(self, recipe: Recipe) -> dict[str, Any]:
        """With the run's name, which appears in the card."""
        return {**super().semantic(recipe), "recipe": {"name": recipe.name}}

    def preflight(self, recipe: Recipe, run: RunDirectory) -> None:
        from jagpt.release import folder

        folder.preflight(recipe, run)

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        from jagpt.release import folder

        folder.run(recipe, run, progress)


RELEASE = ReleaseStage()
