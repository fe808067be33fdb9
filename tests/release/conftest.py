"""What the tests of releases share."""

from __future__ import annotations

import pytest
from released import Run, finished, later


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run to publish; tests must not change it."""
    return finished(tmp_path_factory.mktemp("first") / "run")


@pytest.fixture(scope="session")
def second(first: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A later revision of it."""
    return later(first, tmp_path_factory.mktemp("second") / "run")
