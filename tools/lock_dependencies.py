"""The locked set for a release build: requirements-lock.txt (`make lock`).

The packages that jagpt needs at run time, found from the metadata of those installed here, at their
versions in constraints.txt; each with the SHA-256 of the file that pip fetches for this system and
Python.
"""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements-lock.txt"
CONSTRAINTS = ROOT / "constraints.txt"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        pins = [f"{name}=={pinned}" for name, pinned in sorted(needed().items())]
        listed = Path(folder) / "pins.txt"
        listed.write_text("\n".join(pins) + "\n")
        fetched = Path(folder) / "files"
        fetch = ["pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        fetch += ["--dest", str(fetched), "--requirement", str(listed)]
        done = subprocess.run([sys.executable, "-m", *fetch], check=False)  # noqa: S603
        if done.returncode != 0:
            return done.returncode
        LOCK.write_text(_head() + "".join(_line(path) for path in sorted(fetched.iterdir())))
    print(f"{LOCK.name}: {len(pins)} packages")
    return 0


def needed() -> dict[str, str]:
    """Name → version of all that `jagpt[train]` needs, itself left out."""
    found: dict[str, str] = {}
    waiting = ["jagpt"]
    while waiting:
        package = waiting.pop()
        extra = {"extra": "train" if package == "jagpt" else ""}
        for line in requires(package) or ():
            requirement = Requirement(line)
            name = canonicalize_name(requirement.name)
            applies = requirement.marker is None or requirement.marker.evaluate(extra)
            if applies and name not in found:
                found[name] = pinned_versions().get(name) or _installed(name)
                waiting.append(name)
    return found


def pinned_versions() -> dict[str, str]:
    """Name → version in constraints.txt."""
    rows = re.findall(r"(?m)^([A-Za-z0-9._-]+)==(\S+)", CONSTRAINTS.read_text())
    return {canonicalize_name(name): pinned for name, pinned in rows}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        raise SystemExit(f"error: {name} is needed, but is neither pinned nor installed") from None


def _head() -> str:
    system = f"{platform.system()} {platform.machine()}"
    python = ".".join(platform.python_version_tuple()[:2])
    return (
        f"# What a release is built and tested with: {system}, CPython {python}; `make lock`\n"
        "# pip install --no-deps --require-hashes --requirement requirements-lock.txt\n"
    )


def _line(path: Path) -> str:
    parse = parse_wheel_filename if path.suffix == ".whl" else parse_sdist_filename
    name, found = parse(path.name)[:2]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name}=={found} \\\n    --hash=sha256:{digest}\n"


if __name__ == "__main__":
    sys.exit(main())
