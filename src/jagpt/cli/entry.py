"""The entry point: signals, exit codes, and no traceback for a user's mistake."""

from __future__ import annotations

import atexit
import codecs
import contextlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click

from jagpt import installation, telemetry, terminal
from jagpt.cli.common import app
from jagpt.errors import (
    INTERRUPTED,
    JagptError,
    MissingExtraError,
    StoppedError,
    Terminated,
    UsageError,
    storage_error,
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; exit with the documented codes and no traceback."""
    signal.signal(signal.SIGTERM, _stop)
    telemetry.off()
    # Arrow's own allocator keeps more of a long extraction than it gives back; workers inherit this
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    terminal.open_closed()
    _print_any_character()
    try:
        with terminal.guarded():
            code = _guarded(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:  # while the first one was told
        code = INTERRUPTED
    except Terminated:
        code = StoppedError.exit_code
    if arguments is None:
        _only_leave(code)
    sys.exit(code)


def _only_leave(code: int) -> None:
    """From here on a signal only makes the leaving faster: the code is known, all is told."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    wishes = (signal.SIGINT, signal.SIGTERM)
    for wish in wishes:
        signal.signal(wish, lambda *_: os._exit(code))
    # and not even that when Python, at its very end, gives signals their defaults back
    atexit.register(lambda: [signal.signal(wish, signal.SIG_IGN) for wish in wishes])


def _print_any_character() -> None:
    """Never fail at a character: UTF-8 where the locale is C, escapes where a letter is missing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            plain = codecs.lookup(stream.encoding).name == "ascii"
            encoding = "utf-8" if plain else stream.encoding
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated


def _guarded(arguments: list[str]) -> int:
    """Run and turn what a user can meet into one message and an exit code."""
    try:
        # in colour: else click, where nobody sees colours, would leave out parts of names
        code = app.main(args=arguments, prog_name="jagpt", standalone_mode=False, color=True)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return UsageError.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        click.echo("interrupted; run the same command again to continue", err=True)
        _show_notes(error)
        return INTERRUPTED
    except Terminated as error:
        message = "stopped (SIGTERM); run the same command again to continue"
        return _fail(StoppedError(message), error)
    except (BrokenPipeError, SystemExit):  # click and rich leave so where nobody reads on
        return _reader_left()
    except ModuleNotFoundError as error:
        extra = installation.extra_of(error.name or "")
        if extra is None:
            raise
        return _fail(MissingExtraError(" ".join(["jagpt", *arguments[:1]]), extra), error)
    except (JagptError, OSError, MemoryError) as error:
        return _fail(error)
    return code if isinstance(code, int) else 0  # what `click.exceptions.Exit` carried


def _show_notes(error: BaseException) -> None:
    for note in getattr(error, "__notes__", ()):
        click.echo(note, err=True, color=True)


def _reader_left() -> int:
    """The results were made, and whoever read them (`| head`) has enough: that is not a failure."""
    terminal.send_nowhere(sys.stdout)  # what is still buffered is flushed at the end
    return 0


def _fail(error: Exception, cause: BaseException | None = None) -> int:
    """One message for the user, the notes that were made on the way, and the exit code."""
    cause = cause or error
    if isinstance(error, OSError):
        error = storage_error(error)
    if isinstance(error, MemoryError):
        error = JagptError("out of memory; use fewer workers (--set execution.workers=1)")
    terminal.styled("error", err=True, fg="red", bold=True)
    click.echo(f": {error}", err=True, color=True)
    _show_notes(cause)
    return error.exit_code if isinstance(error, JagptError) else 1
