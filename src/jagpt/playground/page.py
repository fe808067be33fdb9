"""What the browser shows of a job. Every text is escaped: it may come from anyone or any model.

The page's own words are there in both languages, and its style sheet shows those of the language
that is chosen, so that an answer follows the choice even after it was given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import resources

from markupsafe import Markup, escape

from jagpt import units
from jagpt.generation import Token
from jagpt.playground.facts import Facts
from jagpt.playground.job import Column, Job, Row
from jagpt.playground.limits import Limits
from jagpt.playground.texts import LANGUAGES, Texts, texts
from jagpt.text import printable

LEVELS = (0.5, 0.2, 0.05, 0.01, 0.0)
"""Probabilities at which the colours p0 … p4 begin."""


def style_sheet() -> str:
    """The page's own CSS."""
    return (resources.files("jagpt.playground") / "playground.css").read_text("utf-8")


def head(models: Mapping[str, Facts], words: Texts) -> str:
    """The models' names and what is known about them."""
    rows = [Markup("<h1>{}</h1><p>{}</p>").format(clean(" · ".join(models)), clean(words.intro))]
    for name, facts in models.items():
        told = [words.vocabulary.format(count=facts.vocabulary)]
        if facts.parameters is not None:
            told.insert(0, words.parameters.format(count=units.amount(facts.parameters)))
        if facts.context is not None:
            told.append(words.context.format(count=facts.context))
        named = [name] if len(models) > 1 else []
        shown = clean(" · ".join([*named, *told]))
        rows.append(Markup('<p class="jp-facts">{}</p>').format(shown))
    if any(facts.demonstration for facts in models.values()):
        rows.append(Markup('<p class="jp-note">{}</p>').format(clean(words.demonstration)))
    return str(Markup("").join(rows))


def show_job(job: Job, limits: Limits) -> str:
    """The continuations so far, one column per model and one card per sample."""

    def status(words: Texts) -> str:
        said = {
            "running": words.running,
            "done": words.done,
            "stopped": words.stopped,
            "out of time": words.out_of_time.format(seconds=limits.max_seconds),
        }[job.state]
        return f"{said} {words.seed} {job.seed}"

    columns = Markup("").join(
        _column(column, job.prompt, len(job.columns) > 1) for column in job.columns
    )
    return _block(job.state, status, columns + _legend())


def show_waiting(ahead: int) -> str:
    return _block("waiting", lambda words: words.waiting.format(ahead=ahead))


def show_busy() -> str:
    return _block("busy", lambda words: words.busy)


def show_refusal(reason: Callable[[Texts], str]) -> str:
    return _block("refused", reason)


def show_nothing() -> str:
    return _block("empty", lambda words: words.empty)


def _told(say: Callable[[Texts], str]) -> Markup:
    """The same in each language."""
    return Markup("").join(
        Markup('<span lang="{}">{}</span>').format(code, clean(say(texts(code))))
        for code in LANGUAGES.values()
    )


def _block(state: str, status: Callable[[Texts], str], content: Markup | str = "") -> str:
    kind = state.replace(" ", "-")
    return str(
        Markup('<div class="jp jp-{}" data-state="{}"><p class="jp-status" role="status">{}</p>'
               '<div class="jp-columns">{}</div></div>')
        .format(kind, kind, _told(status), content)
    )  # fmt: skip


def _column(column: Column, prompt: str, named: bool) -> Markup:
    title = Markup("<h3>{}</h3>").format(clean(column.model)) if named else Markup("")
    cards = Markup("").join(_card(row, prompt) for row in column.rows)
    return Markup('<section>{}<div class="jp-cards">{}</div></section>').format(title, cards)


def _card(row: Row, prompt: str) -> Markup:
    spans = Markup("").join(_token(token) for token in row.tokens)
    ended = " / ".join(texts(code).ended for code in LANGUAGES.values())
    end = Markup('<span class="jp-end" title="{}"></span>').format(ended)
    text = Markup('<p class="jp-text"><b>{}</b>{}{}</p>').format(
        clean(prompt), spans, end if row.ended else ""
    )
    figures = _figures(row.tokens)
    return Markup("<article>{}<footer>{}</footer></article>").format(text, figures)


def _token(token: Token) -> Markup:
    probability = math.exp(token.logprob)
    level = next(number for number, least in enumerate(LEVELS) if probability >= least)
    return Markup('<span class="jp-t p{}" title="{:.2f} ({:.1%})">{}</span>').format(
        level, token.logprob, probability, clean(token.text)
    )


def _figures(tokens: Sequence[Token]) -> Markup:
    if not tokens:
        return Markup("")
    count, mean = len(tokens), sum(token.logprob for token in tokens) / len(tokens)
    return _told(lambda words: units.agreeing(words.figures.format(tokens=count, mean=mean)))


def _legend() -> Markup:
    less = _told(lambda words: words.less)
    keys = Markup(" ").join(
        Markup('<span class="jp-t p{}">{}</span>').format(
            number, f"≥ {least:.0%}" if least else less
        )
        for number, least in enumerate(LEVELS)
    )
    legend = _told(lambda words: words.legend)
    return Markup('<p class="jp-legend">{} {}</p>').format(legend, keys)


def clean(text: str) -> Markup:
    """Text as HTML. Braces and dollars are escaped too: gradio reads templates from them."""
    shown = escape(printable(text))
    for character in "${}":
        shown = Markup(str(shown).replace(character, f"&#{ord(character)};"))  # noqa: S704
    return shown
