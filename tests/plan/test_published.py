"""The model of time against published runs: the table of docs/plan.md and its translation."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from jagpt.plan import published
from jagpt.plan.published import Run

HELD_OUT = [run for run in published.runs() if not run.fitted]
DOCS = Path(__file__).parent.parent.parent / "docs"


def row(run: Run) -> str:
    """A run's line in the table."""
    speeds = [f"{run.tokens / s / run.gpus:,.0f}" for s in (run.seconds, run.predicted)]
    cells = [f"[{run.name}]({run.source})", f"{run.gpus} × {run.gpu}", f"{run.efficiency:.0%}",
             "fitted" if run.fitted else "held out", *speeds,
             f"{run.predicted / run.seconds - 1:+.0%}"]  # fmt: skip
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("run", HELD_OUT, ids=lambda run: run.name)
def test_a_held_out_run_is_foretold_within_30_percent(run: Run) -> None:
    assert 0.7 <= run.predicted / run.seconds <= 1.3


def test_at_most_half_of_at_least_eight_runs_are_fitted() -> None:
    assert len(published.runs()) >= 8
    assert len(HELD_OUT) >= len(published.runs()) / 2


def test_the_fitted_runs_are_the_first_the_middle_and_the_last_of_each_family() -> None:
    families: dict[str, list[Run]] = defaultdict(list)
    for run in published.runs():
        families[run.family].append(run)
    for family in families.values():
        ordered = sorted(family, key=lambda run: (run.date, run.parameters))
        places = {0, (len(ordered) - 1) // 2, len(ordered) - 1}
        fitted = [run.name for place, run in enumerate(ordered) if place in places]
        assert [run.name for run in ordered if run.fitted] == fitted


def test_the_originals_run_is_foretold() -> None:
    (original,) = [run for run in published.runs() if run.gpu == "RTX 2080 Ti"]
    assert original.predicted == pytest.approx(15 * 86_400)


def test_a_family_without_a_run_is_told_whose_efficiency_it_takes() -> None:
    assert published.efficiency("blackwell") == published.efficiency("hopper")


@pytest.mark.parametrize("page", ["plan.md", "ja/plan.md"])
def test_the_page_has_every_run(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    for run in published.runs():
        assert row(run) in text, f"wanted in docs/{page}: {row(run)}"
