from __future__ import annotations

from pathlib import Path

import pytest

from jagpt import charts
from jagpt.training import curve


@pytest.mark.parametrize(
    "loss", [1e308, -1.79e308, 5e-324, charts.SMALLEST, charts.LARGEST, -charts.LARGEST]
)
def test_any_loss_of_a_file_is_drawn_or_left_out(tmp_path: Path, loss: float) -> None:
    points = [(1, loss), (2**63 - 1, 3.0)]
    curve.draw(tmp_path / "x.png", points, points)
    curve.draw(tmp_path / "x.png", points[:1])
    assert (tmp_path / "x.png").stat().st_size > 0
