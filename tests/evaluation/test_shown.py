from __future__ import annotations

from dataclasses import asdict

import fakes
import pytest
from rich.cells import cell_len

from jagpt.evaluation import shown
from jagpt.evaluation.comparing import ModelMeasured
from jagpt.evaluation.result import TaskFigures, TextFigures


def measured(name: str) -> ModelMeasured:
    figures = {key: value for key, value in asdict(fakes.EVALUATION).items()
               if key in TextFigures.__dataclass_fields__}  # fmt: skip
    figures["interval"] = fakes.EVALUATION.interval
    text = TextFigures(**figures, file="t", sha256="0" * 64, tokens_per_second=1234.5)
    return ModelMeasured(model=name, fingerprint="0", text=text, precision="fp32", device="cpu")


@pytest.mark.parametrize("columns", [80, 120])
def test_figures_fit_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown.show_models([measured("runs/一番目の長い名前のモデル"), measured("runs/b")])
    lines = [line for line in capsys.readouterr().out.splitlines() if "\x1b" in line or line]
    plain = "\n".join(shown_without_styles(line) for line in lines)
    assert max(map(cell_len, plain.splitlines())) <= columns
    assert "…" not in plain
    for figure in ("3.4000–3.6000", "29.96–36.60", "5.5000", "33.12", "1,234", "16/16", "39"):
        assert plain.count(figure) >= 2
    assert ("一番目の長い名前のモデル" in plain) or columns == 80


def test_names_in_tables_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    name = "[/x]"
    share = {"pairs": 1, "right": 1, "accuracy": 1.0, "interval": (0.2, 1.0)}
    task = TaskFigures(
        harness="0", version=name, shots=0, examples=1, dataset="d", prompt="p", metrics={name: 0.5}
    )
    shown.show_models(
        [
            ModelMeasured(
                model=name, fingerprint="0", pairs={**share, "phenomena": {name: share}},
                tasks={name: task}, precision="fp32", device="cpu",
            )
        ]
    )  # fmt: skip
    assert capsys.readouterr().out.count(name) == 6


def shown_without_styles(line: str) -> str:
    from rich.text import Text

    return Text.from_ansi(line).plain
