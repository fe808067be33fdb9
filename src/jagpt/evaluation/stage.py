"""The evaluate stage: how good the trained model is on a split of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jagpt.stage import Stage

if TYPE_CHECKING:
    from jagpt.progress import Progress
    from jagpt.recipe import Recipe
    from jagpt.rundir import RunDirectory


class EvaluateStage(Stage):
    name = "evaluate"
    help = "Loss, perplexity, and bits per character and byte, as a stage of a run or of any model."
    version = 2
    sections = ("evaluate",)
    needs = ("corpus", "tokenizer", "tokens", "train")

    def preflight(self, recipe: Recipe, run: RunDirectory) -> None:
        """`UsageError` if this machine lacks the recipe's device, precision or suite, or the
        checkpoint is not kept; `DataError` if there is no index of checkpoints."""
        from jagpt.evaluation.checkpoint import KEYS
        from jagpt.evaluation.scoring import choose
        from jagpt.models import checkpoint_folder

        checkpoint_folder.resolve(run.checkpoints, recipe.evaluate.checkpoint)
        choose(recipe.execution.device, recipe.evaluate.precision, KEYS)

    def check(self, recipe: Recipe) -> None:
        """A suite without the harness is refused before the corpus is made."""
        if recipe.evaluate.suite:
            from jagpt.evaluation import harness

            harness.require(f"evaluate.suite = {recipe.evaluate.suite!r}")

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        """Measure the recipe's checkpoint on the recipe's split and write `test.json`.

        Raises `UsageError` for a checkpoint that is not kept, `DataError` if it is damaged, or
        the split has fewer than two tokens or a different vocabulary than the model.
        """
        from jagpt.evaluation.checkpoint import measure_checkpoint, sentence

        result = measure_checkpoint(recipe, run, progress)
        result.write(run.own(self.name))
        progress.say(sentence(result))

    def outcome(self, run: RunDirectory) -> str:
        from jagpt.evaluation.result import Evaluation

        found = Evaluation.read(run.evaluation)
        return (
            f"{found.split} loss {found.loss:.4f}; perplexity {found.perplexity:,.2f}; "
            f"{found.bits_per_character:.4f} bits per character"
        )


EVALUATE = EvaluateStage()
