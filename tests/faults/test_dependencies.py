"""Every package that jagpt needs has a licence, and the locked set is what is installed."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements-lock.txt"


def needed(name: str, found: dict[str, Distribution]) -> None:
    """Collect a package and, through its requirements without extras, all below it."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        return
    found[key] = distribution(name)
    for line in found[key].requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            try:
                needed(requirement.name, found)
            except PackageNotFoundError:
                continue  # for another system


@pytest.fixture(scope="module")
def installed() -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    needed("jagpt", found)
    return found


def licence(package: Distribution) -> str:
    """What the package says about its licence, in one of the three ways there are."""
    meta = package.metadata
    told = [meta.get("License-Expression") or "", meta.get("License") or ""]
    told += [c for c in meta.get_all("Classifier") or [] if c.startswith("License ::")]
    told += [f for f in map(str, package.files or []) if re.search(r"(?i)licen[cs]e|copying", f)]
    return "; ".join(part for part in told if part and part != "UNKNOWN")


def test_no_dependency_is_without_a_licence(installed: dict[str, Distribution]) -> None:
    assert len(installed) > 30
    assert [name for name, package in installed.items() if not licence(package)] == []


def locked() -> dict[str, tuple[str, list[str]]]:
    """Package → version and hashes."""
    text = LOCK.read_text("utf-8").replace("\\\n", " ")
    rows = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {row[0].partition("==")[0]: (row[0].partition("==")[2], row[1:]) for row in rows}


def test_each_locked_package_has_a_version_and_hashes() -> None:
    for name, (version, hashes) in locked().items():
        assert version, name
        assert hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", value) for value in hashes), name


def test_the_lock_names_no_registry_and_agrees_with_the_constraints() -> None:
    text = LOCK.read_text("utf-8")
    assert "://" not in text
    assert "index-url" not in text
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if "==" in line:
            name, _, version = line.partition("==")
            pinned[re.sub(r"[-_.]+", "-", name).lower()] = version.strip()
    for name, (version, _) in locked().items():
        assert pinned.get(name) == version.partition("+")[0], name


def test_the_lock_holds_what_jagpt_needs(installed: dict[str, Distribution]) -> None:
    assert set(installed) - {"jagpt"} <= set(locked())
