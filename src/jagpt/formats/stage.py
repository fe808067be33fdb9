"""The formats stage: what other programs load, each format verified to equal the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt.stage import Kept, Stage

if TYPE_CHECKING:
    from jagpt.manifests import Manifest
    from jagpt.progress import Progress
    from jagpt.recipe import Recipe
    from jagpt.rundir import RunDirectory


class FormatsStage(Stage):
    name = "formats"
    help = "The other formats, each verified to be equal."
    verb = "export"
    version = 4
    sections = ("export",)
    needs = ("tokens", "export")

    def semantic(self, recipe: Recipe) -> dict[str, Any]:
        section = recipe.export.semantic() | {"checkpoint": recipe.export_checkpoint}
        return {"export": section}

    def check(self, recipe: Recipe) -> None:
        from jagpt.formats.table import chosen

        for one in chosen(recipe.export.formats):
            one.check_recipe(recipe)

    def keeps(
        self, recipe: Recipe, run: RunDirectory, old: Manifest, directory: Path
    ) -> Kept | None:
        """The formats that are still requested: they do not depend on each other."""
        there = {path.name for path in directory.iterdir() if path.is_dir()}
        wanted = there & set(recipe.export.formats)
        if not wanted:
            return None
        names = None if wanted == there else frozenset(wanted)
        share = len(wanted) / len(there)
        return Kept("existing formats stay as they are", len(wanted), names, share)

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        from jagpt.formats import making

        making.run(recipe, run, progress)


FORMATS = FormatsStage()
