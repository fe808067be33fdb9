"""Hours and disk before a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fakes
import pytest
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from jagpt import pipeline, plan
from jagpt import recipe as recipes
from jagpt.corpus.stats import SplitCounts
from jagpt.manifests import Manifest
from jagpt.plan import planning
from jagpt.plan.planning import Machine
from jagpt.plan.size import size_of, with_vocabulary
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory


def recipe(tmp_path: Path, text: str = "本文" * 300, **train: object) -> Recipe:
    (tmp_path / "notes.txt").write_text(text)
    keys = "\n".join(f"{key} = {value}" for key, value in {"max_steps": 10, **train}.items())
    return recipes.parse(
        "name='a'\n[[corpus.source]]\nname='n'\nkind='text'\npath='notes.txt'\n"
        f"[model]\nn_layer=2\nn_head=2\nn_embd=32\nn_positions=64\n[train]\n{keys}\n",
        folder=tmp_path,
    )


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jagpt.plan.measured.speed", lambda _recipe: 1e12)


def test_the_parameters_are_those_of_the_model(tmp_path: Path) -> None:
    from jagpt.models import build, size

    made = recipe(tmp_path)
    network = build.network(
        made.model, made.tokenizer.vocab_size, build.SpecialIds(2, 3, 0), seed=0
    )
    estimate = plan.estimate(made, RunDirectory(tmp_path / "run"))
    assert estimate.parameters == size.parameter_count(network)


@pytest.mark.parametrize("shared", [True, False])
def test_a_tokenizer_from_elsewhere_brings_its_size(tmp_path: Path, shared: bool) -> None:
    """Of another run by its record, of a bare model by its pieces; unread where it is damaged."""
    made, theirs = recipe(tmp_path), tmp_path / "theirs"
    theirs.mkdir()
    model = ModelProto(pieces=[ModelProto.SentencePiece(piece=str(n)) for n in range(50)])
    (theirs / "spiece.model").write_bytes(model.SerializeToString())
    if shared:
        replace(fakes.TOKENIZER, vocab_size=50).write(theirs)
    own = made.tokenizer.model_copy(update={"from_": str(theirs)})
    taken = made.model_copy(update={"tokenizer": own})
    run = RunDirectory(tmp_path / "run", {"tokenizer": theirs} if shared else {})
    whole = plan.estimate(made, RunDirectory(tmp_path / "run")).parameters
    fewer = whole - (made.tokenizer.vocab_size - 50) * made.model.n_embd
    assert plan.estimate(taken, run).parameters == fewer
    assert planning.plan(taken, run, Machine()).parameters == fewer
    for path in theirs.iterdir():
        path.write_text("{")
    assert plan.estimate(taken, run).parameters == whole


def test_hours_are_flops_over_the_measured_speed(tmp_path: Path) -> None:
    estimate = plan.estimate(recipe(tmp_path), RunDirectory(tmp_path / "run"))
    assert (estimate.steps, estimate.tokens) == (10, 10 * 2 * 16 * 64)
    flops = estimate.tokens * (6 * estimate.parameters + 12 * 2 * 32 * 64)
    assert estimate.hours == pytest.approx(flops / 1e12 / 3600)
    muon = plan.estimate(recipe(tmp_path, optimizer="'muon'"), RunDirectory(tmp_path / "run"))
    squares, wide = 4 * (4 * 32**3 + 2 * 32**3), 2 * (4 * 32 * 32 * 128 + 2 * 32**3)
    flops += 10 * 5 * (squares + wide) * 2  # iterations of both layers' matrices, each step
    assert muon.hours == pytest.approx(flops / 1e12 / 3600)


def test_epochs_become_steps_by_the_size_of_the_text(tmp_path: Path) -> None:
    made = recipe(tmp_path, "本文" * 100_000, max_steps=10**6, max_epochs=2.0)
    estimate = plan.estimate(made, RunDirectory(tmp_path / "run"))
    assert estimate.steps == int(2 * round(600_000 / 6) / (2 * 16 * 64))


def test_a_finished_corpus_is_counted_instead(tmp_path: Path) -> None:
    made = recipe(tmp_path, max_steps=10**6, max_epochs=1.0)
    run = RunDirectory(tmp_path / "run")
    splits = {"train": SplitCounts(1, 2_867_200, 1)}
    replace(fakes.CORPUS, splits=splits).write(run.corpus)
    Manifest("corpus", 1, "f" * 64, {}, {}).write(run.corpus)
    assert plan.estimate(made, run).steps == 1000


def test_a_corpus_of_another_recipe_is_not_counted(tmp_path: Path) -> None:
    made = recipe(tmp_path, max_steps=10**6, max_epochs=1.0)
    run = RunDirectory(tmp_path / "run")
    splits = {"train": SplitCounts(1, 2_867_200, 1)}
    replace(fakes.CORPUS, splits=splits).write(run.corpus)
    pipeline.examine(made, run, pipeline.Ledger(run.logs), "corpus")[0].manifest.write(run.corpus)
    assert plan.estimate(made, pipeline.as_made(made, run, "tokens")).steps == 1000
    forced = pipeline.as_made(made, run, "tokens", forced=("corpus",))
    assert plan.estimate(made, forced).steps == 1
    filtered = made.corpus.model_copy(update={"min_characters": 51})
    other = made.model_copy(update={"corpus": filtered})
    assert plan.estimate(other, pipeline.as_made(other, run, "tokens")).steps == 1
    (tmp_path / "notes.txt").write_text("本文" * 500_000)  # the same recipe over other text
    changed = plan.estimate(made, pipeline.as_made(made, run, "tokens"))
    assert changed.steps == round(500_000 * 6 / 6 / (2 * 16 * 64))
    (tmp_path / "notes.txt").unlink()  # what the corpus was made from is known
    assert plan.estimate(made, pipeline.as_made(made, run, "tokens")).steps == 1000


def test_a_tokenizer_of_another_recipe_gives_no_size(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    settings = made.tokenizer.model_copy(update={"vocab_size": recipes.AUTO})
    auto = made.model_copy(update={"tokenizer": settings})
    run = RunDirectory(tmp_path / "run")
    replace(fakes.TOKENIZER, vocab_size=777).write(run.tokenizer)
    for stage, directory in (("corpus", run.corpus), ("tokenizer", run.tokenizer)):
        states = pipeline.examine(auto, run, pipeline.Ledger(run.logs), stage)
        states[-1].manifest.write(directory)

    def pieces(of: Recipe) -> int:
        return with_vocabulary(of, pipeline.as_made(of, run, "tokens")).tokenizer.vocab_size

    assert pieces(auto) == 777
    bpe = auto.model_copy(update={"tokenizer": settings.model_copy(update={"type": "bpe"})})
    assert pieces(bpe) != 777


def test_the_sentence_is_for_people() -> None:
    said = plan.Estimate(110_000_000, 15_600_000_000, 476_700, 361.5, 5 * 10**9).sentence()
    assert said == (
        "about 361.5 hours of training (110 M parameters, 15.6 B tokens, 476,700 steps) "
        "and 5 GB of disk"
    )


def test_an_epoch_is_as_long_as_the_sources_weigh(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    source = made.corpus.source[0].model_copy(update={"weight": 2.0})
    heavy = made.model_copy(update={"corpus": made.corpus.model_copy(update={"source": (source,)})})
    run = RunDirectory(tmp_path / "run")
    plain, weighted = size_of(made, run), size_of(heavy, run)
    assert (plain.epoch, weighted.tokens) == (plain.tokens, plain.tokens)
    assert weighted.epoch == 2 * plain.tokens
