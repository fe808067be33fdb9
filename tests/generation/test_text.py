"""Text as it comes against the whole decoded at once, by tokenizers of several kinds."""

from __future__ import annotations

from typing import Any

import pytest
from export import folders
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from jagpt.generation.text import TextStream
from jagpt.tokenizer.folder import write_folder


@pytest.fixture(scope="module")
def bytewise() -> Any:
    """One token a byte, as GPT-2's: most characters are made by three of them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, **{letter: i for i, letter in enumerate(alphabet, 1)}}
    inner: Any = Tokenizer(models.BPE(vocabulary, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>")


def streamed(tokenizer: Any, prompt: str, text: str) -> list[str]:
    before, ids = (tokenizer.encode(part, add_special_tokens=False) for part in (prompt, text))
    stream = TextStream(tokenizer, before)
    return [stream.push(token) for token in ids]


@given(prompt=st.text("京都 a。😀", max_size=12), text=st.text("京都 a。\n😀é", max_size=12))
def test_characters_of_several_bytes_come_whole(bytewise: Any, prompt: str, text: str) -> None:
    parts = streamed(bytewise, prompt, text)
    assert "".join(parts) == text
    assert all("\ufffd" not in part for part in parts)


def test_a_character_that_is_cut_off_never_comes(bytewise: Any) -> None:
    ids = bytewise.encode("京都")
    stream = TextStream(bytewise, [])
    assert "".join(stream.push(token) for token in ids[:-1]) == "京"


def test_special_tokens_add_no_text(bytewise: Any) -> None:
    stream = TextStream(bytewise, bytewise.encode("a"))
    assert [stream.push(token) for token in (0, *bytewise.encode("b"), 0)] == ["", "b", ""]


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A piece for each common character, for each byte of any other."""
    folder = tmp_path_factory.mktemp("sentencepiece")
    write_folder(folders.sentencepiece(), folder)
    return AutoTokenizer.from_pretrained(folder)


@given(
    prompt=st.text(folders.CHARACTERS + "😀𠮷", max_size=9),
    text=st.text(folders.CHARACTERS + " 😀𠮷", max_size=9),
)
@example(prompt="京都😀😀", text="😀京都")
def test_pieces_of_sentencepiece_come_as_they_are_decoded_whole(
    sentencepiece: Any, prompt: str, text: str
) -> None:
    before, after = (
        sentencepiece.encode(part, add_special_tokens=False) for part in (prompt, text)
    )
    whole = sentencepiece.decode(before + after, skip_special_tokens=True)
    start = sentencepiece.decode(before, skip_special_tokens=True)
    assert "".join(streamed(sentencepiece, prompt, text)) == whole[len(start) :]
