from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import (
    VOCAB,
    Heard,
    contents,
    logged_rows,
    make_recipe,
    write_tokenizer,
)
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from jagpt import models
from jagpt.errors import DataError, RecipeError, StorageError, UsageError
from jagpt.models import build, pretrained, size
from jagpt.progress import QUIET
from jagpt.recipe import Model, Recipe
from jagpt.rundir import RunDirectory
from jagpt.training import network, session
from jagpt.training.loss import model_nats
from jagpt.training.rehearsal import rehearse

MakeRun = Callable[..., RunDirectory]
SPECIAL = build.SpecialIds(2, 3, 0)
CPU = torch.device("cpu")
SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 16}


def losses(run: RunDirectory) -> list[float]:
    return [row["loss"] for row in logged_rows(run)]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("gpt2", "GPT2LMHeadModel"), ("gpt_neo", "GPTNeoForCausalLM"), ("llama", "LlamaForCausalLM"),
     ("qwen3", "Qwen3ForCausalLM"), ("gpt_neox", "GPTNeoXForCausalLM")],
)  # fmt: skip
def test_other_classes_train_with_the_same_loop(make_run: MakeRun, kind: str, name: str) -> None:
    recipe = make_recipe(
        max_steps=2, optimizer="muon", precision="bf16", model={"type": kind}, warmup_steps=0
    )
    run = make_run()
    session.run(recipe, run, QUIET)
    trained = models.open(run.own("train") / "step-00000002").network
    assert type(trained).__name__ == name
    before = build.network(recipe.model, VOCAB, SPECIAL, recipe.train.seed)
    changed = [
        not torch.equal(old, new)
        for old, new in zip(before.parameters(), trained.parameters(), strict=True)
    ]
    assert all(changed)


@pytest.mark.parametrize(("kind", "name"), [("phi", "lm_head.bias"), ("ctrl", "lm_head.bias")])
def test_weights_that_get_no_gradient_are_told_and_the_run_goes_on_the_same(
    make_run: MakeRun, kind: str, name: str
) -> None:
    def recipe(steps: int) -> Recipe:
        return make_recipe(max_steps=steps, schedule="constant", model={"type": kind})

    whole, broken, heard = make_run("whole"), make_run("broken"), Heard()
    session.run(recipe(4), whole, heard)
    assert any(f"do not affect its loss and stay as they are ({name})" in s for s in heard.lines)
    session.run(recipe(2), broken, QUIET)
    session.run(recipe(4), broken, QUIET)
    assert contents(broken.own("train")) == contents(whole.own("train"))


@pytest.mark.parametrize("kind", ["gpt_neo", "llama"])
def test_the_loss_in_chunks_is_the_classs_own(kind: str) -> None:
    shape = Model(type=kind, dropout=0.0, **SHAPE)
    made = build.network(shape, VOCAB, SPECIAL, 0)
    ids = torch.randint(6, VOCAB, (3, 17))
    theirs = made(input_ids=ids[:, :-1]).logits.flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(theirs, ids[:, 1:].flatten(), reduction="sum")
    torch.testing.assert_close(model_nats(made, ids), expected)


def test_what_one_layer_cannot_tell_is_left_to_the_training() -> None:
    config = {"layer_types": ["full_attention", "sliding_attention"]}
    shape = Model(type="gemma3_text", config=config, **SHAPE)
    rehearse(shape, VOCAB)
    build.network(shape, VOCAB, SPECIAL, 0)


def test_gpt_neo_alternates_between_all_and_a_window() -> None:
    shape = Model(type="gpt_neo", n_layer=3, n_head=2, n_embd=16, config={"window_size": 8})
    config = build.configuration(shape, VOCAB, SPECIAL)
    assert config.attention_layers == ["global", "local", "global"]
    assert config.window_size == 8
    assert config.attention_dropout == config.resid_dropout == config.embed_dropout == 0.1


@pytest.mark.parametrize(
    ("kind", "config"), [("cohere", {"logit_scale": 0.5}), ("gemma2", {}), ("bert", {})]
)
def test_a_class_that_changes_its_logits_is_refused(kind: str, config: dict[str, Any]) -> None:
    shape = Model(type=kind, config=config, **SHAPE)
    with pytest.raises(UsageError, match="changes its logits"):
        build.network(shape, VOCAB, SPECIAL, 0)


def test_a_class_that_sees_what_it_is_to_predict_is_refused() -> None:
    config = {"use_bidirectional_attention": True}
    with pytest.raises(UsageError, match="sees the tokens that it should predict"):
        build.network(Model(type="gemma3_text", config=config, **SHAPE), VOCAB, SPECIAL, 0)
    build.network(Model(type="gemma3_text", **SHAPE), VOCAB, SPECIAL, 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"type": "gtp2"}, "no causal language model 'gtp2' .did you mean 'gpt2'"),
        ({"type": "bert_generation"}, "no causal language model"),
        ({"config": {"n_iner": 64}}, "has no such key .did you mean 'n_inner'"),
        ({"type": "llama", "config": {"num_key_value_heads": 3}}, r"\[model\]"),
        ({"type": "gemma3_text", "config": {"layer_types": ["full_attention"]}}, "number of `la"),
    ],
)
def test_what_transformers_does_not_know_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build.network(Model(**(SHAPE | values)), VOCAB, SPECIAL, 0)


@pytest.mark.parametrize(
    ("name", "millions"), [("small", 124.4), ("medium", 354.8), ("large", 774.0), ("xl", 1557.6)]
)
def test_sizes_are_those_of_gpt2(name: str, millions: float) -> None:
    shape = Model.model_validate({"size": name})
    assert size.parameter_count(build.on_meta(shape, 50_257)) / 1e6 == pytest.approx(
        millions, abs=0.05
    )


def test_a_size_and_another_shape_contradict_each_other() -> None:
    with pytest.raises(
        RecipeError, match=r"\[model\] n_layer: found 2; size = \"medium\" means 24"
    ):
        make_recipe(model={"size": "medium"})


def test_a_size_is_the_same_recipe_as_its_shape() -> None:
    named = Model.model_validate({"size": "medium"})
    spelled = Model(n_layer=24, n_head=16, n_embd=1024)
    assert named.semantic() == spelled.semantic()


def test_activation_checkpointing_gives_the_same_losses(make_run: MakeRun) -> None:
    runs = []
    for flag in (False, True):
        run = make_run(str(flag))
        recipe = make_recipe(precision="bf16", execution={"activation_checkpointing": flag})
        session.run(recipe, run, QUIET)
        runs.append(losses(run))
    assert runs[0] == runs[1]


def test_checkpointed_blocks_are_computed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = make_recipe(execution={"activation_checkpointing": True})
    made = network.make(recipe, VOCAB, SPECIAL, Path(), CPU).train()
    calls = []
    made.base_model.h[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    model_nats(made, torch.randint(6, VOCAB, (1, 17))).backward()
    assert len(calls) == 2


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UsageError, match=r"train\.compile.*no C\+\+ compiler"):
        network.preflight(make_recipe(compile=True), VOCAB, Path(), CPU)


def test_compile_is_applied_to_the_network(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__)
    )
    session.run(make_recipe(compile=True, max_steps=2), make_run(), QUIET)
    assert compiled == ["GPT2Model"]


COMPILER = os.environ.get("JAGPT_COMPILER", "aot_eager")
"""PyTorch's tracing alone: its C++ kernels take a minute of CPU (`make nightly` makes them)."""


@pytest.mark.skipif(not network._has_compiler(), reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # the compiler gives warnings of its own
def test_a_compiled_network_has_the_same_losses(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_ = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(compile_, backend=COMPILER))
    found = {}
    for compiled in (False, True):
        recipe = make_recipe(
            max_steps=3, compile=compiled, model={"dropout": 0.0, "n_layer": 1}, warmup_steps=0
        )
        run = make_run(f"compiled-{compiled}")
        session.run(recipe, run, QUIET)
        found[compiled] = losses(run)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert found[True] == pytest.approx(found[False], rel=1e-5)


# --- model.from -----------------------------------------------------------------------------------


def saved(folder: Path, **values: Any) -> PreTrainedModel:
    made = build.network(Model(**(SHAPE | values)), VOCAB, SPECIAL, 99)
    made.save_pretrained(folder)
    return made


def first_weights(made: PreTrainedModel) -> torch.Tensor:
    return next(made.parameters())


def test_training_starts_from_a_folders_weights(make_run: MakeRun, tmp_path: Path) -> None:
    theirs = saved(tmp_path / "theirs")
    recipe = make_recipe(model={"from": str(tmp_path / "theirs"), "dropout": 0.25})
    made = network.make(recipe, VOCAB, SPECIAL, tmp_path, CPU)
    assert torch.equal(first_weights(made), first_weights(theirs))
    assert made.training
    assert {m.p for m in made.modules() if isinstance(m, torch.nn.Dropout)} == {0.25}
    run = make_run()
    session.run(recipe, run, QUIET)
    assert (run.own("train") / "step-00000012").is_dir()


def test_a_runs_best_checkpoint_or_its_exported_model_is_taken(make_run: MakeRun) -> None:
    run = make_run()
    session.run(make_recipe(max_steps=4, average="tail", average_share=1.0), run, QUIET)
    shape = Model(from_=str(run.root), **SHAPE)
    best = pretrained.opened(shape).folder
    assert best == run.own("train") / "step-00000004"
    names = [path.name for path in pretrained.input_files(shape)]
    assert names == ["config.json", "average.safetensors", "model.safetensors"]
    mean = load_file(best / "average.safetensors")["transformer.wte.weight"]
    assert torch.equal(first_weights(pretrained.start(shape, VOCAB, run.tokenizer)), mean)
    saved(run.root / "model")
    assert pretrained.opened(shape).folder == run.root / "model"


def test_the_configuration_of_given_weights_is_changed_or_refused_before_anything_runs(
    tmp_path: Path,
) -> None:
    saved(tmp_path)

    def preflight(**config: Any) -> PreTrainedModel:
        recipe = make_recipe(model={"from": str(tmp_path), **config})
        network.preflight(recipe, VOCAB, tmp_path, CPU)
        return network.make(recipe, VOCAB, SPECIAL, tmp_path, CPU)

    changed = preflight(**{"config.layer_norm_epsilon": 0.01})
    assert {m.eps for m in changed.modules() if isinstance(m, torch.nn.LayerNorm)} == {0.01}
    with pytest.raises(DataError, match=r"not GPT2LMHeadModel weights .*mismatched keys: .*mlp"):
        preflight(**{"config.n_inner": 8})
    with pytest.raises(UsageError, match=r"model.config.n_inn: .* has no such key"):
        preflight(**{"config.n_inn": 8})
    saved(tmp_path, type="mamba", dropout=0.0)
    with pytest.raises(UsageError, match=r"model.dropout: found 0.1, but mamba has none"):
        preflight(type="mamba", dropout=0.1)


def test_another_shape_is_told_with_what_to_set(tmp_path: Path) -> None:
    saved(tmp_path, n_layer=1, n_embd=32)
    shape = Model(from_=str(tmp_path), **SHAPE)
    with pytest.raises(DataError, match=r"--set model\.n_layer=1 --set model\.n_embd=32"):
        pretrained.preflight(shape, VOCAB, tmp_path)


def test_another_vocabulary_is_refused_with_the_reason(tmp_path: Path) -> None:
    saved(tmp_path)
    shape = Model(from_=str(tmp_path), **SHAPE)
    with pytest.raises(DataError, match=r"vocabulary of 64.*has 80.*--set tokenizer\.from="):
        pretrained.preflight(shape, 80, tmp_path)


def test_equally_many_other_pieces_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "theirs")
    for folder in ("theirs", "ours"):
        write_tokenizer(tmp_path / folder)
    shape = Model(from_=str(tmp_path / "theirs"), **SHAPE)
    pretrained.preflight(shape, VOCAB, tmp_path / "ours")
    other = PreTrainedTokenizerFast.from_pretrained(tmp_path / "ours")
    other.add_tokens(["鹿"])
    shutil.rmtree(tmp_path / "theirs")
    saved(tmp_path / "theirs")
    other.save_pretrained(str(tmp_path / "theirs"))
    with pytest.raises(DataError, match="1 pieces of these weights' tokenizer"):
        pretrained.preflight(shape, VOCAB, tmp_path / "ours")
    (tmp_path / "theirs" / "tokenizer_config.json").unlink()  # transformers does without
    with pytest.raises(DataError, match="pieces of these weights' tokenizer"):
        pretrained.preflight(shape, VOCAB, tmp_path / "ours")


def test_the_pieces_of_a_run_without_an_exported_model_are_compared_too(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "theirs")
    saved(run.checkpoints / "step-00000010")
    write_tokenizer(run.tokenizer)
    write_tokenizer(tmp_path / "ours")
    shape = Model(from_=str(run.checkpoints / "step-00000010"), **SHAPE)
    pretrained.preflight(shape, VOCAB, tmp_path / "ours")
    other = PreTrainedTokenizerFast.from_pretrained(tmp_path / "ours")
    other.add_tokens(["鹿"])
    other.save_pretrained(str(run.tokenizer))
    with pytest.raises(DataError, match="pieces of these weights' tokenizer"):
        pretrained.preflight(shape, VOCAB, tmp_path / "ours")


def test_a_pickle_is_no_beginning(tmp_path: Path) -> None:
    made = saved(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(made.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match="pickled"):
        pretrained.preflight(Model(from_=str(tmp_path), **SHAPE), VOCAB, tmp_path)


def test_a_hub_id_needs_a_revision_and_the_hub() -> None:
    with pytest.raises(UsageError, match=r"\[model\] revision: nothing given"):
        pretrained.opened(Model(from_="org/no-such-model"))
    with pytest.raises(StorageError, match=r"\[model\] from: org/no-such-model at revision v1"):
        pretrained.opened(Model(from_="org/no-such-model", revision="v1"))


def test_a_place_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\[model\] from: .* no model here"):
        pretrained.opened(Model(from_=str(tmp_path)))


def test_a_tokenizer_beyond_the_vocabulary_is_refused(tmp_path: Path, inputs: Any) -> None:
    with pytest.raises(DataError, match="the eos token has id 3"):
        network.special_ids(models.load_tokenizer(inputs["tokenizer"]), 3)
    with pytest.raises(DataError, match="no tokenizer"):
        models.load_tokenizer(tmp_path)
