"""Run by `test_tokens_stage.py` in a process of its own: Ray leaves sockets and files open."""

from __future__ import annotations

import sys
from pathlib import Path

from jagpt import recipe
from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory
from jagpt.tokens import encoding


def main(made: Path, output: Path) -> None:
    """Make the tokens of the run `made` below `output`, on a Ray of this machine."""
    text = (made / "recipe.toml").read_text("utf-8")
    asked = recipe.parse(text, overrides=["execution.executor=ray", "execution.workers=2"])
    found = RunDirectory(made)
    run = RunDirectory(output, {"corpus": found.corpus, "tokenizer": found.tokenizer})
    encoding.run(asked, run, QUIET)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
