from __future__ import annotations

import json
from pathlib import Path

import pytest

from jagpt import cli, units
from jagpt import recipe as recipes
from jagpt.errors import UsageError
from jagpt.machines import gpu
from jagpt.plan import growth, instead, memory, planning, published, size
from jagpt.plan.planning import Machine
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory

MINE = """
name = "mine"
[[corpus.source]]
name = "notes"
kind = "text"
path = "notes.txt"
[train]
max_steps = 1000
"""


def loaded(tmp_path: Path, *overrides: str) -> Recipe:
    (tmp_path / "notes.txt").write_text("本文" * 1000)
    return recipes.parse(MINE, folder=tmp_path, overrides=overrides)


def planned(tmp_path: Path, machine: Machine, *overrides: str) -> planning.Planned:
    return planning.plan(loaded(tmp_path, *overrides), RunDirectory(tmp_path / "run"), machine)


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leave:
        cli.main(["plan", *arguments])
    return int(leave.value.code or 0)


def test_training_takes_its_flops_over_what_the_gpu_reaches(tmp_path: Path) -> None:
    found = planned(tmp_path, Machine(gpu("A100"), 1))
    assert found.tokens == 1000 * 2 * 16 * 1024
    assert found.flops == found.tokens * (6 * found.parameters + 12 * 12 * 768 * 1024)
    reached = 312e12 * published.efficiency("ampere").middle
    assert found.seconds["train"] == pytest.approx(found.flops / reached)
    assert found.range is not None
    assert found.range[0] < found.seconds["train"] / 3600 < found.range[1]


def test_teachers_are_trained_as_long_and_asked_at_each_step(tmp_path: Path) -> None:
    machine = Machine(gpu("A100"), 1)
    alone = planned(tmp_path, machine)
    taught = planned(tmp_path, machine, "train.own_teachers=2")
    assert taught.flops / alone.flops == pytest.approx(3 + 2 / 3)
    assert taught.seconds["train"] / alone.seconds["train"] == pytest.approx(3 + 2 / 3)
    assert taught.seconds["evaluate"] == pytest.approx(alone.seconds["evaluate"])
    assert taught.disk["teachers"] > 0 == alone.disk.get("teachers", 0)
    assert taught.memory.teachers > 2 * 4 * taught.parameters > alone.memory.teachers == 0
    named = planned(tmp_path, machine, 'train.teacher=["a", "b"]')
    assert named.flops / alone.flops == pytest.approx(1 + 2 / 3)


def test_the_cost_is_of_all_gpus_while_they_work(tmp_path: Path) -> None:
    found = planned(tmp_path, Machine(gpu("A100"), 4, price=2.5))
    hours = (found.seconds["train"] + found.seconds["evaluate"]) / 3600
    assert found.cost == pytest.approx(4 * 2.5 * hours)
    assert planned(tmp_path, Machine(gpu("A100"))).cost is None


def test_memory_holds_weights_gradients_and_moments(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, "train.precision=fp32")
    found = memory.memory_of(recipe)
    count = planned(tmp_path, Machine(gpu("A100"))).parameters
    assert (found.weights, found.gradients, found.optimizer) == (4 * count, 4 * count, 8 * count)
    twice = memory.memory_of(recipe, 2 * recipe.train.batch_size)
    assert twice.activations == 2 * found.activations
    assert found.total == sum(vars(found).values())


def test_muon_and_an_average_change_the_memory(tmp_path: Path) -> None:
    adam, muon = (
        memory.memory_of(loaded(tmp_path, f"train.optimizer={name}")) for name in ("adamw", "muon")
    )
    assert adam.optimizer - muon.optimizer == 4 * 12 * 768 * 768 * 12
    averaged = memory.memory_of(loaded(tmp_path, "train.average=tail"))
    assert (adam.average, averaged.average) == (0, adam.gradients)


def test_another_type_of_network_is_counted(tmp_path: Path) -> None:
    from jagpt.models import build, size
    from jagpt.models.size import parameters_of

    tiny = ("model.n_layer=2", "model.n_head=2", "model.n_embd=32", "model.n_positions=64")
    recipe = loaded(tmp_path, "model.type=llama", "model.config.intermediate_size=48", *tiny)
    special = build.SpecialIds(None, None, None)
    network = build.network(recipe.model, recipe.tokenizer.vocab_size, special, seed=0)
    assert parameters_of(recipe) == size.parameter_count(network)


def test_what_does_not_fit_names_the_knob(tmp_path: Path) -> None:
    wide = ("train.batch_size=64", "train.grad_accum_steps=2")
    found = planned(tmp_path, Machine(gpu("RTX 3090")), *wide)
    assert found.advice is not None
    assert "train.batch_size=" in found.advice
    changed = [part for part in found.advice.split() if part.startswith("train.")]
    assert planned(tmp_path, Machine(gpu("RTX 3090")), *changed).advice is None
    sizes = [int(part.partition("=")[2]) for part in changed]
    assert sizes[0] * sizes[1] == 128
    endless = ("train.batch_size=9223372036854775807", "train.grad_accum_steps=1")
    assert "train.batch_size=" in str(planned(tmp_path, Machine(gpu("RTX 3090")), *endless).advice)
    huge = ("model.n_layer=96", "model.n_embd=12288", "model.n_head=96")
    assert "smaller model" in str(planned(tmp_path, Machine(gpu("A100")), *huge).advice)


def test_more_gpus_are_faster_until_communication_binds(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, "train.grad_accum_steps=64")
    rows = growth.grow(recipe, gpu("A100"), 1000, network=12.5e9)
    once = {row.gpus: row for row in rows if row.factor == 1}
    assert once[1].speedup == 1
    assert once[8].speedup == pytest.approx(8)
    assert not once[8].binds
    assert once[64].binds
    assert once[64].speedup < 32
    hundred = {row.gpus: row for row in rows if row.factor == 100}
    assert hundred[8].hours == pytest.approx(100 * once[8].hours)
    fast = growth.step_on(recipe, gpu("A100"), 64, network=1e15)
    assert fast.seconds < once[64].hours * 3600 / 1000


def test_gpus_beyond_the_sequences_of_a_step_have_nothing_to_do(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, "train.batch_size=1", "train.grad_accum_steps=4")
    four, eight = (growth.step_on(recipe, gpu("H100"), k, network=1e15) for k in (4, 8))
    assert four.computing == eight.computing


def test_a_dump_that_is_not_there_yet_is_of_known_size(tmp_path: Path) -> None:
    recipe = recipes.load("small")
    found = size.size_of(recipe, RunDirectory(tmp_path))
    assert 4e9 < found.dump < 6e9
    assert 500e6 < found.tokens < 1e9
    assert not found.unknown


def test_a_dump_older_than_the_growth_is_known_is_of_unknown_size(tmp_path: Path) -> None:
    recipe = recipes.load("small", ["corpus.source.date=20080101"])
    found = size.size_of(recipe, RunDirectory(tmp_path))
    assert (found.dump, found.unknown) == (0, (recipe.corpus.source[0].name,))


HUB = """
name = "hub"
[[corpus.source]]
name = "wiki"
kind = "hf"
dataset = "org/name"
config = "20231101.ja"
revision = "v1"
[train]
max_epochs = 1.0
"""


def test_a_hub_data_set_counts_by_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    class Api:
        def dataset_info(self, name: str, **_: object) -> SimpleNamespace:
            files = [("20231101.ja/a.parquet", 600), ("20231101.en/a.parquet", 10**9), ("x.md", 9)]
            return SimpleNamespace(
                siblings=[SimpleNamespace(rfilename=name, size=size) for name, size in files]
            )

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    found = size.size_of(recipes.parse(HUB), RunDirectory(tmp_path))
    assert (found.tokens, found.text) == (300, 1800)


def test_an_unknown_size_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "_hub_sizes", lambda _source: [])
    run, machine = RunDirectory(tmp_path), Machine(gpu("H100"))
    with pytest.raises(
        UsageError, match="wiki is not known here; give the MB of text with --text-mb"
    ):
        planning.plan(recipes.parse(HUB), run, machine)
    found = planning.plan(recipes.parse(HUB), run, machine, text_bytes=600_000_000)
    assert found.size.tokens == 100_000_000


def test_the_verb_prints_everything_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("small", "--gpu", "h100", "--gpus", "2", "--price-per-hour", "3", "--growth") == 0
    shown = capsys.readouterr().out
    for word in ("steps", "FLOPs", "train ", "activations", "checkpoints", "cost: ", "64*"):
        assert word in shown
    large = ("--set", "model.size=xl", "--set", "train.batch_size=2")
    assert call("small", "--gpu", "T4", *large, "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert value["fits"] is False
    assert "smaller model" in value["advice"]
    assert value["precision"] == "fp16"
    assert value["memory"]["total"] > value["gpu_memory"]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("small", "--gpu", "K80"), "known are V100"),
        (("small", "--gpu", "T4", "--set", "train.precision=bf16"), "which T4 lacks; use"),
        (("small", "--gpus", "2"), "--gpus: name the GPU"),
        (("small", "--growth"), "--growth: name the GPU"),
        (("small", "--gpu", "A100", "--gpus", "1" + "0" * 400), "not in the range 1<=x<=1000000"),
        (("smal",), "did you mean"),
        *(
            (("small", "--gpu", "h100", option, value), f"Invalid value for '{option}': {words}")
            for option in ("--text-mb", "--price-per-hour", "--network-gbit")
            for value, words in (
                ("nan", "expected a finite number, found nan"),
                ("-inf", "-inf is not in the range"),
                ("1e-320" if option == "--network-gbit" else "1e305", "1e"),
            )
        ),
    ],
)
def test_a_mistake_gets_one_message(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.setattr("jagpt.plan.measured.speed", lambda _recipe: 1e12)
    assert call(*arguments) == 2
    assert words in capsys.readouterr().err


def test_more_than_a_week_on_a_processor_names_the_gpu_that_takes_a_day(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, "train.precision=fp32")
    steps = 20_000
    assert instead.gpu_instead(recipe, steps, 168.0, 1e10) is None
    said = instead.gpu_instead(recipe, steps, 169.0, 1e10)
    assert said is not None
    name = said.removeprefix("a GPU is needed: one ").partition(" would take")[0]

    def hours(gpu_name: str) -> float:
        machine = Machine(gpu(gpu_name))
        precision = f"train.precision={gpu(gpu_name).precision}"
        longer = planned(tmp_path, machine, f"train.max_steps={steps}", precision)
        assert longer.advice is None
        return longer.seconds["train"] / 3600

    assert 12 < hours(name) <= 24
    assert f"about {units.rough_duration(hours(name) * 3600)}" in said
    assert hours("H100") < hours(name)


def test_a_run_beyond_one_gpu_names_several_and_a_plan_shows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = ("train.precision=fp32", "train.max_steps=20000000")
    monkeypatch.setattr("jagpt.plan.measured.speed", lambda _recipe: 1e11)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = planned(tmp_path, Machine(), *large)
    assert found.instead is not None
    assert found.instead.startswith("a GPU is needed: 8 × B200 would take")
    assert found.as_json()["gpu_instead"] == found.instead
    assert planned(tmp_path, Machine(gpu("A100")), *large).instead is None


def test_bf16_is_refused_where_training_refuses_it(tmp_path: Path) -> None:
    bf16 = loaded(tmp_path, "train.precision=bf16")
    with pytest.raises(UsageError, match=r'found "bf16", which T4 lacks'):
        planning.settled_on(gpu("T4"), bf16)
    assert planning.settled_on(gpu("Apple M3"), bf16) == bf16
    auto = loaded(tmp_path)
    assert planning.settled_on(gpu("Apple M3"), auto).train.precision == "fp32"
