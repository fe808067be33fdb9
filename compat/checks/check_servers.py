"""A release behind `transformers serve` and behind llama.cpp's server, with OpenAI's own client.

Arguments: the release, the folder with the material (`client.py` is the card's program).
"""

import contextlib
import http.client
import socket
import subprocess
import sys
import time
from pathlib import Path

import common
import openai
import transformers
import xllamacpp
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPT, TOKENS = "京都は", 16
SERVE = "from transformers.cli.transformers import main; main()"
SECONDS = 180


def require(holds, what):
    if not holds:
        sys.exit(what)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def transformers_serve(folder):
    """The card's command, in the folder; the address of its API."""
    port = free_port()
    command = [sys.executable, "-c", SERVE, "serve", ".", "--host", "127.0.0.1"]
    command += ["--port", str(port)]
    nothing = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, stdout=nothing, stderr=nothing) as server:  # noqa: S603
        try:
            answers(port, server)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()


def answers(port, server):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.5)
    sys.exit(f"transformers serve does not answer (exit code {server.poll()})")


@contextlib.contextmanager
def llamacpp(weights, context):
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.n_ctx, params.n_parallel, params.verbosity = context, 1, -1
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


def check(title, url, wanted):
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

    def drawn(seed):
        return client.completions.create(**how, temperature=1.0, seed=seed).choices[0].text

    require(drawn(1) == drawn(1), f"{title}: a seed gives two texts")
    require(len({drawn(seed) for seed in range(1, 6)}) > 1, f"{title}: seeds change nothing")
    common.passed(f"{title}, openai {openai.__version__}: whole, streamed, stop, seeds")


def card(title, url, material):
    """The program that the card shows prints the prompt and goes on."""
    source = (material / "client.py").read_text("utf-8")
    source = source.replace("http://localhost:8000/v1", url)
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    require(done.returncode == 0 and len(done.stdout.strip()) > len(PROMPT),
            f"{title}: the card's client: {done.stdout!r} {done.stderr[-800:]}")  # fmt: skip
    common.passed(f"{title}: the card's client")


folder, material = common.places()
tokenizer = AutoTokenizer.from_pretrained(folder)
network = AutoModelForCausalLM.from_pretrained(folder)
inputs = tokenizer(PROMPT, return_tensors="pt")
ids = network.generate(**inputs, do_sample=False, max_new_tokens=TOKENS)[0]
wanted = tokenizer.decode(ids[inputs["input_ids"].shape[1] :], skip_special_tokens=True)
context = network.config.n_positions
version = ".".join(transformers.__version__.split(".")[:2])
with transformers_serve(folder) as url:
    check(f"transformers {version} serve", url, wanted)
    card(f"transformers {version} serve", url, material)
with llamacpp(Path(folder) / "model-f32.gguf", context) as url:
    check("llama.cpp's server", url, wanted)
    card("llama.cpp's server", url, material)
