from __future__ import annotations

import fakes
import pytest
from payloads import PAYLOADS

from jagpt.release import servers


def test_each_server_is_told_with_its_command() -> None:
    exports = [fakes.released("gguf-q8_0"), fakes.released("gguf-f16"), fakes.released("onnx")]
    found = {one.title: str(one.commands) for one in servers.servers(fakes.recipe(), exports)}
    assert list(found) == ["transformers", "llama.cpp", "Ollama", "vLLM"]
    assert "transformers serve .\n" in found["transformers"]
    assert "--model model-q8_0.gguf" in found["llama.cpp"]
    assert "--file model-q8_0.Modelfile" in found["Ollama"]


def test_without_gguf_and_on_the_hub() -> None:
    found = list(servers.servers(fakes.recipe(), [], "org/name", "v1"))
    assert [one.title for one in found] == ["transformers", "vLLM"]
    assert "transformers serve org/name@v1\n" in str(found[0].commands)
    wanted = "vllm serve org/name --revision v1 --served-model-name org/name@v1\n"
    assert wanted in str(found[1].commands)
    assert servers.name_of("org/name", "v1") == "org/name@v1"
    assert [one.checked for one in found] == [True, False]


@pytest.mark.parametrize(
    "prompt", ["京都は", *PAYLOADS[:4], '"""', "\\", "$model ${url}", "\ud800"]
)
def test_the_client_is_a_program_whatever_the_prompt(prompt: str) -> None:
    source = servers.client(prompt, ".", 8)
    compile(source, "client", "exec")
    assert 'base_url="http://localhost:8000/v1"' in source
