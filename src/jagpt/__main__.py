"""`python -m jagpt` is `jagpt`.

Nothing is imported above: a Ctrl-C while jagpt starts leaves without a traceback too, and worker
processes, which import this module, have no use for the command line.
"""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """The command line."""
    try:
        from jagpt.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
