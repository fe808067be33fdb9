"""Tokens to the same loss: the recipe `small` against tuned AdamW and the original's settings.

    python benchmarks/tokens_to_loss.py FILE --work DIR [--steps 400] [--trials 16] [--seeds 3]

FILE is text with a blank line between documents (.txt or .txt.xz). Both sides get the same options
(data order, dropout, schedule, averaging, beta2), the same number of trials, one seed to tune on
the valid split; the final runs have several seeds, budgets of 1, 2 and 4 times, and the test split.
Ours is trained for shares of those budgets, each run a whole one with its own decay. Each trial
leaves a line in DIR/trials.jsonl: the same command goes on where it was stopped. Our embeddings
begin with what is counted in the tokens that the run trains on, no others.

    --stage tune|final|parts    only that part (and what it needs); all if not given
    --side muon|adamw           train only that side's runs: two processes can share the work
    --kept                      only what was measured already; of the parts, those that were
    --documents N               train on so few documents that they repeat (many epochs)
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from common import environment, environment_line, picture, publish, python, shown, table
from search import Axis, Search
from speed import step_speeds
from trials import SEED, NotMeasured, Result, Scale, Study, Trial

from jagpt.errors import JagptError
from jagpt.recipe import Model
from jagpt.tokens.dataset import TokenSplit, TrainingOrder
from jagpt.training import embeddings

SHARED_AXES = (
    Axis("schedule", ("cosine", "linear", "wsd"), ordered=False),
    Axis("dropout", (0.0, 0.1, 0.2), ordered=False),
    Axis("average", ("none", "tail", "ema"), ordered=False),
    Axis("beta2", (0.95, 0.99, 0.999), ordered=False),
    Axis("warmup_share", (0.02, 0.1), ordered=False),
)
"""Options that both sides may choose; a share or a name has no scale that could go on."""
SIDES = {
    "adamw": (
        Axis("learning_rate", (1.875e-4, 3.75e-4, 7.5e-4, 1.5e-3, 3e-3, 6e-3, 1.2e-2)),
        Axis("weight_decay", (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)),
        *SHARED_AXES,
    ),
    "muon": (
        Axis("muon_learning_rate", (0.000625, 0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04)),
        Axis("muon_weight_decay", (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)),
        Axis("learning_rate", (7.5e-4, 1.5e-3, 3e-3, 6e-3, 1.2e-2, 2.4e-2, 4.8e-2)),
        *SHARED_AXES,
    ),
}
STARTS: dict[str, dict[str, Any]] = {
    "adamw": {"learning_rate": 1.5e-3, "weight_decay": 0.1},
    "muon": {"muon_learning_rate": 0.005, "muon_weight_decay": 0.1, "learning_rate": 6e-3},
}
REPEATED_STARTS: dict[str, dict[str, Any]] = {
    "adamw": {"learning_rate": 3.75e-4},
    "muon": {"muon_learning_rate": 0.000625, "muon_weight_decay": 1.0, "learning_rate": 3.75e-4,
             "embeddings": "text"},
}  # fmt: skip
"""Where text repeats: slower, and in ours with more decay."""
REPEATED_DROPOUT = Axis("dropout", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
REPEATED_AXES = {
    "adamw": (REPEATED_DROPOUT, SHARED_AXES[0]),
    "muon": (
        Axis("embeddings", ("text", "random"), ordered=False),
        REPEATED_DROPOUT,
        SHARED_AXES[0],
        Axis("muon_learning_rate", (7.8125e-5, 1.5625e-4, 3.125e-4, 6.25e-4, 0.00125, 0.0025)),
        Axis("learning_rate", (9.375e-5, 1.875e-4, 3.75e-4, 7.5e-4, 1.5e-3, 3e-3)),
    ),
}
"""What decides most where text repeats: the search goes through it first."""
START = {
    "schedule": "linear", "dropout": 0.0, "average": "none", "beta2": 0.99, "warmup_share": 0.1,
}  # fmt: skip
NAMES = {"muon": "ours (Muon)", "adamw": "AdamW, tuned", "original": "the original's, untuned here"}
BUDGETS = (1, 2, 4)
SHARES = (0.0625, 0.125, 0.25, 0.4)
"""Of each budget: what ours is trained for."""
MANY_TOKENS = Model().embeddings_tokens
"""The default: more than a run of this study trains on."""
GOAL, ORIGINAL_GOAL = 0.4, 1 / 8


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing of the study, then print its tables."""
    options = _options(arguments)
    study = Study(options.file, options.work, Scale.asked(options), options.threads, options.kept)
    facts = environment("jagpt", "torch", "transformers")
    blocks = [environment_line(facts), _what(options, study)]
    sides = [options.side] if options.side else list(SIDES)
    searches = {side: _tuned(study, side, options) for side in sides}
    blocks += [_search_tables(searches)]
    if options.stage in (None, "final"):
        blocks += _final_blocks(study, searches, options)
    if options.stage in (None, "parts"):
        blocks += [_parts_table(study, searches, options)]
    mark = "benchmarks/tokens_to_loss.py" + (" --documents" if options.documents else "")
    publish("\n\n".join(blocks), mark, options.update)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    scale = Scale()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("file", type=Path, help="text, a blank line between documents")
    add("--work", type=Path, required=True, metavar="DIR", help="the study's folder")
    add("--steps", type=int, default=400, help="steps of a budget of 1 (default: 400)")
    add("--trials", type=int, default=16, help="trials of each side's search (default: 16)")
    add("--seeds", type=int, default=3, help="seeds of the final runs (default: 3)")
    add("--budgets", type=int, nargs="+", default=list(BUDGETS), help="default: 1 2 4")
    add("--layers", type=int, default=scale.n_layer, help="default: %(default)s")
    add("--heads", type=int, default=scale.n_head, help="default: %(default)s")
    add("--width", type=int, default=scale.n_embd, help="default: %(default)s")
    add("--block", type=int, default=scale.block_size, help="default: %(default)s tokens")
    add("--batch", type=int, default=scale.batch_size, help="default: %(default)s blocks per step")
    add("--vocabulary", type=int, default=scale.vocab_size, help="default: %(default)s pieces")
    add("--documents", type=int, help="train on so many documents only, again and again")
    add("--threads", type=int, help="of a trial (default: the machine's cores)")
    add("--stage", choices=("tune", "final", "parts"), help="only this part")
    add("--side", choices=SIDES, help="this side's runs only")
    add("--kept", action="store_true", help="train nothing: tables of what is there")
    add("--update", type=Path, metavar="PAGE", help="put the tables into docs/experiments.md too")
    options = parser.parse_args(arguments)
    if options.side and options.stage not in ("tune", "final"):
        parser.error("--side goes with --stage tune and --stage final: parts are of one side")
    return options


def _what(options: argparse.Namespace, study: Study) -> str:
    scale = study.scale
    text = f"{scale.documents:,} documents of the text" if scale.documents else "the whole text"
    command: list[str | Path] = [python(), "benchmarks/tokens_to_loss.py", *sys.argv[1:]]
    return (
        f"```console\n$ {shown(command)}\n```\n\n{scale.n_layer} layers of width {scale.n_embd}, "
        f"vocabulary {scale.vocab_size:,}, {scale.tokens_per_step:,} tokens per step, "
        f"{options.steps:,} steps at a budget of 1, trained on {text}."
    )


# --- tuning ---------------------------------------------------------------------------------------


def _tuned(study: Study, side: str, options: argparse.Namespace) -> Search:
    def measure(settings: Any) -> float:
        return study.result(Trial(_train(side, settings, options.steps), options.steps)).loss

    axes, start = SIDES[side], {**START, **STARTS[side]}
    if options.documents:
        first = REPEATED_AXES[side]
        axes = (*first, *(axis for axis in axes if axis.key not in {one.key for one in first}))
        start |= REPEATED_STARTS[side]
    search = Search(axes, options.trials, start, measure)
    search.run()
    return search


def _train(side: str, settings: dict[str, Any], steps: int) -> dict[str, Any]:
    """A point of a grid as keys of `[train]`; the rest is the same for both sides."""
    settings = dict(settings)
    warmup = max(1, round(steps * settings.pop("warmup_share")))
    common = {"optimizer": side, "clip_norm": 1.0, "warmup_steps": warmup,
              "decay_share": 0.4, "average_share": 0.1, "average_decay": 0.98}  # fmt: skip
    if side == "muon":
        common["embeddings"] = "text"  # counted in the run's own tokens alone
    return {**common, **settings}


def _search_tables(searches: dict[str, Search]) -> str:
    blocks = []
    for side, search in searches.items():
        keys = [axis.key for axis in search.axes]
        rows = [
            (*(str(value) for value in search.at(point).values()), f"{loss:.4f}")
            for point, loss in search.tried.items()
        ]
        ends = ", ".join(search.open_ends())
        closed = f"open towards: {ends}" if ends else "no setting is best at its outermost value"
        grid = "; ".join(f"{axis.key}: {', '.join(map(str, axis.values))}" for axis in search.axes)
        head = f"**{NAMES[side]}**, {len(search.tried)} trials ({closed}). Grid: {grid}."
        blocks.append(f"{head}\n\n{table((*keys, 'valid loss'), rows)}")
    return "\n\n".join(blocks)


# --- the final comparison -------------------------------------------------------------------------

Finals = dict[tuple[str, int], list[Result]]
"""Side and steps of a run → its results, a seed each."""


def _final_blocks(
    study: Study, searches: dict[str, Search], options: argparse.Namespace
) -> list[str]:
    finals = _finals(study, searches, options)
    runs = _final_table(finals, study)
    if options.side or options.documents:  # nothing to compare with, or no curve
        return [runs]
    drawn = options.work / "tokens_to_loss.png"
    _draw(finals, study, drawn)
    ratios, original = _ratio_table(finals, study, options), _original_table(study, finals)
    return [runs, ratios, original, f"Picture: {drawn.name}."]


def _finals(study: Study, searches: dict[str, Search], options: argparse.Namespace) -> Finals:
    shares = (1,) if options.documents else SHARES  # a shorter run would repeat less
    ours = {share * budget for budget in options.budgets for share in shares}
    lengths = {"adamw": set(options.budgets), "muon": ours | {1}}
    finals: Finals = {}
    for side, search in searches.items():
        for steps in sorted(round(options.steps * budget) for budget in lengths[side]):
            settings = _train(side, search.settings, steps)
            finals[side, steps] = _seeds(study, settings, steps, options)
    if "adamw" in searches:  # the quicker of the two sides takes it along
        settings = _original(options.steps)
        finals["original", options.steps] = _seeds(study, settings, options.steps, options)
    return finals


def _seeds(
    study: Study, settings: dict[str, Any], steps: int, options: argparse.Namespace
) -> list[Result]:
    return [study.result(_final(settings, steps, number)) for number in range(options.seeds)]


def _final(settings: dict[str, Any], steps: int, number: int) -> Trial:
    """A run of one of the seeds that were not tuned on."""
    return Trial(settings, steps, SEED + 1 + number, test=True)


def _original(steps: int) -> dict[str, Any]:
    """The published case: Adam at 1e-4, 10,000 of 476,700 steps warm-up, linear, clipped, fp32."""
    return {
        "optimizer": "adam", "learning_rate": 1e-4, "beta2": 0.999, "weight_decay": 0.0,
        "schedule": "linear", "warmup_steps": max(1, round(steps * 10_000 / 476_700)),
        "clip_norm": 1.0, "dropout": 0.1, "order": "blocks", "precision": "fp32",
    }  # fmt: skip


def _final_table(finals: Finals, study: Study) -> str:
    rows = []
    for (side, steps), results in finals.items():
        tests = [found.test for found in results if found.test is not None]
        tokens = steps * study.scale.tokens_per_step
        losses = [found.loss for found in results]
        rows.append((NAMES[side], f"{steps:,}", f"{tokens:,}", _spread(losses), _spread(tests)))
    return table(("", "steps", "tokens", "valid loss", "test loss"), rows)


def _ratio_table(finals: Finals, study: Study, options: argparse.Namespace) -> str:
    """Tokens that ours takes to AdamW's final test loss."""
    rows, medians = [], {}
    for budget in options.budgets:
        shares = _shares(finals, ("adamw", options.steps * budget))
        if shares:
            medians[budget] = statistics.median(shares)
        shown_shares = _spread(shares, 3) if shares else "not reached"
        rows.append((f"{budget}", shown_shares, f"≤ {GOAL}"))
    if 1 in medians and 4 in medians:
        rows.append(("4 against 1", f"{medians[4] / medians[1]:.3f}", "≤ 1.15"))
    return table(("budget", "share of AdamW's tokens", "goal"), rows)


def _shares(finals: Finals, other: tuple[str, int]) -> list[float]:
    """Ours to the other's test loss, as a share of its steps, by seed; empty if it falls short."""
    runs = sorted(steps for side, steps in finals if side == "muon")
    shares = []
    for number, result in enumerate(finals[other]):
        points = [(steps, _test(finals["muon", steps][number])) for steps in runs]
        steps = steps_to(points, _test(result))
        if steps is None:
            return []
        shares.append(steps / other[1])
    return shares


def _test(result: Result) -> float:
    return float("inf") if result.test is None else result.test


def steps_to(points: Sequence[tuple[int, float]], loss: float) -> float | None:
    """Steps of a run that ends at `loss`, from whole runs' steps and final losses in order.

    Between two runs the loss is taken for linear in the logarithm of the steps. The shortest run's
    steps if it is already that good (then an upper bound); None if the longest is not.
    """
    before: tuple[int, float] | None = None
    for steps, here in points:
        if here <= loss:
            if before is None:
                return float(steps)
            share = (before[1] - loss) / (before[1] - here)
            return float(before[0] * (steps / before[0]) ** share)
        before = (steps, here)
    return None


def _original_table(study: Study, finals: Finals) -> str:
    """Ours against the original's settings, in tokens and, on this machine, in time."""
    other = next(key for key in finals if key[0] == "original")
    shares = _shares(finals, other)
    if not shares:
        return "Ours did not reach the loss of the original's settings."
    share = statistics.median(shares)
    scale = study.scale
    shape = (scale.n_layer, scale.n_head, scale.n_embd, scale.block_size, scale.batch_size,
             scale.vocab_size)  # fmt: skip
    speeds = step_speeds(shape, ("original", "muon"), rounds=5)
    tokens = other[1] * scale.tokens_per_step
    counting = _counting_seconds(study, round(share * tokens))
    original, ours = tokens / speeds["original"], share * tokens / speeds["muon"] + counting
    rows = [
        ("share of the original's tokens", f"{share:.4f}", f"≤ {ORIGINAL_GOAL}"),
        ("tokens/s of the original's loop (fp32, dropout 0.1)", f"{speeds['original']:,.0f}", ""),
        ("tokens/s of ours", f"{speeds['muon']:,.0f}", ""),
        ("seconds that counting for the embeddings takes", f"{counting:.1f}", ""),
        ("times sooner", f"{original / ours:,.1f}", "≥ 40"),
    ]
    return table(("ours against the original's settings, untuned at this scale", "", "goal"), rows)


def _counting_seconds(study: Study, tokens: int) -> float:
    """What ours does before its first step, for a run of so many tokens."""
    scale = study.scale
    split = TokenSplit.open(study.prepare().tokens, "train")
    order = TrainingOrder(
        split, block_size=scale.block_size, order="documents", seed=SEED, shuffle_buffer=1
    )
    started = time.perf_counter()
    ids = embeddings.first_tokens(order, tokens)
    embeddings.piece_vectors(ids, scale.vocab_size, scale.n_embd, SEED)
    return time.perf_counter() - started


# --- the parts ------------------------------------------------------------------------------------


def _parts_table(study: Study, searches: dict[str, Search], options: argparse.Namespace) -> str:
    """What the tuned recipe loses without each of its parts, one at a time."""
    whole, changed = _parts(searches, options)
    wholes = _seeds(study, whole, options.steps, options)
    rows = []
    for name, part in changed.items():
        pairs = []
        for number, base in enumerate(wholes):
            with suppress(NotMeasured):
                found = study.result(_final(part, options.steps, number))
                pairs.append((found.loss, found.loss - base.loss))
        if pairs:
            losses, differences = zip(*pairs, strict=True)
            rows.append((name, f"{len(pairs)}", _spread(losses), _spread(differences)))
    return table(("", "seeds", "valid loss", "against the whole recipe"), rows)


def _parts(
    searches: dict[str, Search], options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """`[train]` of the whole recipe, and by its name that of each recipe with one part changed."""
    settings = searches["muon"].settings
    whole = _train("muon", settings, options.steps)
    adamw = _train("adamw", searches["adamw"].settings, options.steps)
    other = "random" if whole["embeddings"] == "text" else "text"
    changed = {
        "the whole recipe": whole,
        f"{other} embeddings": {**whole, "embeddings": other},
        "tuned AdamW, text embeddings": {**adamw, "embeddings": "text"},
        "tuned AdamW, random embeddings": adamw,
        "fixed blocks instead of repacked documents": {**whole, "order": "blocks"},
        "no clipping": {key: value for key, value in whole.items() if key != "clip_norm"},
    }
    if not options.documents:  # an epoch has no more
        name = f"embeddings from {MANY_TOKENS:,} tokens"
        changed[name] = {**whole, "embeddings_tokens": MANY_TOKENS}
    for axis in SHARED_AXES:
        for value in axis.values:
            if value != settings[axis.key]:
                parted = _train("muon", {**settings, axis.key: value}, options.steps)
                changed[f"{axis.key} {value}"] = parted
    return whole, changed


def _spread(values: Sequence[float], digits: int = 4) -> str:
    """The mean, and half the span where there are several."""
    if not values:
        return ""
    mean = statistics.fmean(values)
    half = (max(values) - min(values)) / 2
    return f"{mean:.{digits}f}" + (f" ± {half:.{digits}f}" if len(values) > 1 else "")


def _draw(finals: Finals, study: Study, path: Path) -> None:
    """Test loss against tokens, a point a run."""
    across = "tokens trained (each point is a whole run with its own decay)"
    with picture(path, across, "test loss (nats per token)") as axes:
        axes.set_xscale("log")
        for side, name in NAMES.items():
            runs = sorted(steps for other, steps in finals if other == side)
            tokens = [steps * study.scale.tokens_per_step for steps in runs]
            means = [statistics.fmean(map(_test, finals[side, steps])) for steps in runs]
            (line,) = axes.plot(tokens, means, label=name)
            for count, steps in zip(tokens, runs, strict=True):
                losses = list(map(_test, finals[side, steps]))
                axes.plot([count] * len(losses), losses, "o", markersize=4, color=line.get_color())


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, JagptError) as error:
        sys.exit(f"benchmarks/tokens_to_loss.py: {error}")
