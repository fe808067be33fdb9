"""llama.cpp on a GGUF file, by xllamacpp.

The binding offers llama.cpp's server and nothing below it, so that is what is used: our own server
on a free loopback port, behind a key that only this process knows. It gives log-probabilities,
not logits, for one position per call.
"""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt import safepath, units
from jagpt.errors import DataError, JagptError
from jagpt.runtimes.base import Drawing, DrawingRuntime
from jagpt.text import printable, shortened

if TYPE_CHECKING:
    from jagpt.runtimes.base import Floats

LARGEST_CHUNK, CHUNK_BYTES = 64, 8_000_000_000
"""Tokens per call, and bytes of weights that are read for them: what is streamed comes in pieces of
about a second at most. By the file's size and not by a clock, so that a seed gives one text."""
PROBABILITIES = "completion_probabilities"
FORCED = 1e6
"""Added to a logit, so that this token is drawn; its reported probability stays as it was."""
LIKELY = 500
"""Tokens whose probabilities are requested before those of all."""
SPARE_BYTES = 2 * 1024**3
"""Memory that is always allowed: buffers, and a stack for each of the server's threads."""
SPARE_SECONDS, SLOW_DISK = 120, 10_000_000
"""Seconds that loading may always take, and bytes a second that a slow disk reads."""
BATCH = 512
"""Tokens whose attention llama.cpp computes at once."""
CANNOT_LOAD = 3
"""How the process that tries a file ends if llama.cpp refuses it."""
REASONS = ("cannot load", "ASSERT", "what():")
"""Signs of the line in which it says why: ours, ggml's, and C++'s own."""
LOWEST = -1e30
"""The log-probability of a token whose probability is 0 in fp32."""


class LlamaCpp(DrawingRuntime):
    """A model in llama.cpp; keys and values are kept in fp32.

    `plain_id` is any token that is not part of a character: llama.cpp reports nothing about a token
    that leaves a character unfinished, so this one is forced if only probabilities are needed.
    """

    name = "gguf"
    normalized = True
    costly = True

    def __init__(
        self,
        path: Path,
        context: int,
        vocab_size: int,
        plain_id: int,
        threads: int | None = None,
    ) -> None:
        import httpx2
        import xllamacpp

        self.context, self.vocab_size, self._plain_id = context, vocab_size, plain_id
        key = secrets.token_hex(16)
        try:
            self._server: Any = xllamacpp.Server(_parameters(path, context, threads, key))
        except Exception as error:  # the binding raises what llama.cpp throws
            raise DataError(f"{path}: llama.cpp cannot load this ({error})") from None
        self._chunk = chunk_for(path.stat().st_size)
        self._client = httpx2.Client(
            base_url=self._server.listening_address,
            headers={"Authorization": f"Bearer {key}"},
            timeout=None,
            trust_env=False,
        )
        self._finish = weakref.finalize(self, self._client.close)  # also if nobody closes it

    def close(self) -> None:
        self._finish()
        self._server = None

    def encode(self, text: str) -> list[int]:
        found = self._ask("/tokenize", {"content": text, "parse_special": False})
        return [int(number) for number in found["tokens"]]

    def logits(self, ids: Sequence[int], rows: Sequence[int]) -> Floats:
        import numpy as np

        found = np.full((len(rows), self.vocab_size), LOWEST, np.float32)
        for place, row in enumerate(rows):
            for token, logprob in self._all(ids[: row + 1]).items():
                found[place, token] = logprob
        return found

    def nats(self, ids: Sequence[int]) -> float:
        return -sum(self._logprob(ids[:place], ids[place]) for place in range(1, len(ids)))

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        found: list[int] = []
        while len(found) < count:  # llama.cpp stops at an end token; the text continues after it
            answer = self._complete([*ids, *found], n_predict=count - len(found))
            found += answer["tokens"]
        return found

    def draw(
        self, prompt: Sequence[int], drawing: Drawing
    ) -> Iterator[list[tuple[int, float] | None]]:
        """See `DrawingRuntime`. Several rows are drawn one after the other."""
        numbers = range(drawing.first_row, drawing.first_row + drawing.rows)
        rows = [self._row(prompt, drawing, number) for number in numbers]
        if len(rows) == 1:
            for token in rows[0]:
                yield [token]
            return
        for step in zip_longest(*(list(row) for row in rows)):
            yield list(step)

    def _row(
        self, prompt: Sequence[int], drawing: Drawing, row: int
    ) -> Iterator[tuple[int, float]]:
        text = list(prompt)
        end = len(prompt) + drawing.new_tokens
        while len(text) < end:
            seed = random.Random(f"{drawing.seed}/{row}/{len(text)}").getrandbits(32)
            count = min(self._chunk, end - len(text))
            answer = self._complete(text, n_predict=count, **_sampling(drawing, seed, self.context))
            told = [(int(e["id"]), e["logprob"]) for e in answer.get(PROBABILITIES, [])]
            for token in answer["tokens"]:
                if told and told[0][0] == token:
                    logprob = float(told.pop(0)[1])
                else:
                    logprob = self._found(text, token)
                text.append(token)
                yield token, logprob
                if token in drawing.end_ids:
                    return

    def _logprob(self, ids: Sequence[int], token: int) -> float:
        """Of `token` after `ids`: it is forced; returns its log-probability without that."""
        answer = self._complete(ids, n_predict=1, n_probs=1, logit_bias=[[token, FORCED]])
        if PROBABILITIES in answer:
            return float(answer[PROBABILITIES][0]["logprob"])
        return self._found(ids, token)

    def _found(self, ids: Sequence[int], token: int) -> float:
        """As `_logprob`, where llama.cpp tells none of a token, such as a byte's: it lists others.

        All of them are megabytes of JSON, so the likely ones are asked for first.
        """
        likely = self._of_likely(ids, LIKELY)
        return likely[token] if token in likely else self._all(ids)[token]

    def _all(self, ids: Sequence[int]) -> dict[int, float]:
        """The log-probability of every token after `ids`."""
        return self._of_likely(ids, self.vocab_size)

    def _of_likely(self, ids: Sequence[int], count: int) -> dict[int, float]:
        """The log-probabilities of the `count` likeliest tokens after `ids`."""
        forced = [[self._plain_id, FORCED]]
        answer = self._complete(ids, n_predict=1, n_probs=count, logit_bias=forced)
        entries = answer[PROBABILITIES][0]["top_logprobs"]
        return {int(entry["id"]): float(entry["logprob"]) for entry in entries}

    def _complete(self, ids: Sequence[int], **options: Any) -> dict[str, Any]:
        """What follows `ids`: the likeliest token if nothing is drawn."""
        request = {"prompt": list(ids), "cache_prompt": True, "return_tokens": True}
        answer = self._ask("/completion", {**request, "temperature": 0.0, **options})
        if not answer["tokens"]:
            raise JagptError("llama.cpp gave no token")
        return answer

    def _ask(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = self._client.post(path, json=request)
        if answer.status_code != 200:
            raise JagptError(f"llama.cpp refused: {answer.text[:200]}")
        value: dict[str, Any] = answer.json()
        return value


def working_bytes(n_layer: int, n_head: int, n_embd: int, context: int) -> int:
    """What llama.cpp needs besides the weights: fp32 keys and values, and one batch's attention."""
    return 4 * context * (2 * n_layer * n_embd + BATCH * n_head)


def check_loads(path: Path, context: int, working: int) -> None:
    """Load a file in a separate process, which may crash alone.

    `DataError` if llama.cpp cannot load it, crashes, or takes far more memory or time than the
    file's size and its `working_bytes` explain.
    """
    size = path.stat().st_size
    memory, seconds = SPARE_BYTES + 2 * (size + working), SPARE_SECONDS + size // SLOW_DISK
    program = [sys.executable, "-m", __name__, str(path), str(context), str(memory)]
    surroundings = os.environ | safepath.variables() | {"GGML_NO_BACKTRACE": "1"}
    try:
        tried = subprocess.run(  # noqa: S603 - Python itself, on this module
            program, env=surroundings, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise DataError(
            f"{path}: llama.cpp has not loaded this within {units.duration(seconds)}; "
            "a file that jagpt exported takes a few seconds"
        ) from None
    said = shortened(printable(_reason(tried.stderr)), 200)
    if tried.returncode == CANNOT_LOAD:
        raise DataError(f"{path}: {said} with {units.size(memory)} of memory")
    if tried.returncode < 0:
        raise DataError(f"{path}: llama.cpp crashes on this file ({said})")


def _reason(stderr: bytes) -> str:
    """The line that says why, of all that a process printed."""
    lines = stderr.decode("utf-8", "replace").splitlines()
    told = [line for line in lines if any(sign in line for sign in REASONS)]
    return told[-1].strip() if told else "no reason given"


def chunk_for(n_bytes: int) -> int:
    """Tokens per call for a model of this many bytes: a power of two, 1 to 64."""
    fitting = max(1, CHUNK_BYTES // max(1, n_bytes))
    return min(LARGEST_CHUNK, 1 << (fitting.bit_length() - 1))


def _sampling(drawing: Drawing, seed: int, context: int) -> dict[str, Any]:
    """transformers' filters, in their order; the penalty looks at all of the text."""
    drawn = drawing.temperature is not None
    return {
        "n_probs": 1,
        "seed": seed,
        "samplers": ["penalties", "temperature", "top_k", "top_p"],
        "temperature": drawing.temperature if drawn else 0.0,
        "top_k": drawing.top_k if drawn else 0,
        "top_p": drawing.top_p,
        "repeat_penalty": drawing.repetition_penalty,
        "repeat_last_n": context,
        "logit_bias": [[number, False] for number in drawing.suppressed],
    }


def _parameters(path: Path, context: int, threads: int | None, key: str) -> Any:
    import xllamacpp

    wanted = xllamacpp.CommonParams()
    wanted.model.path = str(path)
    wanted.n_ctx, wanted.n_parallel = context, 1
    # Its own default knows neither the cores of this process nor OMP_NUM_THREADS; its threads spin.
    if threads is None:
        import torch

        threads = torch.get_num_threads()
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = threads
    wanted.cache_type_k = wanted.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    wanted.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    wanted.n_gpu_layers = 0
    wanted.fit_params = wanted.warmup = wanted.ctx_shift = False
    wanted.verbosity = -1
    wanted.api_keys = [key]
    return wanted


def _limit_memory(growth: int) -> None:
    """At most `growth` bytes more than now, on a system that tells what that is."""
    told = Path("/proc/self/statm")
    if told.exists():
        import resource

        most = int(told.read_text("ascii").split()[0]) * resource.getpagesize() + growth
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _try(path: Path, context: int, memory: int) -> int:
    """The exit code of the process that tries whether a file can be loaded."""
    import httpx2  # noqa: F401 - before the limit
    import xllamacpp  # noqa: F401

    _limit_memory(memory)
    try:
        LlamaCpp(path, context, 1, 0, 1)
    except DataError as error:
        print(str(error).replace(f"{path}: ", ""), file=sys.stderr, flush=True)
        return CANNOT_LOAD
    return 0


if __name__ == "__main__":
    code = _try(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    os._exit(code)  # the server's threads may crash a Python that ends
