"""What every test shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: two layers, one piece a character, a context of 48."""
    import fakes

    from jagpt.export import huggingface
    from jagpt.progress import QUIET

    run = fakes.run_directory(tmp_path_factory.mktemp("tiny") / "run")
    huggingface.run(fakes.recipe(), run, QUIET)
    return run.model
