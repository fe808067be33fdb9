"""`python -m jagpt` is `jagpt`.

Nothing is imported above: a Ctrl-C while jagpt starts exits without a traceback too, worker
processes, which import this module, have no use for the command line, and until `safepath` has done
its work a module could come from the current folder.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """The command line."""
    try:
        from jagpt import safepath

        safepath.enter()
        import signal

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))  # until the command line handles it
        from jagpt.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
