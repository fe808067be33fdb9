from __future__ import annotations

from pathlib import Path

import fakes
import pytest

from jagpt import files, generation, models
from jagpt.errors import DataError
from jagpt.evaluation import pairs, texts
from jagpt.evaluation.pairs import Pair
from jagpt.evaluation.scoring import Scorer, choose
from jagpt.models.tokenizer import token_ids
from jagpt.progress import QUIET

OTHER = "猫"


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A model whose tokenizer knows its characters alone."""
    folder = fakes.model_folder(tmp_path / "model")
    made = files.read_json(folder / "tokenizer.json")
    made["model"]["unk_id"] = None
    for place, character in enumerate(" a1\n", start=len(fakes.SPECIAL)):
        made["model"]["vocab"][place][0] = character
    files.write_json(folder / "tokenizer.json", made)
    return folder


def test_a_closed_vocabulary_encodes_what_it_knows(closed: Path) -> None:
    known = token_ids(models.load_tokenizer(closed), ["日本", "京都 a1", ""])
    assert [len(ids) for ids in known] == [2, 5, 0]


def test_what_a_closed_vocabulary_lacks_is_told_wherever_text_is_encoded(closed: Path) -> None:
    subject = models.open(closed)
    scorer = Scorer(subject.network, *choose("cpu", "fp32"))
    (closed.parent / "text").write_text(f"日本{OTHER}", "utf-8")
    text = texts.read(closed.parent / "text")
    for encode in (
        lambda: generation.generate(closed, [OTHER]),
        lambda: pairs.measure(subject, scorer, [Pair("a", "日本", f"日{OTHER}")], QUIET),
        lambda: texts.encode(text, subject, end_token=True),
    ):
        with pytest.raises(DataError, match=f"{closed}: its tokenizer cannot encode this text"):
            encode()
