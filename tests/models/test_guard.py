"""Model folders of strangers: no code, no pickle, nothing outside, nothing without a bound."""

from __future__ import annotations

import ast
import io
import json
import os
import resource
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

import jagpt
from jagpt import cli, generation, models
from jagpt.errors import DataError
from jagpt.formats import engines
from jagpt.formats.table import FORMATS
from jagpt.models import guard, pretrained
from jagpt.recipe import Model

SOURCE = Path(jagpt.__file__).parent
PROMPT = "京都"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fakes.model_folder(tmp_path_factory.mktemp("sound") / "model")


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "model"))


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def change(path: Path, **values: Any) -> None:
    """Set keys of a JSON file, which need not be there yet."""
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | values))


# --- one place ------------------------------------------------------------------------------------

AUTO = ("auto.from_config", "factory.from_config", "AutoConfig.from_pretrained",
        "AutoTokenizer.from_pretrained")  # fmt: skip
LOADS = ("from_pretrained", "snapshot_download", "hf_hub_download")
ONE_PLACE = {
    "models/folder.py": ["AutoConfig.from_pretrained"],
    "models/network.py": ["kind.from_pretrained"],
    "models/tokenizer.py": ["AutoTokenizer.from_pretrained"],
    "hub.py": ["snapshot_download"],
    "release/hub.py": ["self._api.hf_hub_download"],
}


def calls(path: Path) -> list[ast.Call]:
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return [node for node in nodes if isinstance(node, ast.Call)]


def test_one_place_opens_models_and_one_asks_the_hub_for_them() -> None:
    found: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for call in calls(path):
            if (name := ast.unparse(call.func)).endswith(LOADS):
                found.setdefault(path.relative_to(SOURCE).as_posix(), []).append(name)
    assert found == ONE_PLACE


def test_every_call_of_an_auto_class_says_that_no_code_is_trusted() -> None:
    met = set()
    for path in sorted(SOURCE.rglob("*.py")):
        for call in calls(path):
            name = ast.unparse(call.func)
            if name in AUTO:
                met.add(name)
                said = {word.arg: ast.unparse(word.value) for word in call.keywords}
                assert said.get("trust_remote_code") == "False", f"{path}: {name}"
    assert met == set(AUTO)


# --- code -----------------------------------------------------------------------------------------

EVIL = "open({crater!r}, 'w').close()\nclass Evil:\n    pass\n"


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize("key", sorted(guard.CODE))
def test_a_key_that_leads_to_code_or_elsewhere_is_refused_by_name(
    folder: Path, name: str, key: str
) -> None:
    change(
        folder / name, **{key: {"AutoConfig": "evil.Evil", "AutoTokenizer": [None, "evil.Evil"]}}
    )
    with pytest.raises(DataError, match=f"{name}: {key} leads to code"):
        models.open(folder).read()


def test_a_key_that_names_nothing_is_none(folder: Path) -> None:
    change(folder / "config.json", quantization_config=None, trust_remote_code=False)
    models.open(folder).read()


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("config.json", {"_attn_implementation": "org/kernel"}, "names 'org/kernel'; expected"),
        ("config.json", {"attn_implementation": {"": "org/kernel@v1:f"}}, "names .*; expected"),
        ("config.json", {"attn_implementation": "flash_attention_2"}, "names .*; expected"),
        ("config.json", {"_experts_implementation": "org/kernel"}, "names .*; expected"),
        ("config.json", {"task_specific_params": {"x": [{"auto_map": {"a": "b"}}]}}, "auto_map"),
        ("config.json", {"dtype": "save"}, "PyTorch has no type 'save'"),
        ("config.json", {"torch_dtype": "nn"}, "PyTorch has no type 'nn'"),
        ("config.json", {"evil": "org/model"}, "GPT2Config has no key 'evil'"),
        ("config.json", {"to_dict": ["x"]}, "GPT2Config has no key 'to_dict'"),
        ("config.json", {"model_type": "evil"}, "no causal language model 'evil'"),
        ("config.json", {"model_type": "vit"}, "no causal language model 'vit'"),
        ("config.json", {"tokenizer_class": "AutoModel"}, "has no tokenizer 'AutoModel'"),
        ("tokenizer_config.json", {"tokenizer_class": "AutoModelForCausalLM"}, "has no tokenizer"),
        ("tokenizer_config.json", {"tokenizer_class": "Evil"}, "has no tokenizer 'Evil'"),
        ("tokenizer_config.json", {"tokenizer_class": ["Evil"]}, "expected a name"),
        ("tokenizer_config.json", {"vocab_file": "../spiece.model"}, "not a file in this folder"),
        ("tokenizer_config.json", {"tokenizer_file": "/etc/passwd"}, "not a file in this folder"),
        ("tokenizer_config.json", {"model_max_length": "x"}, "expected a number, found 'x'"),
        ("processor_config.json", {"auto_map": {"AutoProcessor": "evil.Evil"}}, "auto_map leads"),
    ],
)
def test_what_is_not_known_to_be_harmless_is_refused(
    folder: Path, name: str, values: dict[str, Any], words: str
) -> None:
    change(folder / name, **values)
    with pytest.raises(DataError, match=f"{name}: .*{words}"):
        models.open(folder).read()


@pytest.mark.filterwarnings("ignore")  # of classes about their own defaults
def test_what_every_class_writes_itself_is_read(tmp_path: Path) -> None:
    refused = {}
    for name in CONFIG_MAPPING:
        kind = CONFIG_MAPPING[name]
        if kind in MODEL_FOR_CAUSAL_LM_MAPPING:
            try:
                written = kind().to_json_string(use_diff=False)
            except Exception:  # noqa: S112 - its own defaults contradict each other
                continue
            (tmp_path / "config.json").write_text(written)
            try:
                guard.config(tmp_path)
            except DataError as error:
                refused[name] = str(error)
    assert not refused


@pytest.mark.parametrize("name", ["custom_generate/generate.py", "adapter_config.json"])
def test_code_and_adapters_beside_the_weights_are_refused(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    with pytest.raises(DataError, match=name.partition("/")[0]):
        models.open(folder)


VERBS: dict[str, Callable[[Path], list[object]]] = {
    "generate": lambda folder: ["generate", folder, PROMPT, "--max-new-tokens", "1"],
    "evaluate": lambda folder: ["evaluate", "--model", folder, "--text", folder / "text.txt"],
    "export": lambda folder: ["export", "--model", folder, "--format", "pytorch"],
    "playground": lambda folder: ["playground", folder],
}


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_asks_whether_to_run_code(
    folder: Path, verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "text.txt").write_text("京都と東京。")
    (folder / "evil.py").write_text(EVIL.format(crater=str(folder / "crater")))
    change(folder / "config.json", model_type="evil", auto_map={
        "AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"})  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.StringIO("y\ny\ny\n"))
    assert call(*VERBS[verb](folder)) == 3
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "auto_map" in told.err
    assert "[y/N]" not in told.out
    assert sys.stdin.read() == "y\ny\ny\n"
    assert not (folder / "crater").exists()


# --- files ----------------------------------------------------------------------------------------


def index(folder: Path, name: str) -> None:
    """Make all tensors of the folder stand in the file `name`, says an index."""
    places = dict.fromkeys(load_file(folder / "model.safetensors"), name)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    value = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(value))


def test_an_index_names_files_beside_it(folder: Path) -> None:
    index(folder, "model-00001-of-00001.safetensors")
    models.open(folder).read()


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "../outside.safetensors", "/dev/zero", "sub/x.safetensors", "", "..",
     "absent.safetensors", 7, None, ["model-00001-of-00001.safetensors"]],
)  # fmt: skip
def test_an_index_that_leads_elsewhere_is_refused(folder: Path, name: Any) -> None:
    save_file(load_file(folder / "model.safetensors"), folder.parent / "outside.safetensors")
    (folder / "sub").mkdir()
    shutil.copy(folder / "model.safetensors", folder / "sub" / "x.safetensors")
    torch.save({}, folder / "pytorch_model.bin")
    index(folder, name)
    with pytest.raises(DataError, match=r"only \*\.safetensors files next to it|missing|names"):
        models.open(folder).read()


READ = ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json",
        "generation_config.json", "spiece.model", "chat_template.jinja",
        "additional_chat_templates/x.jinja", "special_tokens_map.json"]  # fmt: skip


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("kind", ["pipe", "device", "link out", "loop"])
def test_pipes_devices_and_links_out_of_the_folder_are_refused(
    folder: Path, name: str, kind: str
) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    (folder.parent / "outside").write_bytes(path.read_bytes() if path.exists() else b"{}")
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(
            {"device": "/dev/zero", "link out": folder.parent / "outside"}.get(kind, path)
        )
    with pytest.raises(DataError, match=path.name):
        models.open(folder).read()


def test_the_hubs_cache_keeps_its_files_beside_its_snapshots(folder: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--org--name"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(repository / "blobs" / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    models.open(snapshot).read()
    for outside in (tmp_path / "outside", repository / "beside"):  # only `blobs` is the cache's
        outside.touch()
        (snapshot / "spiece.model").symlink_to(outside)
        with pytest.raises(DataError, match="leads out of its folder"):
            models.open(snapshot)
        (snapshot / "spiece.model").unlink()


def test_a_tokenizer_too_large_to_be_one_is_not_read(folder: Path) -> None:
    with (folder / "tokenizer.json").open("r+b") as file:
        file.truncate(10**9)
    with pytest.raises(DataError, match=r"tokenizer\.json: .* at most"):
        models.open(folder)


def damaged(header: Callable[[dict[str, Any]], Any], path: Path) -> None:
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    value = json.loads(raw[8 : 8 + length])
    text = json.dumps(header(value) or value).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


@pytest.mark.parametrize(
    "header",
    [
        lambda h: h["transformer.wpe.weight"].update(shape=[48, 17]),
        lambda h: h["transformer.wpe.weight"].update(shape=[2**40, 2**40]),
        lambda h: h["transformer.wpe.weight"].update(dtype="F65"),
        lambda h: h["transformer.wpe.weight"].update(data_offsets=[0, 2**62]),
        lambda h: h["transformer.wpe.weight"].update(data_offsets=[8, 4]),
        lambda h: [1],
    ],
)
def test_a_header_that_does_not_fit_its_bytes_is_refused(
    folder: Path, header: Callable[[dict[str, Any]], Any]
) -> None:
    damaged(header, folder / "model.safetensors")
    with pytest.raises(DataError, match=r"model\.safetensors: not readable as safetensors"):
        models.open(folder).read()


@pytest.mark.parametrize("length", [0, 1, 2**32, 2**63, 2**64 - 1])
def test_a_header_of_another_length_is_refused(folder: Path, length: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    with pytest.raises(DataError, match=r"model\.safetensors: not readable as safetensors"):
        models.open(folder).read()


# --- size -----------------------------------------------------------------------------------------

SIZES: list[dict[str, Any]] = [
    {"n_layer": 1500},
    {"n_layer": 3000},
    {"n_layer": 10**9},
    {"n_layer": 900},
    {"n_embd": 2**20},
    {"n_inner": 2**40},
    {"vocab_size": 2**40},
    {"n_positions": 2**40},
    {"num_labels": 10**9},
    {"model_type": "llama", "num_hidden_layers": 3000},
    {"model_type": "llama", "num_hidden_layers": 900, "hidden_size": 16, "vocab_size": 40},
    {"model_type": "llama", "intermediate_size": 10**9},
    {"model_type": "gptj", "n_positions": 10**6, "n_layer": 1, "n_embd": 8, "vocab_size": 40},
    {"model_type": "gpt_neo", "num_layers": 1, "attention_types": [[["global"] * 9, 10**9]]},
    {"model_type": "gpt_neo", "num_layers": 1, "max_position_embeddings": 10**6},
    {"model_type": "mixtral", "num_local_experts": 10**6, "num_hidden_layers": 1},
    {"model_type": "gemma3", "text_config": {"num_hidden_layers": 10**8}},
]


@pytest.mark.parametrize("values", SIZES, ids=str)
def test_a_configuration_larger_than_its_weights_takes_no_memory(
    folder: Path, values: dict[str, Any]
) -> None:
    change(folder / "config.json", **values)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError):
        models.open(folder).read()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024  # KB


@pytest.mark.parametrize("count", [-1, -16, 0, False])
def test_a_network_without_heads_is_refused(folder: Path, count: int) -> None:
    change(folder / "config.json", n_head=count)
    with pytest.raises(DataError, match=r"config\.json: 'n_head' is .*, but at least 1 is needed"):
        models.open(folder)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_thousands_of_layers(
    folder: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "text.txt").write_text("京都と東京。")
    change(folder / "config.json", n_layer=3000)
    assert call(*VERBS[verb](folder)) == 3
    assert "'n_layer' is 3,000" in capsys.readouterr().err


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": "x"}, {"temperature": -1}, {"temperature": 1e-320}, {"temperature": []},
        {"temperature": True}, {"do_sample": True, "temperature": 0}, {"top_k": -5},
        {"top_k": 1.5}, {"top_p": 0}, {"top_p": 2}, {"top_p": "0.9"}, {"repetition_penalty": 0},
        {"repetition_penalty": 1e300}, {"max_new_tokens": 1.5}, {"max_new_tokens": -1},
        {"max_new_tokens": 10**30}, {"do_sample": "yes"}, {"suppress_tokens": [10**6]},
        {"suppress_tokens": [-1]}, {"suppress_tokens": "x"}, {"suppress_tokens": [None]},
        {"eos_token_id": "x"}, {"eos_token_id": [[3]]}, {"eos_token_id": {"a": 1}},
    ],
    ids=str,
)  # fmt: skip
def test_generation_settings_that_mean_nothing_are_told_with_their_key(
    folder: Path, values: dict[str, Any]
) -> None:
    change(folder / "generation_config.json", **values)
    with pytest.raises(DataError, match=list(values)[-1]) as caught:
        list(generation.generate(folder, [PROMPT]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{", "NaN", '{"top_k": Infinity}', "[" * 10**5])
def test_generation_settings_that_are_no_json_are_told(folder: Path, content: str) -> None:
    (folder / "generation_config.json").write_text(content)
    with pytest.raises(DataError, match=r"generation_config\.json"):
        generation.generate(folder, [PROMPT])


def test_an_export_that_is_no_regular_file_is_not_opened(folder: Path) -> None:
    export = engines.UsableExport(FORMATS["onnx"], folder / "export" / "onnx")
    export.folder.mkdir(parents=True)
    os.mkfifo(export.folder / "model.onnx")
    with pytest.raises(
        DataError, match=r"model\.onnx: expected a regular file, found a named pipe"
    ):
        engines.engine(export, models.open(folder))


def test_weights_to_start_from_are_looked_at_before_they_are_hashed(folder: Path) -> None:
    os.mkfifo(folder / "more.safetensors")
    with pytest.raises(DataError, match=r"more\.safetensors: expected a regular file"):
        pretrained.input_files(Model(from_=str(folder)))
