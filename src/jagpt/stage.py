"""A stage: one step on the way from a dump to a release, and everything known about it.

`stages.STAGES` has them in order; `pipeline` runs them and knows none of them by name. A stage
finds its directory in place, perhaps with the finished parts of an earlier attempt with the same
fingerprint, reads the directories of the stages that it needs, and leaves only finished files
in its own. Importing a stage is cheap: its methods import what does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from jagpt import installation
from jagpt.errors import MissingExtraError

if TYPE_CHECKING:
    from jagpt.manifests import Manifest
    from jagpt.progress import Progress
    from jagpt.recipe import Recipe
    from jagpt.rundir import RunDirectory

Hash = Callable[[Path], str]


@dataclass(frozen=True)
class Kept:
    """What can be kept of an earlier result under another recipe.

    `worth` compares several; `names` are the entries of the directory, all of them if None;
    `share` is that of the work.
    """

    why: str
    worth: int
    names: frozenset[str] | None = None
    share: float = 1.0


class Stage:
    """What a stage is made from, and how it is made."""

    name: ClassVar[str]
    help: ClassVar[str]
    """What its verb does, in a sentence."""
    verb: ClassVar[str | None] = None
    """The verb that makes it along with another stage, if it has no verb of its own."""
    version: ClassVar[int]
    """Raised when what it makes or the meaning of a default changes."""
    sections: ClassVar[tuple[str, ...]]
    """Those of the recipe whose semantic fields enter its fingerprint."""
    needs: ClassVar[tuple[str, ...]] = ()
    """The stages whose results it reads."""
    shared_with: ClassVar[tuple[str, ...]] = ()
    """Of these, those that a result shared from another run must have been made with."""
    logs: ClassVar[tuple[str, ...]] = ()
    """What it writes below `logs/`."""
    part: ClassVar[str | None] = "train"
    """The extra of jagpt that makes it; None if the core does."""

    @property
    def verb_help(self) -> str:
        """The help of its verb, if that does nothing else."""
        return f"{self.help} One stage of a run."

    @property
    def installed(self) -> bool:
        """Whether the part of jagpt that makes it is installed."""
        return self.part is None or installation.is_there(self.part)

    # --- what it is made of ---

    def semantic(self, recipe: Recipe) -> dict[str, Any]:
        """What of the recipe enters the fingerprint, as plain JSON values."""
        return {name: getattr(recipe, name).semantic() for name in self.sections}

    def outside(self, recipe: Recipe, digest: Hash, known: Mapping[str, str]) -> dict[str, str]:
        """What it reads from outside the run: name → content hash, by `digest`.

        `known` is what a finished result was made from; empty if there is none, or it does not
        count.
        """
        return {}

    def shared_from(self, recipe: Recipe) -> str | None:
        """The other run whose result replaces this stage's."""
        return None

    def takes(self, origin: str) -> bool:
        """Whether `shared_from` may name this place though no result of the stage is there."""
        return False

    def settle(self, recipe: Recipe, began: Mapping[str, Any] | None) -> tuple[Recipe, str | None]:
        """The recipe with values for what it leaves to the machine, and what to say about them.

        `began` is the section under which the stage was begun or made, which then holds.
        """
        return recipe, None

    # --- what is done before it is made ---

    def require(self) -> None:
        """`MissingExtraError` if the part of jagpt that makes it is not installed."""
        if self.part is not None and not self.installed:
            raise MissingExtraError(f"the stage {self.name}", self.part)

    def check(self, recipe: Recipe) -> None:
        """Refuse (`UsageError`) what the recipe asks for that no earlier stage's result can fix."""

    def fetch(self, recipe: Recipe, progress: Progress) -> None:
        """Download what it reads from elsewhere."""

    def check_kept(self, run: RunDirectory) -> None:
        """`NewerVersionError` if a newer jagpt left something that it would continue from."""

    def keeps(
        self, recipe: Recipe, run: RunDirectory, old: Manifest, directory: Path
    ) -> Kept | None:
        """What can be kept of the result in `directory` although the recipe changed.

        Version and inputs are those of the `old` result.
        """
        return None

    def worth(self, directory: Path) -> str | None:
        """What is not moved aside without asking; None if it took no time."""
        return None

    def preflight(self, recipe: Recipe, run: RunDirectory) -> None:
        """Refuse the impossible, now that everything it needs is there; nothing is written."""

    # --- making it ---

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        """Make it in its own directory, or continue with what is there."""
        raise NotImplementedError

    def outcome(self, run: RunDirectory) -> str:
        """What a finished stage made, in one line."""
        from jagpt import units
        from jagpt.manifests import Manifest

        entries = Manifest.read(run.stage(self.name)).files
        size = units.size(sum(entry.size for entry in entries))
        return f"{units.counted(len(entries), 'file')}, {size}"


def by_split(counts: Mapping[str, int]) -> str:
    """Counts of the three splits, in one line."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def named_place(what: str, paths: Sequence[Path], hub: str, digest: Hash) -> dict[str, str]:
    """Inputs of a stage that begins with `what` in files, or on the hub where there are none."""
    return {f"{what} {path.name}": digest(path) for path in paths} or {f"{what} hub": hub}
