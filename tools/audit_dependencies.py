"""Known vulnerabilities of the locked set (`make audit`).

pip-audit asks PyPI's advisories for each version of requirements-lock.txt; nothing is installed.
Leaves with 1 where one is known, with 4 where the database cannot be reached.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements-lock.txt"
UNREACHABLE = 4


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK)]
    command += ["--vulnerability-service", "pypi", "--disable-pip", "--require-hashes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    print(done.stdout, end="")
    if done.returncode == 0 or done.stdout.strip():
        print(done.stderr, end="", file=sys.stderr)
        return done.returncode
    reason = done.stderr.strip().splitlines()[-1:] or ["no answer"]
    print(
        f"error: nothing was audited ({reason[0]}); PyPI's advisories must be reachable: "
        "run it again with a connection",
        file=sys.stderr,
    )
    return UNREACHABLE


if __name__ == "__main__":
    sys.exit(main())
