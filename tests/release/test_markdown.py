from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from jagpt.release.markdown import Markdown, code, escape, fenced, finalize
from jagpt.text import printable

HOSTILE = (
    "<script>alert(1)</script>",
    "![x](https://example.org/x.png)",
    "[link](javascript:alert(1))",
    "**bold** _it_ `code` ~~gone~~",
    "a | b | c",
    "&lt;b&gt; &amp;",
    "# heading",
    "- item",
    "1. item",
    "> quote",
    "---",
    "===",
    "\\",
    "$$x$$",
    "<!-- comment",
    "a\n\n# b",
)


def rendered_text(source: str) -> str:
    """The text of a rendered paragraph; anything but plain text is an error."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(source)
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    children = tokens[1].children or []
    assert {child.type for child in children} <= {"text", "text_special"}
    return "".join(child.content for child in children)


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_text_renders_as_itself(text: str) -> None:
    assert rendered_text(escape(text)) == " ".join(text.split())


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1))
def test_any_text_renders_as_itself(text: str) -> None:
    expected = " ".join(printable(text).split())
    if expected:
        assert rendered_text(escape(text)) == expected


@pytest.mark.parametrize("text", HOSTILE)
def test_a_table_cell_stays_one_cell(text: str) -> None:
    source = f"| a | b |\n| --- | --- |\n| {escape(text)} | {code(text)} |\n"
    html = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(source)
    assert html.count("<td>") == 2
    assert "<script" not in html
    assert "<img" not in html
    assert "<a " not in html


@given(st.text(alphabet="`~ab\n<#|\\ ", min_size=1))
def test_a_fence_cannot_be_left(text: str) -> None:
    tokens = MarkdownIt("commonmark").parse(f"{fenced(text)}\n\nafter")
    assert [token.type for token in tokens] == [
        "fence", "paragraph_open", "inline", "paragraph_close",
    ]  # fmt: skip
    assert tokens[0].content.strip("\n") == text.strip("\n")


def test_templates_escape_all_but_markdown() -> None:
    assert finalize("*a*") == r"\*a\*"
    assert finalize(Markdown("*a*")) == "*a*"
    assert finalize(-0.5) == "-0.5"
