"""jagpt in processes of its own that need not import everything first.

A server that has imported all of jagpt forks them (multiprocessing's forkserver): each has its own
signals, handles, folder and exit code, as that of `python -m jagpt` has, for a tenth of its time.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from unittest import mock

from programs import programs_here

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

PRELOADED = (
    "jagpt.cli", "jagpt.stages", "jagpt.pipeline.running", "jagpt.corpus.convert",
    "jagpt.corpus.assign", "jagpt.tokenizer.folder", "jagpt.tokens.encoding",
    "jagpt.training.session", "jagpt.evaluation.checkpoint", "jagpt.export.huggingface",
    "jagpt.release.folder", "jagpt.generation", "jagpt.report", "jagpt.summary",
    "jagpt.models.network", "jagpt.plan", "jagpt.remote", "jagpt.tokenizer.learning",
    "jagpt.wikitext.renderers", "matplotlib.backends.backend_agg", "matplotlib.figure", "pandas",
    "pyarrow.compute", "pyarrow.parquet",
    "safetensors.torch", "sentencepiece", "sentencepiece.sentencepiece_model_pb2", "tokenizers",
    "transformers.models.auto.tokenization_auto", "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.bert_generation.tokenization_bert_generation",
)  # fmt: skip
"""What takes seconds to import, in jagpt only where it is used."""


class Process:
    """A running jagpt, whose files may grow to `file_bytes`; `wait` tells its end."""

    def __init__(
        self, *arguments: str | Path, cwd: Path | None = None, file_bytes: int | None = None
    ) -> None:
        self._said = tempfile.TemporaryDirectory(prefix="jagpt-said-")
        self._arguments = [str(argument) for argument in arguments]
        told = (self._arguments, cwd or Path.cwd(), dict(os.environ), file_bytes)
        self._process = context().Process(target=_become, args=(*told, *self._places()))
        self._process.start()

    @property
    def runs(self) -> bool:
        return self._process.is_alive()

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid or 0, number)

    def wait(self, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Its exit code, or minus the signal that ended it, and its streams."""
        self._process.join(timeout)
        if self.runs:
            self._process.kill()
            raise subprocess.TimeoutExpired(self._arguments, timeout)
        code = self._process.exitcode
        assert code is not None
        said = [place.read_text("utf-8") for place in self._places()]
        self._said.cleanup()
        return subprocess.CompletedProcess(self._arguments, code, *said)

    def _places(self) -> tuple[Path, Path]:
        return Path(self._said.name, "out"), Path(self._said.name, "err")


def jagpt(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run jagpt to its end."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        return Process(*arguments, cwd=cwd).wait()
    command = [sys.executable, "-m", "jagpt", *map(str, arguments)]  # Windows
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@cache
def context() -> ForkServerContext:
    """What makes processes that have imported all."""
    from multiprocessing import forkserver

    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload([*PRELOADED])
    alone = {
        "ARROW_DEFAULT_MEMORY_POOL": "system",  # as jagpt sets it
        "JE_ARROW_MALLOC_CONF": "background_thread:false",  # no thread may be left behind by a fork
    }
    with mock.patch.dict(os.environ, alone):
        forkserver.ensure_running()
    return made


def _become(
    arguments: list[str], cwd: Path, environment: Mapping[str, str], file_bytes: int | None,
    out: Path, err: Path,
) -> NoReturn:  # fmt: skip
    """In the forked process: what a shell would set up, then jagpt."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, place in ((1, out), (2, err)):
        with place.open("wb") as file:
            os.dup2(file.fileno(), number)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8")
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", line_buffering=True)
    if file_bytes is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    sys.argv = ["jagpt", *arguments]
    from jagpt.__main__ import main

    with programs_here():
        main()
