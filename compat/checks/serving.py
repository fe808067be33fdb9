"""What is wanted of a server of OpenAI's completions: PyTorch's text, by OpenAI's own client."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import common
import openai
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPT, TOKENS = "京都は", 16
SECONDS = 600


def require(holds: bool, what: str) -> None:
    if not holds:
        sys.exit(what)


@contextlib.contextmanager
def served(title: str, command: Sequence[str], folder: Path) -> Iterator[str]:
    """A server, run in the release's folder as its card says; the address of its API."""
    port = common.free_port()
    where = ["--host", "127.0.0.1", "--port", str(port)]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(  # noqa: S603
            [*command, *where], cwd=folder, stdout=log, stderr=log, start_new_session=True
        ) as server,
    ):
        try:
            _answers(title, port, server, log.fileno())
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)


def _answers(title: str, port: int, server: subprocess.Popen[bytes], log: int) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.5)
    size = os.fstat(log).st_size
    said = os.pread(log, 2000, max(0, size - 2000)).decode("utf-8", "replace")
    sys.exit(f"{title} does not answer (exit code {server.poll()})\n{said}")


def pytorch(folder: Path) -> tuple[str, int]:
    """What PyTorch writes after the prompt, and the model's context."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder)
    inputs = tokenizer(PROMPT, return_tensors="pt")
    ids = network.generate(**inputs, do_sample=False, max_new_tokens=TOKENS)[0]
    text = tokenizer.decode(ids[inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text, network.config.n_positions


def check(title: str, url: str, wanted: str) -> None:
    """The same text as PyTorch's, whole and streamed; a stop; seeds; the end by length."""
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    how = {"model": ".", "prompt": PROMPT, "max_tokens": TOKENS}
    whole = client.completions.create(**how, temperature=0).choices[0]
    require(whole.text == wanted, f"{title}: writes {whole.text!r}, PyTorch {wanted!r}")
    require(whole.finish_reason == "length", f"{title}: ends by {whole.finish_reason}")
    parts = [
        part.choices[0].text or ""
        for part in client.completions.create(**how, temperature=0, stream=True)
        if part.choices
    ]
    require("".join(parts) == wanted, f"{title}: streams {''.join(parts)!r}")
    require(len(parts) > 4, f"{title}: streams {len(parts)} parts only")
    middle = wanted[len(wanted) // 2]
    stopped = client.completions.create(**how, temperature=0, stop=[middle]).choices[0]
    before = wanted[: wanted.index(middle)]
    kept = stopped.text.removesuffix(middle)  # whether it is told differs between servers
    require(kept == before, f"{title}: stops at {middle!r} with {stopped.text!r}")
    require(stopped.finish_reason == "stop", f"{title}: a stop ends by {stopped.finish_reason}")

    def drawn(seed: int) -> str:
        text = client.completions.create(**how, temperature=1.0, seed=seed).choices[0].text
        return str(text)

    require(drawn(1) == drawn(1), f"{title}: a seed gives two texts")
    require(len({drawn(seed) for seed in range(1, 6)}) > 1, f"{title}: seeds change nothing")
    common.passed(f"{title}, openai {openai.__version__}: whole, streamed, stop, seeds")


def card(title: str, url: str, material: Path) -> None:
    """The program that the card shows prints the prompt and goes on."""
    source = (material / "client.py").read_text("utf-8")
    source = source.replace("http://localhost:8000/v1", url)
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    require(done.returncode == 0 and len(done.stdout.strip()) > len(PROMPT),
            f"{title}: the card's client: {done.stdout!r} {done.stderr[-800:]}")  # fmt: skip
    common.passed(f"{title}: the card's client")
