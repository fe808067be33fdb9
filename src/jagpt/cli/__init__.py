"""The verbs: parse, call, print. Everything heavy is imported where it is used.

`common` holds the program and the options that verbs share, `entry` begins and ends it. Each other
module holds the verb of its name, but `run` all that make a run or a stage of it, `runs` those that
look at runs, `remote` those that bring runs elsewhere and back, `start` those before one.
"""

from jagpt.cli import (
    compare,
    download,
    evaluate,
    export,
    extract,
    generate,
    plan,
    playground,
    release,
    remote,
    run,
    runs,
    start,
    tokenizer,
)
from jagpt.cli.common import app
from jagpt.cli.entry import main

__all__ = [
    "app",
    "compare",
    "download",
    "evaluate",
    "export",
    "extract",
    "generate",
    "main",
    "plan",
    "playground",
    "release",
    "remote",
    "run",
    "runs",
    "start",
    "tokenizer",
]
