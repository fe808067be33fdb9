from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jagpt import telemetry


def test_what_is_set_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in telemetry.VARIABLES:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    telemetry.off()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
    assert {n: os.environ[n] for n in telemetry.VARIABLES} == {
        **telemetry.VARIABLES,
        "RAY_USAGE_STATS_ENABLED": "1",
    }
    assert sys.modules["openvino_telemetry"] is None


def test_it_is_off_from_python_too_before_a_library_is_imported() -> None:
    program = (
        "import json, os, sys, jagpt; jagpt.open_model; "
        "print(json.dumps([dict(os.environ), [*sys.modules]]))"
    )
    inherited = {n: v for n, v in os.environ.items() if n not in telemetry.VARIABLES}
    told = subprocess.run(
        [sys.executable, "-c", program], env=inherited, check=True, capture_output=True, text=True
    )
    variables, modules = json.loads(told.stdout)
    assert telemetry.VARIABLES.items() <= variables.items()
    assert not {"huggingface_hub", "onnxruntime", "openvino", "ray", "gradio"} & {*modules}


def test_the_page_names_every_variable() -> None:
    page = (Path(__file__).parents[1] / "SECURITY.md").read_text("utf-8")
    assert all(f"`{name}={value}`" in page for name, value in telemetry.VARIABLES.items())
