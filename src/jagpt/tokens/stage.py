"""The tokens stage: each corpus shard becomes a token shard of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jagpt.stage import Stage, by_split

if TYPE_CHECKING:
    from jagpt.progress import Progress
    from jagpt.recipe import Recipe
    from jagpt.rundir import RunDirectory


class TokensStage(Stage):
    name = "tokens"
    help = "From documents to token shards."
    version = 1
    sections = ("tokens",)
    needs = ("corpus", "tokenizer")
    shared_with = ("corpus", "tokenizer")

    def shared_from(self, recipe: Recipe) -> str | None:
        return recipe.tokens.from_

    def check(self, recipe: Recipe) -> None:
        from jagpt import workers

        workers.check(recipe.execution)

    def check_kept(self, run: RunDirectory) -> None:
        from jagpt.tokens import shards

        shards.check_versions(run.own("tokens"))

    def preflight(self, recipe: Recipe, run: RunDirectory) -> None:
        from jagpt.tokens import encoding

        encoding.preflight(recipe, run)

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        from jagpt.tokens import encoding

        encoding.run(recipe, run, progress)

    def outcome(self, run: RunDirectory) -> str:
        from jagpt.tokens.index import TokenIndex

        counts = TokenIndex.read(run.tokens).counts
        return f"{sum(counts.values()):,} tokens; {by_split(counts)}"


TOKENS = TokensStage()
