"""The structure that docs/architecture.md shows is the code's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "jagpt"
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


@dataclass(frozen=True)
class Import:
    """Line `line` of `path` imports from the package (or module) `target` of jagpt."""

    path: Path
    line: int
    target: str

    @property
    def package(self) -> str:
        return self.path.relative_to(SOURCE).with_suffix("").parts[0]

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.package} -> {self.target}"


def layers() -> dict[str, int]:
    """Package or module of jagpt → the number of its layer, by docs/architecture.md."""
    (block,) = re.findall(r"```layers\n(.*?)```", PAGE, re.DOTALL)
    rows = enumerate(block.splitlines())
    return {name: number for number, row in rows for name in row.split()}


def packages() -> set[str]:
    paths = SOURCE.iterdir()
    found = {path.stem for path in paths if path.suffix == ".py" or (path / "__init__.py").exists()}
    return found - {"__init__", "__main__"}


def imports(path: Path) -> Iterator[Import]:
    """Every import of jagpt's own that a module makes, at its top, in a function or for types."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            if first == "jagpt" and rest.partition(".")[0] in packages():
                yield Import(path, node.lineno, rest.partition(".")[0])


def test_every_package_has_a_layer() -> None:
    assert packages() == layers().keys()


def test_a_package_imports_from_lower_layers_alone() -> None:
    level = layers()
    modules = [path for path in SOURCE.rglob("*.py") if path.name != "__main__.py"]
    wrong = [
        str(one)
        for path in modules
        for one in imports(path)
        if one.package in level
        and one.package != one.target
        and level[one.target] >= level[one.package]
    ]
    assert not wrong, "\n".join(wrong)


HOPS = re.findall(r"`(src/jagpt/[\w/]+\.py)`\s+`([\w.]+)`", PAGE)


def test_the_way_of_a_page_is_told_from_the_dump_to_the_model() -> None:
    files = [path for path, _ in HOPS]
    for package in ("corpus", "wikitext", "tokenizer", "tokens", "training", "models", "export"):
        assert any(path.startswith(f"src/jagpt/{package}/") for path in files), package


@pytest.mark.parametrize(("path", "name"), HOPS)
def test_each_hop_stands_where_the_page_says(path: str, name: str) -> None:
    place: ast.AST = ast.parse((ROOT / path).read_text("utf-8"))
    for part in name.split("."):
        named = [node for node in ast.iter_child_nodes(place) if getattr(node, "name", "") == part]
        assert named, f"{path} has no {name}"
        place = named[-1]
