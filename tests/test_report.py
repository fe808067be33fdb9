from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import browser
import fakes
import pytest
from payloads import PAYLOADS

from jagpt import comparing, files, report
from jagpt.corpus.stats import CorpusStats, UnknownTemplate
from jagpt.errors import DataError, UsageError
from jagpt.machines import Host
from jagpt.pipeline import states
from jagpt.release.samples import Sample, Samples
from jagpt.rundir import STAGE_DIRECTORIES, RunDirectory
from jagpt.timing import StageTime
from jagpt.training.environment import Environment

EVIL = "<script>alert(1)</script>\"'&<img src=x onerror=y>"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return fakes.run_directory(tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture
def run(original: RunDirectory, tmp_path: Path) -> RunDirectory:
    return RunDirectory(Path(shutil.copytree(original.root, tmp_path / "first")))


class Page(HTMLParser):
    """The page's tags, attributes and text; unbalanced tags are an error."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.attributes: set[str] = set()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def written(*runs: RunDirectory) -> str:
    path = runs[0].root / "out.html"
    report.write_report(list(runs), path)
    return path.read_text("utf-8")


def test_shows_corpus_curves_tokenizer_training_and_files(run: RunDirectory) -> None:
    html = written(run)
    page = Page(html)
    assert html.startswith("<!doctype html>")
    for expected in (
        "Tiny GPT-2", "Training curves", "jawiki", "20210820", "too short", "謎の",
        "Characters per", "5%", "とうきょう",
        "1 min 3 s", "not finished", "2026-01-01 00:00:00 UTC",
        "torch 2.13.0", "10,240 tokens seen", "best checkpoint is step 10", "n_embd = 16",
        "ab" * 32,
        "step-00000010/model.safetensors",
    ):  # fmt: skip
        assert expected in page.text
    assert sum(tag == "svg" and a.get("class") == "chart" for tag, a in page.tags) == 7


def test_needs_no_network_and_no_script(run: RunDirectory) -> None:
    html = written(run)
    page = Page(html)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "base", "form"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert not {"src", "srcset", "action"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in html
    assert "@import" not in html


def test_links_lead_to_sections_that_exist(run: RunDirectory) -> None:
    for html in (written(run), written(run, run)):
        page = Page(html)
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        targets = {a["href"] for tag, a in page.tags if tag == "a"}
        assert targets <= {f"#{name}" for name in ids}


def test_the_content_policy_allows_this_style_sheet_and_nothing_else(run: RunDirectory) -> None:
    html = written(run)
    (css,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policies = [
        attributes["content"]
        for tag, attributes in Page(html).tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == [
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    ]
    assert "prefers-color-scheme:dark" in css


def test_a_run_that_was_never_started_is_reported(tmp_path: Path) -> None:
    html = written(RunDirectory(tmp_path / "empty"))
    text = Page(html).text
    assert "Not finished yet:" in text
    assert ", ".join(STAGE_DIRECTORIES) in text


@pytest.mark.parametrize("part", ["corpus", "tokenizer", "tokens", "checkpoints", "logs"])
def test_any_part_may_be_missing(run: RunDirectory, part: str) -> None:
    shutil.rmtree(run.root / part)
    Page(written(run))


def test_evaluation_and_samples_are_shown_once_there(run: RunDirectory) -> None:
    assert "Perplexity" not in written(run)
    fakes.EVALUATION.write(run.own("evaluate"))
    Samples(1, (Sample("京都", ("は古い都。", EVIL)),)).write(run.own("release"))
    text = Page(written(run)).text
    memorized = "2 of 800 spans of 50 characters (0.25%) in 4 generated texts"
    shown = ("33.12", "5.5000", "144.0 nats", "3.4000–3.6000", "29.96–36.60", memorized)
    for expected in (*shown, "京都は古い都。", EVIL):
        assert expected in text


def test_several_runs_are_compared(run: RunDirectory, tmp_path: Path) -> None:
    second = RunDirectory(Path(shutil.copytree(run.root, tmp_path / "second")))
    recipe = fakes.recipe(fakes.RECIPE, "train.learning_rate=1e-3")
    files.write_text(second.recipe, recipe.to_toml())
    page = Page(written(run, second))
    for expected in ("2 runs compared", "train.learning_rate", "0.0006", "0.001", "second"):
        assert expected in page.text
    assert "train.beta1" not in page.text.split("Where the recipes differ")[1].split("Training")[0]
    charts = [a for tag, a in page.tags if tag == "svg" and a.get("class") == "chart"]
    assert len(charts) == 6 + 2


@pytest.mark.parametrize(
    ("places", "labels"),
    [
        (("x/first", "y/second"), ("first", "second")),
        (("a/run", "b/run", "c/other"), ("a/run", "b/run", "other")),
        (("a/b/run", "c/b/run", "d/run"), ("a/b/run", "c/b/run", "d/run")),
        (("a/run", "a/run", "b/run"), ("a/run", "a/run", "b/run")),
        (("a/run", "a/run"), ("run", "run")),
    ],
)
def test_runs_of_one_name_are_told_apart_by_the_folders_above(
    run: RunDirectory, tmp_path: Path, places: tuple[str, ...], labels: tuple[str, ...]
) -> None:
    for place in set(places):
        shutil.copytree(run.root, tmp_path / place)
    page = written(*(RunDirectory(tmp_path / place) for place in places))
    found = re.findall(r'<h2><span class="key s\d"></span>(.*?)</h2>', page)
    assert tuple(found) == labels


def corpus_with(text: str, **source: str) -> CorpusStats:
    """A corpus that has a text wherever one may stand, its source as `source` says."""
    return replace(
        fakes.CORPUS,
        sources=(replace(fakes.CORPUS.sources[0], name=text, **source),),
        dropped={text: 3},
        unknown_templates=(UnknownTemplate(text, 1, 2),),
    )


def test_nothing_from_a_run_becomes_markup(run: RunDirectory, tmp_path: Path) -> None:
    corpus_with(EVIL, licence=EVIL, wiki=EVIL, date=EVIL).write(run.corpus)
    replace(fakes.TOKENIZER, split=EVIL, longest_pieces=(EVIL,)).write(run.tokenizer)
    times, host = {EVIL: StageTime(EVIL, EVIL, 1.0)}, Host(EVIL, EVIL, 2, {EVIL: EVIL})
    replace(fakes.TIMING, stages=times, machine=host).write(run.logs)
    words = {"device": EVIL, "processor": EVIL, "python": EVIL, "torch": EVIL, "transformers": EVIL}
    Environment(world_size=1, cores=2, threads=2, **words).write(run.logs)
    title = EVIL.replace('"', '\\"')
    text = fakes.RECIPE.replace("Tiny GPT-2", title).replace("A tiny run.", title)
    files.write_text(run.recipe, text)
    evil_root = tmp_path / EVIL.replace("/", "∕")
    run.root.rename(evil_root)
    moved = RunDirectory(evil_root)
    for html in (written(moved), written(moved, moved)):
        page = Page(html)
        assert not {"script", "img"} & {tag for tag, _ in page.tags}
        assert EVIL in page.text


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_strangers_write_appears_as_text(run: RunDirectory, payload: str) -> None:
    corpus_with(payload).write(run.corpus)
    Samples(1, (Sample(payload, (payload,)),)).write(run.own("release"))
    title = json.dumps(payload)
    files.write_text(run.recipe, fakes.RECIPE.replace('"Tiny GPT-2"', title))
    page, harmless = Page(written(run)), Page(written(unharmed(run)))
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in harmless.tags}
    assert page.attributes == harmless.attributes
    assert page.text.count(payload) >= 6


def unharmed(run: RunDirectory) -> RunDirectory:
    """The same run with a word where the payload stood."""
    corpus_with("x").write(run.corpus)
    Samples(1, (Sample("x", ("x",)),)).write(run.own("release"))
    files.write_text(run.recipe, fakes.RECIPE)
    return run


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_on_a_phone_and_asks_for_nothing(
    run: RunDirectory, tmp_path: Path, scheme: str
) -> None:
    second = RunDirectory(Path(shutil.copytree(run.root, tmp_path / "second")))
    files.write_text(run.recipe, fakes.RECIPE.replace("Tiny GPT-2", PAYLOADS[4]))
    path = tmp_path / "report.html"
    with browser.open_page(viewport={"width": 360, "height": 700}, color_scheme=scheme) as page:
        for runs in ([run], [run, second]):
            report.write_report(runs, path)
            watch = browser.Watch(page, path.as_uri())
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") == 360
            assert page.evaluate("window.hacked") is None
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (int(re.findall(r"\d+", background)[0]) < 60) is (scheme == "dark")
            assert watch.elsewhere == watch.problems == []


def test_loss_is_drawn_against_tokens_and_time(run: RunDirectory) -> None:
    labels = {a["aria-label"] for _, a in Page(written(run)).tags if "aria-label" in a}
    assert {"nats per token against tokens", "nats per token against minutes of training"} <= labels
    log = run.logs / "metrics.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    slow = [row | {"seconds": row["step"] * 600} for row in rows]
    log.write_text("".join(json.dumps(row) + "\n" for row in slow))
    assert "nats per token against hours of training" in written(run)


def test_cases_are_compared_with_command_and_losses(run: RunDirectory, tmp_path: Path) -> None:
    second = RunDirectory(Path(shutil.copytree(run.root, tmp_path / "second")))
    fakes.EVALUATION.write(second.own("evaluate"))
    cases = written(run, second).split("All figures")[0].split('class="cases"')[1]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in cases.split("<tr>")[2:]]
    assert cells == [
        [f"<code>{comparing.command(fakes.recipe(), run.root)}</code>", "3.2500", "–", "–"],
        [f"<code>{comparing.command(fakes.recipe(), second.root)}</code>",
         "3.2500", "3.5000", "33.12"],
    ]  # fmt: skip


def test_a_comparison_shows_no_stale_figure(run: RunDirectory, tmp_path: Path) -> None:
    fakes.EVALUATION.write(run.own("evaluate"))
    stale = replace(run, stale={"evaluate": ("train.learning_rate changed",)})
    page = written(run, stale)
    cases = page.split("All figures")[0].split('class="cases"')[1]
    first, second = (re.findall(r"<td[^>]*>(.*?)</td>", row) for row in cases.split("<tr>")[2:])
    assert first[1:] == ["3.2500", "3.5000", "33.12"]
    assert second[1:] == ["3.2500", "stale", "stale"]
    assert Page(page).text.count("33.12") == 4  # all of the other run


def test_why_a_stage_is_stale_is_told_in_the_pages_language(run: RunDirectory) -> None:
    stale = replace(run, stale={"evaluate": states.changed_inputs({"train": "a"}, {"train": "b"})})
    japanese, english = (Page(report.render([stale], language)).text for language in ("ja", "en"))
    assert "evaluate (train が変わりました)" in japanese
    assert "evaluate (train changed)" in english
    source = Path(states.__file__).read_text("utf-8")
    forms = re.findall(r'Said\(\s*"([^"]+)"|form = "([^"]+)"', source)
    assert len(forms) == 5
    assert {"".join(form) for form in forms} <= report.Words("ja").table.keys()


def test_a_machine_with_one_thread_is_named_in_each_language(run: RunDirectory) -> None:
    replace(fakes.ENVIRONMENT, device="cpu", processor="P", threads=1).write(run.logs)
    assert "CPU (P, 1 thread)" in Page(report.render([run], "en")).text
    assert "CPU（P、1 スレッド）" in Page(report.render([run], "ja")).text


def test_date_time_device_and_cost_stand_on_top(run: RunDirectory) -> None:
    fakes.ENVIRONMENT.write(run.logs)
    path = run.root / "out.html"
    report.write_report([run], path, price_per_hour=4.0)
    top = Page(path.read_text("utf-8")).text.partition("Training curves")[0]
    assert (
        "finished 2026-01-01 00:00:00 UTC · 1 min 4 s in all · 1 min 3 s of training · Some GPU · "
        "training cost 0.07 at 4 per hour"
    ) in top
    assert "training cost" not in Page(written(run)).text


BASELINE = """
[baseline]
name = "somebody"
test_perplexity = 33.5
[baseline.holds]
"tokenizer.from" = "somebody/tokenizer"
"""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Test perplexity 33.12. Not comparable with the 33.50 of somebody: tokenizer.from is "
             "– here and somebody/tokenizer there."),
        ({'"tokenizer.from" = "somebody/tokenizer"': ""},
         "Test perplexity 33.12: 1.12% lower than the 33.50 of somebody."),
        ({'"tokenizer.from" = "somebody/tokenizer"': "", "33.5": "33.0"},
         "Test perplexity 33.12: 0.374% higher than the 33.00 of somebody."),
    ],
)  # fmt: skip
def test_the_figure_that_the_recipe_names_stands_beside_the_runs(
    run: RunDirectory, changes: dict[str, str], said: str
) -> None:
    baseline = BASELINE
    for old, new in changes.items():
        baseline = baseline.replace(old, new)
    files.write_text(run.recipe, fakes.RECIPE + baseline)
    if said:
        assert "somebody: Test perplexity" in Page(written(run)).text
    fakes.EVALUATION.write(run.own("evaluate"))
    assert said in Page(written(run)).text


def test_samples_have_no_holes(run: RunDirectory) -> None:
    Samples(1, (Sample("京都", ("は\n\n \n古い都。\n\n",)),)).write(run.own("release"))
    assert "は\n古い都。</blockquote>" in written(run)


def test_every_word_of_the_page_has_its_japanese_and_none_is_left_over(run: RunDirectory) -> None:
    fakes.EVALUATION.write(run.own("evaluate"))
    Samples(1, (Sample("京都", ("は",)),)).write(run.own("release"))
    folder = Path(report.__file__).parent
    template = (folder / "templates" / "report.html.j2").read_text("utf-8")
    table = report.Words("ja").table
    heads = re.findall(r'\("([^"]+)", "(?:num)?"\)', template)
    assert {*re.findall(r'"([^"]+)"\|t\b', template), *heads} <= table.keys()
    code = "".join(
        (folder / name).read_text("utf-8") for name in ("report.py", "pipeline/states.py")
    )
    source = (template + code).lower()
    shown = {name.capitalize() for name in fakes.TOKENIZER.shown()}
    splits = {f"{split} {what}" for split in ("Train", "Valid", "Test")
              for what in ("loss", "perplexity")}  # fmt: skip
    times = {"hours of training", "minutes of training", "h", "min", "s"}
    unused = {word for word in table if f'"{word.lower()}"' not in source}
    assert unused <= shown | splits | times, unused

    class Known(report.Words):
        def __call__(self, text: str, **values: object) -> str:
            assert not text or text in self.table, text
            return super().__call__(text, **values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "Words", Known)
        path = run.root / "out.html"
        for runs in ([run], [run, run]):
            report.write_report(runs, path, "ja", 1.0)
    html = path.read_text("utf-8")
    assert '<html lang="ja">' in html
    assert "1 分 4 秒" in Page(html).text


def test_a_damaged_run_is_named(run: RunDirectory) -> None:
    (run.corpus / "stats.json").write_text("{")
    with pytest.raises(DataError, match=r"stats\.json"):
        written(run)


def test_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run directory"):
        report.write_report([], tmp_path / "report.html")
