"""Awkward texts in the programs that are here, and what Ollama reads beside a GGUF."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from jagpt import files, manifests
from jagpt.formats import gguf
from jagpt.formats.source import ModelSource
from jagpt.release import browser
from jagpt.tokenizer import awkward
from jagpt.tokenizer.encoder import Encoder


def test_awkward_texts_get_the_same_ids_but_for_spelled_special_tokens(
    source: ModelSource,
) -> None:
    encoder = Encoder.open(source.directory)
    bare = Tokenizer.from_file(str(source.directory / "tokenizer.json"))
    plain = AutoTokenizer.from_pretrained(source.directory)
    assert len(set(awkward.AWKWARD)) == 52
    for text in awkward.AWKWARD:
        wanted = encoder.encode(text)
        assert plain.encode(text, add_special_tokens=False, split_special_tokens=True) == wanted
        same = bare.encode(text, add_special_tokens=False).ids == wanted
        assert same or awkward.spells_special(text), text
    assert bare.encode("</s>", add_special_tokens=False).ids == [encoder.end_id]


def test_those_that_need_bytes_or_spell_special_tokens_are_counted(
    source: ModelSource, tmp_path: Path
) -> None:
    encoder = Encoder.open(source.directory)
    assert awkward.needs_bytes(encoder, "京都の𠮷")
    assert not awkward.needs_bytes(encoder, "京都")
    shutil.copy(source.directory / "spiece.model", tmp_path)
    assert browser.same_ids(tmp_path) is None
    (tmp_path / browser.PAGE).touch()
    found = browser.same_ids(tmp_path)
    assert found is not None
    assert 0 < found.equal < found.texts == 52
    assert found.byte_pieces


INSTRUCTION = re.compile(
    r'^(FROM|PARAMETER|TEMPLATE|SYSTEM|ADAPTER|LICENSE|MESSAGE) (?:"""(.*)"""|(\S.*))$'
)
NUMBERS = {
    "num_ctx": int, "num_predict": int, "temperature": float, "top_k": int, "top_p": float,
    "min_p": float, "repeat_penalty": float,
}  # fmt: skip
"""Parameters of the Modelfile reference (docs.ollama.com/modelfile) and their types."""


def read_modelfile(text: str) -> tuple[dict[str, str], dict[str, float]]:
    """Instructions and parameters, each once; the reference's grammar, a line each."""
    told: dict[str, str] = {}
    parameters: dict[str, float] = {}
    for line in text.splitlines():
        found = INSTRUCTION.match(line)
        assert found is not None, line
        name, value = found[1], found[2] if found[2] is not None else found[3]
        if name == "PARAMETER":
            key, number = value.split(" ")
            assert key not in parameters
            parameters[key] = NUMBERS[key](number)
        else:
            assert name not in told
            told[name] = value
    return told, parameters


@pytest.mark.parametrize(
    ("defaults", "temperature", "top_k"),
    [
        ({"do_sample": True, "top_k": 40, "top_p": 0.9}, 1.0, 40),
        ({"do_sample": False}, 0.0, 0),
        ({"do_sample": True, "top_k": "1\nFROM other", "top_p": None}, 1.0, 0),
        (None, 0.0, 0),
    ],
)
def test_ollama_gets_the_prompt_raw_and_the_models_own_defaults(
    source: ModelSource,
    tmp_path: Path,
    defaults: dict[str, object] | None,
    temperature: float,
    top_k: int,
) -> None:
    folder = Path(shutil.copytree(source.directory, tmp_path / "model"))
    (folder / "generation_config.json").unlink()
    if defaults is not None:
        files.write_json(folder / "generation_config.json", defaults)
    told, parameters = read_modelfile(gguf.modelfile(ModelSource.open(folder), "q8_0"))
    assert told == {"FROM": "./model-q8_0.gguf", "TEMPLATE": "{{ .Prompt }}"}
    assert set(parameters) == set(NUMBERS)
    assert (parameters["temperature"], parameters["top_k"]) == (temperature, top_k)
    assert parameters["num_ctx"] == 64
    assert parameters["repeat_penalty"] == 1.0


def test_the_modelfile_lies_beside_its_weights(source: ModelSource, tmp_path: Path) -> None:
    gguf.write(source, tmp_path, "f16")
    names = ["model-f16.Modelfile", "model-f16.gguf"]
    assert manifests.list_files(tmp_path) == names
    told, _ = read_modelfile((tmp_path / names[0]).read_text())
    assert (tmp_path / told["FROM"]).samefile(tmp_path / names[1])
