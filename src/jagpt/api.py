"""jagpt from Python: what `import jagpt` offers, each name loaded when it is first used.

    wikitext_to_text, documents      text without a run
    load_recipe, run, open_run       a run: start it, watch it, inspect it
    open_model                       a model: continue texts, score them, evaluate it
    compare                          two models on one text

Errors are `JagptError` or a subclass (`jagpt.errors`), with the same messages as on the command
line. Importing it also turns off the telemetry of libraries (`jagpt.telemetry`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from jagpt import pipeline, telemetry
from jagpt import recipe as recipes
from jagpt.errors import UsageError
from jagpt.progress import Bar, Progress
from jagpt.recipe import Recipe
from jagpt.rundir import is_run
from jagpt.stages import STAGE_NAMES
from jagpt.summary import collect
from jagpt.wikitext import WikitextOptions, to_text

if TYPE_CHECKING:
    from jagpt.corpus.documents import Document
    from jagpt.evaluation.result import Evaluation, TextFigures
    from jagpt.evaluation.versus import Comparison
    from jagpt.generation import Continuation, TextGenerator, Token
    from jagpt.models import ModelFolder
    from jagpt.rundir import RunDirectory

telemetry.off()

# --- text -----------------------------------------------------------------------------------------


def wikitext_to_text(wikitext: str, *, title: str = "", **options: Any) -> str:
    """The text that a reader of the page sees; `options` are those of `WikitextOptions`.

    `title` is what {{PAGENAME}} shows. Raises `WikitextLimitError` if the page is too long or
    too deeply nested.
    """
    return to_text(wikitext, title=title, options=WikitextOptions(**options)).text


def documents(dump: str | Path, *, filters: bool = False, **options: Any) -> Iterator[Document]:
    """The articles of a MediaWiki dump as they are read, in this process.

    `dump` is a file, a glob pattern or `jagpt:sample`; `options` are those keys of `[corpus]`
    that `jagpt extract` also has (`markup`, `headings`, `tables`, `titles` …). With `filters`, a
    recipe's default filters apply. Raises `DataError` if a file is missing or damaged.
    """
    from jagpt.compressed import Reader
    from jagpt.corpus import extraction
    from jagpt.corpus.articles import page_articles
    from jagpt.corpus.dump import Dump, parse_page
    from jagpt.corpus.parts import Counts
    from jagpt.corpus.sources import source_files

    wanted = extraction.request(str(dump), "dump", "jsonl", filters=filters, **options)
    left_out = extraction.judge(wanted)
    for path in source_files(wanted.source):
        with closing(Reader(path, skip_damaged=wanted.corpus.skip_damaged)) as reader:
            pages = Dump(reader)
            parsed = (parse_page(raw, pages.header) for raw in pages)
            for article in page_articles(pages.header, parsed, wanted.corpus, Counts()):
                if left_out(article) is None:
                    yield article.document(wanted.source.name, article.text)


# --- a run ----------------------------------------------------------------------------------------


def load_recipe(reference: str | Path, **values: Any) -> Recipe:
    """The recipe in a file, of a run, or shipped under that name (`jagpt recipes`).

    `values` override its own: `load_recipe("small", train={"max_steps": 100})`. Tables merge with
    the recipe's, None takes a key out, and paths are relative to the current folder. Raises
    `RecipeError` with all mistakes at once.
    """
    return recipes.load(reference, values=values)


@dataclass(frozen=True)
class Event:
    """Progress of some work: `done` of `total` units of `what`; a plain message has only `what`."""

    what: str
    done: int | None = None
    total: int | None = None
    unit: str = ""
    note: str = ""


def run(
    recipe: Recipe | str | Path,
    *,
    run_dir: str | Path | None = None,
    until: str | None = None,
    force: bool = False,
    yes: bool = False,
    progress: Callable[[Event], None] | None = None,
) -> Run:
    """Run everything that is not done yet, up to the stage `until`; returns the run.

    `progress` is called with each event. `yes` allows trained results to be moved aside. Raises
    `RunInUseError` if another process works there, `StoppedError` if it was asked to stop, and
    otherwise the errors of `jagpt run`.
    """
    from jagpt import files, remote
    from jagpt.report import system_language, write_report

    if until is not None and until not in STAGE_NAMES:
        raise UsageError(f"until={until!r}: the stages are {', '.join(STAGE_NAMES)}")
    loaded = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    place = pipeline.open_run(loaded, _place(recipe, loaded, run_dir))
    told = Progress("quiet") if progress is None else _Told(progress)

    def agree(costs: str) -> None:
        if not yes:
            raise UsageError(f"{costs}. Call with yes=True to do so; nothing was changed")

    names = pipeline.chosen(None, until)
    forced = names if force else ()
    with files.locked(place.root):
        ledger = pipeline.Ledger.read(place)
        with remote.kept(loaded, place, ledger, told, names[-1], forced):
            pipeline.fetch(loaded, pipeline.unmade(loaded, place, names, forced), told)
            pipeline.run_stages(
                loaded, place, told, until=until, force=force, ledger=ledger, agree=agree
            )
        made = pipeline.as_it_stands(loaded, place, ledger)
        write_report([made], place.report, system_language())
    return open_run(place.root)


def _place(recipe: Recipe | str | Path, loaded: Recipe, run_dir: str | Path | None) -> Path:
    if run_dir is not None:
        return Path(run_dir)
    named = not isinstance(recipe, Recipe) and is_run(Path(recipe))
    return Path(str(recipe)) if named else Path("runs") / loaded.name


class _Told(Progress):
    """Progress that calls a function instead of drawing on a terminal."""

    def __init__(self, told: Callable[[Event], None]) -> None:
        super().__init__("quiet")
        self._told = told

    def say(self, text: str) -> None:
        self._told(Event(text))

    @contextmanager
    def bar(self, what: str, total: int | None = None, unit: str = "") -> Iterator[Bar]:
        yield _ToldBar(what, total, unit, self._told)


class _ToldBar(Bar):
    def __init__(
        self, what: str, total: int | None, unit: str, told: Callable[[Event], None]
    ) -> None:
        super().__init__(what, total, unit)
        self._told = told

    def _show(self) -> None:
        self._told(Event(self.what, self.done, self.total, self.unit, self.note))


@dataclass(frozen=True)
class Run:
    """A run in a directory; its parts are read when they are accessed."""

    recipe: Recipe
    paths: RunDirectory
    """Where everything is: `paths.corpus`, `paths.checkpoints`, `paths.model`, `paths.logs` …"""

    @property
    def stages(self) -> Mapping[str, str]:
        """Stage → done, shared, stale, unfinished or missing."""
        found = pipeline.examine(self.recipe, self.paths, pipeline.Ledger.read(self.paths))
        return MappingProxyType({state.stage.name: state.status for state in found})

    @cached_property
    def _summary(self) -> Any:
        return collect(pipeline.as_it_stands(self.recipe, self.paths))

    @property
    def metrics(self) -> Mapping[str, Mapping[str, Sequence[Any]]]:
        """`train` and `valid`, each as columns: name → one value per logged row.

        `pandas.DataFrame(run.metrics["valid"])` is a table.
        """
        rows = {"train": self._summary.train_rows, "valid": self._summary.valid_rows}
        return {name: _columns(some) for name, some in rows.items()}

    @property
    def evaluation(self) -> Evaluation | None:
        """Loss, perplexity and bits of the test split; None if it was not measured."""
        found: Evaluation | None = self._summary.evaluation
        return found

    @property
    def samples(self) -> Mapping[str, Sequence[str]]:
        """Prompt → the continuations that the release shows."""
        return {sample.prompt: sample.continuations for sample in self._summary.samples}

    @property
    def model(self) -> Model:
        """Its exported model, or else its last checkpoint."""
        return open_model(self.paths.root)


def _columns(rows: Sequence[Any]) -> dict[str, list[Any]]:
    if not rows:
        return {}
    names = [field.name for field in dataclasses.fields(rows[0]) if field.name != "kind"]
    return {name: [getattr(row, name) for row in rows] for name in names}


def open_run(run_dir: str | Path) -> Run:
    """The run in a directory; `UsageError` if there is none."""
    place = Path(run_dir)
    if not is_run(run_dir):
        raise UsageError(
            f"{str(run_dir) or repr(run_dir)}: not a run directory (it has no recipe.toml)"
        )
    loaded = recipes.load(place)
    return Run(loaded, pipeline.open_run(loaded, place))


# --- a model --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """A causal language model with its tokenizer, on the CPU in fp32."""

    folder: ModelFolder

    @cached_property
    def _generator(self) -> TextGenerator:
        from jagpt import generation

        return generation.load(self.folder)

    def generate(self, prompt: str, **settings: Any) -> list[str]:
        """Continuations of a prompt, without it: one, or `num_return_sequences` of them.

        `settings` are those of `jagpt generate` (`max_new_tokens`, `temperature`, `top_k`, `top_p`,
        `seed`, `greedy` …); whatever is not given takes the folder's own default.
        """
        return [continuation.text for continuation in self.continuations(prompt, **settings)]

    def continuations(self, prompt: str, **settings: Any) -> list[Continuation]:
        """The same, with each token and its log-probability."""
        from jagpt import generation

        wanted = generation.Settings(**settings)
        return next(generation.scored(self._generator, [prompt], wanted))

    def score(self, text: str) -> list[Token]:
        """The text's tokens, each with its log-probability in nats after all before it.

        The first one follows the end of another text; an empty text has none. `UsageError` if it
        exceeds the context, `JagptError` if the model is broken.
        """
        import numpy as np

        from jagpt.evaluation.scoring import Scorer, check_finite, choose
        from jagpt.generation import Token
        from jagpt.generation.text import TextStream
        from jagpt.models.tokenizer import token_ids

        (ids,) = token_ids(self._generator.tokenizer, [text])
        if not ids:
            return []
        [start] = self._generator.encode("")
        if self.folder.context is not None and len(ids) > self.folder.context:
            raise UsageError(
                f"the text has {len(ids):,} tokens, but the model's context is "
                f"{self.folder.context:,}: score it in parts, or measure a file with evaluate"
            )
        scorer = Scorer(self.folder.network, *choose("cpu", "fp32"))
        with scorer.session():
            (nats,) = scorer.nats(np.array([[start, *ids]], dtype=np.int64))
        check_finite(nats)
        pieces = TextStream(self._generator.tokenizer, [start])
        return [Token(one, pieces.push(one), -float(n)) for one, n in zip(ids, nats, strict=True)]

    def evaluate(self, path: str | Path, **settings: Any) -> TextFigures:
        """Loss, perplexity and bits per character of a text, as `jagpt evaluate --model` computes
        them.

        `settings` are those of `MeasureSettings` (`windows`, `block_size`, `stride` …), and
        `layout` and `column`.
        """
        from jagpt.evaluation import comparing, texts
        from jagpt.evaluation.scoring import Scorer, choose
        from jagpt.progress import QUIET

        text = texts.read(Path(path), **_reading(settings))
        wanted = comparing.MeasureSettings(**settings)
        if wanted.tokenizer is not None:
            raise UsageError("tokenizer: this model has been opened with its own; see compare")
        scorer = Scorer(self.folder.network, *choose(wanted.device, wanted.precision))
        return comparing.measure_text(self.folder, scorer, text, wanted, QUIET)


def open_model(place: str | Path) -> Model:
    """The model of a run, a checkpoint, a folder or a hub id (ORG/NAME@REVISION).

    Code in its folder is never run. Raises `DataError` if there is none or its parts do not match.
    """
    from jagpt import models

    return Model(models.open(place).read())


def _reading(settings: dict[str, Any]) -> dict[str, Any]:
    """Those of the settings that say how a text is read, taken out of them."""
    return {key: settings.pop(key) for key in ("layout", "column") if key in settings}


def compare(
    a: str | Path, b: str | Path, text: str | Path | None = None, **settings: Any
) -> Comparison:
    """Whether model `b` is better than `a`, as `jagpt compare` decides: paired, in bits
    per character.

    `text` is a file; by default the test split of `a`'s run. `settings` are those of
    `MeasureSettings`, and `layout` and `column`.
    """
    from jagpt.comparing import held_out
    from jagpt.evaluation import comparing, texts, versus
    from jagpt.progress import QUIET

    reading = _reading(settings)
    chosen = held_out(str(a)) if text is None else texts.read(Path(text), **reading)
    wanted = comparing.MeasureSettings(**settings)
    return versus.compare(str(a), str(b), chosen, wanted, QUIET)
