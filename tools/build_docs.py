"""Make docs/cli.md from `--help` and docs/recipe.md from the recipe's typed sections.

usage: build_docs.py [--check]    with --check: exit 1 where a page is not what the code gives
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from jagpt.cli import app
from jagpt.recipe import SECTIONS, Exclude, Include, Range, Recipe, Section, Source

DOCS = Path(__file__).resolve().parent.parent / "docs"
HELP_WIDTH = 96


def main(arguments: list[str]) -> int:
    """Write or check the generated pages."""
    pages = {"cli.md": cli_page(), "recipe.md": recipe_page()}
    stale = [
        name
        for name, text in pages.items()
        if not (DOCS / name).exists() or (DOCS / name).read_text("utf-8") != text
    ]
    if "--check" in arguments:
        for name in stale:
            print(f"docs/{name} is not what the code gives: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    DOCS.mkdir(exist_ok=True)
    for name in stale:
        (DOCS / name).write_text(pages[name], "utf-8")
    return 0


def cli_page() -> str:
    """Every verb's help text."""
    parts = [
        "# The command line",
        "",
        "Made from `jagpt --help` by `make docs`; do not edit.",
        "",
        *_help_block(app, "jagpt", None),
    ]
    context = click.Context(app, info_name="jagpt")
    for name in app.list_commands(context):
        command = app.get_command(context, name)
        if command is not None:
            parts += [f"## jagpt {name}", "", *_help_block(command, name, context)]
    return "\n".join(parts).rstrip() + "\n"


def _help_block(command: click.Command, name: str, parent: click.Context | None) -> list[str]:
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=HELP_WIDTH,
        max_content_width=HELP_WIDTH, help_option_names=["-h", "--help"],
    )  # fmt: skip
    return ["```text", command.get_help(context), "```", ""]


def recipe_page() -> str:
    """Every key of a recipe: type, default, meaning."""
    parts = [
        "# The recipe",
        "",
        "Made from the typed sections in `jagpt.recipe` by `make docs`; do not edit.",
        "",
        "A recipe is one TOML file. Unknown keys are refused. Everything except `[execution]`",
        "decides the result and enters the fingerprints of the stages, except keys that name a "
        "path",
        "(`path`, `from`): for these, the content of what they name enters.",
        "",
        "## Top level",
        "",
        *_table(Recipe, skip=set(SECTIONS)),
    ]
    for name, section in SECTIONS.items():
        parts += [f"## [{name}]", "", *_table(section, skip={"source", "include", "exclude"})]
        if name == "corpus":
            parts += ["### [[corpus.source]]", "", *_table(Source, skip=set())]
            parts += ["### [corpus.include]", "", *_table(Include, skip=set())]
            parts += ["### [corpus.exclude]", "", *_table(Exclude, skip=set())]
        if name == "search":
            parts += ["### A key of [search.keys]", "", *_table(Range, skip=set())]
    return "\n".join(parts).rstrip() + "\n"


def _table(section: type[Section], skip: set[str]) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in section.model_fields.items():
        if name not in skip:
            meaning = (field.description or "").replace("|", "\\|")
            yield f"| `{field.alias or name}` | {_type(field)} | {_default(field)} | {meaning} |"
    yield ""


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "(required)"
    if field.default is None:
        return ""
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    if isinstance(field.default, tuple):
        return ", ".join(f"`{item}`" for item in field.default)
    return f"`{field.default!r}`" if isinstance(field.default, str) else f"`{field.default}`"


def _type(field: FieldInfo) -> str:
    bounds = [text for item in field.metadata if (text := _bound(item))]
    return _name(field.annotation) + (f" ({', '.join(bounds)})" if bounds else "")


def _name(kind: Any) -> str:
    """A type as a user would say it."""
    origin = get_origin(kind)
    if origin is Literal:
        return " / ".join(f"`{option}`" for option in get_args(kind))
    if origin in (Union, UnionType):
        return " or ".join(_name(part) for part in get_args(kind) if part is not NoneType)
    if origin is Annotated:
        base, *metadata = get_args(kind)
        found = [text for item in metadata for part in getattr(item, "metadata", [item])
                 if (text := _bound(part))]  # fmt: skip
        return _name(base) + (f" ({', '.join(found)})" if found else "")
    if origin is dict:
        return f"table of {_name(get_args(kind)[1])}"
    if origin is tuple:
        return f"list of {_name(get_args(kind)[0])}"
    if kind is Range:
        return "tables"
    names = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    return "any value" if kind is Any else names[kind]


def _bound(item: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return ", ".join(
        f"{sign} {getattr(item, name):,}"
        for name, sign in signs.items()
        if getattr(item, name, None) is not None
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
