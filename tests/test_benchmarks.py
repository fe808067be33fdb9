"""The benchmarks' own tools: the dumps that they generate, and what they measure."""

from __future__ import annotations

import argparse
import bz2
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizer.japanese import write_corpus
from training.tiny_training import write_tokens

from jagpt import recipe, sample
from jagpt.compressed import Reader
from jagpt.corpus.dump import Dump, parse_page
from jagpt.corpus.shards import iter_documents
from jagpt.rundir import RunDirectory

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import common
import learning_rates
import repeated
import repeated_dump
import texts
import tokenizer_quality
import tokens_to_loss
import turns
from repeated_dump import BenchDump, make_dump
from search import Axis, Search
from trials import NotMeasured, Result, Scale, Study, Trial


@pytest.fixture
def dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BenchDump:
    monkeypatch.setattr(repeated_dump, "ROOT", tmp_path)
    return make_dump(sample.path(), 1)


def test_a_repeated_dump_has_its_size_and_every_page_once(dump: BenchDump, tmp_path: Path) -> None:
    opened = Dump(Reader(tmp_path / dump.plain))
    pages = [parse_page(raw, opened.header) for raw in opened]
    assert 1_000_000 <= dump.xml_bytes == len(bz2.decompress((tmp_path / dump.plain).read_bytes()))
    assert [page.id for page in pages] == [str(number + 1) for number in range(len(pages))]
    assert len({page.title for page in pages}) == len(pages) > 200
    assert not any(page.problem for page in pages)


def test_shuffled_articles_are_as_many_as_wanted_and_no_two_have_one_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated_dump, "ROOT", tmp_path)
    path = repeated_dump.make_shuffled(sample.path(), 1)
    opened = Dump(Reader(path))
    pages = [parse_page(raw, opened.header) for raw in opened]
    articles = [page.wikitext for page in pages if not page.redirect]
    assert 1_000_000 <= path.stat().st_size < 1_100_000
    assert len(set(articles)) == len(articles) > 200
    assert not any(page.problem for page in pages)


def test_both_forms_hold_the_same_xml(dump: BenchDump, tmp_path: Path) -> None:
    plain, multistream = ((tmp_path / path).read_bytes() for path in (dump.plain, dump.multistream))
    assert bz2.decompress(multistream) == bz2.decompress(plain)


def test_the_index_names_the_stream_of_each_page(dump: BenchDump, tmp_path: Path) -> None:
    data = (tmp_path / dump.multistream).read_bytes()
    name = dump.multistream.name.replace(".xml.bz2", "-index.txt.bz2")
    index = (tmp_path / dump.multistream.with_name(name)).read_bytes()
    lines = [line.split(":", 2) for line in bz2.decompress(index).decode().splitlines()]
    assert len({offset for offset, _, _ in lines}) > 1
    for offset, number, title in lines[:: repeated_dump.STREAM_PAGES // 2]:
        stream = bz2.BZ2Decompressor().decompress(data[int(offset) :]).decode()
        assert f"<id>{number}</id>" in stream
        assert f"<title>{title}</title>" in stream


BUSY = """
import subprocess, sys, time
end = time.process_time() + 0.3
while time.process_time() < end: pass
if sys.argv[1] != "0": subprocess.run([sys.executable, __file__, "0"])
"""


def test_cpu_time_is_that_of_the_whole_process_tree(tmp_path: Path) -> None:
    script = tmp_path / "busy.py"
    script.write_text(BUSY)
    alone = common.measure([sys.executable, script, "0"])
    both = common.measure([sys.executable, script, "1"])
    assert alone.cpu >= 0.3
    assert both.cpu >= 0.6


def test_peak_memory_sees_a_child(tmp_path: Path) -> None:
    script = tmp_path / "large.py"
    script.write_text(
        "import subprocess, sys, time\n"
        "if sys.argv[1:]: data = b'x' * 60_000_000; time.sleep(1)\n"
        "else: subprocess.run([sys.executable, __file__, 'child'])\n"
    )
    cost = common.measure([sys.executable, script], memory=True)
    assert cost.peak is not None
    assert 60_000_000 < cost.peak < 200_000_000


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(common.CommandError, match=r"(?s)exit code 3.*the reason"):
        common.measure([sys.executable, "-c", "print('the reason'); raise SystemExit(3)"])


def test_ratios_are_taken_within_rounds() -> None:
    ratio = common.Ratio("a / b", common.paired([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]), "≤ 2.5")
    assert ratio.row() == ("a / b", "2.00", "1.00 to 3.00", "≤ 2.5")


def test_tables_replace_those_between_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- begin: x.py -->\nold\n<!-- end -->\nb\n<!-- begin: y.py -->\n")
    common.publish("new", "x.py", page)
    common.publish("newer", "x.py", page)
    assert page.read_text() == (
        "a\n<!-- begin: x.py -->\nnewer\n<!-- end -->\nb\n<!-- begin: y.py -->\n"
    )
    with pytest.raises(RuntimeError, match=r"y\.py"):
        common.publish("new", "y.py", page)


def benchmark(script: str, cache: Path, *arguments: str) -> str:
    """What a benchmark prints on the bundled sample, whatever the figures."""
    path = common.ROOT / "benchmarks" / script
    environment = {**os.environ, "JAGPT_BENCH_CACHE": str(cache)}
    done = subprocess.run([sys.executable, path, "--quick", *arguments], env=environment,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_encoding_is_compared_on_the_sample(tmp_path: Path) -> None:
    found = json.loads(benchmark("tokens.py", tmp_path, "--without-datasets", "--json"))
    assert set(found["speed"]["turns"]) == {"ours", "shards", "bare", "lines"}
    assert all(ratio["median"] > 0 for ratio in found["speed"]["ratios"])
    assert [int(size) for size in found["memory"]["costs"]] == [2, 4]


def test_the_data_set_is_read_from_any_step(tmp_path: Path) -> None:
    page = benchmark("dataset.py", tmp_path)
    assert page.count(" M | ") == 5  # four starts and their median
    assert not list(tmp_path.glob("synthetic-split/*"))


ECHO = """
import sys
sys.path.insert(0, sys.argv[1])
import turns
turns.serve(lambda: "abc", len)
"""


def test_sides_wait_for_their_turn_and_count_what_they_made(tmp_path: Path) -> None:
    script = tmp_path / "echo.py"
    script.write_text(ECHO)
    side = turns.Process("echo", [sys.executable, str(script), str(common.ROOT / "benchmarks")])
    side.wait()
    assert [side.work()["count"] for _ in range(2)] == [3, 3]
    side.end()
    broken = turns.Process("broken", [sys.executable, "-c", "raise SystemExit(1)"])
    with pytest.raises(RuntimeError, match="the process 'broken' died"):
        broken.wait()
    broken.end()


def test_recipes_of_the_tokenizers_differ_in_the_tokenizer_alone(tmp_path: Path) -> None:
    options = tokenizer_quality._options(["--quick"])
    (tmp_path / "recipe.toml").touch()
    made = [
        recipe.parse('name = "x"' + tokenizer_quality._recipe(options, tmp_path, preset, 3000, 7))
        for preset in tokenizer_quality.PRESETS
    ]
    default, original = made
    assert default.tokenizer.byte_fallback
    assert not original.tokenizer.byte_fallback
    assert default.model_copy(update={"tokenizer": original.tokenizer}) == original


def test_lost_characters_are_those_that_decoding_does_not_give_back() -> None:
    class Dropping:
        def encode_array(self, text: str) -> str:
            return text

        def decode(self, ids: str) -> str:
            return ids.replace("\n", " ").replace("𠮷", "")

    assert tokenizer_quality._lost(Dropping(), ["a\nb", "𠮷𠮷野 家"]) == 3  # type: ignore[arg-type]


def test_a_repeated_corpus_has_the_size_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "ROOT", tmp_path)
    write_corpus(tmp_path / "corpus", train=60)
    made = texts.repeated_corpus(tmp_path / "corpus", "twice", 100_000)
    size = sum(len(document.text.encode()) for document in iter_documents(made, "train"))
    assert 100_000 <= size < 200_000
    ids = [document.id for document in iter_documents(made, "train")]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(("best", "ends"), [(2, []), (16, ["rate"])])
def test_a_search_spends_its_trials_and_knows_an_open_end(best: int, ends: list[str]) -> None:
    axes = (Axis("rate", (1, 2, 4, 8, 16)), Axis("kind", ("a", "b"), ordered=False))
    measured: list[tuple[int, str]] = []

    def loss(settings: Any) -> float:
        measured.append((settings["rate"], settings["kind"]))
        return abs(settings["rate"] - best) + (settings["kind"] == "a")

    search = Search(axes, 7, {"rate": 4, "kind": "a"}, loss)
    search.run()
    assert len(measured) == len(set(measured)) == 7
    assert search.settings == {"rate": best, "kind": "b"}
    assert search.open_ends() == ends


def test_nothing_is_open_below_zero() -> None:
    axes = (Axis("dropout", (0.0, 0.1, 0.2)),)
    search = Search(axes, 3, {"dropout": 0.1}, lambda settings: settings["dropout"])
    search.run()
    assert search.settings == {"dropout": 0.0}
    assert search.open_ends() == []


@pytest.mark.parametrize("documents", [None, 24])
def test_a_part_is_one_change_of_the_whole_recipe(documents: int | None) -> None:
    searches = {}
    for side, axes in tokens_to_loss.SIDES.items():
        start = {**tokens_to_loss.START, **tokens_to_loss.STARTS[side]}
        searches[side] = Search(axes, 1, start, lambda _: 6.0)
        searches[side].run()
    options = argparse.Namespace(steps=100, documents=documents)
    whole, changed = tokens_to_loss._parts(searches, options)
    parts = {name: part for name, part in changed.items() if "AdamW" not in name}
    different = {
        name: {key for key in whole | part if whole.get(key) != part.get(key)}
        for name, part in parts.items()
    }
    assert different.pop("the whole recipe") == set()
    assert {len(keys) for keys in different.values()} == {1}
    assert different["random embeddings"] == {"embeddings"}
    assert {"no clipping", "schedule wsd", "dropout 0.1", "average ema"} < different.keys()
    assert ("embeddings from 4,194,304 tokens" in different) == (documents is None)
    assert changed["tuned AdamW, text embeddings"]["optimizer"] == "adamw"


def test_steps_to_a_loss_lie_between_two_runs() -> None:
    points = [(100, 6.0), (400, 5.0), (800, 4.5)]
    assert tokens_to_loss.steps_to(points, 5.5) == pytest.approx(200)
    assert tokens_to_loss.steps_to(points, 7.0) == 100
    assert tokens_to_loss.steps_to(points, 4.4) is None


def test_a_trial_that_was_made_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.txt"
    made = []

    def train(self: Study, trial: Trial, key: str) -> Result:
        made.append(key)
        return Result(((10, 3.0),), 2.0, 3.5)

    monkeypatch.setattr(Study, "_train", train)
    trial = Trial({"learning_rate": 1e-3, "optimizer": "muon"}, 5, test=True)
    kept = Study(text, tmp_path / "work", Scale(), kept_only=True)
    with pytest.raises(NotMeasured, match="5 steps"):
        kept.result(trial)
    first = Study(text, tmp_path / "work", Scale()).result(trial)
    turned = Trial({"optimizer": "muon", "learning_rate": 1e-3}, 5, test=True)
    assert Study(text, tmp_path / "work", Scale()).result(turned) == first
    assert len(made) == 1
    Study(text, tmp_path / "work", Scale(n_embd=512)).result(trial)
    assert len(made) == 2


def test_rates_are_searched_at_each_width_from_those_of_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[tuple[Scale, dict[str, Any]]] = []

    def train(self: Study, trial: Trial, key: str) -> Result:
        tried.append((self.scale, dict(trial.settings)))
        wanted = 0.04 if self.scale.n_embd == 128 else 0.02
        away = abs(trial.settings["muon_learning_rate"] / wanted - 1)
        return Result(((10, 3.0 + away + trial.settings["learning_rate"]),), 2.0)

    monkeypatch.setattr(Study, "_train", train)
    work = ("text.txt", "--work", f"{tmp_path}", "--trials", "8", "--steps", "50")
    learning_rates.main((*work, "--widths", "64", "128"))
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("- width 64: Muon 0.02, AdamW 0.0005 (open") for line in lines)
    assert any(line.startswith("- width 128: Muon 0.04, AdamW 0.0005 (open") for line in lines)
    assert {(scale.n_embd, scale.n_head) for scale, _ in tried} == {(64, 1), (128, 2)}
    small = recipe.load("small").train
    assert tried[0][1]["learning_rate"] == small.learning_rate
    assert tried[0][1]["schedule"] == small.schedule
    made = len(tried)
    learning_rates.main((*work, "--kept", "--widths", "64", "128"))
    assert len(tried) == made == 16
    with pytest.raises(NotMeasured):
        learning_rates.main((*work, "--kept", "--widths", "256"))


def test_a_corpus_read_often_is_studied_noise_first_and_gains_are_set_against_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[Trial] = []

    def train(self: Study, trial: Trial, key: str) -> Result:
        made.append(trial)
        wanted = trial.settings.get("muon_learning_rate", trial.settings["learning_rate"])
        loss = 5 + abs(wanted / 8e-3 - 1) + 0.001 * (trial.seed - 1000)
        gain = 0.1 * trial.settings.get("own_teachers", 0) + 0.001 * trial.settings["dropout"]
        return Result(((10, loss + 0.5), (20, loss - gain)), 1.0, loss if trial.test else None)

    data = RunDirectory(tmp_path / "data")
    write_tokens(data.tokens, {"train": 400, "valid": 2, "test": 2})
    monkeypatch.setattr(Study, "_train", train)
    monkeypatch.setattr(Study, "prepare", lambda self: data)
    work = ("text.txt", "--work", f"{tmp_path}", "--trials", "4", "--block", "8", "--batch", "2")
    repeated.main(work)
    shown = capsys.readouterr().out
    assert "a standard deviation of 0.0010" in shown
    assert "| taught by two of its kind | 4.8000 | +0.2000 | yes |" in shown
    assert "| dropout 0.1 | 4.9999 | +0.0001 | no |" in shown
    assert "| AdamW | 30 | 3 | 5.0020 ± 0.0010 | 0.0000 |" in shown
    assert {trial.seed for trial in made if trial.test} == {1001, 1002, 1003}
    assert not any(trial.test for trial in made if trial.seed == 1000)
    steps = {trial.steps for trial in made}
    assert max(steps) == pytest.approx(3 * min(steps), abs=3)
    before = len(made)
    repeated.main((*work, "--kept"))
    assert len(made) == before
    assert capsys.readouterr().out == shown
    repeated.main((*work[:2], str(tmp_path / "other"), *work[3:], "--kept"))
    assert "not measured yet" in capsys.readouterr().out
