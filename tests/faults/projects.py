"""The tiny project that is broken, and the commands that work on it.

Shards and parts are made small, so that a few dozen short documents fill several of each.
"""

from __future__ import annotations

import bz2
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .attempts import Command, copy_tree, in_child, jagpt

DOCUMENTS = 24
SUBJECTS = ["東京", "京都", "大阪", "富士山", "琵琶湖", "桜", "電車", "図書館", "言語", "統計"]
VERBS = ["説明する", "研究する", "記録する", "紹介する", "比較する", "整理する"]
TINY = (
    "model.n_layer=1", "model.n_head=2", "model.n_embd=16", "model.n_positions=32",
    "train.batch_size=2", "train.grad_accum_steps=1", "train.max_steps=4", "train.warmup_steps=1",
    "train.validate_every=2", "train.checkpoint_every=2", "train.precision=fp32",
    "execution.workers=1", "execution.threads=1", "execution.tensorboard=false",
    "execution.log_every=1", "execution.device=cpu", 'export.formats=["pytorch", "flax"]',
)  # fmt: skip


@dataclass(frozen=True)
class Project:
    """A recipe with its sources, outside every run directory."""

    root: Path

    @property
    def recipe(self) -> Path:
        return self.root / "tiny.toml"

    def stage(self, name: str, *more: str, run: str = "{}/run") -> tuple[str, ...]:
        """The command line that makes a stage, its predecessors being done."""
        until = ("run", str(self.recipe), "--until", name, "--run-dir", run, "--yes")
        return (*until, *overrides(*TINY, *more))

    def whole(self, run: Path) -> tuple[str, ...]:
        """The command line of all stages."""
        return ("run", str(self.recipe), "--run-dir", str(run), "--yes", *overrides(*TINY))


def overrides(*settings: str) -> list[str]:
    return [option for setting in settings for option in ("--set", setting)]


def small_pieces() -> None:
    """Several parts, shards and row groups of the tiny corpus; a quick look at the machine."""
    from jagpt.corpus import convert, shards
    from jagpt.plan import measured

    convert.PART_PAGES = 8
    shards.SHARD_BYTES = 3_000
    shards.ROW_GROUP_BYTES = 1_000
    measured.WINDOW_SECONDS = 0.0


def make_project(root: Path) -> Project:
    """A multistream dump and a file of JSON lines, with a recipe that reads both."""
    root.mkdir(parents=True)
    (root / "wiki.xml.bz2").write_bytes(_multistream(range(DOCUMENTS // 2)))
    rows = [{"id": str(n), "title": f"記事{n}", "text": _text(n)} for n in range(DOCUMENTS // 2)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (root / "rows.jsonl").write_text(text, "utf-8")
    (root / "tiny.toml").write_text(
        'name = "tiny"\n[corpus]\nvalid_share = 0.2\ntest_share = 0.2\nmin_characters = 10\n'
        '[[corpus.source]]\nname = "wiki"\npath = "wiki.xml.bz2"\ndate = "20260101"\n'
        'licence = "cc0-1.0"\n'
        '[[corpus.source]]\nname = "rows"\nkind = "jsonl"\npath = "rows.jsonl"\n'
        'title_column = "title"\nid_column = "id"\nlicence = "cc0-1.0"\n'
        "[tokenizer]\nvocab_size = 345\n[train]\nmax_steps = 4\n"
        '[release]\ntitle = "Tiny"\nlicence = "cc0-1.0"\nprompts = ["東京は"]\n',
        "utf-8",
    )
    return Project(root)


def fill_caches(project: Project) -> None:
    """Make once, for all children, what each would make anew for the tiny project."""
    from jagpt import installation, recipe, records
    from jagpt.compressed import Reader
    from jagpt.corpus.articles import document_articles, page_articles
    from jagpt.corpus.dump import Dump, parse_page
    from jagpt.corpus.parts import Counts

    corpus = recipe.load(str(project.recipe), TINY).corpus
    dump = Dump(Reader(project.root / "wiki.xml.bz2"))
    pages = [parse_page(raw, dump.header) for raw in dump]
    assert list(page_articles(dump.header, pages, corpus, Counts()))
    assert not list(document_articles([], corpus, Counts()))
    installation.extras()
    kinds = [records.Record]
    for kind in kinds:
        kinds += kind.__subclasses__()
        if hasattr(kind, "FILE"):
            records._adapter(kind)


def _text(number: int) -> str:
    """A document of its own for each number."""
    lines = []
    for line in range(6):
        subject = SUBJECTS[(number + line) % len(SUBJECTS)]
        verb = VERBS[(number * 3 + line) % len(VERBS)]
        lines.append(f"{subject}は第{number * 7 + line}番の資料で{verb}ことが多い。")
    return "\n".join(lines)


def _multistream(numbers: Iterable[int]) -> bytes:
    """A dump in Wikimedia's form: header, groups of pages and footer, a bzip2 stream each."""
    header = (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" '
        'xml:lang="ja">\n<siteinfo><dbname>jawiki</dbname><base>https://ja.wikipedia.org/wiki/x'
        '</base><namespaces><namespace key="0" /></namespaces></siteinfo>\n'
    )
    pages = [
        f"<page><title>項目{n}</title><ns>0</ns><id>{n + 1}</id><revision><id>{n + 100}</id>"
        f'<text xml:space="preserve">{_text(n + 500)}</text></revision></page>\n'
        for n in numbers
    ]
    groups = ["".join(pages[k : k + 5]) for k in range(0, len(pages), 5)]
    return b"".join(bz2.compress(s.encode()) for s in (header, *groups, "</mediawiki>\n"))


# --- the commands ---------------------------------------------------------------------------------


def commands(project: Project, scratch: Path, wanted: Callable[[str], bool]) -> Iterator[Command]:
    """Each stage on its finished predecessors, then what else changes a run directory.

    What a command starts from is made on the way, by the stages before it.
    """
    from jagpt.stages import STAGE_NAMES

    before = scratch / "starts" / "nothing"
    before.mkdir(parents=True)
    made: dict[str, Path] = {}
    for name in STAGE_NAMES:
        command = Command(name, before, project.stage(name))
        if wanted(name):
            yield command
        before = _after(command, scratch)
        made[name] = before
    for command in _others(project, made):
        if wanted(command.name):
            yield command


def _others(project: Project, made: dict[str, Path]) -> Iterator[Command]:
    last, nothing = list(made)[-1], made["corpus"].with_name("nothing")
    constant = ("train.schedule=constant",)
    yield Command("corpus anew", made["corpus"], project.stage("corpus", "corpus.valid_share=0.3"))
    yield Command("train anew", made["train"], project.stage("train", "train.seed=5"))
    forced = ("train", *project.whole(Path("{}/run"))[1:], "--force")
    yield Command("train --force", made["train"], forced, ("run/checkpoints/",))
    once = _after(
        Command("constant", made["tokens"], project.stage("train", *constant)),
        made["train"].parent.parent,
    )
    longer = project.stage("train", *constant, "train.max_steps=6")
    replaced = ("manifest.json", "index.json", "step-00000002")  # the last by rotation
    yield Command(
        "train longer", once, longer, tuple(f"run/checkpoints/{name}" for name in replaced)
    )
    sharing = ("run", str(_sharing_recipe(project, made["tokens"] / "run")), "--until", "train")
    yield Command("shared", nothing, (*sharing, "--run-dir", "{}/run", "--yes", *overrides(*TINY)))
    superseded = _after(
        Command("superseded", made["corpus"], project.stage("corpus", "corpus.test_share=0.3")),
        made["train"].parent.parent,
    )
    yield Command("clean", superseded, ("clean", "{}/run"), ("run/superseded/",))
    yield Command("report", made[last], ("report", "{}/run", "--output", "{}/page.html"))
    yield Command(
        "extract",
        nothing,
        ("extract", str(project.root / "wiki.xml.bz2"), "--output", "{}/run", "--workers", "1"),
    )
    yield Command("init", nothing,
                  ("init", "quickstart", "--output", "{}/mine.toml"))  # fmt: skip
    for name, arguments in _readers(project):
        yield Command(name, made[last], arguments, reads=True)


def _readers(project: Project) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What else a run may be given to."""
    text = str(project.root / "rows.jsonl")
    yield "run RUN", ("run", "{}/run")
    for verb in ("status", "verify", "plan", "evaluate", "export", "release"):
        yield f"{verb} RUN", (verb, "{}/run")
    yield "evaluate --model", ("evaluate", "--model", "{}/run", "--text", text)
    yield "export --model", (
        "export", "--model", "{}/run/model", "--format", "flax", "--output", "{}/out",
    )  # fmt: skip
    yield "release --to", ("release", "{}/run", "--to", "git:/nowhere.git")
    yield "generate", ("generate", "{}/run", "東京は")
    if find_spec("gradio"):
        yield "playground", ("playground", "{}/run")
    yield "tokenizer --compare", ("tokenizer", "--compare", "{}/run", "--text", text)
    yield "download", ("download", "{}/run", "--dry-run")
    shared = ("--set", 'tokenizer.from="{}/run"', "--run-dir", "{}/other")
    yield "tokenizer.from", ("tokenizer", str(project.recipe), *shared)


def _sharing_recipe(project: Project, origin: Path) -> Path:
    """A recipe on the corpus, the tokenizer and the tokens of a finished run."""
    recipe = project.root / "sharing.toml"
    tables = "".join(f'[{name}]\nfrom = "{origin}"\n' for name in ("corpus", "tokenizer", "tokens"))
    recipe.write_text(f'name = "sharing"\n{tables}[train]\nmax_steps = 4\n', "utf-8")
    return recipe


def _after(command: Command, scratch: Path) -> Path:
    """The tree that a command leaves, to start others from."""
    target = scratch / "starts" / command.name
    if not target.exists():
        copy_tree(command.start, target)
        arguments = [argument.replace("{}", str(target)) for argument in command.arguments]
        code, said = in_child(lambda: jagpt(arguments))
        if code != 0:
            shutil.rmtree(target)
            raise RuntimeError(f"{command.name}: exit code {code}\n{said}")
    return target
