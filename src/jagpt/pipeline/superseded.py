"""`superseded/`: replaced results, each with its logs, kept until `jagpt clean`.

    train-7d73ab17/checkpoints/   what was there
                   logs/          what it logged
                   timing.json    its row of `logs/timing.json`

The logs move out first and back last, so that an interrupted move can be recognized, and `mend`
completes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from jagpt import files
from jagpt.errors import DataError
from jagpt.manifests import MANIFEST, Manifest
from jagpt.pipeline.ledger import Ledger
from jagpt.pipeline.states import last_made
from jagpt.records import plain, read_json
from jagpt.rundir import RunDirectory
from jagpt.stage import Stage
from jagpt.timing import StageTime

LOGS, TIMING = "logs", "timing.json"


@dataclass(frozen=True)
class Earlier:
    """A result in `superseded/`: its place there, its directory, what it was made from."""

    place: Path
    directory: Path
    manifest: Manifest
    finished: bool


def earlier(run: RunDirectory, stage: Stage) -> list[Earlier]:
    """The results of a stage that were moved aside and record what they were made from."""
    return [
        found
        for place in sorted(run.superseded.glob(f"{stage.name}-*"))
        if (found := _read(place, run.own(stage.name).name)) is not None
    ]


def _read(place: Path, directory: str) -> Earlier | None:
    manifest = last_made(place / directory)
    if manifest is None or manifest.shared:  # a note of what stood in another run
        return None
    finished = (place / directory / MANIFEST).exists()
    return Earlier(place, place / directory, manifest, finished)


def set_aside(run: RunDirectory, stage: Stage, ledger: Ledger, mark: str = "") -> Earlier | None:
    """Move a stage's result, if any, to `superseded/` with its logs."""
    directory = run.own(stage.name)
    if not directory.exists():
        return None
    files.remove_leftovers(directory, below=True)
    if not any(directory.iterdir()):
        return None
    place = _place(run, stage, mark)
    for name in stage.logs:
        if (run.logs / name).exists():
            files.move(run.logs / name, place / LOGS / name)
    if row := ledger.stages.pop(stage.name, None):
        files.write_json(place / TIMING, plain(row))
        ledger.write()
    files.move(directory, place / directory.name)
    return _read(place, directory.name)


def take_back(run: RunDirectory, stage: Stage, found: Earlier, ledger: Ledger) -> None:
    """Restore an earlier result; nothing may be in its place."""
    files.remove(run.own(stage.name))  # an empty folder
    files.move(found.directory, run.own(stage.name))
    _take_logs_back(run, stage, found.place, ledger)


def time_of(place: Path) -> StageTime | None:
    """What it took to make the earlier result at a place; None if that is not known."""
    with suppress(DataError):  # none, or a damaged one
        time: StageTime = read_json(StageTime, place / TIMING, "record of a time", "")
        return time
    return None


def copy_logs(run: RunDirectory, stage: Stage, origin: Earlier) -> None:
    """Start a stage's logs with those of the earlier result that it continues from."""
    for name in stage.logs:
        if (origin.place / LOGS / name).exists():
            files.remove(run.logs / name)
            files.copy(origin.place / LOGS / name, run.logs / name)


def replaced_by(fingerprint: str) -> str:
    """Name ending of what `--force` replaces: it is deleted once the result of this fingerprint is
    done.
    """
    return f"-replaced-{fingerprint[:8]}"


def mend(run: RunDirectory, stage: Stage, ledger: Ledger) -> None:
    """Complete an interrupted move: logs that moved out ahead of the result, or did not follow it
    back.
    """
    fingerprint = _fingerprint(run, stage)
    for place in sorted(run.superseded.glob(f"{stage.name}-{fingerprint}*")):
        if not place.is_dir():  # not of jagpt, such as an archive of a folder beside it
            continue
        files.remove_leftovers(place)
        if {path.name for path in place.iterdir()} <= {LOGS, TIMING}:
            _take_logs_back(run, stage, place, ledger)


@contextmanager
def replacing(run: RunDirectory, stage: Stage, fingerprint: str) -> Iterator[None]:
    """Delete what was to be replaced by the result of this fingerprint once the block has made it;
    otherwise say where it is.
    """
    try:
        yield
    except BaseException as error:
        for old in _replaced(run, stage, fingerprint):
            error.add_note(f"{stage.name}: the result from before --force is kept in {old}")
        raise
    delete_replaced(run, stage, fingerprint)


def delete_replaced(run: RunDirectory, stage: Stage, fingerprint: str) -> None:
    """Delete what forced runs, including killed ones, moved aside for the result of this
    fingerprint.
    """
    for old in _replaced(run, stage, fingerprint):
        files.remove(old)
    _remove_empty(run)


def _replaced(run: RunDirectory, stage: Stage, fingerprint: str) -> list[Path]:
    return sorted(run.superseded.glob(f"{stage.name}-*{replaced_by(fingerprint)}*"))


def _place(run: RunDirectory, stage: Stage, mark: str) -> Path:
    """A folder for the present result: a free one, or the one that an interrupted move began
    with.
    """
    name = f"{stage.name}-{_fingerprint(run, stage)}{mark}"
    place, number = run.superseded / name, 1
    while place.is_file() or (place / run.own(stage.name).name).exists():
        number += 1
        place = run.superseded / f"{name}-{number}"
    return place


def _fingerprint(run: RunDirectory, stage: Stage) -> str:
    """The beginning of the fingerprint of a stage's present result."""
    manifest = last_made(run.own(stage.name))
    return manifest.fingerprint[:8] if manifest else "unknown"


def _take_logs_back(run: RunDirectory, stage: Stage, place: Path, ledger: Ledger) -> None:
    for name in stage.logs:
        if (place / LOGS / name).exists():
            files.remove(run.logs / name)
            files.move(place / LOGS / name, run.logs / name)
    if (time := time_of(place)) is not None:
        ledger.stages[stage.name] = time
        ledger.write()
    files.remove(place)
    _remove_empty(run)


def _remove_empty(run: RunDirectory) -> None:
    if run.superseded.is_dir() and not any(run.superseded.iterdir()):
        files.remove(run.superseded)
