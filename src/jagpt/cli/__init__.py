"""The verbs: parse, call, print. Everything heavy is imported where it is used.

`common` holds the program and the options that verbs share, `entry` begins and ends it; each other
module registers a verb, or the verbs of one kind.
"""

from jagpt.cli import (
    download,
    evaluating,
    exporting,
    extract,
    generate,
    planning,
    playing,
    publishing,
    running,
    runs,
    start,
    tokenizers,
)
from jagpt.cli.common import app
from jagpt.cli.entry import main

__all__ = [
    "app",
    "download",
    "evaluating",
    "exporting",
    "extract",
    "generate",
    "main",
    "planning",
    "playing",
    "publishing",
    "running",
    "runs",
    "start",
    "tokenizers",
]
