"""Sixty wrong values: each named with its key and what is allowed, and nothing is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jagpt.cli import main
from jagpt.errors import RecipeError
from jagpt.recipe import parse

WRONG = """
corpus.split="random" | allowed are hash, first-lines
corpus.valid_share=1.0 | less than 1.0
corpus.valid_share=-0.1 | 0.0 or more
corpus.valid_share="half" | number
corpus.test_share=2 | less than 1.0
corpus.test_share=true | number
corpus.valid_lines=-1 | 0 or more
corpus.test_lines=1.5 | integer
corpus.min_characters=-5 | 0 or more
corpus.min_characters="many" | integer
corpus.min_japanese_share=1 | less than 1.0
corpus.drop_disambiguation="yes" | true or false
corpus.drop_list_pages=1 | true or false
corpus.drop_duplicates=0 | true or false
corpus.drop_near_duplicates=0.2 | 0.5
corpus.drop_near_duplicates=1.5 | 1.0 or less
corpus.drop_overlap=-1 | 0.0 or more
corpus.headings="no" | true or false
corpus.source.sample.kind="zip" | allowed are dump
corpus.source.sample.licence="" | string
corpus.source.sample.split="dev" | allowed are train, valid, test
corpus.source.sample.date="today" | form
corpus.source.sample.name="a b" | form
corpus.exclude.ids=5 | list
corpus.templates.x=1 | string
tokenizer.type="wordpiece" | allowed are unigram, bpe
tokenizer.vocab_size=6 | 7 or more
tokenizer.vocab_size=2000000 | 1000000 or less
tokenizer.vocab_size="big" | integer
tokenizer.sentences=0 | 1 or more
tokenizer.character_coverage=0.97 | 0.98 or more
tokenizer.character_coverage=1.1 | 1.0 or less
tokenizer.normalization="nfd" | allowed are nmt_nfkc, nfkc, identity
tokenizer.byte_fallback="on" | true or false
tokenizer.seed=-1 | 0 or more
tokenizer.seed=18446744073709551616 | 18446744073709551615 or less
tokenizer.sentences=9223372036854775808 | 9223372036854775807 or less
tokenizer.vocab_size=293 | 294 or more
tokens.end_token=1 | true or false
model.type=5 | string
model.n_layer="two" | integer
model.n_layer=0 | 1 or more
model.n_layer=513 | 512 or less
model.n_head=5 | n_head
model.n_embd=0 | 1 or more
model.n_positions=1 | 2 or more
model.dropout=1.0 | less than 1.0
train.batch_size=0 | 1 or more
train.grad_accum_steps=-2 | 1 or more
train.block_size=1 | 2 or more
train.block_size=100000 | n_positions
train.max_steps=0 | 1 or more
train.max_epochs=0 | more than 0
train.learning_rate=0 | more than 0.0
train.learning_rate=11 | 10.0 or less
train.learning_rate=nan | finite number
train.beta1=1.0 | less than 1.0
train.epsilon=0 | more than 0.0
train.warmup_steps=-1 | 0 or more
train.clip_norm=0 | more than 0.0
train.precision="int8" | allowed are auto, fp32, bf16, fp16
train.validate_every=0 | 1 or more
train.keep_checkpoints=0 | 1 or more
train.seed=18446744073709551616 | 18446744073709551615 or less
train.batch_size=10000000000000000000000 | 9223372036854775807 or less
train.max_epochs=1e308 | 1000000000.0 or less
train.clip_norm=inf | finite number
evaluate.split="dev" | allowed are train, valid, test
evaluate.checkpoint="newest" | form
evaluate.checkpoint=1000000000000000000000000 | form
evaluate.stride=8 | sliding
export.top_p=0 | more than 0.0
export.top_k=18446744073709551616 | 1000000 or less
release.title="" | string
baseline.name=5 | string
release.revision="20260101.12345678901.0" | form
search.keys={"train.order"={choice=[1]}} | numbers of [train] and [model]
execution.workers=0 | 1 or more
execution.workers=4294967296 | 65536 or less
execution.threads=1000000 | 1024 or less
execution.max_hours=inf | finite number
execution.tracker_project="a/b" | form
execution.device="tpu" | allowed are auto, cpu, cuda, mps, xpu
execution.mirror="ftp://x" | form
"""
LONG = "runs/" + "名" * 86
"""A name of 258 bytes."""
PLACES = (
    *(f"{section}.from" for section in ("corpus", "tokenizer", "tokens", "model")),
    "corpus.hojichar", "corpus.source.sample.path", "corpus.source.sample.dataset",
    "train.teacher", "execution.remote",
)  # fmt: skip
CASES = [tuple(part.strip() for part in line.split(" | ")) for line in WRONG.strip().splitlines()]


@pytest.mark.parametrize(("override", "allowed"), CASES, ids=[case[0] for case in CASES])
def test_a_wrong_value_is_named_with_what_is_allowed(
    override: str, allowed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["run", "quickstart", "--set", override])
    said = capsys.readouterr().err
    key = override.partition("=")[0]
    assert left.value.code == 2
    assert key.rpartition(".")[2] in said
    assert f"[{key.partition('.')[0]}" in said
    assert "found" in said
    assert allowed in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", PLACES)
@pytest.mark.parametrize(
    ("name", "words"), [(LONG, "at most 255 bytes"), ("a\0b/*.txt", "a path has no NUL character")]
)
def test_a_name_that_no_file_can_have_is_named_with_its_key(
    key: str, name: str, words: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    value = json.dumps(f"/{name}" if key == "execution.remote" else name, ensure_ascii=False)
    if key == "execution.remote" and name != LONG:
        words = "expected a URL"
    override = f"{key}={f'[{value}]' if key == 'train.teacher' else value}"
    test_a_wrong_value_is_named_with_what_is_allowed(override, words, tmp_path, monkeypatch, capsys)


def test_in_the_recipe_itself_it_is_named_too(tmp_path: Path) -> None:
    source = f'[[corpus.source]]\nname = "a"\nkind = "text"\npath = "{LONG}*"\n'
    text = f'name = "x"\n[train]\nmax_steps = 1\nteacher = ["{LONG}"]\n{source}'
    with pytest.raises(RecipeError, match="2 mistakes") as raised:
        parse(text, folder=tmp_path)
    assert str(raised.value).count("at most 255 bytes") == 2


def test_there_are_sixty_and_every_section_has_some() -> None:
    from jagpt.recipe import SECTIONS

    assert len(CASES) >= 60
    assert {override.partition(".")[0] for override, _ in CASES} == set(SECTIONS)
