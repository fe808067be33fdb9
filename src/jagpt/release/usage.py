"""How to use each format of a release: programs that are run before a card shows them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jagpt.errors import JagptError
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.release.exports import Export
from jagpt.release.markdown import Markdown, fenced
from jagpt.text import printable

NEW_TOKENS = 32


@dataclass(frozen=True)
class Usage:
    """A format's program. `FOLDER` and `PROMPT` in it stand for Python expressions.

    `modules` must be importable, with `attribute` (`module.name`) in one of them, to run it.
    """

    title: str
    source: str
    modules: tuple[str, ...]
    install: str
    attribute: str | None = None
    by_id: bool = False
    """Whether its runtime takes an id of the hub in place of a folder."""


@dataclass(frozen=True)
class Snippet:
    """A program as a card shows it."""

    title: str
    install: str
    code: Markdown


_TRANSFORMERS = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = FOLDER
tokenizer = AutoTokenizer.from_pretrained(folderREVISION)
model = AutoModelForCausalLM.from_pretrained(folderREVISION)

prompt = PROMPT
inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
outputs = model.generate(**inputs, num_return_sequences=3)
for text in tokenizer.batch_decode(outputs, skip_special_tokens=True):
    print(text)
"""

_TENSORFLOW = """\
from transformers import AutoTokenizer, TFGPT2LMHeadModel

folder = FOLDER
tokenizer = AutoTokenizer.from_pretrained(folderREVISION)
model = TFGPT2LMHeadModel.from_pretrained(folderREVISION, use_safetensors=False)

inputs = tokenizer(PROMPT, return_tensors="tf", add_special_tokens=False)
outputs = model.generate(inputs["input_ids"], max_new_tokens=NEW_TOKENS)
print(tokenizer.decode(outputs[0], skip_special_tokens=True))
"""

_FLAX = """\
from transformers import AutoTokenizer, FlaxGPT2LMHeadModel

folder = FOLDER
tokenizer = AutoTokenizer.from_pretrained(folderREVISION)
model = FlaxGPT2LMHeadModel.from_pretrained(folderREVISION)

inputs = tokenizer(PROMPT, return_tensors="np", add_special_tokens=False)
outputs = model.generate(inputs["input_ids"], max_new_tokens=NEW_TOKENS, do_sample=False)
print(tokenizer.decode(outputs.sequences[0], skip_special_tokens=True))
"""

_ONNX = """\
import numpy as np
import onnxruntime
from transformers import AutoTokenizer

folder = FOLDER
tokenizer = AutoTokenizer.from_pretrained(folder)
session = onnxruntime.InferenceSession(folder + "/NAME/model.onnx")

shapes = {i.name: i.shape for i in session.get_inputs() if i.name.startswith("past_key_values")}
cache = {name: np.zeros((1, s[1], 0, s[3]), np.float32) for name, s in shapes.items()}
ids = tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
past = 0
for _ in range(NEW_TOKENS):  # each time the likeliest token
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

folder = FOLDER
tokenizer = AutoTokenizer.from_pretrained(folder)
model = openvino.Core().compile_model(folder + "/NAME/openvino_model.xml", "CPU")

cache = {}
for node in model.inputs:
    name, shape = node.get_any_name(), node.partial_shape
    if name.startswith("past_key_values"):
        cache[name] = np.zeros((1, shape[1].get_length(), 0, shape[3].get_length()), np.float32)
ids = tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
past = 0
for _ in range(NEW_TOKENS):  # each time the likeliest token
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

folder = FOLDER
prompt = PROMPT
params = xllamacpp.CommonParams()
params.model.path = folder + "/model-PART.gguf"
params.n_ctx = CONTEXT
params.verbosity = -1
server = xllamacpp.Server(params)
answer = server.handle_completions({"prompt": prompt, "max_tokens": NEW_TOKENS})
print(prompt + answer["choices"][0]["text"])
"""

_CTRANSLATE2 = """\
import ctranslate2
from transformers import AutoTokenizer

folder = FOLDER
tokenizer = AutoTokenizer.from_pretrained(folder)
generator = ctranslate2.Generator(folder + "/NAME")

ids = tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
pieces = tokenizer.convert_ids_to_tokens(ids)
results = generator.generate_batch([pieces], max_length=NEW_TOKENS, sampling_topk=0)
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
        "pip install onnxruntime transformers",
    ),
    "ctranslate2": Usage(
        "CTranslate2", _CTRANSLATE2, ("ctranslate2", "transformers"),
        "pip install ctranslate2 transformers",
    ),
    "openvino": Usage(
        "OpenVINO", _OPENVINO, ("openvino", "transformers"), "pip install openvino transformers",
    ),
    "gguf": Usage(
        "GGUF (llama.cpp)", _GGUF, ("xllamacpp",), "pip install xllamacpp",
    ),
}  # fmt: skip
"""The runtime of a format, by the first word of the format's name."""


def snippets(
    recipe: Recipe,
    exports: Sequence[Export],
    *,
    place: str | None = None,
    revision: str | None = None,
) -> list[Snippet]:
    """The programs of a release's formats, its own model first; `place` is an id on the hub.

    Of the precisions of a runtime, the first stands for all.
    """
    found: list[Snippet] = []
    for name, usage in _usages(exports):
        if usage.title in (snippet.title for snippet in found):
            continue
        folder, suffix = '"."  # this folder', ""
        if place is not None and usage.by_id:
            folder, suffix = json.dumps(place), f", revision={json.dumps(revision)}"
        text = _program(usage, name, recipe, folder, suffix)
        if place is not None and not usage.by_id:
            text = _downloading(text, place, revision)
        found.append(Snippet(usage.title, usage.install, fenced(text, "python")))
    return found


def check(recipe: Recipe, exports: Sequence[Export], folder: Path, progress: Progress) -> None:
    """Run the program of every format whose runtime is installed.

    Raises `JagptError` where one fails or prints nothing: a card must not show it.
    """
    for name, usage in _usages(exports):
        if (missing := _missing(usage)) is not None:
            progress.say(f"release: the usage of {name} was not run here: no {missing}")
            continue
        _run(program(name, recipe, folder), name)


def program(name: str, recipe: Recipe, folder: Path) -> str:
    """The program of a format (by its whole name) on a folder of this machine."""
    usage = USAGES[name.partition("-")[0]]
    return _program(usage, name, recipe, json.dumps(str(folder)), "")


def _usages(exports: Sequence[Export]) -> Iterator[tuple[str, Usage]]:
    yield "transformers", USAGES["transformers"]
    for export in exports:
        if export.family in USAGES:
            yield export.name, USAGES[export.family]


def _program(usage: Usage, name: str, recipe: Recipe, folder: str, revision: str) -> str:
    prompt = json.dumps(printable(recipe.release.prompts[0]), ensure_ascii=False)
    room = max(1, min(NEW_TOKENS, recipe.model.n_positions // 2))
    text = usage.source.replace("NEW_TOKENS", str(room)).replace("NAME", name)
    text = text.replace("PART", name.partition("-")[2])
    text = text.replace("CONTEXT", str(recipe.model.n_positions))
    text = text.replace("FOLDER", folder).replace("REVISION", revision)
    return text.replace("PROMPT", prompt)


def _downloading(text: str, place: str, revision: str | None) -> str:
    """The program with its folder fetched from the hub first."""
    fetched = f"snapshot_download({json.dumps(place)}, revision={json.dumps(revision)})"
    head, gap, rest = text.replace('"."  # this folder', fetched).partition("\n\n")
    imports = [*head.splitlines(), "from huggingface_hub import snapshot_download"]
    plain = [line for line in imports if line.startswith("import")]
    others = [line for line in imports if not line.startswith("import")]
    return "\n".join([*sorted(plain), *sorted(others)]) + gap + rest


def _missing(usage: Usage) -> str | None:
    """What is not installed of what the program needs."""
    for module in usage.modules:
        if importlib.util.find_spec(module) is None:
            return module
    if usage.attribute is not None:
        module, _, name = usage.attribute.partition(".")
        if not hasattr(importlib.import_module(module), name):
            return f"{name} in this {module}"
    return None


def _run(text: str, name: str) -> None:
    """Execute a program of ours; what it draws leaves PyTorch's random numbers as they were."""
    import torch

    from jagpt.generation import quiet

    output = io.StringIO()
    try:
        with torch.random.fork_rng(), quiet(), contextlib.redirect_stdout(output):
            exec(compile(text, f"usage of {name}", "exec"), {"__name__": "usage"})  # noqa: S102
    except Exception as error:  # a program may fail in any way its runtime likes
        raise JagptError(
            f"release: the usage of {name} that the card would show fails "
            f"({type(error).__name__}: {error})"
        ) from error
    if not output.getvalue().strip():
        raise JagptError(f"release: the usage of {name} that the card would show prints nothing")
