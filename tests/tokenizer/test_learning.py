"""Drawing sentences and training."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jagpt.errors import DataError
from jagpt.tokenizer import model as pieces
from jagpt.tokenizer import vocabulary
from jagpt.tokenizer.learning import learn, phase_of, train
from jagpt.tokenizer.sample import MAX_SENTENCE_BYTES, draw_sentences, split_sentences

from .japanese import documents, original, small, write_corpus, write_shard

SENTENCES = [s for text in documents(100) for s in split_sentences(text)]


def test_lines_are_broken_after_a_full_stop_that_no_bracket_closes() -> None:
    assert list(split_sentences("題\n\n一つ。「二つ。」と。三つ\n ")) == [
        "題", "一つ。", "「二つ。」と。", "三つ",
    ]  # fmt: skip


@pytest.mark.parametrize("filler", ["京", "a", "🗻", "ア😀b"])
def test_a_line_longer_than_sentencepiece_takes_is_cut_and_nothing_of_it_is_lost(
    filler: str,
) -> None:
    line = (filler * 20_000)[:20_000]
    parts = list(split_sentences(f"題\n{line}\n末"))
    assert "".join(parts[1:-1]) == line
    assert max(len(part.encode()) for part in parts) <= MAX_SENTENCE_BYTES
    assert min(len(part.encode()) for part in parts[1:-2]) > MAX_SENTENCE_BYTES - 4


def test_a_corpus_of_one_long_line_gives_a_tokenizer() -> None:
    line = "".join(SENTENCES).replace("。", "、")
    assert len(line.encode()) > 5 * MAX_SENTENCE_BYTES
    model = pieces.parse(train(list(split_sentences(line)), small()), "trained")
    assert len(model.pieces) == small().vocab_size


def test_a_draw_is_the_same_whatever_the_shards_and_another_with_another_seed(
    tmp_path: Path,
) -> None:
    texts = documents(60)
    write_shard(tmp_path / "one", "train", 0, texts)
    for number in range(6):
        write_shard(tmp_path / "six", "train", number, texts[10 * number : 10 * number + 10])
    one = draw_sentences(tmp_path / "one", 40, seed=1)
    assert len(one) == 40
    assert one == draw_sentences(tmp_path / "six", 40, seed=1)
    assert one != draw_sentences(tmp_path / "one", 40, seed=2)


def test_a_small_draw_keeps_only_what_it_needs_and_is_part_of_a_large_one(tmp_path: Path) -> None:
    texts = [f"{number}番の文。{number}番の次。" for number in range(3000)]
    write_shard(tmp_path, "train", 0, texts)
    everything = draw_sentences(tmp_path, 10_000, seed=3)
    assert sorted(everything) == sorted(s for text in texts for s in split_sentences(text))
    assert draw_sentences(tmp_path, 5, seed=3) == everything[:5]
    heads = draw_sentences(tmp_path, 3000, seed=3)
    share = sum(int(s.partition("番")[0]) < 1500 for s in heads) / len(heads)
    assert 0.45 < share < 0.55


def test_training_twice_gives_the_same_bytes() -> None:
    assert train(SENTENCES, small()) == train(SENTENCES, small())


def test_the_process_gives_the_same_bytes_and_tells_what_it_does(tmp_path: Path) -> None:
    write_corpus(tmp_path, train=60)
    told: list[tuple[int, str]] = []
    raw = learn(tmp_path, small(), lambda *news: told.append(news))
    assert raw == train(draw_sentences(tmp_path, 2000, seed=1000), small())
    assert told[-1][0] == 60
    assert told[-1][1].startswith("learning from")


def test_a_default_model_is_exact_and_the_original_is_left_as_it_is() -> None:
    exact = pieces.parse(train(SENTENCES, small()), "test")
    assert pieces.is_exact(exact)
    assert all((128 * piece.score).is_integer() for piece in exact.pieces if piece.type == 1)
    plain = pieces.parse(train(SENTENCES, original()), "test")
    assert not pieces.is_exact(plain)
    assert any(not (128 * piece.score).is_integer() for piece in plain.pieces)
    assert plain.normalizer_spec.name == "nmt_nfkc"


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_vocabulary_that_the_corpus_cannot_fill_is_refused_with_what_it_supports(
    kind: str,
) -> None:
    with pytest.raises(
        DataError, match=r"vocab_size: 20,000 is more than .* set it to (\d+)"
    ) as told:
        train(SENTENCES, small(type=kind, vocab_size=20_000))
    supported = int(str(told.value).partition("set it to ")[2].split()[0])
    assert len(pieces.parse(train(SENTENCES, small(type=kind, vocab_size=supported)), "t").pieces)


def test_a_vocabulary_below_the_characters_is_refused_with_what_they_need() -> None:
    with pytest.raises(DataError, match=r"vocab_size: 270 is less than the \d+ .* set it to more"):
        train(SENTENCES, small(vocab_size=270))


def test_an_empty_corpus_is_refused_in_the_parent_too(tmp_path: Path) -> None:
    write_shard(tmp_path, "train", 0, ["", "\n \n"])
    with pytest.raises(DataError, match="contains no text"):
        learn(tmp_path, small(), lambda documents, phase: None)


def test_sentencepiece_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    train(SENTENCES, small())
    assert capfd.readouterr() == ("", "")


def test_an_open_size_grows_with_the_root_of_the_text_and_holds_its_characters() -> None:
    assert vocabulary.size_for(1_000_000, 1000) == 6000
    assert vocabulary.size_for(10_000, 1000) == 1500
    assert vocabulary.size_for(10**9, 1000) == 32_000
    letters = "".join(chr(0x4E00 + k) for k in range(100))
    needed = small().least_vocab_size + 100
    assert vocabulary.size_of([letters], small(character_coverage=1.0)) == round(1.5 * needed)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_an_open_size_that_the_text_cannot_fill_becomes_the_one_that_it_can(kind: str) -> None:
    sentences = ["甲乙丙。"] * 3
    settings = small(type=kind, vocab_size="auto")
    wanted = vocabulary.size_of(sentences, settings)
    model = pieces.parse(train(sentences, settings), "trained")
    assert small().least_vocab_size < len(model.pieces) < wanted


def test_an_open_size_gives_the_pieces_of_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "SPARE", 1.1)
    monkeypatch.setattr(vocabulary, "ROOT_FACTOR", 1)
    wanted = vocabulary.size_of(SENTENCES, small(vocab_size="auto"))
    raw = train(SENTENCES, small(vocab_size="auto"))
    assert raw == train(SENTENCES, small(vocab_size=wanted))


@pytest.mark.parametrize(("kind", "said"), [("unigram", "left"), ("bpe", "merged")])
def test_sentencepieces_log_tells_what_it_does_and_changes_nothing(
    kind: str, said: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    assert phase_of(log) == ""
    program = (
        "import sys, json, pathlib\n"
        "from jagpt.tokenizer.learning import train\n"
        "from jagpt.recipe import Tokenizer\n"
        "given = json.load(sys.stdin)\n"
        "settings = Tokenizer.model_validate(given['settings'])\n"
        "made = train(given['sentences'], settings, pathlib.Path(sys.argv[1]))\n"
        "sys.stdout.buffer.write(made)\n"
    )
    settings = small(type=kind)
    given = {"settings": settings.model_dump(by_alias=True), "sentences": SENTENCES}
    done = subprocess.run(
        [sys.executable, "-c", program, str(log)],
        input=json.dumps(given).encode(), capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout == train(SENTENCES, settings)
    assert done.stderr == b""
    assert re.fullmatch(rf"[\d,]+ pieces {said}", phase_of(log))
