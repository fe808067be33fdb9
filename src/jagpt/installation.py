"""How this jagpt was installed, and therefore how to add a missing extra."""

from __future__ import annotations

import functools
import json
import shlex
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_MODULES = {"protobuf": "google"}
"""Distributions whose module has a different name."""


def extra_of(module: str) -> str | None:
    """The extra that brings a module, [train] before others; None if none does."""
    wanted = module.partition(".")[0]
    bringing = [extra for requirement, extra in extras() if _module(requirement) == wanted]
    return "train" if "train" in bringing else next(iter(bringing), None)


@functools.cache
def extras() -> tuple[tuple[Requirement, str], ...]:
    """The requirements of jagpt's extras, each with its extra, in the order of the metadata."""
    from packaging.requirements import Requirement

    names = metadata.metadata("jagpt").get_all("Provides-Extra") or []
    return tuple(
        (requirement, extra)
        for requirement in map(Requirement, metadata.requires("jagpt") or ())
        for extra in names
        if requirement.marker is not None and requirement.marker.evaluate({"extra": extra})
    )


def is_there(extra: str) -> bool:
    """Whether everything in an extra is installed, in whatever version."""
    brought = {_module(requirement) for requirement, name in extras() if name == extra}
    return all(find_spec(module) is not None for module in brought - {"jagpt"})


def _module(requirement: Requirement) -> str:
    from packaging.utils import canonicalize_name

    distribution = canonicalize_name(requirement.name)
    return _MODULES.get(distribution, distribution.replace("-", "_"))


def command(extra: str) -> str:
    """The shell line that adds an extra to the environment that this process runs in, or runs jagpt
    with it where uvx made that environment for one command.
    """
    if _is_cached():
        return f"uvx --from {_source(extra)} jagpt …"
    python = shlex.quote(_here(sys.executable))
    installer = f"{python} -m pip install" if _has_pip() else f"uv pip install --python {python}"
    return f"{installer} {_source(extra)}"


def _is_cached() -> bool:
    """Whether the environment is in a cache, as those of uvx are; a cache has a tag in its root."""
    return any((folder / "CACHEDIR.TAG").is_file() for folder in Path(sys.prefix).parents)


def _has_pip() -> bool:
    """By its metadata: looking for the module makes setuptools replace distutils."""
    try:
        metadata.version("pip")
    except metadata.PackageNotFoundError:
        return False
    return True


def _source(extra: str) -> str:
    """Where jagpt itself came from: an index, a working folder, a wheel or a URL."""
    wanted = f"jagpt[{extra}]"
    record = metadata.distribution("jagpt").read_text("direct_url.json")  # PEP 610
    if record is None:
        return f"'{wanted}'"
    origin: dict[str, Any] = json.loads(record)
    if not origin.get("dir_info", {}).get("editable"):
        return shlex.quote(f"{wanted} @ {origin['url']}")
    folder = Path(url2pathname(urlsplit(origin["url"]).path))
    constraints = folder / "constraints.txt"
    pins = f"-c {shlex.quote(_here(str(constraints)))} " if constraints.is_file() else ""
    return f"{pins}-e {shlex.quote(f'{_here(str(folder))}[{extra}]')}"


def _here(path: str) -> str:
    """The path as one would type it: relative to the current folder if it is below it."""
    try:
        return str(Path(path).absolute().relative_to(Path.cwd()))
    except ValueError:
        return path
