"""`kill -9` at random moments, as `benchmarks/kill.py` does it, a few times."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))

import kill


def test_a_run_killed_at_random_moments_ends_bitwise_as_the_unbroken_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kill.main(["--kills", "3", "--steps", "60"])
    assert "files bitwise equal" in capsys.readouterr().out
