from __future__ import annotations

import folders
import pytest

from jagpt.export.source import Source


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A tiny model with a SentencePiece tokenizer."""
    return folders.write(tmp_path_factory.mktemp("tiny") / "model")
