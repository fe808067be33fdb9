from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from typing import Any

import fakes
import pytest
from huggingface_hub import EvalResult, ModelCard
from markdown_it import MarkdownIt

from jagpt.corpus.stats import InputFile
from jagpt.evaluation.result import Memorization
from jagpt.formats.bounds import TENSORS, Parity
from jagpt.recipe import Recipe
from jagpt.release import card, metadata
from jagpt.release.card import Extras, Published
from jagpt.release.changelog import Entry
from jagpt.release.exports import ReleasedFormat
from jagpt.release.facts import Facts, facts_of
from jagpt.release.hub_schema import MODEL_KEYS, undocumented
from jagpt.release.markdown import escape
from jagpt.release.samples import Sample
from jagpt.rundir import RunDirectory
from jagpt.text import printable
from jagpt.tokens.index import ShardSize

EVIL = (
    "x: y # \"z\" 'w' {a} [b]",
    "--- \n---\nlicense: mit",
    "...\n---\n",
    "---\nlicense: mit\n---\n# Owned",
    "a\n---\nb: c",
    "|\n  block",
    "> folded",
    "&anchor *alias",
    "!!python/object/apply:os.system ['id']",
    "%YAML 1.1",
    "yes",
    "null",
    "2026-01-01",
    "0x1F: 1e3",
    "? key\n: value",
    "- !!python/object:os.system",
    "<img src=x onerror=alert(1)> **b** | c",
    "<script>alert(1)</script>",
    "</details><script src=//example.org/x.js>",
    "<a href='javascript:alert(1)'>x</a>",
    "<iframe srcdoc='<b>'>",
    "<svg/onload=alert(1)>",
    "<!-- comment",
    "[click](javascript:alert(1))",
    "![x](javascript:alert(1))",
    "[x]: javascript:alert(1)\n[x]",
    "<javascript:alert(1)>",
    "[a](data:text/html;base64,PHNjcmlwdD4=)",
    "```\n# out of the fence\n````",
    "~~~\n# out\n~~~",
    "line\u2028sep\x85next\x00\u202eevil",
    "{{ 7*7 }} {% raw %}",
    "&lt;script&gt;&#60;b&#62;",
)
"""33 payloads: YAML separators and types, HTML, links that run, fences, templates."""

VERSIONS = (Entry("20210820.1.0", ("first",)),)
EVALUATION = replace(fakes.EVALUATION, memorization=None)


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    run = fakes.run_directory(tmp_path_factory.mktemp("run"))
    samples = (Sample("京都", ("は、", "。", "```")),)
    return replace(
        facts_of(RunDirectory(run.root)), evaluation=EVALUATION, samples=samples, parameters=8000
    )


def with_release(**values: Any) -> Recipe:
    recipe = fakes.recipe()
    return recipe.model_copy(update={"release": recipe.release.model_copy(update=values)})


def test_the_hub_reads_the_metadata(facts: Facts) -> None:
    data: Any = ModelCard(card.render(fakes.recipe(), facts, VERSIONS)).data
    assert data.language == "ja"
    assert data.license == "cc-by-sa-3.0"
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "text-generation"
    assert data.datasets == ["wikimedia/wikipedia"]
    assert data.widget == [{"text": "統計的推定を使うことで、"}]
    assert data.model_name == "Tiny GPT-2"
    assert {result.metric_type: result.metric_value for result in data.eval_results} == {
        "loss": 3.5, "perplexity": 33.12345, "bits_per_character": 5.5, "bits_per_byte": 1.9
    }  # fmt: skip
    assert {result.dataset_split for result in data.eval_results} == {"test"}


def test_the_body_tells_data_model_training_and_results_in_two_languages(
    facts: Facts,
) -> None:
    text = card.render(fakes.recipe(), facts, VERSIONS)
    for expected in (
        "20210820", "ab" * 32, "cc-by-sa-3.0", "8,000",
        "3.5000", "33.12", "5.5000", "20210820.1.0", "without any warranty", "無保証", "使い方",
        "step-00000010",
    ):  # fmt: skip
        assert expected in text
    html = MarkdownIt("gfm-like", {"linkify": False}).render(text.partition("\n---\n")[2])
    assert html.count("<h1>") == 1
    assert html.count("<table>") == 7
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        rows = [len(re.findall("<t[hd]", row)) for row in table.split("<tr>")[1:]]
        assert len(set(rows)) == 1


def test_the_card_tells_the_weights_of_sources(facts: Facts) -> None:
    recipe = fakes.recipe()
    source = recipe.corpus.source[0].model_copy(update={"weight": 2.5})
    weighted = recipe.corpus.model_copy(update={"source": (source,)})
    text = card.render(recipe.model_copy(update={"corpus": weighted}), facts, VERSIONS)
    assert f"現れる回数（記載のないものは1回）: {source.name} 2.5." in text
    assert "weight = 2.5" in text
    assert "現れる回数" not in card.render(recipe, facts, VERSIONS)


def evil_facts(facts: Facts, evil: str) -> Facts:
    """A run whose every text is the payload."""
    assert facts.corpus is not None
    sources = tuple(replace(s, name=evil, licence=evil) for s in facts.corpus.sources)
    return replace(
        facts,
        corpus=replace(facts.corpus, sources=sources, dropped={evil: 1}),
        samples=(Sample(evil, (evil,)),),
    )


@pytest.fixture(scope="module")
def plain_page(facts: Facts) -> str:
    """The same card with harmless texts."""
    published = Published("org/model", {}, fakes.ENVIRONMENT, 26.3 * 3600)
    extras = Extras((ReleasedFormat("onnx", {}, fakes.PARITY),), published=published)
    return card.render(fakes.recipe(), facts, VERSIONS, extras)


@pytest.mark.parametrize("evil", EVIL)
def test_no_text_of_a_users_breaks_yaml_or_markdown(
    facts: Facts, plain_page: str, evil: str
) -> None:
    recipe = with_release(title=evil, licence=evil, prompts=(evil,), notes=evil)
    exports = (ReleasedFormat("onnx", {}, replace(fakes.PARITY, precision=evil, compared=evil)),)
    trained_on = replace(fakes.ENVIRONMENT, device=evil, python=evil, torch=evil, transformers=evil)
    published = Published("org/model", {}, trained_on, 60.0)
    versions = (Entry("20210820.1.0", (escape(evil),)),)
    text = card.render(
        recipe, evil_facts(facts, evil), versions, Extras(exports, published=published)
    )
    data: Any = ModelCard(text).data
    assert data.license == "other"
    assert re.fullmatch(r"[a-z0-9.-]+", data.license_name)
    assert str(ModelCard(text)) == text
    markdown = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    html, expected = (markdown.render(ModelCard(page).text) for page in (text, plain_page))
    for tag in ("<img", "<script", "<iframe", "<svg", "<a ", "<!--"):
        assert tag not in html
    for tag in ("<h1>", "<h2>", "<h3>", "<table>", "<details>", "<td", "<hr", "<strong>"):
        assert html.count(tag) == expected.count(tag), tag
    assert "49" not in ModelCard(text).text.splitlines()[0]
    shown = " ".join(printable(evil).split())
    heading = MarkdownIt("gfm-like", {"linkify": False}).parse(ModelCard(text).text)[1]
    assert "".join(child.content for child in heading.children or []) == shown


def test_every_key_and_value_is_documented(facts: Facts) -> None:
    data: Any = metadata.of_model(fakes.recipe(), facts)
    assert list(undocumented(data.to_dict(), MODEL_KEYS)) == []
    assert list(undocumented({"sparkle": 1, "pipeline_tag": "magic"}, MODEL_KEYS)) == [
        "the key sparkle", "pipeline_tag: magic",
    ]  # fmt: skip


def test_results_are_those_that_the_hub_reads_as_evaluations(facts: Facts) -> None:
    data: Any = ModelCard(card.render(fakes.recipe(), facts, VERSIONS)).data
    for result in data.eval_results:
        assert isinstance(result, EvalResult)
        assert result.task_type == "text-generation"
        assert result.dataset_type == "wikimedia/wikipedia"
        assert result.dataset_args == {"language": "ja", "date": "20210820"}
        assert result.metric_value == getattr(EVALUATION, result.metric_type)


def test_formats_are_told_with_their_proofs(facts: Facts) -> None:
    onnx = ReleasedFormat("onnx", {}, replace(fakes.PARITY, size=1_200_000))
    tensors = Parity(
        format="flax", weights="flax_model.msgpack", source="0" * 64, precision="fp32",
        compared=TENSORS, equal=True,
    )  # fmt: skip
    bare = ReleasedFormat("flax", {}, tensors)
    text = card.render(fakes.recipe(), facts, VERSIONS, Extras((onnx, bare)))
    assert (
        "| onnx | fp32 | 1.2 MB | 2.5e-06 | 19 of 20, 1 tied | 9 of 9 | 12.3457 (12.3457) |" in text
    )
    assert "| flax | fp32 | – | every tensor equal | – | – | – |" in text
    assert "import onnxruntime" in text
    assert "FlaxGPT2LMHeadModel" in text


def test_what_it_learnt_by_heart_is_told_where_it_was_measured(facts: Facts) -> None:
    found = Memorization(span_characters=50, samples=32, spans=4000, found=120, share=0.03)
    told = replace(facts, evaluation=replace(EVALUATION, memorization=found))
    text = card.render(fakes.recipe(), told, VERSIONS)
    assert "120 (3.0 %) occur verbatim" in text
    assert "120 個（3.0 %）" in text
    for nothing in (None, replace(found, spans=0)):
        told = replace(facts, evaluation=replace(EVALUATION, memorization=nothing))
        assert "Memorization" not in card.render(fakes.recipe(), told, VERSIONS)


def test_sliding_windows_are_told(facts: Facts) -> None:
    how = {"windows": "sliding", "block_size": 1024, "stride": 512, "precision": "bf16"}
    told = replace(facts, evaluation=replace(EVALUATION, **how))
    text = card.render(fakes.recipe(), told, VERSIONS)
    assert "in bf16, in windows of 1,024 tokens with a stride of 512" in text


def test_a_published_card_tells_hardware_time_and_commits(facts: Facts) -> None:
    versions = (*VERSIONS, Entry("20210301.1.0", ("older",)))
    commits = {"20210301.1.0": "c0ffee" * 6}
    published = Published("org/model", commits, fakes.ENVIRONMENT, 26.3 * 3600)
    text = card.render(fakes.recipe(), facts, versions, Extras(published=published))
    assert "| Hardware / 計算機 | Some GPU |" in text
    assert "| Versions / バージョン | python 3.11, torch 2.13.0, transformers 5.0 |" in text
    assert "| Time / 学習時間 | 26.3 hours |" in text
    assert "| 20210301.1.0 | c0ffeec0ffee | older |" in text
    assert 'from_pretrained(folder, revision="20210820.1.0")' in text


def test_weights_that_it_started_from_are_named(facts: Facts) -> None:
    assert "trained from scratch" in card.render(fakes.recipe(), facts, VERSIONS)
    recipe = fakes.recipe(fakes.RECIPE, 'model.from="org/base"', 'model.revision="v1"')
    text = card.render(recipe, facts, VERSIONS)
    data: Any = ModelCard(text).data
    assert data.base_model == "org/base"
    assert "further trained from `org/base` at revision `v1`" in text
    assert "一から学習" not in text
    elsewhere = fakes.recipe(fakes.RECIPE, 'model.from="/mnt/secret/base"')
    text = card.render(elsewhere, facts, VERSIONS)
    assert "further trained from other weights" in text
    assert "secret" not in text


def test_the_optimizer_is_told_with_what_belongs_to_it(facts: Facts) -> None:
    recipe = fakes.recipe(fakes.RECIPE, "train.optimizer=muon", "train.average=ema")
    text = card.render(recipe, facts, VERSIONS)
    assert "| Muon | learning rate 0.02, momentum 0.95, weight decay 0.1 |" in text
    assert "| Averaged weights / 重みの平均 | ema, last 20 % of the steps |" in text


def test_articles_that_were_asked_out_are_not_named(facts: Facts) -> None:
    recipe = fakes.recipe(fakes.RECIPE, 'corpus.exclude.titles=["山田太郎", "山田花子"]')
    text = card.render(recipe, facts, VERSIONS)
    assert "山田" not in text
    assert "[corpus.exclude]: 2 entries, not shown" in text


def test_says_nothing_of_paths_execution_or_the_clock(facts: Facts) -> None:
    text = card.render(fakes.recipe(), facts, VERSIONS)
    for word in ("execution", "workers", "max_hours", "/tmp", "Linux", "2026"):  # noqa: S108
        assert word not in text
    elsewhere = fakes.RECIPE.replace('path = "', 'path = "/mnt/')
    other = fakes.recipe(elsewhere, "execution.workers=3", 'baseline.name="b"')
    assert card.render(other, facts, VERSIONS) == text


def test_a_text_source_is_no_wikipedia(facts: Facts) -> None:
    assert facts.corpus is not None
    source = replace(facts.corpus.sources[0], kind="text", wiki=None)
    mine = replace(facts, corpus=replace(facts.corpus, sources=(source,)))
    data: Any = ModelCard(card.render(fakes.recipe(), mine, VERSIONS)).data
    assert data.datasets is None
    assert {result.dataset_type for result in data.eval_results} == {"text"}


def test_works_where_parts_are_missing() -> None:
    text = card.render(fakes.recipe(), Facts(), VERSIONS)
    assert "## Results" not in text
    assert "## Training data" not in text


def test_large_corpora_are_no_demonstration(facts: Facts) -> None:
    assert "A demonstration" in card.render(fakes.recipe(), facts, VERSIONS)
    assert facts.tokens is not None
    large = replace(
        facts,
        tokens=replace(facts.tokens, splits={"train": [ShardSize("train-00000", 1, 10**9, 1, 1)]}),
    )
    assert "A demonstration" not in card.render(fakes.recipe(), large, VERSIONS)


def test_the_prompt_in_the_usage_is_a_python_string(facts: Facts) -> None:
    prompt = 'a"\n\\b'
    drawn = replace(facts, samples=(Sample(prompt, ()),))
    text = card.render(with_release(prompts=(prompt,)), drawn, VERSIONS)
    line = next(line for line in text.splitlines() if line.startswith("prompt = "))
    assert json.loads(line.removeprefix("prompt = ")) == prompt


def test_a_source_with_many_files_is_counted_with_one_sum(facts: Facts) -> None:
    assert facts.corpus is not None
    files = tuple(InputFile(number, f"{number:064x}") for number in range(300))
    source = replace(facts.corpus.sources[0], files=files)
    many = replace(facts, corpus=replace(facts.corpus, sources=(source,)))
    text, before = (card.render(fakes.recipe(), one, VERSIONS) for one in (many, facts))
    assert len(text.splitlines()) == len(before.splitlines())
    sums = "".join(f"{file.sha256}\n" for file in files).encode()
    row = f"| jawiki: 300 files | 44,850 | `{hashlib.sha256(sums).hexdigest()}` (of their SHA-256"
    assert row in text
