"""What every test shares."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import processes
import pytest
from hypothesis import HealthCheck, settings

from jagpt import telemetry
from jagpt.runtimes.ctranslate2 import prefer_exact_sums

FUZZED = "fuzzed"

telemetry.off()
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a core each for pytest's workers; products are tiny
prefer_exact_sums()  # some tests import CTranslate2 before jagpt does

# No deadline: a busy machine is no bug. `HYPOTHESIS_PROFILE=nightly` looks longer (make nightly).
settings.register_profile("jagpt", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", settings.get_profile("jagpt"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "jagpt"))


@pytest.fixture(scope="module", autouse=True)
def forked_workers() -> Iterator[None]:
    """jagpt's processes come from a server that has imported all: to start one afresh takes a
    second. `workers/` does that, and so do the processes of the end-to-end tests."""
    afresh = multiprocessing.get_context

    def get_context(method: str | None = None) -> BaseContext:
        return processes.context() if method == "spawn" else afresh(method)

    with pytest.MonkeyPatch.context() as patch:
        if "forkserver" in multiprocessing.get_all_start_methods():
            patch.setattr(multiprocessing, "get_context", get_context)
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: two layers, one piece per character, a context of 48."""
    import fakes

    from jagpt.export import huggingface
    from jagpt.progress import QUIET

    run = fakes.run_directory(tmp_path_factory.mktemp("tiny") / "run")
    huggingface.run(fakes.recipe(), run, QUIET)
    return run.model


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Callable[[str, Any], None]:
    """Keeps what became of a fuzzer's inputs (`faults.watched.Outcome`) for the last table."""
    return lambda what, found: record_property(FUZZED, [what, *vars(found).values()])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The fuzzers' table, where many inputs were asked for (`JAGPT_MUTATIONS`)."""
    if "JAGPT_MUTATIONS" not in os.environ:
        return
    terminalreporter.section("inputs tried, refused, peak, seconds of a processor")
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == FUZZED and report.when == "call":
                what, tried, refused, peak, seconds = value
                terminalreporter.line(
                    f"{what:28} {tried:>8,} {refused:>8,} {peak / 1e6:>8,.0f} MB {seconds:>8,.0f} s"
                )
