"""`import jagpt`: the same results as the command line's, from Python."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import jagpt as command_line

import jagpt
from jagpt.errors import RecipeError, UsageError

HEAVY = {"torch", "transformers", "pyarrow", "numpy", "pydantic", "click", "rich"}


def test_the_names_are_these() -> None:
    assert jagpt.__all__ == [
        "Event", "Model", "Run", "__version__", "compare", "documents", "load_recipe", "open_model",
        "open_run", "run", "wikitext_to_text",
    ]  # fmt: skip
    assert all(getattr(jagpt, name) for name in jagpt.__all__)
    assert set(jagpt.__all__) <= set(dir(jagpt))


def test_importing_it_imports_nothing_heavy() -> None:
    program = "import jagpt, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not HEAVY & {name.partition(".")[0] for name in done.stdout.split()}


def test_wikitext_becomes_text() -> None:
    text = jagpt.wikitext_to_text("'''{{PAGENAME}}'''は[[日本]]の都。\n== 歴史 ==\n", title="京都")
    assert text.startswith("京都は日本の都。")
    assert "# 京都" not in text
    assert jagpt.wikitext_to_text("== 歴史 ==\n古い。", markup="markdown").startswith("## 歴史")


def test_documents_are_those_of_extract(tmp_path: Path) -> None:
    command_line("extract", "jagpt:sample", "--output", tmp_path / "out", "--format", "jsonl")
    lines = (tmp_path / "out" / "documents.jsonl").read_text("utf-8").splitlines()
    told = [(row["title"], row["text"]) for row in map(json.loads, lines)]
    found = jagpt.documents("jagpt:sample")
    assert [(document.title, document.text) for document in found] == told


def test_a_recipes_values_are_replaced_by_name() -> None:
    recipe = jagpt.load_recipe("small", train={"max_steps": 700}, corpus={"markup": "markdown"})
    assert recipe.train.max_steps == 700
    assert recipe.corpus.markup == "markdown"
    with pytest.raises(RecipeError, match="max_step"):
        jagpt.load_recipe("small", train={"max_step": 7})


def test_a_run_goes_as_far_as_asked_and_tells_what_it_does(tmp_path: Path) -> None:
    events: list[jagpt.Event] = []
    made = jagpt.run("quickstart", run_dir=tmp_path / "run", until="corpus", progress=events.append)
    assert "<!doctype html>" in (tmp_path / "run" / "report.html").read_text("utf-8")
    assert made.stages["corpus"] == "done"
    assert made.stages["train"] == "missing"
    assert any(event.done and event.total for event in events)
    assert list(made.paths.corpus.glob("train-*.parquet"))
    assert made.evaluation is None
    with pytest.raises(UsageError, match="corpus, tokenizer"):
        jagpt.run("quickstart", run_dir=tmp_path / "run", until="corpse")


def test_a_finished_run_shows_its_parts(finished: Path) -> None:
    run = jagpt.open_run(finished)
    assert set(run.stages.values()) == {"done"}
    steps, losses = run.metrics["valid"]["step"], run.metrics["valid"]["loss"]
    assert len(steps) == len(losses) > 0
    assert run.evaluation is not None
    assert (
        run.evaluation.loss == json.loads((run.paths.evaluation / "test.json").read_text())["loss"]
    )
    assert run.samples
    with pytest.raises(UsageError, match=r"recipe\.toml"):
        jagpt.open_run(finished.parent / "nothing")


def test_a_model_continues_scores_and_is_measured(
    finished: Path, copied: Callable[..., Path], tmp_path: Path
) -> None:
    model = jagpt.open_run(finished).model
    first = model.generate("京都", max_new_tokens=5, seed=3, num_return_sequences=2)
    done = command_line(
        "generate", finished, "京都", "--max-new-tokens", "5", "--seed", "3",
        "--num-return-sequences", "2", "--json",
    )  # fmt: skip
    assert first == json.loads(done.stdout)[0]["continuations"]

    (continuation,) = model.continuations("京都", max_new_tokens=4, greedy=True)
    assert model.score("") == []
    scored = model.score("京都" + continuation.text)
    assert "".join(token.text for token in scored) == "京都" + continuation.text
    tail = scored[-len(continuation.tokens) :]
    if [t.id for t in tail] == [t.id for t in continuation.tokens]:
        assert tail[-1].logprob < 0

    text = tmp_path / "text.txt"
    text.write_text("京都は古い都である。\n", encoding="utf-8")
    measured = command_line("evaluate", "--model", finished, "--text", text, "--json")
    assert model.evaluate(text).loss == json.loads(measured.stdout)[0]["text"]["loss"]
    with pytest.raises(UsageError, match="context"):
        model.score("京都" * 500)


def test_every_line_of_the_page_runs(
    copied: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    copied().rename(tmp_path / "runs" / "quickstart")
    (tmp_path / "text.txt").write_text("京都は古い都である。\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)  # noqa: S102
