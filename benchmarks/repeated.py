"""A corpus that is read many times, in jawiki's proportions: which settings pay, and how much.

    python benchmarks/repeated.py FILE --work DIR [--epochs 10 30] [--trials 8] [--seeds 3]

FILE is text with a blank line between documents (.txt or .txt.xz), of which so many documents are
taken that each weight of the network meets five different tokens, as in the published case. First
the noise: one setting with several seeds. Then the original's settings with its rate tuned, AdamW
and ours on a grid, and each lever alone beside the best of ours: what gains less than twice the
noise is none. All of it is chosen on the valid split with one seed; the final runs have other seeds
and the test split. Each trial leaves a line in DIR/trials.jsonl: the same command goes on where it
was stopped.

    --stage noise|tune|levers|final  only that part; all if not given
    --kept                           train nothing: tables of what is there
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from common import environment, environment_line, picture, publish, python, shown, table, tell
from search import Axis, Search
from trials import SEED, NotMeasured, Result, Scale, Study, Trial

from jagpt.errors import JagptError
from jagpt.tokens.dataset import TokenSplit

Settings = dict[str, Any]

RATES = tuple(5e-4 * 2**power for power in range(8))
DECAYS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
DROPOUTS = (0.0, 0.05, 0.1, 0.2, 0.3)
AXES: dict[str, tuple[Axis, ...]] = {
    "original": (Axis("learning_rate", RATES),),
    "adamw": (
        Axis("learning_rate", RATES),
        Axis("weight_decay", DECAYS),
        Axis("dropout", DROPOUTS),
    ),
    "muon": (
        Axis("muon_learning_rate", RATES),
        Axis("muon_weight_decay", DECAYS),
        Axis("learning_rate", RATES),
        Axis("dropout", DROPOUTS),
    ),
}
STARTS: dict[str, Settings] = {
    "original": {"learning_rate": 4e-3},
    "adamw": {"learning_rate": 8e-3, "weight_decay": 0.1, "dropout": 0.0},
    "muon": {
        "muon_learning_rate": 8e-3, "muon_weight_decay": 0.1, "learning_rate": 8e-3, "dropout": 0.0,
    },
}  # fmt: skip
FIXED: dict[str, Settings] = {
    "original": {
        "optimizer": "adam", "beta2": 0.999, "weight_decay": 0.0, "schedule": "linear",
        "dropout": 0.1, "order": "blocks",
    },
    "adamw": {"optimizer": "adamw", "schedule": "wsd", "decay_share": 0.4},
    "muon": {"optimizer": "muon", "schedule": "wsd", "decay_share": 0.4},
}  # fmt: skip
NAMES = {
    "original": "the original's settings",
    "adamw": "AdamW",
    "muon": "ours (Muon)",
}
TAUGHT = "taught by two of its kind"
LEVERS: dict[str, Settings] = {
    TAUGHT: {"own_teachers": 2},
    "taught by four of its kind": {"own_teachers": 4},
    "taught by one of its kind (born again)": {"own_teachers": 1},
    "Muon's decay 1.0": {"muon_weight_decay": 1.0},
    "dropout 0.1": {"dropout": 0.1},
    "AdamW's decay of the embeddings 0": {"weight_decay": 0.0},
    "AdamW's decay of the embeddings 1.0": {"weight_decay": 1.0},
    "mean of the last 10 % of the steps": {"average": "tail", "average_share": 0.1},
    "mean of the last 40 % of the steps": {"average": "tail", "average_share": 0.4},
    "constant rate, mean of the last 40 %": {
        "schedule": "constant", "average": "tail", "average_share": 0.4,
    },
    "rate that falls all the way (linear)": {"schedule": "linear"},
    "fixed blocks instead of repacked documents": {"order": "blocks"},
    "documents masked from each other": {"document_mask": True},
}  # fmt: skip
"""Keys of the recipe that are changed alone beside the best of ours."""
WARMUP_SHARE = 0.05
TOKENS_A_WEIGHT = 5


@dataclass(frozen=True)
class Runs:
    """The study, and how its trials are made: `epochs` of so many tokens."""

    study: Study
    tokens: int

    def trial(self, side: str, settings: Mapping[str, Any], epochs: float, **options: Any) -> Trial:
        """A run of a side's settings over so many epochs."""
        steps = int(epochs * self.tokens / self.study.scale.tokens_per_step)
        warmup = max(1, round(WARMUP_SHARE * steps))
        common = {"clip_norm": 1.0, "warmup_steps": warmup, "validate_every": -(-steps // 10)}
        return Trial({**common, **FIXED[side], **settings}, steps, **options)

    def loss(
        self, side: str, settings: Mapping[str, Any], epochs: float, seed: int = SEED
    ) -> float:
        """The valid loss of such a run."""
        return self.study.result(self.trial(side, settings, epochs, seed=seed)).loss

    def final(self, side: str, settings: Mapping[str, Any], epochs: float, number: int) -> Result:
        """A run with one of the seeds that nothing was chosen on, and the test split."""
        return self.study.result(
            self.trial(side, settings, epochs, seed=SEED + 1 + number, test=True)
        )


class Final(NamedTuple):
    """The results of one setting, a seed each, on text that no choice has seen."""

    name: str
    epochs: float
    results: Sequence[Result]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing of the study, then print its tables."""
    options = _options(arguments)
    scale = Scale.asked(options, validate_tokens=32_768, character_coverage=0.98)
    study = Study(options.file, options.work, scale, options.threads, options.kept)
    split = TokenSplit.open(study.prepare().tokens, "train")
    runs = Runs(study, split.n_tokens)
    first = options.epochs[0]
    blocks = [environment_line(environment("jagpt", "torch", "transformers")), _what(options, runs)]
    noise, line = _noise(runs, first, options.seeds)
    blocks.append(line)
    if options.stage != "noise":
        blocks += _studied(runs, options, noise)
    publish("\n\n".join(filter(None, blocks)), "benchmarks/repeated.py", options.update)


def _studied(runs: Runs, options: argparse.Namespace, noise: float) -> Iterator[str]:
    """What is asked for after the noise; tables of what is there where not all of it is."""
    first, *longer = options.epochs
    searches = {
        side: _search(runs, side, first, STARTS[side], options.trials) for side in options.sides
    }
    yield _search_tables(searches, first)
    best = {side: search.settings for side, search in searches.items() if search.tried}
    tuned = {(side, first): settings for side, settings in best.items()}
    if options.stage in (None, "levers") and "muon" in best:
        yield _lever_table(runs, best["muon"], first, noise)
    for epochs in longer if options.stage in (None, "final") else ():
        found = {
            side: _search(runs, side, epochs, best[side], options.trials_longer) for side in best
        }
        yield _search_tables(found, epochs)
        tuned |= {(side, epochs): search.settings for side, search in found.items() if search.tried}
    if options.stage in (None, "final"):
        finals = _finals(runs, tuned, options.seeds)
        yield _final_table(finals)
        if finals:
            drawn = options.work / "repeated.png"
            _draw(finals, runs, drawn)
            yield f"Picture: {drawn.name}."


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("file", type=Path, help="text, a blank line between documents")
    add("--work", type=Path, required=True, metavar="DIR", help="the study's folder")
    add("--epochs", type=float, nargs="+", default=[10.0, 30.0], help="default: 10 30")
    add("--trials", type=int, default=8, help="of each side's search (default: 8)")
    add("--trials-longer", type=int, default=4, help="at each further number of epochs (4)")
    add("--seeds", type=int, default=3, help="of the noise and of the final runs (default: 3)")
    add("--layers", type=int, default=2, help="default: %(default)s")
    add("--heads", type=int, default=2, help="default: %(default)s")
    add("--width", type=int, default=16, help="default: %(default)s")
    add("--block", type=int, default=64, help="default: %(default)s tokens")
    add("--batch", type=int, default=16, help="default: %(default)s blocks per step")
    add("--vocabulary", type=int, default=1800, help="default: %(default)s pieces")
    add("--documents", type=int, default=100, help="of the text (default: %(default)s)")
    add("--threads", type=int, help="of a trial (default: the machine's cores)")
    add("--sides", nargs="+", choices=AXES, default=list(AXES), help="default: all three")
    add("--stage", choices=("noise", "tune", "levers", "final"), help="up to this part only")
    add("--kept", action="store_true", help="train nothing: tables of what is there")
    add("--update", type=Path, metavar="PAGE", help="put the tables into docs/experiments.md too")
    return parser.parse_args(arguments)


def _what(options: argparse.Namespace, runs: Runs) -> str:
    scale = runs.study.scale
    weights = _weights(scale)
    command: list[str | Path] = [python(), "benchmarks/repeated.py", *sys.argv[1:]]
    return (
        f"```console\n$ {shown(command)}\n```\n\n{scale.n_layer} layers of width {scale.n_embd}, "
        f"vocabulary {scale.vocab_size:,}: {weights:,} weights, embeddings included. "
        f"{runs.tokens:,} different tokens, {runs.tokens / weights:.1f} a weight, read "
        f"{' or '.join(f'{epochs:g}' for epochs in options.epochs)} times in steps of "
        f"{scale.tokens_per_step:,}."
    )


def _weights(scale: Scale) -> int:
    """A GPT-2's weights, tied ones once."""
    width = scale.n_embd
    block = 12 * width * width + 13 * width
    return (scale.vocab_size + scale.block_size + 2) * width + scale.n_layer * block


# --- noise and tuning -----------------------------------------------------------------------------


def _noise(runs: Runs, epochs: float, seeds: int) -> tuple[float, str]:
    """The standard deviation of the valid loss over seeds, and what to say of it."""
    losses = []
    with suppress(NotMeasured):
        losses = [
            runs.loss("adamw", STARTS["adamw"], epochs, SEED + number) for number in range(seeds)
        ]
    if len(losses) < 2:
        return float("inf"), "The noise is not measured yet."
    noise = statistics.stdev(losses)
    return noise, (
        f"**Noise**: AdamW at its start with {seeds} seeds ends at "
        f"{', '.join(f'{loss:.4f}' for loss in losses)}: a standard deviation of {noise:.4f}. "
        f"What gains less than {2 * noise:.4f} is no gain here."
    )


def _search(runs: Runs, side: str, epochs: float, start: Mapping[str, Any], trials: int) -> Search:
    def measure(settings: Any) -> float:
        return runs.loss(side, settings, epochs)

    search = Search(AXES[side], trials, start, measure)
    with suppress(NotMeasured):  # the walk depends on what comes out, so it ends there
        search.run()
    return search


def _search_tables(searches: Mapping[str, Search], epochs: float) -> str:
    blocks = []
    for side, search in searches.items():
        if not search.tried:
            continue
        keys = [axis.key for axis in search.axes]
        ends = ", ".join(search.open_ends())
        closed = f"open towards: {ends}" if ends else "both neighbours of each are worse"
        rows = [
            (*(f"{value:g}" for value in search.at(point).values()), f"{loss:.4f}",
             "best" if point == search.best else "")
            for point, loss in search.tried.items()
        ]  # fmt: skip
        trials = f"{len(rows)} trial{'s' * (len(rows) > 1)}"
        head = f"**{NAMES[side]}**, {epochs:g} epochs, {trials} ({closed})"
        blocks.append(f"{head}\n\n{table((*keys, 'valid loss', ''), rows)}")
    return "\n\n".join(blocks)


# --- the levers, and the final runs ---------------------------------------------------------------


def _lever_table(runs: Runs, best: Settings, epochs: float, noise: float) -> str:
    """Each lever alone beside the best of ours: one seed, the valid split."""
    base = runs.loss("muon", best, epochs)
    rows = [("the best of ours", f"{base:.4f}", "", "")]
    for name, changes in LEVERS.items():
        with suppress(NotMeasured):
            loss = runs.loss("muon", {**best, **changes}, epochs)
            gain = base - loss
            rows.append((name, f"{loss:.4f}", f"{gain:+.4f}", "yes" if gain > 2 * noise else "no"))
    return table(("lever", "valid loss", "gain", "above twice the noise"), rows)


def _finals(runs: Runs, tuned: Mapping[tuple[str, float], Settings], seeds: int) -> list[Final]:
    """Other seeds, the test split: what was chosen, on text that no choice has seen."""
    sides = [(NAMES[side], side, epochs, settings) for (side, epochs), settings in tuned.items()]
    sides += [
        (f"{name}, {TAUGHT}", side, epochs, {**settings, **LEVERS[TAUGHT]})
        for name, side, epochs, settings in sides
        if side == "muon"
    ]
    finals = []
    for name, side, epochs, settings in sorted(sides, key=lambda one: one[2]):
        results: list[Result] = []
        with suppress(NotMeasured):
            for number in range(seeds):
                results.append(runs.final(side, settings, epochs, number))  # noqa: PERF401
        if any(result.test is not None for result in results):
            finals.append(Final(name, epochs, results))
    return finals


def _final_table(finals: Sequence[Final]) -> str:
    rows = []
    for final in finals:
        tests = [result.test for result in final.results if result.test is not None]
        rises = [result.loss - min(loss for _, loss in result.curve) for result in final.results]
        rows.append((final.name, f"{final.epochs:g}", f"{len(tests)}", _spread(tests),
                     f"{statistics.fmean(rises):.4f}"))  # fmt: skip
    if not rows:
        tell("no final run is there yet")
        return ""
    return table(("", "epochs", "seeds", "test loss", "valid loss above its least"), rows)


def _draw(finals: Sequence[Final], runs: Runs, path: Path) -> None:
    """Valid loss against epochs, the mean of a setting's seeds."""
    with picture(path, "epochs", "valid loss (nats per token), mean of the seeds") as axes:
        for final in finals:
            curves = [result.curve for result in final.results if not result.unstable]
            epochs = [tokens / runs.tokens for tokens, _ in curves[0]]
            means = [
                statistics.fmean(loss for _, loss in points) for points in zip(*curves, strict=True)
            ]
            axes.plot(epochs, means, label=f"{final.name}, {final.epochs:g} epochs")


def _spread(values: Sequence[float]) -> str:
    """The mean, and half the span where there are several."""
    half = (max(values) - min(values)) / 2
    return f"{statistics.fmean(values):.4f}" + (f" ± {half:.4f}" if len(values) > 1 else "")


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, JagptError) as error:
        sys.exit(f"benchmarks/repeated.py: {error}")
