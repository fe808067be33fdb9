"""The notebook: its cells for a CPU run top to bottom, and nothing else is taken for run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import processes

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "jagpt.ipynb"
ELSEWHERE = {"gpu", "colab"}
"""Tags of cells that this test leaves out."""


def code_cells() -> list[dict[str, Any]]:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def left_out(cell: dict[str, Any]) -> bool:
    return bool(ELSEWHERE & set(cell["metadata"].get("tags", ())))


def run_cells(sources: list[str], folder: Path) -> None:
    """In a process of its own: a kernel has one namespace."""
    os.chdir(folder)
    cells: dict[str, Any] = {"__name__": "__main__"}
    for source in sources:
        exec(source, cells)  # noqa: S102  # the project's own notebook


def test_the_cells_for_a_cpu_run_top_to_bottom(tmp_path: Path) -> None:
    sources = ["".join(cell["source"]) for cell in code_cells() if not left_out(cell)]
    process = processes.context().Process(target=run_cells, args=(sources, tmp_path))
    process.start()
    process.join(180)
    assert process.exitcode == 0
    assert (tmp_path / "runs" / "notebook" / "release" / "README.md").exists()


def test_it_uses_jagpt_alone() -> None:
    lines = [line.strip() for cell in code_cells() if not left_out(cell) for line in cell["source"]]
    assert [line for line in lines if line.startswith(("import ", "from "))] == ["import jagpt"]


def test_no_output_is_stored_that_nobody_made() -> None:
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code_cells())
