"""A stage: one step of the way from a dump to a release, and all that is known of it.

`stages.STAGES` has them in order; what runs them (`pipeline`) knows none of them by name. A stage
finds its directory in place, perhaps with the finished parts of an earlier attempt of the same
fingerprint, reads the directories of the stages that it needs, and leaves only finished files in
its own. Nothing heavy comes with a stage: its methods import what does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from jagpt import installation
from jagpt.errors import MissingExtraError

if TYPE_CHECKING:
    from jagpt.files import Manifest
    from jagpt.progress import Progress
    from jagpt.recipe import Recipe
    from jagpt.rundir import RunDirectory

Hash = Callable[[Path], str]


@dataclass(frozen=True)
class Kept:
    """What of an earlier result is of use under another recipe.

    `worth` compares several; `names` are the entries of the directory, all of them if None.
    """

    why: str
    worth: int
    names: frozenset[str] | None = None


class Stage:
    """What a stage is made of, and how it is made."""

    name: ClassVar[str]
    help: ClassVar[str]
    """What its verb does, in a sentence."""
    verb: ClassVar[str | None] = None
    """The verb that makes it along with another stage, where it has none of its name."""
    version: ClassVar[int]
    """Rises when what it makes or the meaning of a default changes."""
    sections: ClassVar[tuple[str, ...]]
    """Those of the recipe whose semantic fields enter its fingerprint."""
    needs: ClassVar[tuple[str, ...]] = ()
    """The stages whose results it reads."""
    shared_with: ClassVar[tuple[str, ...]] = ()
    """Of these, those that a result shared from another run must have been made with."""
    logs: ClassVar[tuple[str, ...]] = ()
    """What it writes below `logs/`."""
    part: ClassVar[str | None] = "train"
    """The extra of jagpt that makes it; None where the core does."""

    @property
    def verb_help(self) -> str:
        """The help of its verb where that does nothing else."""
        return f"{self.help} One stage of a run."

    @property
    def installed(self) -> bool:
        """Whether the part of jagpt that makes it is there."""
        return self.part is None or installation.is_there(self.part)

    # --- what it is made of ---

    def semantic(self, recipe: Recipe) -> dict[str, Any]:
        """What of the recipe enters the fingerprint, as plain JSON values."""
        return {name: getattr(recipe, name).semantic() for name in self.sections}

    def outside(self, recipe: Recipe, digest: Hash, known: Mapping[str, str]) -> dict[str, str]:
        """What it reads from outside the run: name → content hash, by `digest`.

        `known` is what a finished result was made of; empty where there is none, or it does not
        count.
        """
        return {}

    def shared_from(self, recipe: Recipe) -> str | None:
        """The other run whose result stands for this stage's."""
        return None

    def takes(self, origin: str) -> bool:
        """Whether `shared_from` may name this place though no result of the stage is there."""
        return False

    def settle(self, recipe: Recipe, began: Mapping[str, Any] | None) -> tuple[Recipe, str | None]:
        """The recipe with values where it leaves them to the machine, and what to say of them.

        `began` is the section under which the stage was begun or made, which then holds.
        """
        return recipe, None

    # --- what is done before it is made ---

    def require(self) -> None:
        """`MissingExtraError` where the part of jagpt that makes it is not installed."""
        if self.part is not None and not self.installed:
            raise MissingExtraError(f"the stage {self.name}", self.part)

    def check(self, recipe: Recipe) -> None:
        """Refuse (`UsageError`) what the recipe asks for and no earlier stage's result can mend."""

    def fetch(self, recipe: Recipe, progress: Progress) -> None:
        """Bring what it reads from elsewhere to this machine."""

    def check_kept(self, run: RunDirectory) -> None:
        """`NewerVersionError` where a newer jagpt left something that it would go on from."""

    def keeps(
        self, recipe: Recipe, run: RunDirectory, old: Manifest, directory: Path
    ) -> Kept | None:
        """What of the result in `directory` is of use though the recipe changed.

        Version and inputs are those of the `old` result.
        """
        return None

    def worth(self, directory: Path) -> str | None:
        """What stands there that is not set aside unasked; None where it took no time."""
        return None

    def preflight(self, recipe: Recipe, run: RunDirectory) -> None:
        """Refuse what cannot be, now that all that it needs is there; nothing is written."""

    # --- making it ---

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        """Make it in its own directory, or go on with what stands there."""
        raise NotImplementedError

    def outcome(self, run: RunDirectory) -> str:
        """What it made, in a line; of a finished stage."""
        from jagpt import units
        from jagpt.files import Manifest

        entries = Manifest.read(run.stage(self.name)).files
        return f"{len(entries)} files, {units.size(sum(entry.size for entry in entries))}"


def by_split(counts: Mapping[str, int]) -> str:
    """Counts of the three splits, in a line."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def named_place(what: str, paths: Sequence[Path], hub: str, digest: Hash) -> dict[str, str]:
    """Inputs of a stage that begins with `what` in files, or on the hub where there are none."""
    return {f"{what} {path.name}": digest(path) for path in paths} or {f"{what} hub": hub}
