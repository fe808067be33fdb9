from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fakes
import folders
import pytest
import torch
from safetensors.torch import load_file, save_file

from jagpt import manifests, models
from jagpt.errors import DataError, JagptError, UsageError
from jagpt.export import huggingface
from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = fakes.run_directory(tmp_path_factory.mktemp("run"))
    huggingface.run(fakes.recipe(), run, QUIET)
    return run


@pytest.fixture
def copy(run: RunDirectory, tmp_path: Path) -> RunDirectory:
    return RunDirectory(Path(shutil.copytree(run.root, tmp_path / "run")))


def test_writes_the_files_that_a_model_folder_needs_and_no_more(run: RunDirectory) -> None:
    assert manifests.list_files(run.model) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    for name in manifests.list_files(run.model):
        assert (run.model / name).stat().st_mode & 0o777 == 0o644


def test_the_configuration_has_the_keys_of_old_and_new_readers(run: RunDirectory) -> None:
    config = json.loads((run.model / "config.json").read_text())
    assert config["architectures"] == ["GPT2LMHeadModel"]
    assert config["n_ctx"] == config["n_positions"] == 48
    assert config["torch_dtype"] == config["dtype"] == "float32"
    assert [config[f"{name}_token_id"] for name in ("bos", "eos", "pad")] == [3, 3, 0]
    assert config["tie_word_embeddings"] is True


def test_generation_defaults_are_the_recipes(run: RunDirectory) -> None:
    defaults = json.loads((run.model / "generation_config.json").read_text())
    del defaults["transformers_version"]
    assert defaults == {
        "do_sample": True, "top_k": 50, "top_p": 0.95, "max_length": 48,
        "bos_token_id": 3, "eos_token_id": 3, "pad_token_id": 0,
    }  # fmt: skip


def test_without_sampling_no_sampling_knob_is_left(copy: RunDirectory) -> None:
    huggingface.run(fakes.recipe(fakes.RECIPE, "export.do_sample=false"), copy, QUIET)
    defaults = json.loads((copy.model / "generation_config.json").read_text())
    assert defaults["do_sample"] is False
    assert not {"top_k", "top_p"} & set(defaults)


def test_loads_without_jagpt_and_without_a_warning(run: RunDirectory, tmp_path: Path) -> None:
    program = """
import sys, warnings
warnings.simplefilter("error", UserWarning)
from transformers import AutoModelForCausalLM as M, AutoTokenizer
folder = sys.argv[1]
tokenizer, model = AutoTokenizer.from_pretrained(folder), M.from_pretrained(folder)
ids = tokenizer("京都", return_tensors="pt")
out = model.generate(**ids, num_return_sequences=2, max_length=3)  # untrained: may draw <pad>
print(len(tokenizer.batch_decode(out)), type(model).__name__, "jagpt" in sys.modules)
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(run.model)],
        capture_output=True, text=True, check=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout == "2 GPT2LMHeadModel False\n"
    assert not [line for line in done.stderr.splitlines() if "it/s" not in line]


def test_others_get_the_end_token_where_it_is_spelled_and_jagpt_gets_text(tmp_path: Path) -> None:
    """As fine-tuning libraries and chat templates write it."""
    from transformers import AutoTokenizer

    folders.write(tmp_path)
    huggingface._complete_tokenizer(tmp_path, 64)
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path), models.load_tokenizer(tmp_path)
    assert theirs("京都</s>")["input_ids"][-1] == 3 == theirs.bos_token_id
    assert 3 not in ours("京都</s>")["input_ids"]
    assert theirs("京都")["input_ids"] == ours("京都")["input_ids"]


def test_a_batch_goes_on_from_the_ends_of_its_prompts(run: RunDirectory) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network = AutoModelForCausalLM.from_pretrained(run.model)
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    prompts = ["京都の東京", "京", "の都東"]
    greedy = {"do_sample": False, "max_length": 12, "eos_token_id": None}
    together = network.generate(**tokenizer(prompts, padding=True, return_tensors="pt"), **greedy)
    for prompt, row in zip(prompts, together, strict=True):
        ids = tokenizer(prompt, return_tensors="pt")
        (alone,) = network.generate(**ids, **greedy).tolist()
        assert alone[: len(row) - row.tolist().count(0)] == [token for token in row if token]


def test_a_prompt_beyond_the_context_is_cut_by_the_tokenizer_or_refused(run: RunDirectory) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

    network = AutoModelForCausalLM.from_pretrained(run.model)
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    assert len(tokenizer("京" * 60, truncation=True)["input_ids"]) == 48
    whole = tokenizer("京" * 60, return_tensors="pt")
    with pytest.raises(ValueError, match="Input length of input_ids is 60"):
        network.generate(**whole)
    with pytest.raises(ValueError, match="Input length of input_ids is 60"):
        pipeline("text-generation", model=network, tokenizer=tokenizer)("京" * 60)


def test_takes_the_checkpoint_that_the_recipe_names(copy: RunDirectory) -> None:
    wanted = {"best": "10", "last": "20", "10": "10"}
    for name, step in wanted.items():
        huggingface.run(fakes.recipe(fakes.RECIPE, f'export.checkpoint="{name}"'), copy, QUIET)
        trained = load_file(copy.checkpoints / f"step-000000{step}" / "model.safetensors")
        exported = load_file(copy.model / "model.safetensors")
        assert trained.keys() == exported.keys()
        assert all(torch.equal(trained[key], exported[key]) for key in trained)
    with pytest.raises(UsageError, match="step-00000010, step-00000020"):
        huggingface.run(fakes.recipe(fakes.RECIPE, 'export.checkpoint="15"'), copy, QUIET)


def test_gives_the_same_bytes_each_time(run: RunDirectory, copy: RunDirectory) -> None:
    before = manifests.entries(run.model)
    huggingface.run(fakes.recipe(), copy, QUIET)
    assert manifests.entries(copy.model) == before


def test_altered_weights_are_noticed_and_leave_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fakes.run_directory(tmp_path)

    def spoil(path: Path) -> None:
        weights = load_file(path.with_name("model.safetensors"))
        weights["transformer.ln_f.bias"][3] += 1e-6
        save_file(weights, path.with_name("model.safetensors"), {"format": "pt"})
        complete(path)

    complete = huggingface._complete_config
    monkeypatch.setattr(huggingface, "_complete_config", spoil)
    with pytest.raises(JagptError, match=r"transformer\.ln_f\.bias is not as in") as caught:
        huggingface.run(fakes.recipe(), run, QUIET)
    assert caught.value.exit_code == 1
    assert manifests.list_files(run.model) == []


def test_a_lost_tensor_is_noticed(copy: RunDirectory) -> None:
    path = copy.model / "model.safetensors"
    weights = load_file(path)
    del weights["transformer.h.0.mlp.c_fc.bias"]
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(DataError, match=r"missing keys: .*c_fc"):
        huggingface.check(copy.model, copy.checkpoints / "step-00000010")


def test_a_tokenizer_of_another_size_is_refused(copy: RunDirectory) -> None:
    fakes.write_tokenizer(copy.own("tokenizer"), fakes.CHARACTERS + "漢字")
    with pytest.raises(DataError, match="do not belong together"):
        huggingface.run(fakes.recipe(), copy, QUIET)


def test_a_damaged_checkpoint_is_not_exported(copy: RunDirectory) -> None:
    path = copy.checkpoints / "step-00000010" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"model\.safetensors: damaged"):
        huggingface.run(fakes.recipe(), copy, QUIET)


def test_what_no_manifest_lists_is_no_part_of_the_tokenizer(
    copy: RunDirectory, tmp_path: Path
) -> None:
    (copy.tokenizer / ".env").write_text("SECRET=1")
    (tmp_path / "to").mkdir()
    huggingface._copy_tokenizer(copy.tokenizer, tmp_path / "to")
    assert manifests.list_files(tmp_path / "to") == ["tokenizer.json", "tokenizer_config.json"]


def test_names_the_stage_that_is_missing(copy: RunDirectory) -> None:
    shutil.rmtree(copy.own("tokenizer"))
    with pytest.raises(DataError, match="no tokenizer here; `jagpt tokenizer RECIPE` makes it"):
        huggingface.run(fakes.recipe(), copy, QUIET)


def test_averaged_weights_and_weights_in_many_files_are_what_is_exported(
    copy: RunDirectory,
) -> None:
    from jagpt.models import tensors
    from jagpt.training import checkpoints

    folder = copy.own("train") / "step-00000010"
    weights = load_file(folder / "model.safetensors")
    averaged = {name: weight + 1 for name, weight in weights.items()}
    named = [
        tensors.Named(name, tuple(mean.shape), mean.dtype, mean.clone)
        for name, mean in averaged.items()
    ]
    state = checkpoints.read(folder)
    text = (folder / "config.json").read_text()

    def write(place: Path) -> None:
        tensors.write(place, "model", named[::-1], limit=4000)
        tensors.write(place, "average", named, limit=4000)
        (place / "config.json").write_text(text)
        save_file({"step": torch.zeros(1)}, place / "optimizer.safetensors")

    checkpoints.save(copy.own("train"), state, write)
    huggingface.run(fakes.recipe(), copy, QUIET)
    exported = load_file(copy.model / "model.safetensors")
    assert all(torch.equal(exported[name], mean) for name, mean in averaged.items())
