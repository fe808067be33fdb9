"""The verbs: parse, call, print. Everything heavy is imported where it is used.

`common` holds the program and the options that verbs share, `leaving` its entry point; each other
module registers the verbs of one kind.
"""

from jagpt.cli import (
    documents,
    evaluating,
    exporting,
    models,
    planning,
    playing,
    publishing,
    running,
    runs,
    start,
    tokenizers,
)
from jagpt.cli.common import app
from jagpt.cli.leaving import main

__all__ = [
    "app",
    "documents",
    "evaluating",
    "exporting",
    "main",
    "models",
    "planning",
    "playing",
    "publishing",
    "running",
    "runs",
    "start",
    "tokenizers",
]
