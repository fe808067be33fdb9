from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fakes
import pytest

from jagpt.corpus import prompts
from jagpt.corpus.documents import Document
from jagpt.corpus.shards import SplitWriter
from jagpt.recipe import Recipe


def corpus(folder: Path, kind: str, *texts: str) -> Path:
    source = replace(fakes.CORPUS.sources[0], kind=kind, wiki=None)
    replace(fakes.CORPUS, sources=(source,)).write(folder)
    with SplitWriter(folder, "test") as writer:
        for text in texts:
            writer.add(Document("1", "notes", "", None, None, text))
    return folder


def asked(recipe: Recipe, folder: Path) -> tuple[str, ...] | None:
    return prompts.settled(recipe, folder).release.prompts


def test_own_texts_are_continued_from_the_beginnings_of_test_documents(tmp_path: Path) -> None:
    texts = (
        "\n雨の日は、家で本を読む。",
        "雨の日は、駅へ行く。",
        "はい。",
        "「ねえ」と彼女は言った。",
    )
    assert asked(fakes.recipe(), corpus(tmp_path, "text", *texts)) == (
        "雨の日は、",
        "「ねえ」と彼女は言った。",
    )


def test_a_prompt_is_never_long(tmp_path: Path) -> None:
    (prompt,) = asked(fakes.recipe(), corpus(tmp_path, "jsonl", "あ" * 100)) or ()
    assert prompt == "あ" * 16


@pytest.mark.parametrize("kind", ["dump", "cirrus", "wikiextractor"])
def test_a_wikipedia_keeps_its_prompt(tmp_path: Path, kind: str) -> None:
    assert asked(fakes.recipe(), corpus(tmp_path, kind, "雨の日は、")) == (
        "統計的推定を使うことで、",
    )


def test_what_the_recipe_says_stays(tmp_path: Path) -> None:
    recipe = fakes.recipe(fakes.RECIPE, "release.prompts=['昔々']")
    assert asked(recipe, corpus(tmp_path, "text", "雨の日は、")) == ("昔々",)


def test_texts_without_a_beginning_leave_wikipedias(tmp_path: Path) -> None:
    assert asked(fakes.recipe(), corpus(tmp_path, "text", "。")) == ("統計的推定を使うことで、",)
