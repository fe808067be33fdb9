"""How to use each format of a release: programs that are run before a card shows them."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import signal
import site
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template

from jagpt import safepath, telemetry
from jagpt.errors import JagptError
from jagpt.formats.table import FORMATS
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.release import trial
from jagpt.release.exports import ReleasedFormat
from jagpt.release.markdown import Markdown, fenced
from jagpt.text import printable, shown

NEW_TOKENS = 32
TIME_LIMIT = 1800.0
"""Most seconds that a program may take."""

INHERITED = (
    *("PATH", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LANG", "LC_ALL", "LC_CTYPE", "TZ"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "CUDA_VISIBLE_DEVICES"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
)
"""The variables of ours that a program inherits: none that could hold a secret."""


@dataclass(frozen=True)
class Usage:
    """A format's program, as a `string.Template` whose values are Python expressions.

    `weights` is the template of what it opens below the folder, given the format's `name`,
    `precision` and `file`. `modules` must be importable, with `attribute` (`module.name`) in one of
    them, to run it.
    """

    title: str
    source: str
    modules: tuple[str, ...]
    install: str
    attribute: str | None = None
    weights: str = ""
    by_id: bool = False
    """Whether its runtime takes a hub id instead of a folder."""


@dataclass(frozen=True)
class Snippet:
    """A program as a card shows it."""

    title: str
    install: str
    code: Markdown


_TRANSFORMERS = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = $folder
tokenizer = AutoTokenizer.from_pretrained(folder$revision)
model = AutoModelForCausalLM.from_pretrained(folder$revision)

prompt = $prompt
inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
length = inputs["input_ids"].shape[1] + $new_tokens
outputs = model.generate(**inputs, max_length=length, num_return_sequences=3)
for text in tokenizer.batch_decode(outputs, skip_special_tokens=True):
    print(text)
"""

_TENSORFLOW = """\
from transformers import AutoTokenizer, TFGPT2LMHeadModel

folder = $folder
tokenizer = AutoTokenizer.from_pretrained(folder$revision)
model = TFGPT2LMHeadModel.from_pretrained(folder$revision, use_safetensors=False)

inputs = tokenizer($prompt, return_tensors="tf", add_special_tokens=False)
outputs = model.generate(inputs["input_ids"], max_new_tokens=$new_tokens)
print(tokenizer.decode(outputs[0], skip_special_tokens=True))
"""

_FLAX = """\
from transformers import AutoTokenizer, FlaxGPT2LMHeadModel

folder = $folder
tokenizer = AutoTokenizer.from_pretrained(folder$revision)
model = FlaxGPT2LMHeadModel.from_pretrained(folder$revision)

inputs = tokenizer($prompt, return_tensors="np", add_special_tokens=False)
outputs = model.generate(inputs["input_ids"], max_new_tokens=$new_tokens, do_sample=False)
print(tokenizer.decode(outputs.sequences[0], skip_special_tokens=True))
"""

_ONNX = """\
import numpy as np
import onnxruntime
from transformers import AutoTokenizer

folder = $folder
tokenizer = AutoTokenizer.from_pretrained(folder)
session = onnxruntime.InferenceSession(folder + $weights)

shapes = {i.name: i.shape for i in session.get_inputs() if i.name.startswith("past_key_values")}
cache = {name: np.zeros((1, s[1], 0, s[3]), np.float32) for name, s in shapes.items()}
ids = tokenizer($prompt, add_special_tokens=False)["input_ids"]
past = 0
for _ in range($new_tokens):  # each time the likeliest token
    inputs = {
        "input_ids": np.array([ids[past:]]),
        "attention_mask": np.ones((1, len(ids)), np.int64),
        "position_ids": np.arange(past, len(ids))[None],
    }
    logits, *present = session.run(None, inputs | cache)
    cache = dict(zip(cache, present))
    past = len(ids)
    ids.append(int(logits[0, -1].argmax()))
print(tokenizer.decode(ids, skip_special_tokens=True))
"""

_OPENVINO = """\
import numpy as np
import openvino
from transformers import AutoTokenizer

folder = $folder
tokenizer = AutoTokenizer.from_pretrained(folder)
model = openvino.Core().compile_model(folder + $weights, "CPU")

cache = {}
for node in model.inputs:
    name, shape = node.get_any_name(), node.partial_shape
    if name.startswith("past_key_values"):
        cache[name] = np.zeros((1, shape[1].get_length(), 0, shape[3].get_length()), np.float32)
ids = tokenizer($prompt, add_special_tokens=False)["input_ids"]
past = 0
for _ in range($new_tokens):  # each time the likeliest token
    inputs = {
        "input_ids": np.array([ids[past:]]),
        "attention_mask": np.ones((1, len(ids)), np.int64),
        "position_ids": np.arange(past, len(ids))[None],
    }
    found = model(inputs | cache)
    cache = {name: found[name.replace("past_key_values", "present")] for name in cache}
    past = len(ids)
    ids.append(int(found["logits"][0, -1].argmax()))
print(tokenizer.decode(ids, skip_special_tokens=True))
"""

_GGUF = """\
import xllamacpp

folder = $folder
prompt = $prompt
params = xllamacpp.CommonParams()
params.model.path = folder + $weights
params.n_ctx = $context
params.verbosity = -1
server = xllamacpp.Server(params)
answer = server.handle_completions({"prompt": prompt, "max_tokens": $new_tokens})
print(prompt + answer["choices"][0]["text"])
"""

_CTRANSLATE2 = """\
import ctranslate2
from transformers import AutoTokenizer

folder = $folder
tokenizer = AutoTokenizer.from_pretrained(folder)
generator = ctranslate2.Generator(folder + $weights)

ids = tokenizer($prompt, add_special_tokens=False)["input_ids"]
pieces = tokenizer.convert_ids_to_tokens(ids)
results = generator.generate_batch([pieces], max_length=$new_tokens, sampling_topk=0)
print(tokenizer.decode(results[0].sequences_ids[0], skip_special_tokens=True))
"""

USAGES = {
    "transformers": Usage(
        "transformers (PyTorch)", _TRANSFORMERS, ("transformers", "torch"),
        "pip install transformers torch", by_id=True,
    ),
    "tensorflow": Usage(
        "TensorFlow", _TENSORFLOW, ("transformers", "tensorflow", "tf_keras"),
        "pip install 'transformers<4.55' tensorflow tf-keras", "transformers.TFGPT2LMHeadModel",
        by_id=True,
    ),
    "flax": Usage(
        "Flax", _FLAX, ("transformers", "flax", "jax"),
        "pip install 'transformers<5' flax jax", "transformers.FlaxGPT2LMHeadModel", by_id=True,
    ),
    "onnx": Usage(
        "ONNX Runtime", _ONNX, ("onnxruntime", "transformers"),
        "pip install onnxruntime transformers", weights="/onnx/$file",
    ),
    "ctranslate2": Usage(
        "CTranslate2", _CTRANSLATE2, ("ctranslate2", "transformers"),
        "pip install ctranslate2 transformers", weights="/$name",
    ),
    "openvino": Usage(
        "OpenVINO", _OPENVINO, ("openvino", "transformers"), "pip install openvino transformers",
        weights="/$name/openvino_model.xml",
    ),
    "gguf": Usage(
        "GGUF (llama.cpp)", _GGUF, ("xllamacpp",), "pip install xllamacpp",
        weights="/model-$precision.gguf",
    ),
}  # fmt: skip
"""The runtime of a format, by the first word of the format's name."""


def snippets(
    recipe: Recipe,
    exports: Sequence[ReleasedFormat],
    prompt: str,
    *,
    place: str | None = None,
    revision: str = "",
) -> list[Snippet]:
    """The programs of a release's formats, its own model first; `place` is an id on the hub.

    For the precisions of a runtime, the first represents all.
    """
    found: list[Snippet] = []
    for name, usage in _usages(exports):
        if usage.title in (snippet.title for snippet in found):
            continue
        source, folder, suffix = usage.source, '"."  # this folder', ""
        if place is not None:
            at = f"revision={literal(revision)}"
            folder, suffix = literal(place), f", {at}"
            if not usage.by_id:
                source, folder = _downloading(source), f"snapshot_download({folder}, {at})"
        text = program(replace(usage, source=source), name, recipe, prompt, folder, suffix)
        install = usage.install + _for_tokenizer(recipe, usage)
        found.append(Snippet(usage.title, install, fenced(text, "python")))
    return found


def check(
    recipe: Recipe, exports: Sequence[ReleasedFormat], prompt: str, folder: Path, progress: Progress
) -> None:
    """Run the program of every format whose runtime is installed, all in a separate process, which
    inherits nothing of the caller's environment but `INHERITED`.

    Raises `JagptError` if one fails or prints nothing: a card must not show it.
    """
    programs: dict[str, str] = {}
    for name, usage in _usages(exports):
        if (missing := _missing(usage)) is None:
            programs[name] = program(usage, name, recipe, prompt, literal(str(folder.absolute())))
        else:
            progress.say(f"release: the usage of {name} was not run here: no {missing}")
    for name, problem in zip(programs, tried(list(programs.values())), strict=False):
        if problem is not None:
            raise JagptError(f"release: the usage of {name} that the card would show {problem}")


def _for_tokenizer(recipe: Recipe, usage: Usage) -> str:
    """What the tokenizer adds to an install line."""
    packages = tokenizer_packages(recipe) if "transformers" in usage.modules else ()
    return "".join(f" {name}" for name in packages)


def tokenizer_packages(recipe: Recipe) -> tuple[str, ...]:
    """What transformers additionally needs for a tokenizer without `tokenizer.json`."""
    settings = recipe.tokenizer
    fast = settings.from_ is None and settings.exact
    return () if fast else ("sentencepiece", "protobuf")


def literal(text: str) -> str:
    """`text` as a Python string, on one line and in visible characters, whatever it contains."""
    return shown(json.dumps(text, ensure_ascii=False))


def _usages(exports: Sequence[ReleasedFormat]) -> Iterator[tuple[str, Usage]]:
    yield "transformers", USAGES["transformers"]
    for export in exports:
        if export.family in USAGES:
            yield export.name, USAGES[export.family]


def program(
    usage: Usage, name: str, recipe: Recipe, prompt: str, folder: str, revision: str = ""
) -> str:
    """The program of a format: every value is put in at once, as a Python expression."""
    weights = Template(usage.weights).substitute(
        name=name,
        precision=name.partition("-")[2],
        file=FORMATS[name].weights if name in FORMATS else "",
    )
    return Template(usage.source).substitute(
        folder=folder,
        revision=revision,
        prompt=literal(prompt),
        weights=literal(weights),
        context=recipe.model.n_positions,
        new_tokens=new_tokens(recipe),
    )


def new_tokens(recipe: Recipe, most: int = NEW_TOKENS) -> int:
    """How many tokens a program asks for: at most half of the context."""
    return max(1, min(most, recipe.model.n_positions // 2))


def _downloading(source: str) -> str:
    """The program with the download of its folder from the hub among its imports."""
    head, gap, rest = source.partition("\n\n")
    imports = [*head.splitlines(), "from huggingface_hub import snapshot_download"]
    plain = [line for line in imports if line.startswith("import")]
    others = [line for line in imports if not line.startswith("import")]
    return "\n".join([*sorted(plain), *sorted(others)]) + gap + rest


def _missing(usage: Usage) -> str | None:
    """The packages that the program needs and that are not installed."""
    for module in usage.modules:
        if importlib.util.find_spec(module) is None:
            return module
    if usage.attribute is not None:
        module, _, name = usage.attribute.partition(".")
        if not hasattr(importlib.import_module(module), name):
            return f"{name} in this {module}"
    return None


def tried(sources: Sequence[str]) -> list[str | None]:
    """Execute programs one after another, in one separate process that starts in an empty folder.

    Returns what is wrong with each, or None if it works; stops after the first that fails.
    """
    command = [sys.executable, "-P", trial.__file__]
    with tempfile.TemporaryDirectory(prefix="jagpt-", ignore_cleanup_errors=True) as place:
        try:
            done = subprocess.run(  # noqa: S603 - this Python and a file of ours
                command, input=json.dumps(sources).encode(), cwd=place, env=environment(place),
                capture_output=True, timeout=TIME_LIMIT * len(sources), check=False,
            )  # fmt: skip
            said, end = done.stdout, _end(done)
        except subprocess.TimeoutExpired as error:
            said, end = error.stdout or b"", f"does not finish within {TIME_LIMIT / 60:.0f} minutes"
    answers: list[str | None] = [json.loads(line) for line in said.splitlines()]
    return answers if len(answers) == len(sources) or any(answers) else [*answers, end]


def environment(home: str) -> dict[str, str]:
    """The environment of a program: no secret of ours, no cache of ours, no network."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {
        **kept,
        **safepath.variables(),
        **telemetry.VARIABLES,
        "HOME": home,
        "USERPROFILE": home,
        "PYTHONUSERBASE": site.getuserbase(),
        "PYTHONUTF8": "1",
        "HF_HUB_OFFLINE": "1",
    }


def _end(done: subprocess.CompletedProcess[bytes]) -> str:
    """How the process that should have answered ended."""
    how = f"code {done.returncode}"
    if done.returncode < 0:
        how = signal.Signals(-done.returncode).name
    *_, last = ["", *done.stderr.decode("utf-8", "replace").splitlines()]
    return f"ends its process ({how}{': ' if last else ''}{printable(last)[:300]})"
