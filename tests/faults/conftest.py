"""A finished run of the tiny project, made once for all tests here."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from programs import programs_here

from jagpt.cli import main

from .projects import Project, make_project


def inside(*arguments: str | Path) -> int:
    """The exit code of a command line in this process."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
    finally:
        signal.signal(signal.SIGTERM, before)
    return int(left.value.code or 0)


@pytest.fixture(scope="package", autouse=True)
def in_process() -> Iterator[None]:
    """Another process needs seconds for a card's programs."""
    with programs_here():
        yield


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("tiny") / "project")


@pytest.fixture(scope="session")
def finished(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of the tiny project; tests must not change it."""
    root = tmp_path_factory.mktemp("finished") / "run"
    with programs_here():
        assert inside(*project.whole(root)) == 0
    return root


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that copies the finished run, some folders left out, to be changed."""

    def copy(*without: str) -> Path:
        target = tmp_path / "run"
        shutil.copytree(finished, target, ignore=lambda _folder, names: set(names) & set(without))
        return target

    return copy
