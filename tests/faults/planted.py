"""Something of a stranger's in the place of each file and folder: a link out of the run, a pipe.

Whatever is asked of such a run is refused: nothing outside is read or written, nothing changes,
nothing hangs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .attempts import Fault, Unbroken, in_child, jagpt, on

REFUSED = 3


@dataclass(frozen=True)
class Planted(Fault):
    """`plant(place, outside)` puts it at `place`; `outside` is a copy of what was there."""

    plant: Callable[[Path, Path], None] = Path.symlink_to

    def numbers(self, whole: Unbroken) -> Sequence[int]:
        return range(1, len(_places(whole)) + 1)

    def at(self, whole: Unbroken, number: int) -> str:
        return _places(whole)[number - 1]

    def tried(self, whole: Unbroken, number: int, tree: Path) -> str | None:
        place, outside = tree / self.at(whole, number), tree.with_name(f"{tree.name}-outside")
        _take_out(place, whole.end / place.relative_to(tree), outside)
        self.plant(place, outside)
        before, there = _seen(outside), _seen(tree)
        code, said = in_child(lambda: jagpt(on(whole.command, tree)))
        problem = None
        if _seen(outside) != before:
            problem = "what stands outside was changed"
        elif "Traceback" in said:
            problem = "a traceback"
        elif place.is_relative_to(tree / "run"):
            problem = _not_refused(place, code, said) or (
                "the run was changed" if _seen(tree) != there else None
            )
        elif code not in (0, 2, REFUSED):  # a page or a recipe that is written elsewhere
            problem = "neither made nor refused"
        if problem is None:
            _delete(outside)
        return problem and f"{problem}; exit code {code}\n{said}"


def _not_refused(place: Path, code: int, said: str) -> str | None:
    if code != REFUSED:
        return "not refused"
    if len(said.strip().splitlines()) != 1 or f"{place}: " not in said:
        return "not one line that names it"
    return None


def _places(whole: Unbroken) -> list[str]:
    """Every file and folder that stands in the tree, or will; a run itself may be a link."""
    trees = (whole.command.start, whole.end)
    found = {path.relative_to(tree).as_posix() for tree in trees for path in tree.rglob("*")}
    return sorted(found - {"run"})


def _take_out(place: Path, like: Path, outside: Path) -> None:
    """Move what stands at `place` outside, or make there what is `like` that which will."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        place.rename(outside)
    elif like.is_dir():
        shutil.copytree(like, outside)
    else:
        shutil.copy2(like, outside)


def _seen(root: Path) -> dict[str, object]:
    """All that can be seen of a tree, which is not opened where it could hang."""
    found: dict[str, object] = {}
    for path in (root, *sorted(root.rglob("*"))):
        status = path.lstat()
        plain = path.is_file() and not path.is_symlink()
        content = path.read_bytes() if plain else None
        found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_nlink, content)
    return found


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


LINK = Planted("link")
PIPE = Planted("pipe", plant=lambda place, _outside: os.mkfifo(place))
