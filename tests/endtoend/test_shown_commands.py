"""The commands of the demo's tutorial, in their order, with a network that trains in seconds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from .conftest import settings

PAGE = Path(__file__).parents[2] / "docs" / "tutorial-demo.md"
TINY = " ".join(settings())


def test_the_demo_goes_as_its_tutorial_says(tmp_path: Path) -> None:
    shown = re.findall(r"^\$ (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(shown) == 7
    for command in shown:
        line = command.replace(".venv/bin/jagpt", f"{sys.executable} -m jagpt")
        line = line.replace("less ", "cat ")
        line = line.replace(" run quickstart", f" run quickstart {TINY}")
        line += " --max-new-tokens 4" if " generate " in line else ""
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
