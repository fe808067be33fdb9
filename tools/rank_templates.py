#!/usr/bin/env python3
"""Rank the templates of a wiki that jagpt's table doesn't know, and propose a rule for each.

    python tools/rank_templates.py DUMP… [--top 40] [--toml] [--aliases]

DUMP is a MediaWiki export, or JSON lines with `title` and `wikitext`. For each unknown template:
how often it is used and on how many pages, the characters of wikitext lost to it, and the sentences
that it wounds, which is where it stands within a line of text rather than on a line of its own.
The rule is proposed from how the template is used: the argument that holds text, all of them as
a list, or nothing. It is a proposal: look at the example before it goes into
src/jagpt/wikitext/templates.toml.

--aliases reads the dump's own redirects in the Template namespace, and prints the names that lead
to a template which the table knows but that it lacks themselves.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

from jagpt.compressed import Reader
from jagpt.corpus.dump import Dump, parse_page
from jagpt.errors import DataError
from jagpt.wikitext.extensions import KeptPieces, remove_extensions
from jagpt.wikitext.sections import mark_headings
from jagpt.wikitext.templates import TemplateTable, is_furniture, normal_name, parse_arguments

ARTICLES, TEMPLATES = 0, 10
EXAMPLE = 90
_TOKEN = re.compile(r"\{\{|\}\}|\n[ \t:*#]*+\{\||\n[ \t]*+\|\}(?!\})")
_BRACKET = re.compile(r"\[\[|\{\{")
_LIST_MARKERS = " \t*#:;"
_REDIRECT = re.compile(rb'<redirect title="[^":]*:([^"]+)"')
_LETTERS = re.compile(r"[^\W\d_]{2}")
_JAPANESE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_LIST = re.compile(r"(?:^|\n)(?:[*;]|#(?![0-9A-Fa-f]{3}))")
_SIZE_OR_COLOUR = re.compile(r"[0-9.]+(?:em|px|%)?|#[0-9a-fA-F]{3,6}|[a-z]{2,8}(?:-[a-z]+)?")
NOTHING, LIST = "nothing", "list"


@dataclass(frozen=True)
class Use:
    """One use of an unknown template, and whether it stands within a line of text."""

    name: str
    body: str
    before: str
    after: str

    @property
    def running(self) -> bool:
        return bool(self.before.strip(_LIST_MARKERS) or self.after.strip())

    @property
    def characters(self) -> int:
        return len(self.body) + 4

    @property
    def furniture(self) -> bool:
        """Known by its shape to hold no text."""
        return not self.running and is_furniture(_BRACKET.split(self.body, maxsplit=1)[0])


@dataclass
class Loss:
    """What is known of an unknown template."""

    uses: list[Use] = field(default_factory=list)
    pages: int = 0

    @property
    def characters(self) -> int:
        return sum(use.characters for use in self.uses)

    @property
    def sentences(self) -> int:
        return sum(use.running for use in self.uses)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the ranking, the rows or the aliases; the exit code."""
    options = _options(arguments)
    table = TemplateTable({})
    try:
        if options.aliases:
            print_aliases(table, options.dump)
        else:
            losses, characters = collect(table, options.dump)
            (print_rows if options.toml else print_ranking)(losses, characters, options.top)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dump", nargs="+", type=Path, help="a dump, or JSON lines with wikitext")
    parser.add_argument("--top", type=int, default=40, help="templates to print (default: 40)")
    parser.add_argument("--toml", action="store_true", help="print rows for templates.toml")
    parser.add_argument("--aliases", action="store_true", help="print names by their redirects")
    return parser.parse_args(arguments)


# --- reading --------------------------------------------------------------------------------------


def pages(path: Path) -> Iterator[tuple[int, str, str]]:
    """Namespace, title and wikitext of each page."""
    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield ARTICLES, row["title"], row["wikitext"]
        return
    dump = Dump(Reader(path, skip_damaged=True))
    for raw in dump:
        page = parse_page(raw, dump.header)
        if not page.redirect:
            yield page.namespace, page.title, page.wikitext


def redirects(path: Path) -> Iterator[tuple[str, str]]:
    """Name and target of each redirect among a dump's templates."""
    dump = Dump(Reader(path, skip_damaged=True))
    for raw in dump:
        match = _REDIRECT.search(raw.xml)
        page = parse_page(raw, dump.header) if match else None
        if match and page and page.namespace == TEMPLATES:
            yield page.title.partition(":")[2], unescape(match[1].decode("utf-8", "replace"))


def collect(table: TemplateTable, paths: Iterable[Path]) -> tuple[dict[str, Loss], int]:
    """What is lost by name, and how many characters of wikitext were read."""
    losses: dict[str, Loss] = defaultdict(Loss)
    characters = 0
    for path in paths:
        for namespace, _, wikitext in pages(path):
            if namespace != ARTICLES:
                continue
            characters += len(wikitext)
            found = [use for use in unknown_uses(table, wikitext) if not use.furniture]
            for use in found:
                losses[use.name].uses.append(use)
            for name in {use.name for use in found}:
                losses[name].pages += 1
    return dict(losses), characters


def unknown_uses(table: TemplateTable, wikitext: str) -> Iterator[Use]:
    """The unknown templates of a page; not those within what jagpt leaves out anyway."""
    text = remove_extensions("\n" + wikitext, KeptPieces(), math=True)
    text = mark_headings(text, table, headings=True, closing_sections=False)
    hidden = 0  # so many of the open brackets hide what is in them
    stack: list[tuple[int, str, bool]] = []
    for match in _TOKEN.finditer(text):
        bracket = match[0]
        if bracket == "{{" or bracket.endswith("{|"):
            name = _name(text, match.end()) if bracket == "{{" else ""
            hides = not name or not _shows(table, name)
            stack.append((match.end(), name, hides))
            hidden += hides
        elif stack and (bracket == "}}") == bool(stack[-1][1]):
            start, name, hides = stack.pop()
            hidden -= hides
            if bracket == "}}" and not hidden and table.find(name) is None:
                yield _use(text, start, match.start(), name)


def _name(text: str, start: int) -> str:
    end = min((n for n in (text.find(c, start) for c in "|}") if n >= 0), default=len(text))
    return text[start:end].strip() or "?"


def _shows(table: TemplateTable, name: str) -> bool:
    policy = table.find(name)
    return policy is not None and policy.shows


def _use(text: str, start: int, end: int, name: str) -> Use:
    line = text.rfind("\n", 0, start - 2) + 1
    line_end = text.find("\n", end + 2)
    after = text[end + 2 : line_end if line_end >= 0 else len(text)]
    shown = normal_name(name) if name.startswith("#") else normal_name(name).partition(":")[0]
    return Use(shown, text[start:end], text[line : start - 2], after)


# --- proposing ------------------------------------------------------------------------------------


def propose(uses: Sequence[Use]) -> str:
    """The format that most uses ask for, `LIST`, or `NOTHING`."""
    votes = Counter(_vote(use) for use in uses)
    (rule, _), *_ = votes.most_common(1)
    return rule


def _vote(use: Use) -> str:
    """By one use: a list in an argument, else the argument that holds words, else nothing."""
    _, bar, body = use.body.partition("|")
    if not bar:
        return NOTHING
    arguments = parse_arguments(re.sub(r"\[\[(?:[^\]|]*\|)?([^\]]*)\]\]", r"\1", body))
    numbered = {key: value for key, value in arguments.items() if key.isdecimal()}
    if any(_LIST.search(value) for value in numbered.values()):
        return LIST
    if not use.running or not numbered or len(arguments) > len(numbered) + 3:
        return NOTHING
    texts = [key for key, value in numbered.items() if _is_text(value)]
    japanese = [key for key in texts if _JAPANESE.search(numbered[key])]
    chosen = (japanese or texts)[:1]
    return f"{{{chosen[0]}}}" if chosen else NOTHING


def _is_text(value: str) -> bool:
    wordy = _LETTERS.search(value) or _JAPANESE.search(value)
    return wordy is not None and not _SIZE_OR_COLOUR.fullmatch(value)


# --- printing -------------------------------------------------------------------------------------


def ranked(losses: dict[str, Loss]) -> list[tuple[str, Loss]]:
    """Wounded sentences first, then characters."""
    return sorted(losses.items(), key=lambda item: (-item[1].sentences, -item[1].characters))


def print_ranking(losses: dict[str, Loss], characters: int, top: int) -> None:
    """A table in Markdown, and the sums."""
    lost = sum(loss.characters for loss in losses.values())
    wounded = sum(loss.sentences for loss in losses.values())
    print(f"{characters:,} characters of wikitext; lost to {len(losses):,} unknown templates: "
          f"{lost:,} characters, {wounded:,} sentences\n")  # fmt: skip
    print("| template | uses | pages | characters | sentences | rule | example |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, loss in ranked(losses)[:top]:
        cells = (len(loss.uses), loss.pages, loss.characters, loss.sentences)
        numbers = " | ".join(f"{number:,}" for number in cells)
        print(f"| {name} | {numbers} | `{propose(loss.uses)}` | {_example(loss.uses)} |")


def _example(uses: Sequence[Use]) -> str:
    use = next((use for use in uses if use.running), uses[0])
    text = f"{use.before[-20:]}{{{{{use.body[:EXAMPLE]}}}}}{use.after[:20]}"
    return "`" + re.sub(r"\s+", " ", text).replace("`", "'").replace("|", "\\|") + "`"


def print_rows(losses: dict[str, Loss], characters: int, top: int) -> None:
    """Rows for templates.toml: a rule, and the names that ask for it."""
    rows: dict[str, list[str]] = defaultdict(list)
    for name, loss in ranked(losses)[:top]:
        rows[propose(loss.uses)].append(name)
    for rule, names in rows.items():
        listed = ", ".join(json.dumps(name, ensure_ascii=False) for name in names)
        if rule == NOTHING:
            print(f"# [dropped]\nnames = [{listed}]\n")
        else:
            head = 'function = "columns"' if rule == LIST else f'format = "{rule}"'
            print(f"[[rendered]]\n{head}\nnames = [{listed}]\n")


def print_aliases(table: TemplateTable, paths: Iterable[Path]) -> None:
    """Names that redirect to a known template, by the template."""
    aliases: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        for name, target in redirects(path):
            if table.find(target) and not table.find(name):
                aliases[normal_name(target)].append(normal_name(name))
    for target, names in sorted(aliases.items()):
        print(f"{target}: {', '.join(sorted(names))}")


if __name__ == "__main__":
    sys.exit(main())
