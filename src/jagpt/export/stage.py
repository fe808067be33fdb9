"""The export stage: the model folder that `transformers` loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jagpt.stage import Stage

if TYPE_CHECKING:
    from jagpt.progress import Progress
    from jagpt.recipe import Recipe
    from jagpt.rundir import RunDirectory


class ExportStage(Stage):
    name = "export"
    help = "The Hugging Face folder that from_pretrained loads, and further formats."
    version = 3
    sections = ("export",)
    needs = ("tokenizer", "train")

    def semantic(self, recipe: Recipe) -> dict[str, Any]:
        """Without the further formats, which are a stage of their own."""
        section = recipe.export.semantic() | {"checkpoint": recipe.export_checkpoint}
        del section["formats"]
        return {"export": section}

    def preflight(self, recipe: Recipe, run: RunDirectory) -> None:
        from jagpt.models import checkpoint_folder

        checkpoint_folder.resolve(run.checkpoints, recipe.export_checkpoint)

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        from jagpt.export import huggingface

        huggingface.run(recipe, run, progress)


EXPORT = ExportStage()
