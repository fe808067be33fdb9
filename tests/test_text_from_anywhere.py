"""Text from anywhere, as it is shown."""

from __future__ import annotations

from jagpt.text import one_line, printable, shortened


def test_control_and_bidi_characters_go() -> None:
    assert printable("a\x00b\x1b[31mc\u202ed\u2066e\r\nf\tg") == "ab[31mcde\nf\tg"


def test_one_line_has_single_spaces() -> None:
    assert one_line(" a\n\tb\x07 c ") == "a b c"


def test_what_is_too_long_ends_with_an_ellipsis() -> None:
    assert [shortened(text, 3) for text in ("", "abc", "abcd")] == ["", "abc", "ab…"]
