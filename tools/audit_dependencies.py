"""Known vulnerabilities of the locked set (`make audit`).

pip-audit asks PyPI's advisories for each version of requirements-lock.txt; nothing is installed.
Leaves with 1 where one is known, with 4 where the advisories of a package could not be had.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements-lock.txt"
KNOWN, UNREACHABLE = 1, 4


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--format", "json"]
    command += ["--vulnerability-service", "pypi", "--disable-pip", "--require-hashes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        return _unreachable("nothing was audited", reason)
    return _tell(packages)


def _tell(packages: list[dict[str, Any]]) -> int:
    skipped = [package for package in packages if "skip_reason" in package]
    known = [(p, v) for p in packages for v in p.get("vulns", ())]
    for package, found in known:
        fixed = ", ".join(found["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
    print(f"{len(packages) - len(skipped)} of {len(packages)} packages audited, {len(known)} known")
    if known:
        return KNOWN
    if skipped:
        return _unreachable(f"{len(skipped)} not audited", str(skipped[0]["skip_reason"]))
    return 0


def _unreachable(what: str, reason: str) -> int:
    print(
        f"error: {what} ({reason}); PyPI's advisories must be reachable: run it again with a "
        "connection",
        file=sys.stderr,
    )
    return UNREACHABLE


if __name__ == "__main__":
    sys.exit(main())
