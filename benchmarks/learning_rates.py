"""Do the learning rates of the recipe `small` hold at other widths?

    python benchmarks/learning_rates.py FILE --work DIR [--widths 256 512 768] [--trials 5]

FILE is text with a blank line between documents (.txt or .txt.xz). At each width a search begins at
the rates of `small`, with that recipe's other settings and random embeddings, and walks through
their halves and doubles to the best: one seed, the valid split. A rate holds where it is best at
every width. Trials are kept in DIR as those of tokens_to_loss.py are, and the same folder may serve
both: the same command goes on where it was stopped, and two processes with `--widths` of their own
share the work.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import environment, environment_line, publish, python, shown, table
from search import Axis, Search
from trials import NotMeasured, Scale, Study, Trial

from jagpt.errors import JagptError
from jagpt.recipe import load

RATES = ("muon_learning_rate", "learning_rate")
OTHERS = ("optimizer", "beta2", "weight_decay", "muon_weight_decay", "schedule", "decay_share",
          "average", "average_share", "clip_norm")  # fmt: skip
"""What `small` says of a step, whatever the length of the run."""
FACTORS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
WARMUP_SHARE = 0.1
HEAD = 64
"""Width of an attention head, as in all sizes of GPT-2."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, then print a table of all widths."""
    options = _options(arguments)
    searches = {width: _search(width, options) for width in options.widths}
    command: list[str | Path] = [python(), "benchmarks/learning_rates.py", *sys.argv[1:]]
    scale = _study(options.widths[0], options).scale
    blocks = [
        environment_line(environment("jagpt", "torch", "transformers")),
        f"```console\n$ {shown(command)}\n```",
        f"{scale.n_layer} layers, vocabulary {scale.vocab_size:,}, {options.steps:,} steps of "
        f"{scale.tokens_per_step:,} tokens; the rest as in the recipe `small`.",
        _table(searches),
        _verdict(searches),
    ]
    publish("\n\n".join(blocks), "benchmarks/learning_rates.py", options.update)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("file", type=Path, help="text, a blank line between documents")
    add("--work", type=Path, required=True, metavar="DIR", help="the study's folder")
    add("--widths", type=int, nargs="+", default=[256, 512, 768], help="default: 256 512 768")
    add("--trials", type=int, default=5, help="trials of each width (default: 5)")
    add("--steps", type=int, default=200, help="default: 200")
    add("--layers", type=int, default=Scale.n_layer, help="default: %(default)s")
    add("--vocabulary", type=int, default=Scale.vocab_size, help="default: %(default)s pieces")
    add("--threads", type=int, help="of a trial (default: the machine's cores)")
    add("--kept", action="store_true", help="train nothing: a table of what is there")
    add("--update", type=Path, metavar="PAGE", help="put the table into docs/experiments.md too")
    return parser.parse_args(arguments)


def _study(width: int, options: argparse.Namespace) -> Study:
    scale = Scale(
        n_layer=options.layers,
        n_head=max(1, width // HEAD),
        n_embd=width,
        vocab_size=options.vocabulary,
    )
    return Study(options.file, options.work, scale, options.threads, options.kept)


def _search(width: int, options: argparse.Namespace) -> Search:
    study, train = _study(width, options), load("small").train
    start = {key: getattr(train, key) for key in RATES}
    fixed = {key: getattr(train, key) for key in OTHERS}
    fixed["warmup_steps"] = max(1, round(options.steps * WARMUP_SHARE))
    axes = [Axis(key, [rate * factor for factor in FACTORS]) for key, rate in start.items()]

    def measure(rates: Any) -> float:
        return study.result(Trial({**fixed, **rates}, options.steps)).loss

    search = Search(axes, options.trials, start, measure)
    search.run()
    return search


def _table(searches: dict[int, Search]) -> str:
    rows = []
    for width, search in searches.items():
        for point, loss in sorted(search.tried.items()):
            rates = [f"{rate:g}" for rate in search.at(point).values()]
            best = "best" if point == search.best else ""
            rows.append((f"{width}", *rates, f"{loss:.4f}", best))
    return table(("width", "Muon's rate", "AdamW's rate", "valid loss", ""), rows)


def _verdict(searches: dict[int, Search]) -> str:
    """What is best where, and whether the search has closed there."""
    lines = []
    for width, search in searches.items():
        best, ends = search.settings, ", ".join(search.open_ends())
        closed = f"open towards: {ends}" if ends else "both neighbours of each are worse"
        lines.append(
            f"- width {width}: Muon {best[RATES[0]]:g}, AdamW {best[RATES[1]]:g} ({closed})"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main()
    except (NotMeasured, JagptError) as error:
        sys.exit(f"benchmarks/learning_rates.py: {error}")
