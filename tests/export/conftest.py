from __future__ import annotations

import folders
import pytest

from jagpt.formats.source import ModelSource


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    """A tiny model with a SentencePiece tokenizer."""
    return folders.write(tmp_path_factory.mktemp("tiny") / "model")
