from __future__ import annotations

from pathlib import Path

import fakes
import pytest

from jagpt import models
from jagpt.errors import DataError
from jagpt.models.size import count_parameters, parameter_count


def test_counts_parameters_without_reading_them(tmp_path: Path) -> None:
    fakes.write_checkpoints(tmp_path)
    folder = tmp_path / "step-00000010"
    assert count_parameters(folder / "model.safetensors") == parameter_count(
        models.open(folder).network
    )


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, (5).to_bytes(8, "little") + b"[1,2]"])
def test_a_damaged_safetensors_header_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"model\.safetensors"):
        count_parameters(path)
