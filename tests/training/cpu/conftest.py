from __future__ import annotations

import pytest

from jagpt.training.cpu import attention


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tiles of each kind even for sequences of 40 tokens."""
    monkeypatch.setattr(attention, "TILE_QUERIES", 16)
    monkeypatch.setattr(attention, "TILE_ELEMENTS", 2 * 16 * 40)
