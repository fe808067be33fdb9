"""What the tests of releases share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from released import Run, finished, later


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny products are slower on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run to publish; tests must not change it."""
    return finished(tmp_path_factory.mktemp("first") / "run")


@pytest.fixture(scope="session")
def second(first: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A later revision of it."""
    return later(first, tmp_path_factory.mktemp("second") / "run")
