"""The stages, in order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt.stage import Hash, Kept, Stage, by_split, named_place

if TYPE_CHECKING:
    from jagpt.files import Manifest
    from jagpt.progress import Progress
    from jagpt.recipe import Recipe
    from jagpt.rundir import RunDirectory


class CorpusStage(Stage):
    name = "corpus"
    help = "From a dump or texts to documents in three splits."
    version = 2
    sections = ("corpus",)

    def outside(self, recipe: Recipe, digest: Hash, known: Mapping[str, str]) -> dict[str, str]:
        from jagpt.corpus.sources import source_inputs

        found: dict[str, str] = {}
        for source in recipe.corpus.source:
            found |= source_inputs(source, digest, known)
        return found

    def shared_from(self, recipe: Recipe) -> str | None:
        return recipe.corpus.from_ or recipe.tokens.from_

    def check(self, recipe: Recipe) -> None:
        from jagpt import workers
        from jagpt.corpus import hub_datasets, near_duplicates

        workers.check(recipe.execution)
        if recipe.corpus.drop_near_duplicates > 0:
            near_duplicates.check_library()
        if any(source.kind == "hf" for source in recipe.corpus.source):
            hub_datasets.check_library()

    def fetch(self, recipe: Recipe, progress: Progress) -> None:
        from jagpt.corpus.download import fetch_sources

        fetch_sources(recipe.corpus.source, recipe.execution.mirror, progress)

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        from jagpt.corpus import stage

        stage.run(recipe, run, progress)

    def outcome(self, run: RunDirectory) -> str:
        from jagpt.corpus.stats import CorpusStats

        found = CorpusStats.read(run.corpus)
        splits = by_split({name: split.documents for name, split in found.splits.items()})
        return f"{found.documents:,} documents, {found.characters:,} characters; {splits}"


class TokenizerStage(Stage):
    name = "tokenizer"
    help = "Train SentencePiece and make the folder that transformers loads."
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
        """A tokenizer folder, a model file or a hub id is no run, but is good for a start."""
        return True

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        from jagpt.tokenizer import stage

        stage.run(recipe, run, progress)

    def outcome(self, run: RunDirectory) -> str:
        from jagpt.tokenizer.stats import TokenizerStats

        found = TokenizerStats.read(run.tokenizer)
        ratio = found.characters_per_token
        return f"{found.vocab_size:,} pieces; {ratio:.2f} characters a token"


class TokensStage(Stage):
    name = "tokens"
    help = "From documents to token shards."
    version = 1
    sections = ("tokens",)
    needs = ("corpus", "tokenizer")
    shared_with = ("tokenizer",)

    def shared_from(self, recipe: Recipe) -> str | None:
        return recipe.tokens.from_

    def check(self, recipe: Recipe) -> None:
        from jagpt import workers

        workers.check(recipe.execution)

    def check_kept(self, run: RunDirectory) -> None:
        from jagpt.tokens import shards

        shards.check_versions(run.own("tokens"))

    def preflight(self, recipe: Recipe, run: RunDirectory) -> None:
        from jagpt.tokens import stage

        stage.preflight(recipe, run)

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        from jagpt.tokens import stage

        stage.run(recipe, run, progress)

    def outcome(self, run: RunDirectory) -> str:
        from jagpt.tokens.shards import TokenIndex

        counts = TokenIndex.read(run.tokens).counts
        return f"{sum(counts.values()):,} tokens; {by_split(counts)}"


class TrainStage(Stage):
    name = "train"
    help = "Train the model; goes on from the last checkpoint."
    version = 2
    sections = ("model", "train")
    needs = ("tokenizer", "tokens")
    logs = (
        "metrics.jsonl",
        "samples.jsonl",
        "bad-steps.jsonl",
        "val_loss_curve.png",
        "tensorboard",
    )

    def outside(self, recipe: Recipe, digest: Hash, known: Mapping[str, str]) -> dict[str, str]:
        if recipe.model.from_ is None:
            return {}
        from jagpt.models import pretrained

        hub = f"{recipe.model.from_}@{recipe.model.revision}"
        return named_place("model", pretrained.input_files(recipe.model), hub, digest)

    def settle(self, recipe: Recipe, began: Mapping[str, Any] | None) -> tuple[Recipe, str | None]:
        from jagpt.training import settling

        return settling.settle(recipe, began)

    def check(self, recipe: Recipe) -> None:
        from jagpt.training import trackers

        trackers.check(recipe.execution.trackers)
        shape = recipe.model
        if shape.from_ is None and (shape.type != "gpt2" or shape.config):  # torch takes seconds
            from jagpt.models import build

            build.check_class(shape, recipe.tokenizer.vocab_size)

    def check_kept(self, run: RunDirectory) -> None:
        from jagpt.training import checkpoints

        checkpoints.check_versions(run.own("train"))

    def keeps(
        self, recipe: Recipe, run: RunDirectory, old: Manifest, directory: Path
    ) -> Kept | None:
        """Checkpoints up to the last one whose steps would have been the same."""
        from jagpt.models.checkpoint_folder import standing, step_name
        from jagpt.tokens.dataset import TokenSplit
        from jagpt.training import checkpoints
        from jagpt.training.plan import continues

        steps = standing(directory)
        if not steps:
            return None
        train_tokens = TokenSplit.open(run.tokens, "train").n_tokens
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
            why += ", but their validation losses are of other tokens"
        return Kept(why, last, names)

    def worth(self, directory: Path) -> str | None:
        from jagpt.models.checkpoint_folder import standing

        steps = standing(directory)
        return f"{steps[-1]:,} steps" if steps else None

    def preflight(self, recipe: Recipe, run: RunDirectory) -> None:
        from jagpt.training import stage

        stage.preflight(recipe, run)

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        from jagpt.training import stage

        stage.run(recipe, run, progress)

    def outcome(self, run: RunDirectory) -> str:
        from jagpt import units
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


class EvaluateStage(Stage):
    name = "evaluate"
    help = "Loss, perplexity, bits per character and byte: a stage of a run, or of any model."
    version = 2
    sections = ("evaluate",)
    needs = ("corpus", "tokenizer", "tokens", "train")

    def preflight(self, recipe: Recipe, run: RunDirectory) -> None:
        from jagpt.evaluation import stage

        stage.preflight(recipe, run)

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        from jagpt.evaluation import stage

        stage.run(recipe, run, progress)

    def outcome(self, run: RunDirectory) -> str:
        from jagpt.evaluation.result import Evaluation

        found = Evaluation.read(run.evaluation)
        return (
            f"{found.split} loss {found.loss:.4f}; perplexity {found.perplexity:,.2f}; "
            f"{found.bits_per_character:.4f} bits a character"
        )


class ExportStage(Stage):
    name = "export"
    help = "The Hugging Face folder that from_pretrained loads, and further formats."
    version = 1
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


class FormatsStage(Stage):
    name = "formats"
    help = "The further formats, each proven equal."
    verb = "export"
    version = 1
    sections = ("export",)
    needs = ("tokens", "export")

    def semantic(self, recipe: Recipe) -> dict[str, Any]:
        section = recipe.export.semantic() | {"checkpoint": recipe.export_checkpoint}
        return {"export": section}

    def check(self, recipe: Recipe) -> None:
        from jagpt.export import formats

        for one in formats.chosen(recipe.export.formats):
            one.require()
            one.check_type(recipe.model.type, "[model]")

    def keeps(
        self, recipe: Recipe, run: RunDirectory, old: Manifest, directory: Path
    ) -> Kept | None:
        """The formats that are still wanted: one does not depend on those beside it."""
        there = {path.name for path in directory.iterdir() if path.is_dir()}
        wanted = there & set(recipe.export.formats)
        if not wanted:
            return None
        names = None if wanted == there else frozenset(wanted)
        return Kept("the formats already made stay as they are", len(wanted), names)

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        from jagpt.export import stage

        stage.run(recipe, run, progress)


class ReleaseStage(Stage):
    name = "release"
    help = "The folder to publish: model, card, changelog, checksums."
    version = 2
    sections = ("release",)
    needs = ("corpus", "tokenizer", "tokens", "train", "evaluate", "export", "formats")

    def semantic(self, recipe: Recipe) -> dict[str, Any]:
        """With the run's name, which stands in the card."""
        return {**super().semantic(recipe), "recipe": {"name": recipe.name}}

    def preflight(self, recipe: Recipe, run: RunDirectory) -> None:
        from jagpt.release import folder

        folder.preflight(recipe, run)

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        from jagpt.release import folder

        folder.run(recipe, run, progress)


CORPUS, TOKENIZER, TOKENS = CorpusStage(), TokenizerStage(), TokensStage()
TRAIN, EVALUATE = TrainStage(), EvaluateStage()
EXPORT, FORMATS, RELEASE = ExportStage(), FormatsStage(), ReleaseStage()
STAGES: tuple[Stage, ...] = (
    CORPUS, TOKENIZER, TOKENS, TRAIN, EVALUATE, EXPORT, FORMATS, RELEASE,
)  # fmt: skip
STAGE_NAMES = tuple(stage.name for stage in STAGES)
