"""Texts that some tokenizers encode differently than SentencePiece, and the two reasons for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jagpt.tokenizer.encoder import Encoder

AWKWARD = (
    "", " ", "  ", " a  b ", "a\tb", "\t", "a\r\nb", "a\rb", "a\nb", "\n\n \n", "a\0b", "a\u000bb",
    "a\fb", "a\u0085b", "a\u2028b", "a\u2029b", "\u3000全角　空白", "a\u00a0b", "a\u200bb",
    "\ufeffa", "\ufffd", "\uffff", "\U0010ffff", "𠮷野家", "髙﨑", "葛󠄀城", "😀", "👨‍👩‍👧", "🇯🇵",
    "👍🏽", "❤️", "ｱｲｳ", "ｶﾞｷﾞｸﾞ", "ﾊﾟｰﾃｨｰ", "か\u3099き\u3099", "は\u309a", "ヿ", "e\u0301", "①㌔㍻½ﷺ",
    "ＡＢＣ１２３", "1234567890", "０１２３", "⁇ ⁇", "▁", "▁▁a ▁", "<s>", "</s>", "<pad><unk>",
    "<cls>文<sep>", "<0x41><0x0A>", "𝒜𝓑", "العربية עברית",
)  # fmt: skip
"""White space, control characters, rare and decomposed characters, half-width kana, special
tokens.
"""
_SPECIAL = re.compile("</?s>|<pad>|<unk>|<cls>|<sep>")


def spells_special(text: str) -> bool:
    """Whether a special token is spelled out, which others treat as the token."""
    return _SPECIAL.search(text) is not None


def needs_bytes(encoder: Encoder, text: str) -> bool:
    """Whether a character has no piece; a tokenizer without byte fallback encodes it as `<unk>`."""
    return any(encoder.is_byte(number) for number in encoder.encode(text))


def joins(text: str) -> bool:
    """Whether a zero-width joiner is in it: where a tokenizer normalizes by `nmt_nfkc`,
    transformers.js makes a space of it."""
    return "\u200d" in text


def plain(encoder: Encoder) -> int:
    """How many of `AWKWARD` have neither problem: they get the same ids everywhere."""
    return sum(not spells_special(text) and not needs_bytes(encoder, text) for text in AWKWARD)
