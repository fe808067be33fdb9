"""The train stage: from token shards to checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt import units
from jagpt.stage import Hash, Kept, Stage, named_place

if TYPE_CHECKING:
    from jagpt.manifests import Manifest
    from jagpt.progress import Progress
    from jagpt.recipe import Recipe
    from jagpt.rundir import RunDirectory


class TrainStage(Stage):
    name = "train"
    help = "Train the model; continues from the last checkpoint."
    version = 2
    sections = ("model", "train")
    needs = ("tokenizer", "tokens")
    logs = (
        "metrics.jsonl",
        "samples.jsonl",
        "bad-steps.jsonl",
        "loss_curve.png",
        "tensorboard",
        "tracker.json",
    )

    def semantic(self, recipe: Recipe) -> dict[str, Any]:
        weights = recipe.corpus.weights
        corpus = {"corpus": {"weights": weights}} if weights else {}
        return {**super().semantic(recipe), **corpus}

    def outside(self, recipe: Recipe, digest: Hash, known: Mapping[str, str]) -> dict[str, str]:
        read: dict[str, str] = {}
        if recipe.model.from_ is not None:
            from jagpt.models import pretrained

            hub = f"{recipe.model.from_}@{recipe.model.revision}"
            read |= named_place("model", pretrained.input_files(recipe.model), hub, digest)
        if recipe.train.teacher:
            from jagpt.training import teachers

            for number, name in enumerate(recipe.train.teacher, 1):
                paths = teachers.input_files(name)
                read |= named_place(f"teacher {number}", paths, name, digest)
        return read

    def settle(self, recipe: Recipe, began: Mapping[str, Any] | None) -> tuple[Recipe, str | None]:
        if recipe.train.precision != "auto":
            return recipe, None
        known = ((began or {}).get("train") or {}).get("precision")
        if known in ("fp32", "bf16", "fp16"):
            return recipe.with_precision(known), f"train.precision: {known}, as when this run began"
        from jagpt import devices

        wanted = recipe.execution.device
        if wanted not in ("auto", "cpu") and devices.lacking(wanted) is not None:
            return recipe, None  # training refuses; data can be made on machines without a GPU, too
        precision, reason = devices.best_precision(devices.choose(wanted))
        return recipe.with_precision(precision), f"train.precision: {precision} ({reason})"

    def check(self, recipe: Recipe) -> None:
        from jagpt.training import trackers

        trackers.check(recipe.execution.trackers)
        shape = recipe.model
        if shape.from_ is None and (shape.type != "gpt2" or shape.config):  # torch takes seconds
            from jagpt.training.rehearsal import rehearse

            known = recipe.tokenizer
            rehearse(shape, known.least_vocab_size if known.size_is_open else known.vocab_size)
        if recipe.train.teacher:
            from jagpt.training import teachers

            teachers.check(recipe)

    def check_kept(self, run: RunDirectory) -> None:
        from jagpt.training import checkpoints

        checkpoints.check_versions(run.own("train"))

    def keeps(
        self, recipe: Recipe, run: RunDirectory, old: Manifest, directory: Path
    ) -> Kept | None:
        """Checkpoints up to the last one whose steps would have been the same."""
        from jagpt.errors import DataError
        from jagpt.models.checkpoint_folder import standing, step_name
        from jagpt.tokens.dataset import TokenSplit
        from jagpt.tokens.weights import Weights
        from jagpt.training import checkpoints
        from jagpt.training.plan import continues

        steps = standing(directory)
        if not steps:
            return None
        try:
            split = TokenSplit.open(run.tokens, "train")
            weights = Weights.of(split, recipe.corpus.weights, recipe.train.seed)
        except DataError:  # they do not exist yet
            return None
        train_tokens = split.n_tokens if weights is None else weights.tokens_per_epoch
        sections = old.section, self.semantic(recipe)
        for last in reversed(steps):
            bad = checkpoints.had_bad_steps(directory / step_name(last))
            if continues(*sections, last, train_tokens, bad_steps=bad):
                break
        else:
            return None
        why = "the steps already done stay the same"
        names = None
        if last < steps[-1]:
            why = f"the first {last:,} of {steps[-1]:,} steps stay the same"
            names = frozenset(step_name(step) for step in steps if step <= last)
        if sections[0]["train"].get("validate_tokens") != recipe.train.validate_tokens:
            why += ", but their validation losses are for other tokens"
        return Kept(why, last, names, last / steps[-1] if steps[-1] else 1.0)

    def worth(self, directory: Path) -> str | None:
        from jagpt.models.checkpoint_folder import standing

        steps = standing(directory)
        return units.counted(steps[-1], "step") if steps else None

    def preflight(self, recipe: Recipe, run: RunDirectory) -> None:
        from jagpt.training import session

        session.preflight(recipe, run)

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        from jagpt.training import session

        session.run(recipe, run, progress)

    def outcome(self, run: RunDirectory) -> str:
        from jagpt.models import size
        from jagpt.models.checkpoint_folder import MODEL, CheckpointIndex
        from jagpt.training.state import SavedState

        last = run.checkpoints / CheckpointIndex.read(run.checkpoints).last
        state, weights = SavedState.read(last), last / MODEL
        said = [f"{state.tokens:,} tokens seen"]
        if state.best is not None:
            loss = state.best.loss
            said = [f"valid loss {loss:.4f}", f"perplexity {units.perplexity(loss):,.2f}", *said]
        if weights.is_file():
            said.append(f"{units.amount(size.count_parameters(weights))} parameters")
        return "; ".join(said)


TRAIN = TrainStage()
