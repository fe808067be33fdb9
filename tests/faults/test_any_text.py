"""Any text goes through wikitext, tokenizer, card and report (`make nightly`: 2,000 examples)."""

from __future__ import annotations

import contextlib
import html
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jagpt.recipe import Recipe, load
from jagpt.release import card, changelog
from jagpt.release.facts import Facts, facts_of
from jagpt.release.samples import Sample, Samples
from jagpt.report import render
from jagpt.rundir import RunDirectory
from jagpt.tokenizer.encoder import Encoder
from jagpt.wikitext import JA_DEFAULT, WikitextConverter, WikitextLimitError, WikitextOptions

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
few = settings(
    max_examples=2000 if NIGHTLY else 40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
fewest = settings(few, max_examples=2000 if NIGHTLY else 8)

MARKS = [
    *("[[|]]", "{{|}}", "<ref></ref>", "<!--", "-->", "'''", "==", "\n*", "{|", "|}", "<nowiki>"),
    *("&amp;", "<b>", "。（）", "東京", "é", "😀"),
]
wiki = st.lists(st.sampled_from(MARKS) | st.text(max_size=8), max_size=25).map("".join)
text = st.text(st.characters(codec="utf-8"), max_size=200) | wiki

CONVERTERS = [
    WikitextConverter(WikitextOptions(), JA_DEFAULT),
    WikitextConverter(
        WikitextOptions(tables=True, captions=True, closing_sections=True), JA_DEFAULT
    ),
]


@few
@given(text, st.sampled_from(CONVERTERS))
def test_any_wikitext_becomes_text(source: str, converter: WikitextConverter) -> None:
    with contextlib.suppress(WikitextLimitError):
        converter.convert(source, title="題").text.encode("utf-8")


@few
@given(text)
def test_any_text_becomes_tokens(finished: Path, source: str) -> None:
    encoder = Encoder.open(finished / "tokenizer")
    ids = encoder.encode_array(source)
    assert len(ids) == 0 or 0 <= int(ids.min()) <= int(ids.max()) < encoder.vocab_size


@pytest.fixture(scope="module")
def facts(finished: Path) -> tuple[Recipe, Facts]:
    return load(str(finished), ()), facts_of(RunDirectory(finished))


@fewest
@given(text.filter(str.strip), text, text)
def test_any_text_stands_in_the_card(
    facts: tuple[Recipe, Facts], title: str, prompt: str, continuation: str
) -> None:
    recipe, known = facts
    release = recipe.release.model_copy(update={"title": title, "notes": prompt})
    named = recipe.model_copy(update={"release": release})
    drawn = replace(known, samples=(Sample(prompt, (continuation,)),))
    page = card.render(named, drawn, [changelog.entry(named, drawn)])
    assert page.startswith("---\n")
    assert "<script" not in page.lower()


@fewest
@given(text, text)
def test_any_text_stands_in_the_report(
    finished: Path, tmp_path_factory: pytest.TempPathFactory, prompt: str, continuation: str
) -> None:
    run = tmp_path_factory.mktemp("any") / "run"
    shutil.copytree(finished, run, ignore=shutil.ignore_patterns("*.safetensors", "*.parquet"))
    Samples(1, (Sample(prompt, (continuation,)),)).write(run / "release")
    page = render([RunDirectory(run)])
    assert "<script" not in page.lower()
    shutil.rmtree(run.parent)


def test_the_report_shows_a_payload_as_text(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    payload = '<img src=x onerror="alert(1)">'
    assert Samples.read(run / "release").samples
    Samples(1, (Sample(payload, (payload,)),)).write(run / "release")
    page = render([RunDirectory(run)])
    assert payload not in page
    assert (
        html.escape(payload, quote=False) in page or html.escape(payload) in page or "&#34;" in page
    )
