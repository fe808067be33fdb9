from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from fakes import model_folder

from jagpt import models
from jagpt.errors import DataError
from jagpt.evaluation import pairs
from jagpt.evaluation.pairs import Pair
from jagpt.evaluation.scoring import Scorer
from jagpt.progress import QUIET


def test_the_shipped_set_has_200_pairs_that_differ_little() -> None:
    found = pairs.read(pairs.shipped_path())
    assert len(found) >= 200
    assert len({pair.good for pair in found} | {pair.bad for pair in found}) == 2 * len(found)
    assert min(Counter(pair.phenomenon for pair in found).values()) >= 15
    for pair in found:
        assert abs(len(pair.good) - len(pair.bad)) <= 5, pair
        assert len(set(pair.good) & set(pair.bad)) >= len(set(pair.good)) / 2, pair


def test_a_whole_sentence_is_compared_by_its_probability(tmp_path: Path) -> None:
    subject = models.open(model_folder(tmp_path / "model"))
    given = [
        Pair("a", "日本語", "日本"),
        Pair("a", "京都。", "京、都。"),
        Pair("b", "東京", "京東"),
    ]

    def nats(sentence: str) -> float:
        ids = [subject.end_id, *subject.tokenizer(sentence)["input_ids"]]
        with torch.no_grad():
            logits = subject.network(torch.tensor([ids[:-1]])).logits[0]
        wanted = torch.tensor(ids[1:])
        return float(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum"))

    right = [nats(pair.good) < nats(pair.bad) for pair in given]
    assert right[0] is False  # the longer of the two cannot be the likelier
    scorer = Scorer(subject.network, torch.device("cpu"), "fp32")
    found = pairs.measure(subject, scorer, given, QUIET)
    assert found["right"] == sum(right)
    assert found["phenomena"]["a"]["right"] == sum(right[:2])
    assert found["phenomena"]["b"]["accuracy"] == float(right[2])
    low, high = found["interval"]
    assert low <= found["accuracy"] <= high


def test_a_sentence_beyond_the_context_is_named(tmp_path: Path) -> None:
    subject = models.open(model_folder(tmp_path / "model"))
    scorer = Scorer(subject.network, torch.device("cpu"), "fp32")
    with pytest.raises(DataError, match="context is 48"):
        pairs.measure(subject, scorer, [Pair("a", "日本語" * 20, "日")], QUIET)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"phenomenon": "a", "good": "日"}, "line 1: expected the key 'bad'"),
        ({"phenomenon": "a", "good": "日", "bad": " "}, "the key 'bad'"),
        ({"phenomenon": "a", "good": "日", "bad": "日"}, "both sentences are the same"),
        ({"phenomenon": 1, "good": "日", "bad": "本"}, "the key 'phenomenon'"),
        ({"phenomenon": "a", "good": "日", "bad": "\ud800"}, "line 1: column 'bad' .* not text"),
        ({"phenomenon": "\0", "good": "日", "bad": "本"}, "column 'phenomenon' .* not text"),
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path: Path, line: object, words: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(line))
    with pytest.raises(DataError, match=words):
        pairs.read(path)


def test_a_file_without_pairs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        pairs.read(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="expected a regular file, found a directory"):
        pairs.read(tmp_path)
    (tmp_path / "blank.jsonl").write_text("\n")
    with pytest.raises(DataError, match="no pairs"):
        pairs.read(tmp_path / "blank.jsonl")


def test_files_of_jblimp_and_blimp_are_read_as_they_are(tmp_path: Path) -> None:
    rows = [
        {"ID": 0, "good_sentence": "良い文。", "bad_sentence": "悪い文。", "type": "acceptability",
         "phenomenon": "binding", "phenomenon-2": None},
        {"sentence_good": "Good.", "sentence_bad": "Bad.", "linguistics_term": "islands"},
    ]  # fmt: skip
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert pairs.read(tmp_path / "pairs.jsonl") == [
        pairs.Pair("binding", "良い文。", "悪い文。"),
        pairs.Pair("islands", "Good.", "Bad."),
    ]
