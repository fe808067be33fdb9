"""Every place in the source that could run code, a program or a template: each has its reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .test_strangers import SOURCE, sources

CODE = re.compile(
    r"exec|eval|compile|__import__|(importlib\.)?import_module\(…\)|shell="
    r"|os\.(system|popen|startfile|fork\w*|exec\w+|spawn\w+|posix_spawn\w*)"
    r"|subprocess\.(run|Popen|call|check_\w+|get\w+)|asyncio\.create_subprocess_\w+"
    r"|(multiprocessing|mp)\.\w+|(concurrent\.futures\.)?ProcessPoolExecutor"
    r"|import (runpy|code|codeop|pty|imp|zipimport|tarfile|zipfile)|shutil\.unpack_archive"
    r"|ctypes\.\w*(DLL|dll|Library)\w*|torch\.(hub|utils\.cpp_extension)\.\w+"
    r"|(string\.|jinja2\.)?Template|jinja2\.\w*Environment|(\w+\.)*from_string|Markup\(…\)"
)
"""Names, with all their dots, of what runs code or programs, opens archives, or makes text of
templates."""
HARMLESS = {"multiprocessing.connection.wait", "multiprocessing.parent_process"}

ALLOWED = {
    ("release/trial.py", "exec"): "a card's programs, in a process of their own",
    ("release/trial.py", "compile"): "the same",
    ("release/usage.py", "subprocess.run"): "starts that process: a file of ours",
    ("release/usage.py", "string.Template"): "the card's programs: values are literals",
    ("release/usage.py", "Template"): "the same",
    ("release/servers.py", "string.Template"): "shown, not run: values are literals",
    ("release/servers.py", "Template"): "the same",
    ("release/usage.py", "importlib.import_module(…)"): "a name of the table USAGES",
    ("release/git.py", "subprocess.run"): "the user's git, no shell, an address after --",
    ("release/markdown.py", "jinja2.Environment"): "escapes for Markdown, whatever is shown",
    ("report.py", "jinja2.Environment"): "escapes for HTML, whatever is shown",
    ("formats/quantizer.py", "ctypes.CDLL"): "llama.cpp's own library, as xllamacpp installed it",
    ("formats/pytorch.py", "import zipfile"): "reads back what was just written",
    ("playground/page.py", "Markup(…)"): "escaped, and more of it escaped",
    ("report.py", "Markup(…)"): "the style sheet, a file of ours",
    ("doctor.py", "subprocess.run"): "a fixed program's version",
    ("training/ranks.py", "subprocess.Popen"): "jagpt itself, with a safe path",
    ("training/ranks.py", "ctypes.CDLL"): "None: the C library that runs already",
    ("training/cpu/allocator.py", "ctypes.CDLL"): "the same",
    ("training/trackers.py", "importlib.import_module(…)"): "wandb or trackio",
    ("formats/table.py", "importlib.import_module(…)"): "jagpt's own, of FORMATS",
    ("workers/pool.py", "concurrent.futures.ProcessPoolExecutor"): "workers, with a safe path",
    ("workers/pool.py", "ProcessPoolExecutor"): "the same",
    ("workers/pool.py", "multiprocessing.get_context"): "the same",
    ("tokenizer/learning.py", "multiprocessing.get_context"): "SentencePiece, with a safe path",
    ("runtimes/llamacpp.py", "subprocess.run"): "that very module, with a safe path",
    ("safepath.py", "os.execv"): "this very command again, with a safe path",
}
"""(file, name) → why what it runs is jagpt's own."""


def uses(tree: ast.Module) -> Iterator[str]:
    """Names with their dots, called or not; what is imported; calls with more than constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"import {node.module}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield ast.unparse(node)
        elif isinstance(node, ast.Call):
            if not all(isinstance(argument, ast.Constant) for argument in node.args):
                yield f"{ast.unparse(node.func)}(…)"
            yield from ("shell=" for keyword in node.keywords if keyword.arg == "shell")


def found(path: Path) -> set[str]:
    """What of a file could run code."""
    tree = ast.parse(path.read_text("utf-8"))
    return {name for name in uses(tree) if CODE.fullmatch(name)} - HARMLESS


def test_whatever_could_run_code_has_its_reason() -> None:
    made = {
        (path.relative_to(SOURCE).as_posix(), name) for path in sources() for name in found(path)
    }
    assert made == set(ALLOWED)


@pytest.mark.parametrize(
    "line",
    [
        "exec(text)",
        "list(map(eval, texts))",
        "code = compile(text, 'x', 'exec')",
        "os.system('x')",
        "subprocess.run(['ls'])",
        "f('x', shell=True)",
        "from subprocess import Popen",
        "from os import system",
        "importlib.import_module(name)",
        "importlib.import_module(f'jagpt.{name}')",
        "from importlib import import_module\nimport_module(name)",
        "multiprocessing.Pool(2)",
        "from multiprocessing import Process",
        "environment.from_string(text)",
        "jinja2.Template(text)",
        "import tarfile",
        "from code import interact",
        "ctypes.cdll.LoadLibrary(path)",
        "torch.hub.load(name)",
    ],
)
def test_the_search_finds_it(tmp_path: Path, line: str) -> None:
    (tmp_path / "module.py").write_text(line)
    assert found(tmp_path / "module.py")


@pytest.mark.parametrize(
    "line",
    ["re.compile(x)", "model.eval()", "network.base_model.compile()", "import_module('a.b')"],
)
def test_the_search_leaves_the_harmless(tmp_path: Path, line: str) -> None:
    (tmp_path / "module.py").write_text(line)
    assert not found(tmp_path / "module.py")
