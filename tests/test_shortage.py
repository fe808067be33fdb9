"""A recipe for a large corpus over a few notes: one message with everything, which helps."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from jagpt import pipeline
from jagpt.errors import TooLittleTextError
from jagpt.progress import QUIET
from jagpt.recipe import parse

RECIPE = """
name = "notes"
[corpus]
valid_share = 1e-6
test_share = 1e-6
[[corpus.source]]
name = "notes"
kind = "text"
path = "notes/*.txt"
[tokenizer]
vocab_size = 32_000
[model]
n_layer = 1
n_head = 1
n_embd = 16
[train]
batch_size = 8
grad_accum_steps = 1
max_steps = 2
warmup_steps = 1
"""
SENTENCES = [
    f"{place}では{month}月に{what}が{'よく' if month % 2 else 'たまに'}見られます。"
    for place in ("京都", "北海道", "沖縄", "長野", "東京", "四国")
    for month in range(1, 13)
    for what in ("桜", "雪", "祭り", "白鳥")
]


def write_notes(folder: Path, files: int) -> None:
    (folder / "notes").mkdir()
    for number in range(files):
        text = "\n".join(SENTENCES[number::files])
        (folder / "notes" / f"{number}.txt").write_text(text)


def run(folder: Path, recipe: str, until: str = "train") -> list[str]:
    loaded = parse(recipe, folder=folder)
    place = pipeline.open_run(loaded, folder / "run")
    place.root.mkdir(exist_ok=True)
    return pipeline.run_stages(loaded, place, QUIET, until=until)


def pasted(recipe: str, message: str) -> str:
    """The recipe with the keys that the message gives."""
    value = tomllib.loads(recipe)
    given: dict[str, Any] = tomllib.loads(message.partition("With these keys it runs:")[2])
    for name, table in given.items():
        for source, found in zip(
            value.get("corpus", {}).get("source", []), table.pop("source", []), strict=False
        ):
            source.update(found)
        value.setdefault(name, {}).update(table)
    return tomli_w.dumps(value)


@pytest.mark.parametrize("files", [1, 12])
def test_everything_wrong_is_told_at_once_and_the_snippet_runs(tmp_path: Path, files: int) -> None:
    write_notes(tmp_path, files)
    with pytest.raises(TooLittleTextError) as told:
        run(tmp_path, RECIPE)
    message = str(told.value)
    assert ("a corpus of 1 document with" if files == 1 else "12 documents with") in message
    splits = "train, valid and test" if files == 1 else "the valid split is empty"
    for wrong in (splits, "vocab_size: 32,000 is more than", "a step takes 8 sequences of 1,024"):
        assert message.count(wrong) == 1
    better = pasted(RECIPE, message)
    assert run(tmp_path, better) == ["corpus", "tokenizer", "tokens", "train"]


def test_what_comes_after_the_corpus_is_told_together_too(tmp_path: Path) -> None:
    write_notes(tmp_path, 12)
    recipe = RECIPE.replace("1e-6", "0.31")
    with pytest.raises(TooLittleTextError) as told:
        run(tmp_path, recipe)
    message = str(told.value)
    assert "split is empty" not in message
    assert "vocab_size: 32,000 is more than" in message
    assert "a step takes 8 sequences of 1,024" in message
    assert run(tmp_path, pasted(recipe, message)) == ["tokenizer", "tokens", "train"]


def test_too_long_a_step_alone_is_told_with_one_that_fits(tmp_path: Path) -> None:
    write_notes(tmp_path, 12)
    recipe = RECIPE.replace("1e-6", "0.31").replace("32_000", '"auto"')
    with pytest.raises(TooLittleTextError, match="the whole train split has only") as told:
        run(tmp_path, recipe)
    assert run(tmp_path, pasted(recipe, str(told.value))) == ["train"]


def test_a_few_characters_are_told_without_a_promise(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("短い文です。")
    with pytest.raises(TooLittleTextError) as told:
        run(tmp_path, RECIPE)
    assert "With these keys" not in str(told.value)
