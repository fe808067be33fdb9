from __future__ import annotations

import string
from dataclasses import fields
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest
from payloads import PAYLOADS

from jagpt.generation import Token
from jagpt.playground import Limits, page
from jagpt.playground.facts import Facts
from jagpt.playground.job import Column, Row
from jagpt.playground.texts import ENGLISH, JAPANESE, preferred, texts


class Found(HTMLParser):
    """The tags, attributes and text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def job(state: str, *rows: Row, prompt: str = "京都は", model: str = "a") -> Any:
    columns = [Column(model, list(rows)), Column("b", [Row()])]
    return SimpleNamespace(state=state, prompt=prompt, columns=columns, seed=4711)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_whatever_anyone_writes_appears_as_text(payload: str) -> None:
    row = Row([Token(1, payload, -1.0)])
    shown = page.show_job(job("done", row, prompt=payload, model=payload), Limits())
    for html in (shown, page.show_refusal(lambda _: payload)):
        found = Found(html)
        assert found.tags <= {"div", "p", "section", "h3", "article", "b", "span", "footer"}
        assert found.attributes <= {"class", "title", "role", "lang", "data-state"}
        assert payload in found.text
        assert not {"$", "{", "}"} & set(html)


def test_tokens_carry_their_probability_as_colour_and_words() -> None:
    rows = [Row([Token(1, "古", -0.1), Token(2, "い", -3.5)], ended=True), Row()]
    html = page.show_job(job("running", *rows), Limits())
    assert '<span class="jp-t p0" title="-0.10 (90.5%)">古</span>' in html
    assert '<span class="jp-t p3" title="-3.50 (3.0%)">い</span>' in html
    assert "2 トークン・1 トークンあたり -1.80 ナット" in html
    assert html.count('class="jp-end"') == 1
    assert "■" not in Found(html).text  # the style sheet's: it is not copied
    assert "■" in page.style_sheet()
    assert 'data-state="running"' in html
    assert f"{JAPANESE.seed} 4711" in html
    one = page.show_job(job("done", Row([Token(1, "古", -0.1)])), Limits())
    assert '<span lang="en">1 token · -0.10 nats per token</span>' in one


def test_the_head_says_what_the_model_is() -> None:
    facts = Facts(2_210_000, 256, 2000, demonstration=True)
    html = page.head({"<b>a</b>": facts}, ENGLISH)
    assert "2.21 M parameters · 2,000 tokens in the vocabulary · context of 256 tokens" in html
    assert ENGLISH.demonstration in html
    assert "<b>" not in html
    other = page.head({"a": Facts(None, None, 8, demonstration=False)}, JAPANESE)
    assert "語彙 8 トークン" in other
    assert "jp-note" not in other


def test_each_state_is_told_in_both_languages() -> None:
    for code, words in (("en", ENGLISH), ("ja", JAPANESE)):
        begin = f'<span lang="{code}">'
        assert f"{begin}{words.stopped} " in page.show_job(job("stopped", Row()), Limits())
        late = page.show_job(job("out of time", Row()), Limits(max_seconds=7))
        assert begin + words.out_of_time.format(seconds=7) in late
        assert begin + words.waiting.format(ahead=3) in page.show_waiting(3)
        assert f"{begin}{words.busy}</span>" in page.show_busy()
        assert f"{begin}{words.empty}</span>" in page.show_nothing()


def test_both_languages_say_everything_with_the_same_values() -> None:
    for field in fields(ENGLISH):
        ours, theirs = getattr(ENGLISH, field.name), getattr(JAPANESE, field.name)
        assert ours
        assert theirs
        assert sorted(_names(ours)) == sorted(_names(theirs))


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("ja,en;q=0.5", "ja"),
        ("en-US,ja", "en"),
        ("fr-FR, ja;q=0.8", "ja"),
        ("de", "en"),
        ("", "en"),
    ],
)
def test_the_browsers_language_is_taken(header: str, language: str) -> None:
    assert preferred(header) == language
    assert texts(language) is (JAPANESE if language == "ja" else ENGLISH)


def _names(text: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(text) if name]
