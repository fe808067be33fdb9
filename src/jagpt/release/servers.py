"""How to serve a release: commands of other programs, and one client for all of them.

Nothing here is run when a card is made; `make compat` runs the client against the servers that
Python's registry has, and the others' commands are those of their documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import Template

from jagpt.formats.gguf import modelfile_name
from jagpt.recipe import Recipe
from jagpt.release import usage
from jagpt.release.exports import ReleasedFormat
from jagpt.release.markdown import Markdown, fenced

URL = "http://localhost:8000/v1"
CLIENT = """\
from openai import OpenAI

client = OpenAI(base_url=$url, api_key="none")
prompt = $prompt
parts = client.completions.create(
    model=$model, prompt=prompt, max_tokens=$new_tokens, seed=1, stream=True
)
print(prompt, end="")
for part in parts:
    print(part.choices[0].text, end="", flush=True)
print()
"""


@dataclass(frozen=True)
class Server:
    """A server as a card shows it: the shell's lines, and whether jagpt's checks run it."""

    title: str
    commands: Markdown
    checked: bool


def client(prompt: str, model: str, new_tokens: int, url: str = URL) -> str:
    """A program that streams a continuation from any server of OpenAI's completions."""
    return Template(CLIENT).substitute(
        url=usage.literal(url),
        prompt=usage.literal(prompt),
        model=usage.literal(model),
        new_tokens=new_tokens,
    )


def name_of(place: str | None, revision: str) -> str:
    """How servers name the release: this folder, or its id on the hub with the revision."""
    return f"{place}@{revision}" if place else "."


def servers(
    recipe: Recipe,
    exports: Sequence[ReleasedFormat],
    place: str | None = None,
    revision: str = "main",
) -> Iterator[Server]:
    """Those that serve what the release has; `place` is its id on the hub.

    transformers takes `ORG/NAME@REVISION` and answers for that name alone; vLLM is told to.
    """
    model = name_of(place, revision)
    needed = "".join(f" {name}" for name in usage.tokenizer_packages(recipe))
    yield _server(
        "transformers", True, f"pip install 'transformers[serving]'{needed}",
        f"transformers serve {model}",
    )  # fmt: skip
    gguf = [export.name.partition("-")[2] for export in exports if export.family == "gguf"]
    if gguf:
        weights = f"model-{gguf[0]}.gguf"
        yield _server(
            "llama.cpp", True,
            f"llama-server --model {weights} --ctx-size {recipe.model.n_positions} --port 8000",
        )  # fmt: skip
        yield _server(
            "Ollama", False, f"ollama create jagpt --file {modelfile_name(gguf[0])}",
            "ollama run jagpt",
        )  # fmt: skip
    other = f"{place} --revision {revision} --served-model-name {model}" if place else model
    yield _server("vLLM", False, "pip install vllm", f"vllm serve {other}")


def _server(title: str, checked: bool, *commands: str) -> Server:
    return Server(title, fenced("\n".join(commands), "sh"), checked)
