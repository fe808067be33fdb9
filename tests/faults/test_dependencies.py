"""Every package that jagpt needs has a licence, and the locked set is what is installed."""

from __future__ import annotations

import hashlib
import os
import re
import runpy
import subprocess
import zipfile
from collections.abc import Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements-lock.txt"


def needed(name: str, found: dict[str, Distribution], extra: str = "") -> None:
    """Collect a package and, through its requirements, all below it; of an extra only its own."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        return
    found[key] = distribution(name)
    for line in found[key].requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            try:
                needed(requirement.name, found)
            except PackageNotFoundError:
                continue  # for another system


@pytest.fixture(scope="module")
def installed() -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    needed("jagpt", found, "train")
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


# --- installing with hashes -----------------------------------------------------------------------


class Pip:
    """In place of pip: notes what it was asked for; `missing` is in no index."""

    def __init__(self, missing: str = "") -> None:
        self.missing = missing
        self.installed: list[str] = []

    def __call__(self, command: Sequence[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        if "--dry-run" in command:
            return subprocess.CompletedProcess(command, int(self.missing in command))
        assert {"--no-deps", "--require-hashes", "--extra-index-url"} <= set(command)
        self.installed = re.findall(r"(?m)^(\S+)==.*\\\n +--hash", Path(command[-1]).read_text())
        return subprocess.CompletedProcess(command, 0)


def install(monkeypatch: pytest.MonkeyPatch, pip: Pip, system: str | None = None) -> int:
    """What `tools/install_locked.py` leaves with."""
    program = runpy.run_path(str(ROOT / "tools" / "install_locked.py"))
    values = program["main"].__globals__
    own = LOCK.read_text("utf-8").removeprefix("# What a release is built and tested with: ")
    monkeypatch.setitem(values, "system", lambda: system or own.partition(";")[0])
    monkeypatch.setattr(subprocess, "run", pip)
    code: int = program["main"](["--extra-index-url", "x"])
    return code


def test_all_that_is_locked_is_installed_with_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    pip = Pip()
    assert install(monkeypatch, pip) == 0
    assert set(pip.installed) == set(locked())


def test_a_pytorch_that_no_index_has_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pip = Pip(missing=f"torch=={locked()['torch'][0]}")
    assert install(monkeypatch, pip) == 0
    assert set(pip.installed) == set(locked()) - {"torch"}
    assert "PyTorch's hash is not checked" in capsys.readouterr().out


def wheel(folder: Path, name: str, version: str) -> str:
    """A package without code; the SHA-256 of its file."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        packed.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        packed.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("changed", ["", "torch", "other"])
def test_a_file_that_is_not_the_locks_stops_the_installation(
    changed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = runpy.run_path(str(ROOT / "tools" / "install_locked.py"))
    values = program["main"].__globals__
    hashes = {name: wheel(tmp_path, name, "1.0") for name in ("torch", "other")}
    if changed:
        hashes[changed] = "0" * 64
    rows = [f"{name}==1.0 \\\n    --hash=sha256:{value}" for name, value in hashes.items()]
    lock = tmp_path / "lock.txt"
    lock.write_text("\n".join([f"# {program['system']()}; made by a test", *rows]))
    monkeypatch.setitem(values, "LOCK", lock)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    target = tmp_path / "installed"
    code = program["main"](["--no-index", "--find-links", str(tmp_path), "--target", str(target)])
    found = {path.name for path in target.glob("*")}
    if changed:
        assert code == 1
        assert found == set()
        assert "LOCKED=no installs without hashes" in capsys.readouterr().out
    else:
        assert code == 0
        assert found == {"torch-1.0.dist-info", "other-1.0.dist-info"}


def test_on_another_system_nothing_is_installed_from_the_lock(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pip = Pip()
    assert install(monkeypatch, pip, "Linux riscv64, CPython 3.14") == 0
    assert pip.installed == []
    assert "no hashes are checked" in capsys.readouterr().out
