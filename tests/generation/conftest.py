from __future__ import annotations

from pathlib import Path

import fakes
import pytest

from jagpt.export import huggingface
from jagpt.progress import QUIET


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: two layers, one piece a character, a context of 48."""
    run = fakes.run_directory(tmp_path_factory.mktemp("tiny") / "run")
    huggingface.run(fakes.recipe(), run, QUIET)
    return run.model
